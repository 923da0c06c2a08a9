"""Faults on a real cluster of several raylets, each with killed, stopped or hung real processes. Prints the table.

    python tests/faults.py                        all of them, as a table
    python tests/faults.py engine-killed --json   some, as JSON

For each fault a driver in a process of its own trains on the cluster; the fault is made in the middle of it. What is told:

    seconds     from the fault until the next step is committed, or until the driver has ended with a message
    graded      groups that were graded, in all lives of the driver; kept: those committed or reported as discarded
    log         what the run wrote equals what is computed again from its commits alone
    same        its groups and weights are those of a run without cluster and fault (where it samples nothing ahead)
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
STEPS, LIMIT = 6, 60.0
"""Steps of a run, and seconds within which it must go on or say why not."""


def recipe(ahead: int, environment: bool) -> Any:
    from echo import asking

    from strop import pico
    from strop.recipe import Recipe

    sizes: dict[str, Any] = {"tasks": 8, "group": 16, "max_tokens": 120, "eval_tasks": 0, "checkpoint_every": 2, "slots": 128}
    if environment:
        sizes |= {"method": asking(seconds=0.2), "group": 4, "max_tokens": 40}
    if ahead:
        sizes |= {"ahead": ahead, "max_age": ahead - 1}  # so that some groups are too old
    return Recipe(task="chain", model=str(pico.path()), steps=STEPS, seed=3, lr=1e-3, tripwire="grader=off", **sizes)


# The driver, in a process of its own.


def drive(directory: Path, address: str, ahead: int, environment: bool, ranks: int) -> None:
    """Begin the run or go on with it; tells what it graded and who its replicas are in files beside it."""
    import torch

    from strop.cluster import Cluster, connected
    from strop.run import create, resume

    torch.set_num_threads(1)
    asked = recipe(ahead, environment)
    parts: dict[str, Any] = {}
    try:
        with connected(Cluster(address, replicas=1 if ranks else 2, workers=2, ranks=ranks or None)) as cluster:
            parts |= {"engine": cluster.front, "learner": cluster.learner}
            if (directory / "recipe.json").exists():
                run = resume(directory, method=asked.method if environment else None, **parts)
            else:
                run = create(asked, directory, **parts)
            verdict = run.verdict  # of a step and of what was discarded

            async def graded(groups: list[Any]) -> Any:
                scores = await verdict(groups)
                if run.replayed is None:
                    append(directory.with_suffix(".graded"), [f"{run.step}|{g.id}" for g in groups])
                return scores

            run.verdict = graded
            front: Any = run.engine
            threading.Thread(target=tell, args=(front, directory.with_suffix(".members")), daemon=True).start()
            run.train()
            front.close()
    except ValueError as error:
        print(f"strop: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
    os._exit(0)


def tell(front: Any, path: Path) -> None:
    while True:
        members = [{**m.facts, "number": m.number, "asked": m.asked, "decoded": m.counters.get("decoded", 0)} for m in [*front.members]]
        path.with_suffix(".new").write_text(json.dumps({"members": members, "losses": front.losses}))
        path.with_suffix(".new").rename(path)
        time.sleep(0.1)


def append(path: Path, what: list[str]) -> None:
    with open(path, "a") as file:
        file.writelines(f"{one}\n" for one in what)


# What makes the faults.


class Stage:
    """One run on the cluster, and hands on its processes."""

    def __init__(
        self,
        base: Path,
        name: str,
        address: str,
        nodes: list[Any],
        cluster: Any,
        *,
        ahead: int = 0,
        environment: bool = False,
        ranks: int = 0,
    ):
        self.directory, self.address, self.nodes, self.cluster = base / name, address, nodes, cluster
        self.ahead, self.environment, self.ranks = ahead, environment, ranks
        self.before = {pid for kind in ("Answers", "Place") for pid in workers(kind)}
        self.start()

    def command(self, directory: Path) -> list[str]:
        options = map(str, (self.ahead, int(self.environment), self.ranks))
        return [sys.executable, __file__, "--drive", str(directory), self.address, *options]

    def start(self) -> None:
        with open(self.directory.with_suffix(".log"), "a") as log:
            self.driver = subprocess.Popen(self.command(self.directory), stdout=log, stderr=log)

    def members(self) -> list[dict[str, Any]]:
        path = self.directory.with_suffix(".members")
        return json.loads(path.read_text())["members"] if path.exists() else []

    def commits(self) -> int:
        return len(list((self.directory / "groups").glob("*.gz")))

    def said(self) -> str:
        return self.directory.with_suffix(".log").read_text()

    def until(self, what: Callable[[], Any], seconds: float) -> Any:
        """What it gives once it is true; an error when the driver or the time ends first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            if self.driver.poll() not in (None, 0):
                raise RuntimeError(f"the driver ended with {self.driver.returncode}: {self.said()[-2000:]}")
            time.sleep(0.02)
        raise TimeoutError(f"not within {seconds:g} s: {self.said()[-2000:]}")

    def busy(self) -> dict[str, Any]:
        """A replica in the middle of a step, after the first."""
        self.until(lambda: self.commits() >= 1, 300)
        return self.until(lambda: next((m for m in self.members() if m["asked"] and self.commits() < STEPS - 1), None), 60)

    def goes_on(self) -> float:
        """Seconds until the next commit."""
        began, there = time.monotonic(), self.commits()
        self.until(lambda: self.commits() > there, LIMIT)
        return time.monotonic() - began

    def ends(self, seconds: float = 240) -> int:
        return self.driver.wait(seconds)


