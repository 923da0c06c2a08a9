"""Four tricks of policy gradients, alone and together, on tables: which help, and which only beside another.

All sixteen ways to have some of them, each at its own best learning rate, on tables whose pass rates are known exactly. Interactions share
the error among them, so one whose interval leaves out 0 is one.

Examples:
    strop lab tricks
    strop lab tricks --seeds 8 --steps 80 --json tricks.json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from strop.cli import Usage, answer, table


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each way to have some of them [5]")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="of a run [40]")


def run(args: argparse.Namespace) -> int:
    from strop.commands.live import Progress
    from strop.lab.tricks import study

    for name, least in (("seeds", 2), ("steps", 1)):
        if getattr(args, name) < least:
            raise Usage(f"--{name} is at least {least}, got {getattr(args, name)}")
    with Progress("tricks") as tell:
        found = study(range(args.seeds), args.steps, tell=tell)
    answer(args, found, shown(found))
    return 0


def shown(found: Mapping[str, Any]) -> str:
    cells = [[" ".join(cell["tricks"]) or "none", cell["rate"], cell["mean"]] for cell in sorted(found["cells"], key=lambda c: -c["mean"])]
    text = f"exact pass rate after {found['steps']} steps, mean of {len(found['seeds'])} seeds\n\n"
    text += table(cells, ["tricks", "rate", "pass"])
    rows = [[" x ".join(e["tricks"]), e["mean"], *e["interval"], "yes" if e["found"] else ""] for e in found["effects"]]
    text += f"\n\neffects on it; of several tricks, their interaction\n\n{table(rows, ['', 'effect', 'low', 'high', 'found'])}"
    largest = found["largest_interaction"]
    said = "leaves out 0" if largest["found"] else "holds 0"
    return f"{text}\n\nthe largest interaction is {' x '.join(largest['tricks'])}: {largest['mean']:+.3f}, and its interval {said}"
