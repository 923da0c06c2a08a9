"""What a checker of proofs lets through, and what a negation filter drops.

    released     what the released rule counts as proven: no error among the messages, or no messages at all
    gates        what passes size, scan, whose, error, goal and audit, and where each attack ends

Examples:
    strop lab proofs                      twelve attacks on strop's kernel, five false statements each; and the filter by its steps
    strop lab proofs --coq                the same attacks on Coq, in a cell (apt install coq bubblewrap)
    strop lab proofs --statements 2000    the filter on so many statements, half of them false
    strop lab proofs --steps 50           a search of so many steps
"""

from __future__ import annotations

import argparse

from strop.cli import Usage, answer, table


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coq", action="store_true", help="attack Coq too")
    parser.add_argument("--statements", type=int, default=400, metavar="N", help="statements that are filtered [400]")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="of a search [200]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the statements [0]")


def run(args: argparse.Namespace) -> int:
    from strop.lab.proofs import attacked, filtered
    from strop.proofs.coq import Coq, there
    from strop.proofs.session import KERNEL

    for name in ("statements", "steps"):
        if getattr(args, name) < 1:
            raise Usage(f"--{name} is at least 1, got {getattr(args, name)}")
    if args.coq and not there():
        raise Usage("--coq: Coq is not installed (apt install coq)")
    said = {"attacks": {"kernel": attacked(KERNEL)}, "filter": filtered(args.statements, args.steps, args.seed)}
    if args.coq:
        with Coq() as coq:
            said["attacks"]["coq"] = attacked(coq)
    lines = list[str]()
    for name, rows in said["attacks"].items():
        head = ["attack", "released", "gates", "of", "ends at"]
        lines += [f"{name}: what is counted as a proof of what is false", "", table([[row[key] for key in head] for row in rows], head), ""]
    found = said["filter"]
    lines.append(f"filter: of {found['statements']:,} statements {found['false']:,} are false, and a search has {args.steps:,} steps")
    rows = [[by, f"{false:.3f}", f"{sound:.3f}"] for by, (false, sound) in found["dropped"].items()]
    lines += ["", table(rows, ["dropped where", "of the false", "of the true"])]
    answer(args, said, "\n".join(lines))
    return 0
