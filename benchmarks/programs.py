"""A program of three stages, and the three runs that it is made of.

    python benchmarks/programs.py [--steps N] [--json FILE]

GRPO on chain, three times so many steps, each stage from the first weights: as one program, and as three runs with a directory each. Both
make everything that a run keeps, are timed whole, set-up and checkpoints too, in one process and in alternation, after one of each that is
not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from strop import staged
from strop.methods.grpo import GRPO
from strop.program import Program, Stage, steps
from strop.recipe import Recipe
from strop.run import create

STAGES = ("first", "second", "third")


def as_program(count: int, place: Path, settings: dict[str, Any]) -> int:
    """Steps that were made."""
    stages = tuple(Stage(name, GRPO, steps(count), begins="initial") for name in STAGES)
    run = staged.create(Recipe(method=Program("three", stages), steps=count * len(STAGES), **settings), place / "program")
    run.train()
    return sum(len(lines.read_text().splitlines()) for lines in (place / "program").glob("*/metrics.jsonl"))


def as_runs(count: int, place: Path, settings: dict[str, Any]) -> int:
    """Steps that were made."""
    for name in STAGES:
        create(Recipe(method=GRPO, steps=count, **settings), place / name).train()
    return sum(len(lines.read_text().splitlines()) for lines in place.glob("*/metrics.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="of a stage")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="write the numbers there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings: dict[str, Any] = {"task": "chain", "eval_tasks": 0, "checkpoint_every": args.steps}
    took: dict[str, list[float]] = {"program": [], "runs": []}
    for repeat in range(-1, args.repeats):
        for side, made in (("program", as_program), ("runs", as_runs)):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                count = made(args.steps, Path(folder), settings)
                if count != args.steps * len(STAGES):
                    raise SystemExit(f"{side}: {count} steps were made where {args.steps * len(STAGES)} were asked")
                if repeat >= 0:
                    took[side].append(time.perf_counter() - start)
    each = [one / three for one, three in zip(took["program"], took["runs"], strict=True)]
    ratio = statistics.median(each)
    print(f"a program of {len(STAGES)} stages of {args.steps} steps: {statistics.median(took['program']):.2f} s")
    print(f"the same as {len(STAGES)} runs: {statistics.median(took['runs']):.2f} s")
    print(f"a program takes {ratio:.3f} times as long ({min(each):.3f} to {max(each):.3f})")
    if args.json:
        Path(args.json).write_text(json.dumps({"ratio": ratio, "seconds": took, "steps": args.steps}, indent=1))


if __name__ == "__main__":
    main()
