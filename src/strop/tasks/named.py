"""named: the last of several named numbers, each a sum of two before it, modulo 10; what `slips` shows wrong solutions of.

a=3;b=8;c=a+b;d=c-a;e=d+b   ->   <think>c=3+8=1\\nd=1-3=8\\ne=8+8=6</think><answer>6</answer>
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import Chain
from strop.tasks.procedural import answered, draw, within
from strop.tasks.slips import Slips


@dataclass(frozen=True)
class Named:
    """Of `steps` sums."""

    steps: int = 5
    name: str = field(default="named", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 2, 8)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            question, lines, _ = Slips(self.steps, wrong=0.0).solution(rng)
            needs = {"answer": int(lines[-1][-1]), "steps": lines}
            return Task(question, needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Chain().grade(task, text)

    def gold(self, task: Task) -> str:
        return answered(str(task.needs["answer"]), "\n".join(task.needs["steps"]))
