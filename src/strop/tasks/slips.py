"""slips: which step of a written solution of a `chain` is the first wrong one.

    7*8-19+4-5=?     7*8=56    58-19=39    39+4=44    39+4=44        ->   <answer>2</answer>
                               56 was     the sum     said already
                               said

A step may be wrong in three ways: its sum (`math`), a value that is not what stands before (`consistency`), or that it repeats an earlier
right step and leads nowhere (`use`). What follows goes on with what was written, or was due. 0 says that no step is wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks import judging
from strop.tasks.chain import OPERATIONS, expression
from strop.tasks.judging import USE, kind_of
from strop.tasks.procedural import draw, within

KINDS = ("math", "consistency", USE)
"""Ways in which a step may be wrong; a step's labels say of each whether it is right."""
OFF = (-20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20)
"""How far a wrong number lies from the right one."""


@dataclass(frozen=True)
class Slips:
    """Solutions of `steps` steps, each wrong with the chance `wrong`; of the wrong ones `useless` lead nowhere, the others are halved
    between sums and values."""

    steps: int = 4
    wrong: float = 0.25
    useless: float = 0.3
    name: str = field(default="slips", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 2, 16)
        within(self, "wrong", 0.0, 1.0)
        within(self, "useless", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            return judging.shown(self.name, *self.solution(rng), {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, same=lambda task: task.needs["question"])

    def solution(self, rng: random.Random) -> tuple[str, list[str], list[list[int]]]:
        """(question, lines, for each line whether it is right in each way)."""
        value, moves, _ = expression(rng, self.steps)
        question = f"{value}{''.join(f'{operator}{operand}' for operator, operand in moves)}=?"
        lines, labels = list[str](), list[list[int]]()
        for operator, operand in moves:
            told = [line for line, said in zip(lines, labels, strict=True) if all(said)]
            kind = kind_of(rng, self.wrong, self.useless, KINDS[: 2 if lines else 1], use=bool(told))
            left = off(rng, value) if kind == "consistency" else value
            value = OPERATIONS[operator](left, operand)
            value = off(rng, value) if kind == "math" else value
            lines.append(rng.choice(told) if kind == USE else f"{left}{operator}{operand}={value}")
            labels.append([int(kind != each) for each in KINDS])
        return question, lines, labels

    def grade(self, task: Task, text: str) -> Graded:
        return judging.graded(task, text)

    def gold(self, task: Task) -> str:
        return judging.gold(task)


def off(rng: random.Random, value: int) -> int:
    """Another number near one, no sign in front where it had none."""
    return rng.choice([value + step for step in OFF if value + step >= min(value, 0)])