def engine_killed(stage: Stage) -> dict[str, Any]:
    os.kill(stage.busy()["pid"], signal.SIGKILL)
    return {"seconds": stage.goes_on(), "code": stage.ends()}


def engine_hung(stage: Stage) -> dict[str, Any]:
    pid = stage.busy()["pid"]
    os.kill(pid, signal.SIGSTOP)
    return {"seconds": stage.goes_on(), "code": stage.ends()}


def environment_hung(stage: Stage) -> dict[str, Any]:
    stage.busy()
    (hung, *_) = [pid for pid in workers("Answers") if pid not in stage.before]
    os.kill(hung, signal.SIGSTOP)
    return {"seconds": stage.goes_on(), "code": stage.ends()}


def rank_killed(stage: Stage) -> dict[str, Any]:
    """The run ends with a message, and goes on from its commits when it is resumed."""
    stage.busy()
    (killed, *_) = [pid for pid in workers("Place") if pid not in stage.before]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    code = stage.driver.wait(LIMIT)
    seconds = time.monotonic() - began
    stage.start()
    return {"seconds": seconds, "first_code": code, "code": stage.ends()}


def driver_killed(stage: Stage) -> dict[str, Any]:
    stage.busy()
    stage.driver.send_signal(signal.SIGKILL)
    stage.driver.wait()
    began, there = time.monotonic(), stage.commits()
    stage.start()
    stage.until(lambda: stage.commits() > there, LIMIT)
    return {"seconds": time.monotonic() - began, "code": stage.ends()}


def node_removed(stage: Stage) -> dict[str, Any]:
    node = stage.busy()["node"]
    (gone,) = [one for one in stage.nodes if one.node_id == node]
    stage.cluster.remove_node(gone, allow_graceful=False)
    stage.nodes.remove(gone)
    return {"seconds": stage.goes_on(), "code": stage.ends()}


def node_slow(stage: Stage) -> dict[str, Any]:
    """The replica gets a tenth of the time it had."""
    process, done = psutil.Process(stage.busy()["pid"]), threading.Event()

    def slow() -> None:
        while not done.wait(0.05) and process.is_running():
            try:
                process.suspend()
                time.sleep(0.45)
                process.resume()
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=slow, daemon=True)
    thread.start()
    try:
        return {"seconds": stage.goes_on(), "code": stage.ends()}
    finally:
        done.set()
        thread.join()


def all_replicas_killed(stage: Stage) -> dict[str, Any]:
    """Both at once: the run waits until others have started."""
    stage.busy()
    hold = [psutil.Process(m["pid"]) for m in stage.members()]
    for process in hold:
        process.kill()
    return {"seconds": stage.goes_on(), "code": stage.ends()}


FAULTS: dict[str, tuple[Callable[[Stage], dict[str, Any]], dict[str, Any]]] = {
    "engine-killed": (engine_killed, {}),
    "engine-killed-ahead": (engine_killed, {"ahead": 2}),
    "engine-hung": (engine_hung, {}),
    "all-engines-killed": (all_replicas_killed, {}),
    "environment-hung": (environment_hung, {"environment": True}),
    "rank-killed": (rank_killed, {"ranks": 2}),
    "driver-killed": (driver_killed, {}),
    "driver-killed-ahead": (driver_killed, {"ahead": 2}),
    "node-slow": (node_slow, {}),
    "node-removed": (node_removed, {}),
}


def workers(kind: str) -> list[int]:
    """Processes of actors of this class, among this process's raylets."""
    found: list[int] = []
    for process in psutil.Process().children(recursive=True):
        try:
            if f"ray::{kind}" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


