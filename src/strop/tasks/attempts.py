"""attempts: a chain of operations modulo 10, worked once or more, each time with an answer; the last one counts.

    3+8*2-4=?   ->   <think>3+8=1\\n1-4=7</think><answer>7</answer>               an attempt that skips an operation
                     <think>3+8=1\\n1*2=2\\n2-4=8</think><answer>8</answer>         a repair
                     <think>3+8=1\\n1*2=2\\n2-4=8</think><answer>8</answer>         a check, which changes nothing

It is read from left to right, and every value is its last digit. `example(task)` is a worked text of at most three attempts: the first
skips an operation with the chance `slip`. Behind such a one there is another with the chance `repair`, which skips as often; behind a whole
one with the chance `check`, and it is whole. With `style=flat` the attempts stand in one thought, a blank line between them, and the last
value is the answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.seams.turns import Turn, written
from strop.tasks.chain import OPERATIONS, STEP, Chain
from strop.tasks.procedural import draw, generator, within

STYLES = ("turns", "flat")
BASE = 10
MOST = 3
"""Attempts of a worked text."""


@dataclass(frozen=True)
class Attempts:
    """Chains of `steps` operations, some of whose attempts skip one."""

    steps: int = 3
    slip: float = 0.45
    repair: float = 0.9
    check: float = 0.6
    style: str = "turns"
    name: str = field(default="attempts", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 2, 16)
        for chance in ("slip", "repair", "check"):
            within(self, chance, 0.0, 1.0)
        if self.style not in STYLES:
            raise ValueError(f"attempts: style is {' or '.join(STYLES)}, got {self.style!r}")

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            moves = (rng.choice("+-*") + str(rng.randrange(1, BASE)) for _ in range(self.steps))
            prompt = f"{rng.randrange(BASE)}{''.join(moves)}=?"
            answer = int(worked(prompt)[-1].rpartition("=")[2])
            return Task(prompt, {"answer": answer}, self.name, {"steps": self.steps, "seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Chain().grade(task, text)

    def gold(self, task: Task) -> str:
        return self.said([worked(task.prompt)])

    def example(self, task: Task) -> str:
        rng, attempts, whole = generator(self.name, "attempts", task.id), list[list[str]](), False
        while len(attempts) < MOST and (not attempts or rng.random() < (self.check if whole else self.repair)):
            whole = whole or rng.random() >= self.slip
            attempts.append(worked(task.prompt, None if whole else rng))
        return self.said(attempts)

    def said(self, attempts: list[list[str]]) -> str:
        """These attempts as a reply."""
        works = ["\n".join(lines) for lines in attempts]
        if self.style == "flat":
            works = ["\n\n".join(works)]
        return written([Turn(work, work.rpartition("=")[2]) for work in works])


def worked(prompt: str, slip: random.Random | None = None) -> list[str]:
    """The work, one operation a line; with `slip` without one of them."""
    value, moves = int(prompt[0]), STEP.findall(prompt)
    skipped = slip.randrange(len(moves)) if slip is not None else -1
    lines = list[str]()
    for place, (operator, operand) in enumerate(moves):
        if place != skipped:
            result = OPERATIONS[operator](value, int(operand)) % BASE
            lines.append(f"{value}{operator}{operand}={result}")
            value = result
    return lines
