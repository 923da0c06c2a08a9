"""dossier: write a report of sections, of which each states facts and says where they stand in a bank of evidence (`worlds/dossier.py`).

    g ab   h ba   g ab 1q4r0t3z   ->   >get 1q4r0t3z   ->   ga5[1q]gb3[4r]gc7[0t]ha1[3z]   ->   >write ga5[1q]gb3[4r]   ->   …

A line of the bank has a digit and a letter by chance as its id and says of two letters a digit. What a section asks for stands there once;
every other line shares one letter with something that is asked for. An outline ties to each section its own lines and `near` that look like
them, in any order: four at every size of the bank, as many as are fetched.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase, digits
from typing import Any

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import draw, grade_by, loose_answers, within
from strop.worlds.dossier import Dossier, listed, scores, weighed

SIZES = (8, 24, 48)
"""Lines of a bank, where a source has them all."""


@dataclass(frozen=True)
class Dossiers:
    """`sections` that state `facts` each, from a bank of `lines`; 0: of 8, 24 or 48. `near` ids of an outline's section are of other
    lines. With `planned=0` the question names one section, and the outline is to be made."""

    lines: int = 0
    sections: int = 4
    facts: int = 2
    near: int = 2
    planned: int = 1
    name: str = field(default="dossier", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "sections", 2, 6)
        within(self, "facts", 1, 3)
        within(self, "near", 0, 4)
        within(self, "planned", 0, 1)
        within(self, "lines", 0, 80)
        if min(self.banks) < self.sections * self.facts:
            raise ValueError(f"dossier: {self.sections * self.facts} facts do not stand in {min(self.banks)} lines")

    @property
    def banks(self) -> tuple[int, ...]:
        """Lines that a bank may have."""
        return (self.lines,) if self.lines else SIZES

    @property
    def world(self) -> World:
        """What gives lines and takes sections."""
        return Dossier(most=self.facts + self.near)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            size = self.banks[index % len(self.banks)]
            names = rng.sample(ascii_lowercase, self.sections)
            about = rng.sample(ascii_lowercase, self.facts + 1)
            asked = {name: rng.sample(about, self.facts) for name in names}
            keys = [name + fact for name, facts in asked.items() for fact in facts]
            others = [letter for letter in ascii_lowercase if letter not in names]
            like = [name + fact for name in names for fact in ascii_lowercase if name + fact not in keys]
            unlike = [name + fact for name in others for fact in about if any(fact in facts for facts in asked.values())]
            half = (size - len(keys)) // 2
            beside = [*rng.sample(like, half), *rng.sample(unlike, size - len(keys) - half)]
            lines = [key + rng.choice(digits) for key in rng.sample([*keys, *beside], size)]
            ids = rng.sample([digit + letter for digit in digits for letter in ascii_lowercase], size)
            at = {line[:2]: (one, line[2]) for one, line in zip(ids, lines, strict=True)}
            sections = list[tuple[str, list[str], list[str]]]()
            for name, facts in asked.items():
                own = [name + fact for fact in facts]
                alike = [key for key in at if key not in own and (key[0] == name or key[1] in facts)]
                ids_of = rng.sample([*own, *rng.sample(alike, self.near)], self.facts + self.near)
                sections.append((name, [fact + at[name + fact][1] for fact in facts], [at[key][0] for key in ids_of]))
            needs: dict[str, Any] = {"bank": dict(zip(ids, lines, strict=True)), "sections": [list(section) for section in sections]}
            asks = "\n".join(f"{name} {''.join(asked[name])}" for name in names)
            if not self.planned:
                asks, needs["leads"] = names[0], dict(pairwise(names))
            return Task(asks, needs, self.name, {"seed": seed, "index": index, "where": digest(needs)[:12]})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        """Of the whole report at once, with semicolons between sections; who writes it in the world is graded there."""
        return grade_by(text, lambda answer: unsupported(task, answer), loose_answers)

    def gold(self, task: Task) -> str:
        bank = task.needs["bank"]
        at = {line: one for one, line in bank.items()}
        lines = (listed([at[name + fact] for fact in facts], bank) for name, facts, _ in task.needs["sections"])
        return f"<answer>{'; '.join(lines)}</answer>"


def unsupported(task: Task, answer: str) -> str:
    """Why a report is not what was asked for; nothing where it is."""
    bank, sections, said = task.needs["bank"], task.needs["sections"], answer.split(";")
    if len(said) != len(sections):
        return f"{len(said)} sections, and {len(sections)} were asked for"
    each = [weighed(text, {name + fact for fact in facts}, bank, bank) for text, (name, facts, _) in zip(said, sections, strict=True)]
    counts = {key: sum(one[key] for one in each) for key in each[0]}
    right = scores(counts, sum(len(facts) for _, facts, _ in sections), len(bank))["outcome"]
    return "" if right else "something has no citation, or one that does not say it"
