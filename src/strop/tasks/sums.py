"""sums: the digits of a result, added, for a policy with a calculator (`worlds/calculator.py`): the result is too much for the head, its
digits are not.

    S(37*48-19)=?   ->   [37*48-19]   1757   ->   <answer>20</answer>

`episode(task)` is what a teacher writes, reply by reply: now and then the first call is spoiled, and made again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import Chain
from strop.tasks.procedural import draw, generator, within


@dataclass(frozen=True)
class Sums:
    """Of a product of two numbers up to `largest`, plus or minus a third. Of the teacher's first calls a share `spoiled` is no sum."""

    largest: int = 99
    spoiled: float = 0.3
    name: str = field(default="sums", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "largest", 20, 99_999)
        within(self, "spoiled", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            (a, b, c), sign = (rng.randint(11, self.largest) for _ in range(3)), rng.choice((1, -1))
            needs = {"answer": sum(map(int, str(a * b + sign * c)))}
            return Task(f"S({a}*{b}{'+' if sign > 0 else '-'}{c})=?", needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Chain().grade(task, text)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def episode(self, task: Task) -> list[str]:
        rng, asked = generator(self.name, "episode", task.id), task.prompt[2:-3]
        calls = [f"[{asked}]"]
        if rng.random() < self.spoiled:
            place = rng.choice([at for at, letter in enumerate(asked) if not letter.isdigit()])
            calls.insert(0, f"[{asked[:place]}{rng.choice(('', '*', '+'))}{asked[place]}{rng.choice('+*')}{asked[place + 1 :]}]")
        return [*calls, self.gold(task)]
