"""What the tripwires cost: their seconds in each step of the default recipe, over the step's.

    python benchmarks/tripwires.py [--steps 8] [--json FILE]

Everything they do is timed where it happens, inside real steps; the first step, in which memory is first touched, is left out.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from strop.policies import causal
from strop.recipe import Recipe
from strop.run import create
from strop.watch.watch import Minibatch, Watch

PLACES = [(Watch, n) for n in ("begin", "sampled", "graded", "batch", "step_ready", "close")]
PLACES += [(Minibatch, n) for n in ("__init__", "masks", "see")] + [(causal, "_below")]


def timed(spent: Counter[str], name: str, function: Any) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waits(*args: Any, **more: Any) -> Any:
            started = time.perf_counter()
            try:
                return await function(*args, **more)
            finally:
                spent[name] += time.perf_counter() - started

        return waits

    @functools.wraps(function)
    def calls(*args: Any, **more: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **more)
        finally:
            spent[name] += time.perf_counter() - started

    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    spent: Counter[str] = Counter()
    for owner, name in PLACES:
        setattr(owner, name, timed(spent, name, getattr(owner, name)))
    seconds: list[float] = []

    def show(line: dict[str, Any]) -> None:
        if not line["step"]:
            spent.clear()
        else:
            seconds.append(line["t"]["seconds"])

    with tempfile.TemporaryDirectory() as place:
        create(Recipe(steps=args.steps + 1, eval_tasks=0, checkpoint_every=1000), Path(place) / "run").train(show)
    total = sum(seconds)
    shares = {name: value / total for name, value in spent.most_common()}
    found = {"share": sum(shares.values()), "seconds_per_step": total / len(seconds), "shares": shares}
    print(f"{found['share']:.2%} of a step of {found['seconds_per_step']:.2f} s")
    for name, share in shares.items():
        print(f"  {name:12} {share:.2%}")
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
