"""forks: a chain with a gap that comes to 50, and two numbers of which one fills the gap.

    12+_-4=50: 9 or 42   ->   <think>9:12+9=21\\n21-4=17>42</think><answer>42</answer>
                              <think>{(42:12+42=54\\n54-4=50>42)(9:12+9=21\\n21-4=17>42)}[42]</think><answer>42</answer>

A reply tries a number and concludes: it is that one, or the other; or it opens a block `{` of two paths, each of which tries one and
concludes, and says in `[…]` which it is. Paths know nothing of each other, so both may try the same number, and either tells.
`example(task)` is a worked text of one or the other kind, each as often; the policy forks with the sampler `Parallel(tags=TAGS)`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from strop.records import Task
from strop.seams.branches import Tags, blocks
from strop.seams.source import Graded, Split
from strop.tasks.chain import OPERATIONS, integers
from strop.tasks.procedural import answered, draw, generator, grade_by, within

TAGS = Tags(("{", "}"), ("(", ")"), ("[", "]"))
"""What a block is written with: a token each."""
PATH = re.compile(r"\(([^()]*)\)")
"""What a path holds."""
RESULT = 50
"""Of every chain: what fills the gap is told from the last number alone."""
PATHS = 2
"""Of a worked block."""


@dataclass(frozen=True)
class Forks:
    """Chains of `steps` operations, all values on the way between 1 and 99 with either number."""

    steps: int = 2
    name: str = field(default="forks", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 1, 8)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            while True:
                moves = [[rng.choice("+-"), rng.randint(2, 49)] for _ in range(self.steps)]
                gap, other = rng.randrange(self.steps), rng.randint(2, 49)
                right = moves[gap][1]
                first = RESULT - sum(operand if operator == "+" else -operand for operator, operand in moves)
                if other != right and 2 <= first <= 99 and values(first, moves, gap, right) and values(first, moves, gap, other):
                    break
            numbers = sorted((right, other))
            shown = "".join(f"{operator}{'_' if place == gap else operand}" for place, (operator, operand) in enumerate(moves))
            needs = {"answer": right, "numbers": numbers, "first": first, "moves": moves, "gap": gap}
            prompt = f"{first}{shown}={RESULT}: {numbers[0]} or {numbers[1]}"
            return Task(prompt, needs, self.name, {"steps": self.steps, "seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        """Beside the verdict `forked`: whether the reply holds a block, all blocks well-formed."""

        def judge(answer: str) -> str:
            return "" if answer == str(task.needs["answer"]) else f"wrong: {answer[:9]}"

        graded = grade_by(text, judge, integers)
        graded["forked"] = float((blocks(text, tags=TAGS) or 0) > 0)
        return graded

    def gold(self, task: Task) -> str:
        return answered(str(task.needs["answer"]), tried(task, task.needs["answer"]))

    def example(self, task: Task) -> str:
        rng = generator(self.name, "format", task.id)
        one, other = (rng.choice(task.needs["numbers"]) for _ in range(PATHS))
        if rng.random() < 0.5:
            return answered(str(task.needs["answer"]), tried(task, one))
        paths = "".join(f"{TAGS.path[0]}{tried(task, number)}{TAGS.path[1]}" for number in (one, other))
        block = f"{TAGS.block[0]}{paths}{TAGS.block[1]}{TAGS.summary[0]}{task.needs['answer']}{TAGS.summary[1]}"
        return answered(str(task.needs["answer"]), block)


def values(first: int, moves: Sequence[Sequence[Any]], gap: int, number: int) -> list[int]:
    """What stands behind each operation with this number in the gap; nothing where one lies outside of 1 to 99."""
    found, value = list[int](), first
    for place, (operator, operand) in enumerate(moves):
        value = OPERATIONS[operator](value, number if place == gap else operand)
        found.append(value)
    return found if all(1 <= value <= 99 for value in found) else []


def tried(task: Task, number: int) -> str:
    """A number, the work with it in the gap, and which number it is by that."""
    value, written = task.needs["first"], list[str]()
    ends = values(value, task.needs["moves"], task.needs["gap"], number)
    for place, ((operator, operand), end) in enumerate(zip(task.needs["moves"], ends, strict=True)):
        written.append(f"{value}{operator}{number if place == task.needs['gap'] else operand}={end}")
        value = end
    work = "\n".join(written)
    return f"{number}:{work}>{task.needs['answer']}"
