"""chain: arithmetic in several steps, read from left to right.

    7*8-19+4=?   ->   7*8=56, 56-19=37, 37+4=41

Only the first step may multiply, so reading from left to right and the usual precedence agree. All values on the way
stay between 1 and 99. Without written work the answer is a guess; with it every step is easy.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, grade_by, loose_answers, within

INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
LONE_INTEGER = re.compile(r"(?<![0-9.])-?[0-9]{1,9}(?![0-9]|\.[0-9])")
STEP = re.compile(r"([+*-])([0-9]+)")

OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


@dataclass(frozen=True)
class Chain:
    """Arithmetic of `steps` operations on whole numbers."""

    steps: int = 4
    name: str = field(default="chain", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 1, 32)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            first, moves, value = expression(rng, self.steps)
            prompt = f"{first}{''.join(operator + str(operand) for operator, operand in moves)}=?"
            return Task(prompt, {"answer": value}, self.name, {"steps": self.steps, "seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            if not INTEGER.fullmatch(answer):
                return "not a whole number"
            return "" if int(answer) == task.needs["answer"] else f"wrong: {int(answer)}"

        return grade_by(text, judge, integers)

    def gold(self, task: Task) -> str:
        return answered(str(task.needs["answer"]), "\n".join(lines(task)))

    def worked(self, task: Task, rng: random.Random) -> str:
        """A text to train a base model on: mostly a quick guess, sometimes written work, with slips in both."""
        answer, style = int(task.needs["answer"]), rng.random()
        if style < 0.62:
            guess = answer if rng.random() < 0.5 else max(0, answer + rng.choice((-20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20)))
            return answered(str(guess))
        written = lines(task, rng)
        value = written[-1].rpartition("=")[2]
        if style < 0.90:
            return answered(value, "\n".join(written))
        if style < 0.96:
            return answered(value, "; ".join(written))
        return f"<think>{chr(10).join(written)}</think>={value}"


def expression(rng: random.Random, steps: int) -> tuple[int, list[tuple[str, int]], int]:
    """(first number, moves, value) with every value on the way between 1 and 99."""
    value = first = rng.randint(2, 49)
    moves: list[tuple[str, int]] = []
    for step in range(steps):
        operator = rng.choice("+-*" if step == 0 and first <= 19 else "+-")
        if (operator == "+" and value > 97) or (operator == "-" and value < 4):
            operator = "-" if operator == "+" else "+"
        highest = {"+": min(49, 99 - value), "-": min(49, value - 1), "*": 99 // value}[operator]
        operand = rng.randint(2, max(2, min(9, highest) if operator == "*" else highest))
        moves.append((operator, operand))
        value = OPERATIONS[operator](value, operand)
    return first, moves, value


def lines(task: Task, rng: random.Random | None = None) -> list[str]:
    """The work, one operation a line. With an `rng`, one step in thirty slips, and the slip is carried on."""
    first, rest = re.match(r"[0-9]+", task.prompt), STEP.findall(task.prompt)
    assert first is not None
    value, written = int(first[0]), list[str]()
    for operator, operand in rest:
        result = OPERATIONS[operator](value, int(operand))
        if rng is not None and rng.random() < 0.03:
            result = max(0, result + rng.choice((-10, -1, 1, 10)))
        written.append(f"{value}{operator}{operand}={result}")
        value = result
    return written


def integers(text: str) -> list[str]:
    """The last whole number of the best place that holds one."""
    for place in loose_answers(text):
        if found := LONE_INTEGER.findall(place):
            return found[-1:]
    return []
