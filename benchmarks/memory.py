"""A bank of cases: reading with the vectors that it keeps, against embedding every case again; and a step with a bank against one without.

    python benchmarks/memory.py [--cases 10000] [--encoder DIR] [--json FILE]

`kept` reads for one question after another; `again` does what the released code does, embedding the bank anew for each. `with` and
`without` are steps of GRPO on the bundled model, with and without a bank that already holds `--held` cases; what cases add to prompts is
left out by showing none (`k=0` there), so that what remains is what keeping a bank costs. `shown` counts them in. Each pair is timed in
alternation, in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.memory import Bank, Encoded, Held, Likely, Nearest, Words


def context(step: int = 0) -> Ctx:
    plain = SimpleNamespace(prompt=lambda text: tuple(text.encode()))
    return Ctx(0, Progress(step), cast(Any, None), {"actor": Handle(cast(Any, None), cast(Any, plain))}, cast(Any, None), place="0")


def filled(bank: Bank, count: int) -> Held:
    """A bank of so many cases of twelve words."""
    rng, state = random.Random(0), bank.init(0)
    words = [f"word{i}" for i in range(2000)]
    for start in range(0, count, 500):
        groups, scores = list[Group](), dict[str, dict[str, float | None]]()
        for number in range(start, min(start + 500, count)):
            task = Task(" ".join(rng.choices(words, k=12)), {"n": number}, "bench")
            rollout = Rollout((), str(number), keys={"read": [*range(max(start - 2, 0), start)]}, text=" ".join(rng.choices(words, k=6)))
            groups.append(Group(task, (rollout,), id=str(number)))
            scores[rollout.id] = {"outcome": float(rng.random() < 0.5)}
        state = bank.observe(state, groups, Scores(scores), context())
    return state


def reading(cases: int, bank: Bank, questions: int, repeats: int) -> dict[str, float]:
    """Seconds a question, both ways."""
    state = filled(bank, cases)
    assert state.weights.get("known", 1), "the net has not learned, so the nearest cases would be read"
    seconds: dict[str, list[float]] = {"kept": [], "again": []}
    for repeat in range(repeats):
        tasks = [Task(f"word{i} word{repeat} word7", {"q": [repeat, i]}, "bench") for i in range(questions)]
        began = time.perf_counter()
        for task in tasks:
            bank.read(task, state, context(), 10**6)
        seconds["kept"].append((time.perf_counter() - began) / len(tasks))
        began = time.perf_counter()
        bank.reader.embed([f"{case.prompt}\n{case.wrote}" for case in state.cases])
        bank.read(tasks[0], state, context(), 10**6)
        seconds["again"].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def stepping(held: int, steps: int) -> dict[str, float]:
    """Seconds a step."""
    recipe = Recipe(task="chain", steps=steps + 2, checkpoint_every=1000)
    made = {"without": GRPO, "with": GRPO.but("with", idea=("memory",), memory=Bank(Likely(), k=0))}
    made["shown"] = GRPO.but("shown", idea=("memory",), memory=Bank(Likely(), k=2))
    seconds: dict[str, list[float]] = {name: [] for name in made}
    with tempfile.TemporaryDirectory() as room:
        runs = {name: create(replace(recipe, method=method), Path(room) / name) for name, method in made.items()}
        for name in ("with", "shown"):
            runs[name].held = filled(cast(Bank, made[name].memory), held)
        for step in range(steps + 2):
            for name, run in runs.items():
                began = time.perf_counter()
                run.advance()
                if step >= 2:
                    seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def told(name: str, seconds: dict[str, float], cases: int) -> dict[str, float]:
    kept, again = 1000 * seconds["kept"], 1000 * seconds["again"]
    print(f"{name:18}{cases} cases: {kept:8.2f} ms a question, {again:8.1f} ms embedded again: {again / kept:.0f}x", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--held", type=int, default=2000, help="cases that the bank of a step holds")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--encoder", metavar="DIR", help="a sentence encoder too")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    args = parser.parse_args()
    banks = {"nearest, words": Bank(Nearest(Words())), "likely, words": Bank(Likely(Words()))}
    said: dict[str, Any] = {"cases": args.cases}
    for name, bank in banks.items():
        said[name] = told(name, reading(args.cases, bank, args.questions, args.repeats), args.cases)
    if args.encoder:
        few, bank = min(args.cases, 500), Bank(Nearest(Encoded(args.encoder)))
        said["nearest, encoder"] = told("nearest, encoder", reading(few, bank, 5, 2), few)
    said["step"] = step = stepping(args.held, args.steps)
    print(f"a step without a bank {step['without']:.3f} s, with one {step['with']:.3f} s: {step['with'] / step['without']:.3f}x")
    print(f"and with two cases shown {step['shown']:.3f} s: {step['shown'] / step['without']:.2f}x")
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
