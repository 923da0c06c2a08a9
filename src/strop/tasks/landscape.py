"""landscape: an idea, and the details of a plan for it, level by level. A detail counts only where all above it is right.

    375026   ->   <answer>512640\\n024517\\n…</answer>        a line a level, a digit a slot

What is right in a slot follows by a law of its level from what is right in the same slot above, in the first line from the idea; the
laws are the same for all ideas, and nobody tells them. `worth` counts a slot's right digits from the first line down to the first wrong
one. So a search that edits a lower line too early sees no difference, and whoever learns from what a search found can come to know the
laws.

It proposes and compares as `Climbed` asks: an edit of one slot, by chance; in sight of others' texts one of their digits. Whoever
compares is a stand-in for somebody who knows the field: `right` is how often the better text is named, `lean` how often the first one
shown is named whatever they say. Strictly asked, an edit that is worth no more than `margin` above the text counts as the worse one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from strop.records import Task
from strop.seams.climbs import ANY, Look
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, generator, strict_answer, within

DIGITS = "0123456789"
TRIES = 8
"""Edits that are drawn until one is none of those that failed."""


@dataclass(frozen=True)
class Landscapes:
    """`levels` lines of `slots` digits, each one of `values`."""

    levels: int = 5
    slots: int = 6
    values: int = 8
    right: float = 0.9
    lean: float = 0.0
    margin: int = 0
    name: str = field(default="landscape", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "levels", 1, 9)
        within(self, "slots", 2, 12)
        within(self, "values", 3, 10)
        within(self, "margin", 0, 9)
        for name in ("right", "lean"):
            within(self, name, 0.0, 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the levels, in order."""
        return tuple(f"line {number}" for number in range(1, self.levels + 1))

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            idea = "".join(rng.choice(DIGITS[: self.values]) for _ in range(self.slots))
            lines = list[str]()
            for law in laws(self.levels, self.values):
                lines.append("".join(law[int(digit)] for digit in (lines[-1] if lines else idea)))
            return Task(idea, {"lines": lines}, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, same=lambda task: task.prompt)

    def grade(self, task: Task, text: str) -> Graded:
        """`slots` is the share of right digits; `worth` that of those which count."""
        wanted: list[str] = task.needs["lines"]
        given, why = strict_answer(text)
        said = given.split("\n") if given is not None and not why else []
        whole = [len(line) for line in said] == [len(line) for line in wanted]
        outcome = float(said == wanted)
        loose = "\n".join(wanted) in text.rpartition("</think>")[2]
        channels: dict[str, float | None] = {"outcome": outcome, "lenient": float(outcome or loose)}
        size = sum(map(len, wanted))
        channels |= {"slots": hits(wanted, said) / size if whole else 0.0, "worth": worth(wanted, said) / size if whole else 0.0}
        return Graded(channels, why or ("" if whole else "other lines than asked for") or ("" if outcome else "other digits"))

    def gold(self, task: Task) -> str:
        return answered("\n".join(task.needs["lines"]))

    def answer(self, text: str) -> str | None:
        return strict_answer(text)[0]

    def draft(self, task: Task, rng: random.Random) -> str:
        return "\n".join("".join(rng.choice(DIGITS[: self.values]) for _ in range(self.slots)) for _ in range(self.levels))

    def edited(self, task: Task, text: str, look: Look, rng: random.Random) -> str:
        """One slot of the level another digit: of a text that others found, where one differs there, else any."""
        lines = text.split("\n")
        levels = range(self.levels) if look.level == ANY else (self.names.index(look.level),)
        others = [other.split("\n") for other in look.others]
        found = [(i, j, other[i][j]) for i in levels for j in range(self.slots) for other in others if other[i][j] != lines[i][j]]
        new = text
        for _ in range(TRIES):
            if found:
                level, slot, digit = rng.choice(found)
            else:
                level, slot = rng.choice(levels), rng.randrange(self.slots)
                digit = rng.choice([d for d in DIGITS[: self.values] if d != lines[level][slot]])
            line = lines[level]
            new = "\n".join([*lines[:level], line[:slot] + digit + line[slot + 1 :], *lines[level + 1 :]])
            if new not in look.failed:
                break
        return new

    def votes(self, task: Task, shown: Sequence[str], strict: bool, count: int, rng: random.Random) -> list[float]:
        """Whether each vote is for the second text that is shown."""
        wanted: list[str] = task.needs["lines"]
        first, second = (worth(wanted, text.split("\n")) for text in shown)
        chance = 0.5 if second == first else self.right if second > first else 1 - self.right
        if strict:
            chance = self.right if second > first + self.margin else 1 - self.right
        return [float(rng.random() >= self.lean and rng.random() < chance) for _ in range(count)]


@cache
def laws(levels: int, values: int) -> tuple[str, ...]:
    """Of each level: which digit is right below a right one."""
    rng = generator("landscape", "laws", levels, values)
    return tuple("".join(rng.sample(DIGITS[:values], values)) for _ in range(levels))


def hits(wanted: Sequence[str], said: Sequence[str]) -> int:
    """Right digits."""
    return sum(a == b for one, other in zip(wanted, said, strict=False) for a, b in zip(one, other, strict=False))


def worth(wanted: Sequence[str], said: Sequence[str]) -> int:
    """Right digits with nothing but right ones above."""
    total, above = 0, [True] * max(map(len, wanted))
    for one, other in zip(wanted, said, strict=False):
        above = [over and a == b for over, a, b in zip(above, one, other, strict=False)]
        total += sum(above)
    return total
