"""attempts: a chain of operations modulo 10, worked one to three times, each time with an answer; the last one counts.

    3+8*2-4+5=?   ->   <think>3+8=1\\n1*2=3\\n3-4=9\\n9+5=4</think><answer>4</answer>         an attempt with a slip: 1*2 is 2
                       <think>3+8=1\\n1*2=2\\n2-4=8\\n8+5=3</think><answer>3</answer>         another one

It is read from left to right, and every value is its last digit. `example(task)` is a worked text: one, two or three attempts, each as
often and whatever they say, the first wrong with the chance `first`, the others with `later`. With `style=flat` the attempts stand in one
thought, a blank line between them, and the last value is the answer.
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
    """Chains of `steps` operations, worked with slips."""

    steps: int = 4
    first: float = 0.4
    later: float = 0.25
    style: str = "turns"
    name: str = field(default="attempts", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "steps", 2, 16)
        within(self, "first", 0.0, 1.0)
        within(self, "later", 0.0, 1.0)
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
        rng = generator(self.name, "attempts", task.id)
        wrong = [self.first, *[self.later] * (MOST - 1)][: rng.randint(1, MOST)]
        return self.said([worked(task.prompt, rng if rng.random() < chance else None) for chance in wrong])

    def said(self, attempts: list[list[str]]) -> str:
        """These attempts as a reply."""
        works = ["\n".join(lines) for lines in attempts]
        if self.style == "flat":
            works = ["\n\n".join(works)]
        return written([Turn(work, work.rpartition("=")[2]) for work in works])


def worked(prompt: str, slip: random.Random | None = None) -> list[str]:
    """The work, one operation a line; with `slip` one line's value is wrong, and the answer."""
    value, moves = int(prompt[0]), STEP.findall(prompt)
    at = slip.randrange(len(moves)) if slip is not None else -1
    lines = list[str]()
    for place, (operator, operand) in enumerate(moves):
        result = OPERATIONS[operator](value, int(operand)) % BASE
        if slip is not None and place == at:
            result = (result + slip.randrange(1, BASE)) % BASE
        lines.append(f"{value}{operator}{operand}={result}")
        value = result
    return lines
