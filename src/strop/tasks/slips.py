"""slips: which step of a written solution is the first wrong one, by sums over named numbers modulo 10.

    a=3;b=8;c=a+b;d=c-a;e=d+b          c=3+8=1   d=1-3=8   e=6+8=4      ->   <answer>3</answer>
                                                           d was 8: not what stands before

A step may be wrong in three ways: its sum (`math`), a value that is not what stands before (`consistency`), or that it repeats an earlier
right step and leads nowhere (`use`). What follows goes on with what was written, or was due. 0 says that no step is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import integers
from strop.tasks.procedural import answered, draw, grade_by, within

KINDS = ("math", "consistency", "use")
"""Ways in which a step may be wrong; a step's labels say of each whether it is right."""
NAMES = "abcdefghij"


@dataclass(frozen=True)
class Slips:
    """Solutions of `steps` steps, each wrong with the chance `wrong`; of the wrong ones `useless` lead nowhere, the others are halved
    between sums and values."""

    steps: int = 5
    wrong: float = 0.2
    useless: float = 0.3
    name: str = field(default="slips", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 2, 8)
        within(self, "wrong", 0.0, 1.0)
        within(self, "useless", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            question, lines, labels = self.solution(rng)
            first = next((number for number, said in enumerate(labels, 1) if not all(said)), 0)
            needs = {"question": question, "steps": lines, "labels": labels, "answer": first}
            return Task("\n".join((question, *lines)), needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, same=lambda task: task.needs["question"])

    def solution(self, rng: random.Random) -> tuple[str, list[str], list[list[int]]]:
        """(question, lines, for each line whether it is right in each way)."""
        values = {name: rng.randrange(10) for name in NAMES[:2]}
        given, lines, labels = [f"{name}={value}" for name, value in values.items()], list[str](), list[list[int]]()
        for step in range(self.steps):
            name = NAMES[2 + step]
            one, other = rng.sample(list(values), 2)
            plus = rng.random() < 0.5
            given.append(f"{name}={one}{'+' if plus else '-'}{other}")
            told = [line for line, said in zip(lines, labels, strict=True) if all(said)]
            kind = self._kind(rng, bool(told))
            left, right = values[one], values[other]
            if kind == "consistency":
                left = rng.choice([digit for digit in range(10) if digit != left])
            value = (left + right if plus else left - right) % 10
            if kind == "math":
                value = rng.choice([digit for digit in range(10) if digit != value])
            values[name] = value
            lines.append(rng.choice(told) if kind == "use" else f"{name}={left}{'+' if plus else '-'}{right}={value}")
            labels.append([int(kind != each) for each in KINDS])
        return ";".join(given), lines, labels

    def _kind(self, rng: random.Random, told: bool) -> str:
        if rng.random() >= self.wrong:
            return ""
        if told and rng.random() < self.useless:
            return "use"
        return rng.choice(KINDS[:2])

    def grade(self, task: Task, text: str) -> Graded:
        """Beside the verdict: `faulty`, whether a step is wrong, and `caught`, whether the first of them was found."""

        def judge(answer: str) -> str:
            return "" if answer == str(task.needs["answer"]) else f"not step {answer[:8]!r}"

        graded, faulty = grade_by(text, judge, integers), task.needs["answer"] > 0
        return Graded({**graded, "faulty": float(faulty), "caught": graded["outcome"] if faulty else 0.0}, graded.reason)

    def gold(self, task: Task) -> str:
        return answered(str(task.needs["answer"]))


def shown(task: Task, step: int) -> str:
    """The question with the solution up to a step: what a judge of that step is shown."""
    return "\n".join((task.needs["question"], *task.needs["steps"][: step + 1]))


def right(labels: Sequence[Any]) -> int:
    """Whether a step is right in every way."""
    return int(all(labels))