# What is checked afterwards.


def checked(stage: Stage, outcome: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    directory = stage.directory
    records = [json.loads(gzip.decompress(path.read_bytes())) for path in sorted((directory / "groups").glob("*.gz"))]
    committed = {f"{n}|{group['id']}" for n, record in enumerate(records) for group in record["groups"]}
    stale = {f"{n}|{one['place']}" for n, record in enumerate(records) for one in record["state"].get("feed", {}).get("stale", [])}
    graded = set(directory.with_suffix(".graded").read_text().split("\n")) - {""}
    mine = outcome_of(directory)
    told = [line.strip() for line in stage.said().splitlines() if " on node " in line and "actor" in line]
    return {
        **outcome,
        "graded": len(graded),
        "committed": len(committed),
        "discarded": len(stale),
        "kept": graded == committed | stale,
        "log": replayed(directory, stage) == mine["metrics"],
        "same": None
        if stage.ahead or stage.ranks
        else comparable(mine, stage.environment) == comparable(alone[stage.environment], stage.environment),
        "message": told[0][:700] if told else "",
    }


def outcome_of(directory: Path) -> dict[str, Any]:
    from strop.directory import read_metrics

    return {"metrics": [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(directory)]}


def comparable(outcome: dict[str, Any], environment: bool) -> list[Any]:
    """All but the bill: what was computed twice is on it."""
    return [{k: v for k, v in line.items() if k != "bill"} for line in outcome["metrics"]]


def replayed(directory: Path, stage: Stage) -> list[Any]:
    """The metrics of a life that has the commits alone."""
    from strop.run import resume

    copy = directory.with_name(directory.name + "-again")
    shutil.copytree(directory, copy)
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    (copy / "metrics.jsonl").unlink()
    if stage.ranks:  # several ranks add in an order of their own
        with open(copy.with_suffix(".log"), "w") as log:
            subprocess.run(stage.command(copy), stdout=log, stderr=log, timeout=240, check=True)
        return outcome_of(copy)["metrics"]
    asked = recipe(stage.ahead, stage.environment)
    resume(copy, say=lambda _: None, method=asked.method if stage.environment else None).train()
    return outcome_of(copy)["metrics"]


@contextmanager
def raylets() -> Iterator[tuple[str, list[Any], Any]]:
    """A head without room for actors, and three nodes of one CPU: two for replicas or ranks, one more."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    from ray.cluster_utils import Cluster

    store = 100 << 20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=store, wait=False) for _ in range(3)]
        cluster.wait_for_nodes(120)
        yield cluster.address, nodes, cluster
    finally:
        cluster.shutdown()


def main(names: list[str]) -> dict[str, Any]:
    import torch

    from strop.run import create

    torch.set_num_threads(1)
    base = Path(tempfile.mkdtemp(prefix="strop-faults-"))
    alone: dict[bool, Any] = {}
    for environment in sorted({bool(FAULTS[name][1].get("environment")) for name in names}):
        create(recipe(0, environment), base / f"alone-{environment}").train()
        alone[environment] = outcome_of(base / f"alone-{environment}")
    results: dict[str, Any] = {}
    with raylets() as (address, nodes, cluster):
        for name in names:
            fault, options = FAULTS[name]
            stage = Stage(base, name, address, nodes, cluster, **options)
            try:
                results[name] = checked(stage, fault(stage), alone)
            except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
                results[name] = {"failed": str(error)[-1500:]}
            finally:
                stage.driver.kill()
                stage.driver.wait()
            print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    shutil.rmtree(base, ignore_errors=True)
    return results


def table(results: dict[str, Any]) -> str:
    head = f"{'fault':22}{'seconds':>8}{'graded':>8}{'committed':>11}{'discarded':>11}{'all kept':>10}{'own log':>9}{'as alone':>10}"
    rows = [head]
    for name, r in results.items():
        if "failed" in r:
            rows.append(f"{name:22} FAILED: {r['failed'].strip().splitlines()[-1][:100]}")
            continue
        yes = ["yes" if r[key] else "-" if r[key] is None else "NO" for key in ("kept", "log", "same")]
        numbers = f"{r['seconds']:8.1f}{r['graded']:8}{r['committed']:11}{r['discarded']:11}"
        rows.append(f"{name:22}{numbers}{yes[0]:>10}{yes[1]:>9}{yes[2]:>10}")
    return "\n".join(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), bool(int(sys.argv[5])), int(sys.argv[6]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    made = main(args.faults or list(FAULTS))
    print(json.dumps(made) if args.json else table(made))
