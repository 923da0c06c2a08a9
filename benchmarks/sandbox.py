"""What an execution in the sandbox costs, beside the ways others execute Python; every rival in the same run, in turns.

    python benchmarks/sandbox.py [--rounds 40] [--jupyter-python VENV/bin/python] [--json FILE]

One execution is `print(sum(range(100)))` until its output is here. `--jupyter-python` is an interpreter that has jupyter_client and
ipykernel (`python -m venv VENV && VENV/bin/pip install jupyter_client ipykernel`); a running kernel executes there, and its start is not
counted. Programs start without `site`, whose .pth files cost what a machine put there. What is missing here is said and left out. Ratios
are of medians, in an order that changes each round; a machine that does other things besides moves them. A server has the next process
ready while nobody asks, so a burst is shown as well: executions one behind the other, each waiting for that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strop.sandbox import Rules, Sandbox, Session
from strop.sandbox.box import Server
from strop.sandbox.cell import Cell, bubblewrap, places

CODE, SAID = "print(sum(range(100)))", "4950\n"
PYTHON = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
FORKS = (
    ("fork in a cell, without locks", "cl", "c"),
    ("fork in a cell, with locks", "cl", "cl"),
    ("fork with locks", "l", "l"),
    ("bare fork", "", ""),
)
"""Servers of their own: (name, the cell's walls, the server's)."""
KERNEL = """
import sys, time
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
said = []
def hook(message):
    if message["msg_type"] == "stream":
        said.append(message["content"]["text"])
print("ready", flush=True)
for line in sys.stdin:
    del said[:]
    began = time.perf_counter()
    client.execute_interactive(line.rstrip("\\n"), output_hook=hook, timeout=30)
    print(time.perf_counter() - began, repr("".join(said)), flush=True)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def timed(act: Callable[[], str]) -> float:
    began = time.perf_counter()
    said = act()
    seconds = time.perf_counter() - began
    if said != SAID:
        raise SystemExit(f"an execution said {said!r} and not {SAID!r}")
    return seconds


def program(command: list[str]) -> Callable[[], str]:
    return lambda: subprocess.run([*command, CODE], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


class Kernel:
    """A running Jupyter kernel, asked from its own interpreter."""

    def __init__(self, python: str):
        self.process = subprocess.Popen([python, "-c", KERNEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asks, self.answers = self.process.stdin, self.process.stdout
        if self.answers.readline() != "ready\n":
            raise SystemExit(f"no Jupyter kernel starts in {python}")

    def seconds(self) -> float:
        self.asks.write(CODE + "\n")
        self.asks.flush()
        seconds, _, said = self.answers.readline().partition(" ")
        if said != repr(SAID) + "\n":
            raise SystemExit(f"the kernel said {said!r}")
        return float(seconds)

    def close(self) -> None:
        self.asks.close()
        self.process.wait(20)


def sessions(box: Sandbox, rounds: int) -> tuple[list[float], list[float]]:
    """(going on where ten pieces were said and their processes wait, the same where they are said again)."""
    forks, replays = [], []
    for number in range(rounds):
        session = Session(name=f"s{number}")
        for piece in range(10):
            session, ran = box.go_on(session, f"x = [*range({piece})]; y = sum(range(20000))")
            assert ran.ok, ran
        for times in (forks, replays):
            times.append(timed(lambda: box.go_on(session, CODE)[1].out))  # noqa: B023
            for _, server in list(box._trees.values()):
                box._forget(server)
    return forks, replays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--jupyter-python", metavar="PYTHON")
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    rules = Rules()
    box = Sandbox(rules, at_once=1)
    print(f"level {box.held.level}, Landlock ABI {box.held.landlock}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    ways: dict[str, Callable[[], float]] = {"sandbox": lambda: timed(lambda: box.run(CODE).out)}
    cells = {walls: Cell(rules, walls) for walls in (["cl"] if box.held.level == "cell" else []) + ["l", ""]}
    served = {}
    for name, of, walls in FORKS:
        if of in cells:
            served[name] = Server(cells[of].server(walls), 60.0)
    for name, server in served.items():
        ways[name] = lambda server=server: timed(lambda: server.execute(CODE)["out"])
    ways["python -I -S -c"] = lambda: timed(program([PYTHON, "-I", "-S", "-c"]))
    if shutil.which("bwrap"):
        cell = [*bubblewrap(places(()).read, PYTHON), PYTHON, "-I", "-S", "-c"]
        ways["bwrap python -I -S -c"] = lambda: timed(program(cell))
    else:
        print("missing: bubblewrap (apt-get install bubblewrap)")
    kernel = None
    if args.jupyter_python:
        kernel = Kernel(args.jupyter_python)
        ways["Jupyter kernel"] = kernel.seconds
    else:
        print("missing: --jupyter-python, an interpreter with jupyter_client and ipykernel")
    for _ in range(3):
        for way in ways.values():
            way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(0)
    for _ in range(args.rounds):  # in another order each time: what comes after a heavy one finds cold caches
        for name in order.sample(list(ways), len(ways)):
            times[name].append(ways[name]())
    forks, replays = sessions(box, max(3, args.rounds // 4))
    bursts: dict[str, list[float]] = {name: [] for name in served}
    for _ in range(args.rounds):
        for name in order.sample(list(served), len(served)):
            began = time.perf_counter()
            for _ in range(10):
                served[name].execute(CODE)
            bursts[name].append((time.perf_counter() - began) / 10)
    times |= {f"{name}, in a burst": seconds for name, seconds in bursts.items()}
    times |= {"a piece after ten, forked": forks, "a piece after ten, said again": replays}
    if kernel is not None:
        kernel.close()
    for server in served.values():
        server.channel.close()
    for cell_ in cells.values():
        cell_.close()
    box.close()
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, seconds in medians.items():
        low, *_, high = statistics.quantiles(times[name], n=10)
        print(f"{name:42} {1000 * seconds:8.2f} ms   ({1000 * low:.2f} to {1000 * high:.2f})")
    asked: list[tuple[str, str, str, float, bool]] = [
        ("python -I -S -c over sandbox", "python -I -S -c", "sandbox", 4.0, True),
        ("bwrap each over sandbox", "bwrap python -I -S -c", "sandbox", 10.0, True),
        ("Jupyter kernel over sandbox", "Jupyter kernel", "sandbox", 1.0, True),
        (
            "with locks over without, in a cell",
            "fork in a cell, with locks, in a burst",
            "fork in a cell, without locks, in a burst",
            1.25,
            False,
        ),
        ("with locks over bare fork", "fork with locks, in a burst", "bare fork, in a burst", 1.25, False),
        ("forked over said again", "a piece after ten, forked", "a piece after ten, said again", 0.1, False),
    ]
    found: dict[str, Any] = {"medians": medians, "ratios": {}}
    for name, above, below, bound, least in asked:
        if above in medians and below in medians:
            ratio = medians[above] / medians[below]
            found["ratios"][name] = ratio
            held = ratio >= bound if least else ratio <= bound
            print(f"{name:36} {ratio:6.2f}   (asked: {'at least' if least else 'at most'} {bound:g}{'' if held else ', FELL SHORT'})")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
