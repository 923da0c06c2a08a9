"""stories: who has how much in the end, each by the one before. Thinking is not given, but could be found from the answer.

    A31 B+3 C+8 D-5   ->   <think>31+3=34\\n34+8=42\\n42-5=37</think><answer>so\\nB34 C42 D37</answer>

`thought(task, rng)` is the thinking of somebody who slips: a line is wrong with the chance `slips`. `piece(…)` writes a line again, and is
right with the chance `mends`. Both see the answer, as whoever writes thinking for a known one does.

With `reading`, a share of the tasks shows only that an answer says what its lines say: their lines are of no story, and their results are
any numbers. A base that learned those can tell which lines an answer goes with, and cannot write them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, strict_answer, within

FIRST = "so\n"
"""How every answer begins."""


@dataclass(frozen=True)
class Stories:
    """`people` of them, each with at most `highest`, and `step` more or less than the one before. `slips` and `mends` say how good the
    thinking is that is proposed."""

    people: int = 4
    highest: int = 30
    step: int = 9
    slips: float = 0.5
    mends: float = 0.4
    reading: float = 0.0
    name: str = field(default="stories", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "people", 3, 8)
        within(self, "highest", 9, 99)
        within(self, "step", 1, self.highest - 1)
        for name in ("slips", "mends", "reading"):
            within(self, name, 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            has = [rng.randint(1, self.highest)]
            while len(has) < self.people:
                near = range(max(1, has[-1] - self.step), min(self.highest, has[-1] + self.step) + 1)
                has.append(rng.choice([n for n in near if n != has[-1]]))
            names = "ABCDEFGH"[: self.people]
            prompt = " ".join([f"A{has[0]}", *(f"{name}{new - old:+d}" for name, (old, new) in zip(names[1:], pairwise(has), strict=True))])
            needs = {"has": has, "answer": FIRST + " ".join(f"{name}{n}" for name, n in zip(names[1:], has[1:], strict=True))}
            meta = {"seed": seed, "index": index}
            if rng.random() >= self.reading:
                return Task(prompt, needs, self.name, meta)
            one = lambda most: rng.randint(1, most)  # noqa: E731
            lines = [f"{one(self.highest)}{rng.choice('+-')}{one(self.step)}={one(self.highest)}" for _ in has[1:]]
            said = " ".join(f"{name}{line.partition('=')[2]}" for name, line in zip(names[1:], lines, strict=True))
            return Task(prompt, {"has": has, "lines": lines, "answer": FIRST + said}, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: task.prompt)

    def grade(self, task: Task, text: str) -> Graded:
        """`values` is the share of the people whose number is right."""
        wanted = str(task.needs["answer"]).removeprefix(FIRST).split()
        given, why = strict_answer(text)
        said = (given or "").removeprefix(FIRST.strip()).split()
        right = [one == other for one, other in zip(wanted, said, strict=False)]
        values = sum(right) / len(wanted) if len(said) == len(wanted) else 0.0
        outcome = float(given == task.needs["answer"])
        lenient = float(" ".join(wanted) in text.rpartition("</think>")[2])
        return Graded({"outcome": outcome, "lenient": lenient, "values": values}, why or ("" if outcome else "other numbers"))

    def gold(self, task: Task) -> str:
        lines: list[str] = task.needs["lines"] if "lines" in task.needs else self._lines(task)
        return answered(task.needs["answer"], "\n".join(lines))

    def answer(self, text: str) -> str | None:
        return strict_answer(text)[0]

    def thought(self, task: Task, rng: random.Random) -> str:
        lines = self._lines(task)
        return "\n".join(self._slip(line, rng) if rng.random() < self.slips else line for line in lines)

    def piece(self, task: Task, pieces: Sequence[str], at: int, rng: random.Random) -> str:
        line = self._lines(task)[at]
        end = "\n" if pieces[at].endswith("\n") else ""
        return (line if rng.random() < self.mends else self._slip(line, rng)) + end

    def _lines(self, task: Task) -> list[str]:
        return [f"{old}{new - old:+d}={new}" for old, new in pairwise(task.needs["has"])]

    def _slip(self, line: str, rng: random.Random) -> str:
        """The same line with another result."""
        before, _, result = line.partition("=")
        return f"{before}={rng.choice([n for n in range(1, self.highest + 1) if n != int(result)])}"
