"""wiki: follow links from a letter to the digit at their end, a card a call (`worlds/wiki.py`).

    c?   ->   >get c   cm kd   ->   >get m   m7 xq   ->   <answer>7</answer>

From `least` to `most` cards lie between the question and its answer. All other letters have cards too, which lead somewhere else, and to
other digits, so that wandering finds an answer and mostly a wrong one. A share
`known` of the questions tells the first cards of the chain, in order, on a line of its own: `c?` and `cm mq`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from string import ascii_lowercase, digits

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import draw, grade_by, said_answer, within
from strop.worlds.wiki import Wiki as Cards

ENDS = 0.3
"""Of the other letters, those that lead to a digit."""


@dataclass(frozen=True)
class Wiki:
    """Chains of `least` to `most` cards among `letters`, with `noise` cards beside each that is asked for; a share `known` of the questions
    tells some of them."""

    least: int = 2
    most: int = 4
    letters: int = 20
    noise: int = 1
    known: float = 0.0
    name: str = field(default="wiki", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "letters", 3, 26)
        within(self, "least", 1, self.letters - 2)
        within(self, "most", self.least, self.letters - 2)
        within(self, "noise", 0, 4)
        within(self, "known", 0.0, 1.0)

    @property
    def world(self) -> World:
        """What answers to its calls."""
        return Cards(self.noise)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            names, answer = rng.sample(ascii_lowercase[: self.letters], self.letters), rng.choice(digits)
            count = rng.randint(self.least, self.most)
            chain, rest = names[:count], names[count:]
            cards = dict(zip(chain, [*chain[1:], answer], strict=True))
            wrong = [digit for digit in digits if digit != answer]
            cards |= {name: rng.choice(wrong) if rng.random() < ENDS else rng.choice([o for o in rest if o != name]) for name in rest}
            told = rng.randrange(1, count) if count > 1 and rng.random() < self.known else 0
            needs = {"cards": dict(sorted(cards.items())), "start": chain[told], "answer": answer, "hops": count}
            known = " ".join(f"{name}{cards[name]}" for name in chain[:told])
            meta = {"seed": seed, "index": index, "where": digest(needs)[:12]}
            return Task(f"{chain[0]}?\n{known}" if told else f"{chain[0]}?", needs, self.name, meta)

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return grade_by(text, lambda answer: "" if answer == task.needs["answer"] else "another digit", said_last)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def answer(self, text: str) -> str | None:
        return said_answer(text, said_last)


def said_last(text: str) -> list[str]:
    """The digits of its last line, the last one first: what a world wrote before is no answer."""
    return [letter for letter in reversed(text.rpartition("\n")[2]) if letter in digits]
