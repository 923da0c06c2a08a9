"""equations: one unknown on both sides, solved by gathering it first; and backwards, from a solution to a problem that it answers.

    5x+7=3x+23               ->   <think>2x=16</think><answer>8</answer>
    <think>2x=16</think><answer>8</answer> ?   ->   [5x+7=3x+23]

The work names only what was gathered, so many problems have one solution, and whoever writes a problem must think of numbers of his own.
A share `writing` of the tasks asks backwards: for a base that can do both. There an equation scores 1 that has the answer, whatever else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import Chain
from strop.tasks.procedural import TAIL, WIDEST, answered, draw, generator, within

ASK = "{} ?"
"""How a solution is shown to whoever writes a problem for it."""
WRITTEN = ("[", "]")
"""What a written problem stands between."""
EQUATION = re.compile(r"([1-9]\d{0,3})x([+-]\d{1,4})=([1-9]\d{0,3})x([+-]\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class Equations:
    """Linear equations whose unknown is a whole number up to `largest`; of the tasks a share `writing` asks for the problem."""

    largest: int = 15
    writing: float = 0.0
    name: str = field(default="equations", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "largest", 5, 999)
        within(self, "writing", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            answer, times = rng.randint(2, self.largest), rng.randint(1, 4)
            problem = equation(rng, answer, times)
            needs = {"times": times, "answer": answer}
            meta = {"seed": seed, "index": index}
            if rng.random() < self.writing:
                return Task(ASK.format(solved(answer, times)), {**needs, "problem": problem}, self.name, meta)
            return Task(problem, needs, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: canonical(str(task.needs.get("problem", task.prompt))))

    def grade(self, task: Task, text: str) -> Graded:
        if "problem" not in task.needs:
            return Chain().grade(task, text)
        found = between(text)
        solved = None if found is None else solution(found)
        wrong = "no equation between [ and ]" if solved is None else "" if solved == task.needs["answer"] else "of another answer"
        return Graded({"outcome": float(not wrong), "lenient": float(not wrong)}, wrong)

    def gold(self, task: Task) -> str:
        answer, times = int(task.needs["answer"]), int(task.needs["times"])
        if "problem" not in task.needs:
            return solved(answer, times)
        return equation(generator(self.name, "gold", task.id), answer, times).join(WRITTEN)


def equation(rng: random.Random, answer: int, times: int) -> str:
    """One of the many whose solution this is."""
    less, near = rng.randint(1, 9), rng.choice((1, -1)) * rng.randint(1, 60)
    sides = [f"{less + times}x{near:+d}", f"{less}x{near + times * answer:+d}"]
    rng.shuffle(sides)
    return "=".join(sides)


def solved(answer: int, times: int) -> str:
    """The reply to all of them."""
    return answered(str(answer), f"{times}x={times * answer}")


def between(text: str) -> str | None:
    """The one problem that was written; None where there is none, or several."""
    opening, closing = WRITTEN
    if len(text) > TAIL or text.count(opening) != 1:
        return None
    inside, closed, _ = text.partition(opening)[2].partition(closing)
    return inside[:WIDEST] if closed else None


def read(problem: str) -> tuple[int, int, int, int] | None:
    """Its four numbers, where it is an equation in this form."""
    found = EQUATION.fullmatch(problem.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]), int(found[4]))


def solution(problem: str) -> Fraction | None:
    """Of an equation that has one.

    >>> solution("5x+7=3x+23"), solution("5x+7=5x+9")
    (Fraction(8, 1), None)
    """
    if (numbers := read(problem)) is None:
        return None
    a, b, c, d = numbers
    return Fraction(d - b, a - c) if a != c else None


def canonical(problem: str) -> Any:
    """What stays when the sides change places; a text that is no equation stands for itself."""
    numbers = read(problem)
    return problem if numbers is None else sorted([list(numbers[:2]), list(numbers[2:])])


def valid(needs: Mapping[str, Any], problem: str) -> bool:
    """Does a problem have this answer?"""
    return solution(problem) == needs["answer"]
