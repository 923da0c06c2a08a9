"""stacks: run a small program on a stack. A number is put on it; an operation takes the two on top and puts back what they make.

    9 4 2-+=?   ->   4-2=2, 9+2=11

`steps` counts operations. All values on the way stay between 1 and 99, and a line of work is one of `chain`'s: what differs is where the
operands come from, so the two are domains that share their arithmetic.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import OPERATIONS, Chain
from strop.tasks.procedural import answered, draw, within

DEEPEST = 4
"""Numbers on the stack at once."""
WORD = re.compile(r"[0-9]+|[+*-]")


@dataclass(frozen=True)
class Stacks:
    """Programs of `steps` operations."""

    steps: int = 3
    name: str = field(default="stacks", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 1, 32)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            words = program(rng, self.steps)
            prompt = f"{' '.join(words).replace(' +', '+').replace(' -', '-').replace(' *', '*')}=?"
            _, value = executed(words)
            return Task(prompt, {"answer": value}, self.name, {"steps": self.steps, "seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Chain().grade(task, text)

    def gold(self, task: Task) -> str:
        lines, value = executed(WORD.findall(task.prompt))
        return answered(str(value), "\n".join(lines))


def program(rng: random.Random, steps: int) -> list[str]:
    """Its words, drawn again until every value on the way lies between 1 and 99."""
    while True:
        words, stack = list[str](), list[int]()
        while len(words) < 2 * steps + 1:
            pushed = (len(words) + len(stack)) // 2
            pushes = pushed <= steps and len(stack) < DEEPEST
            if len(stack) >= 2 and (not pushes or rng.random() < 0.5):
                right, left = stack.pop(), stack.pop()
                fits = [sign for sign in allowed(left, right) if 1 <= OPERATIONS[sign](left, right) <= 99]
                if not fits:
                    break
                words.append(rng.choice(fits))
                stack.append(OPERATIONS[words[-1]](left, right))
            else:
                stack.append(rng.randint(2, 49))
                words.append(str(stack[-1]))
        else:
            return words


def allowed(left: int, right: int) -> str:
    """Products as in `chain`: of a number up to 19 and one up to 9."""
    return "+-*" if left <= 19 and right <= 9 else "+-"


def executed(words: list[str]) -> tuple[list[str], int]:
    """The work, an operation a line, and what is left on the stack."""
    stack, lines = list[int](), list[str]()
    for word in words:
        if word not in OPERATIONS:
            stack.append(int(word))
            continue
        right, left = stack.pop(), stack.pop()
        stack.append(OPERATIONS[word](left, right))
        lines.append(f"{left}{word}{right}={stack[-1]}")
    return lines, stack[-1]
