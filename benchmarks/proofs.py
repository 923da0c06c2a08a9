"""How long a verdict on a proof takes: a warm Coq in its cell beside `coqc` from cold, and strop's kernel.

    python benchmarks/proofs.py               20 proofs of each kind; needs Coq (apt install coq bubblewrap)
    python benchmarks/proofs.py --proofs 5

Both say the same of every proof, the audit (`Print Assumptions`) in both.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strop.proofs.coq import BEGINS, Coq, spelled
from strop.proofs.gates import NAME, verdict, verdicts
from strop.proofs.kernel import written
from strop.proofs.logic import Formula, closed, free
from strop.proofs.search import proven
from strop.proofs.session import KERNEL
from strop.tasks.proofs import Proofs


def scripted(statement: Formula, kind: str) -> str:
    """A proof for Coq of a true statement of a kind."""
    if kind == "rings":
        return "Proof. intros. ring. Qed."
    if kind == "given":
        return "Proof. intros. repeat match goal with H : _ /\\ _ |- _ => destruct H end. subst. ring. Qed."
    names = sorted(free(statement))
    cases = ", ".join(f"(classic {name})" for name in names)
    return f"Proof. intros {' '.join(names)}. first [tauto | destruct {cases}; tauto]. Qed."


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def cold(statement: Formula, said: str, seconds: float = 60.0) -> bool:
    """By `coqc`, in a process of its own that begins anew: whether the file goes through."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proof.v"
        path.write_text(f"{BEGINS}Theorem {NAME} : {spelled(closed(statement))}.\n{said}\nPrint Assumptions {NAME}.\n")
        return subprocess.run(["coqc", "-q", path], cwd=folder, timeout=seconds, capture_output=True).returncode == 0


def measured(proofs: int = 20) -> dict[str, dict[str, float]]:
    """Seconds a proof, by kind: warm, cold, and by strop's kernel."""
    found = dict[str, dict[str, float]]()
    with Coq(seconds=60) as coq:
        for kind in ("chained", "rewritten", "rings", "given"):
            source, asked = Proofs(kind=kind), list[tuple[Formula, str, str]]()
            for index in range(proofs):
                statement = source.statement(source.task("train", 0, index))
                while hasattr(statement, "op") and getattr(statement, "op", "") == "all":
                    statement = statement.body  # type: ignore[union-attr]
                term = proven(statement, 2000)
                assert term is not None
                asked.append((statement, scripted(statement, kind), f"proof {written(term)}"))
            verdict(coq, *asked[0][:2])  # it begins
            warm, right = timed(lambda: [one.score for one in verdicts(coq, [(s, said) for s, said, _ in asked])])  # noqa: B023
            slow, same = timed(lambda: [cold(s, said) for s, said, _ in asked[: max(3, proofs // 4)]])  # noqa: B023
            own, ours = timed(lambda: [verdict(KERNEL, s, term).score for s, _, term in asked])  # noqa: B023
            assert right == ours == [1.0] * proofs
            assert all(same)
            found[kind] = {"warm": warm / proofs, "cold": slow / len(same), "kernel": own / proofs}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proofs", type=int, default=20)
    rows = measured(parser.parse_args().proofs)
    rows["all"] = {key: sum(row[key] for row in rows.values()) / len(rows) for key in ("warm", "cold", "kernel")}
    print("kind          warm Coq      coqc     ratio    kernel")
    for kind, row in rows.items():
        warm, slow, own = (row[key] * 1e3 for key in ("warm", "cold", "kernel"))
        print(f"{kind:<12} {warm:7.1f} ms {slow:6.0f} ms {slow / warm:7.1f}x {own:7.2f} ms")
