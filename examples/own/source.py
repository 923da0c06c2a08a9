"""A source: which of some numbers is the largest?

strop tasks examples/own/source.py --show 2        strop train --task examples/own/source.py:Largest:count=5
"""

import random
import re
from dataclasses import dataclass

from strop.records import Task
from strop.seams.source import Graded, split_of


@dataclass(frozen=True)
class Largest:
    """The largest of `count` numbers below 100: an unlimited stream."""

    count: int = 3
    name = "largest"
    size = None

    def task(self, split: str, seed: int, index: int) -> Task:
        rng = random.Random(f"{self.count} {split} {seed} {index}")
        while True:  # until one is drawn that belongs to the split
            numbers = rng.sample(range(100), self.count)
            made = Task(f"largest of {', '.join(map(str, numbers))}?", {"answer": max(numbers)}, self.name)
            if split_of(made.id) == split:
                return made

    def grade(self, task: Task, text: str) -> Graded:
        answer = str(task.needs["answer"])
        strict, found = text.strip() == answer, re.findall(r"\d+", text[-200:])
        return Graded({"outcome": float(strict), "lenient": float(found[-1:] == [answer])}, "" if strict else "another text")

    def gold(self, task: Task) -> str:
        return str(task.needs["answer"])
