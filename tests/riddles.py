"""A task source as a user writes one, in a file of their own."""

RIDDLES = '''"""Sums of two numbers."""
import random
from dataclasses import dataclass

from strop.records import Task
from strop.seams.source import Graded, split_of


@dataclass(frozen=True)
class Riddles:
    most: int = 99
    name = "riddles"
    size = None

    def task(self, split, seed, index):
        rng = random.Random(f"{split} {seed} {index}")
        while True:
            a, b = rng.randint(1, self.most), rng.randint(1, self.most)
            made = Task(f"{a} + {b} =", {"sum": a + b}, self.name)
            if split_of(made.id) == split:
                return made

    def grade(self, task, text):
        return Graded({"outcome": float(text.strip() == str(task.needs["sum"]))})

    def gold(self, task):
        return str(task.needs["sum"])
'''
