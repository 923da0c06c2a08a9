"""equations: an unknown between two numbers that are gathered first; and backwards, from a solution to a problem that it answers.

    x+37-12=63                                                  ->   <think>37-12=25\\n63-25=38</think><answer>38</answer>
    <think>37-12=25\\n63-25=38</think><answer>38</answer> ?      ->   80-25=55[x+80-55=63]

Many problems have one answer in the same number of steps, so whoever writes one can choose numbers of his own.
A share `writing` of the tasks asks backwards: for a base that can do both. There an equation scores 1 that has the answer, whatever else.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import Chain
from strop.tasks.procedural import answered, draw, generator, within

ASK = "{} ?"
"""How a solution is shown to whoever writes a problem for it."""
WRITTEN = ("[", "]")
"""What a written problem stands between."""
EQUATION = re.compile(r"x([+-]\d{1,4})([+-]\d{1,4})=(\d{1,4})", re.ASCII)
LONGEST = 64
"""Characters of a written problem that are ever read."""


@dataclass(frozen=True)
class Equations:
    """Of the tasks a share `writing` gives a solution and asks for its problem."""

    writing: float = 0.0
    name: str = field(default="equations", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "writing", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            gathered, right = rng.choice((1, -1)) * rng.randint(1, 49), rng.randint(1, 99)
            while not 1 <= right - gathered <= 99:
                right = rng.randint(1, 99)
            problem = equation(rng, gathered, right)
            needs, meta = {"problem": problem, "answer": right - gathered}, {"seed": seed, "index": index}
            if rng.random() < self.writing:
                return Task(ASK.format(solved(problem)), {**needs, "written": True}, self.name, meta)
            return Task(problem, needs, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: task.needs["problem"])

    def grade(self, task: Task, text: str) -> Graded:
        if "written" not in task.needs:
            return Chain().grade(task, text)
        found = answer(text.partition(WRITTEN[0])[2].removesuffix(WRITTEN[1]))
        wrong = "no equation in brackets" if found is None else "" if found == task.needs["answer"] else f"its answer is {found}"
        return Graded({"outcome": float(not wrong), "lenient": float(not wrong)}, wrong)

    def gold(self, task: Task) -> str:
        problem = str(task.needs["problem"])
        if "written" not in task.needs:
            return solved(problem)
        first, second, right = read(problem)
        other = equation(generator(self.name, "gold", task.id), first + second, right)
        one, two, _ = map(abs, read(other))
        whole = abs(first + second)
        return f"{max(one, whole)}-{min(one, whole)}={two}{other.join(WRITTEN)}"


def equation(rng: random.Random, gathered: int, right: int) -> str:
    """One of the many with this number beside the unknown, once both are gathered, and this one on the right."""
    whole, sign = abs(gathered), 1 if gathered > 0 else -1
    first = sign * rng.choice([number for number in range(1, 100) if number != whole])
    return f"x{first:+d}{gathered - first:+d}={right}"


def read(problem: str) -> tuple[int, int, int]:
    """The numbers of an equation."""
    found = EQUATION.fullmatch(problem)
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3])


def solved(problem: str) -> str:
    """The right reply: both numbers gathered, then the unknown."""
    first, second, right = read(problem)
    alike = "+" if first * second > 0 else "-"
    work = f"{abs(first)}{alike}{abs(second)}={abs(first + second)}\n{right}{-first - second:+d}={right - first - second}"
    return answered(str(right - first - second), work)


def answer(problem: str) -> int | None:
    """Of an equation in this form, whoever wrote it.

    >>> answer("x+37-12=63"), answer("x=?")
    (38, None)
    """
    problem = problem[:LONGEST].strip()
    if EQUATION.fullmatch(problem) is None:
        return None
    first, second, right = read(problem)
    return right - first - second
