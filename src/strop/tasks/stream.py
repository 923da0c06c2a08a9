"""stream: read outputs one after another, and tell what stood behind the letters that were asked for (`worlds/stream.py`).

    abc?   ->   go   ->   x7 a2   ->   …   ->   c4 z1   ->   <answer>a2 b9 c4</answer>

Of `facts` equal parts of a stream each shows one of them, in the order of the question; an output has one pair, and `noise` more beside
it, of letters that nobody asked for. What may be asked for are the first `names` letters, and a stream has from `least` to `most` outputs,
in steps of `step`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase, digits

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import draw, grade_by, loose_answers, strict_answer, within
from strop.worlds.stream import Stream as Outputs


@dataclass(frozen=True)
class Stream:
    """`facts` of `names` letters, each with its digit, in `least` to `most` outputs of `noise` pairs and one."""

    least: int = 8
    most: int = 24
    step: int = 1
    facts: int = 3
    names: int = 3
    noise: int = 1
    name: str = field(default="stream", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "facts", 2, 8)
        within(self, "names", self.facts, 20)
        within(self, "least", self.facts, 64)
        within(self, "most", self.least, 64)
        within(self, "step", 1, 64)
        within(self, "noise", 0, 4)

    @property
    def world(self) -> World:
        """What answers, with an expert that writes reports."""
        return Outputs()

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            rounds = rng.randrange(self.least, self.most + 1, self.step)
            asked = sorted(rng.sample(ascii_lowercase[: self.names], self.facts))
            values = {name: rng.choice(digits) for name in asked}
            others = [name for name in ascii_lowercase if name not in values]
            outputs = [[name + rng.choice(digits) for name in rng.sample(others, self.noise + 1)] for _ in range(rounds)]
            parts = pairwise(rounds * part // self.facts for part in range(self.facts + 1))
            for name, (begin, end) in zip(asked, parts, strict=True):
                outputs[rng.randrange(begin, end)][rng.randrange(self.noise + 1)] = name + values[name]
            shown = [" ".join(pairs) for pairs in outputs]
            needs = {"asked": "".join(asked), "outputs": shown, "answer": " ".join(map("".join, values.items()))}
            meta = {"seed": seed, "index": index, "rounds": rounds, "where": digest(needs)[:12]}
            return Task(f"{needs['asked']}?", needs, self.name, meta)

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return grade_by(text, lambda answer: "" if answer == task.needs["answer"] else "other pairs", loose_answers)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def answer(self, text: str) -> str | None:
        return strict_answer(text)[0]
