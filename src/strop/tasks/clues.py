"""clues: of which entity do these clues hold? Searched and visited in `worlds/clues.py`, and made harder without another answer.

    a17 c204 mqa gx hz?   ->   >search a17   ta   ->   >visit ta   a17 c204 mqa gx hz   ->   <answer>ta</answer>

A question begins with all that is known of an entity (Q0). `evolve` edits it, a round at a time (WebExplorer, arXiv:2509.06501): it leaves
out a clue, blurs a number to an interval, or tells of a maker what it is like instead of its name. The answer stays, and an edit is made
only where a checker that knows the whole base finds that it is still the only one; `checked=0` takes the paper's word for it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import TAIL, draw, grade_by, said_answer, within
from strop.worlds.clues import ATTRIBUTES, MOST, Base, Clue, base_of
from strop.worlds.clues import Clues as Pages

Question = tuple[Clue, ...]


def whole(base: Base, entity: int) -> Question:
    """All that is known of it, in the order of attributes."""
    return tuple(base.true(letter, entity) for letter in ATTRIBUTES)


# ------------------------------------------------------------------------------------------------ operators: (question, …) -> edits of it


def telling(question: Question, base: Base) -> list[Clue]:
    """Its clues, the most telling first: those that hold of the fewest."""
    return sorted(question, key=lambda clue: len(base.found(clue)))


def salient(question: Question, base: Base, rng: random.Random) -> Iterator[Question]:
    """Leave out a clue, the most telling one first."""
    return (_put(question, clue) for clue in telling(question, base))


def flattest(question: Question, base: Base, rng: random.Random) -> Iterator[Question]:
    """Leave out a clue, the least telling one first: as short a question, and no harder to search for."""
    return (_put(question, clue) for clue in reversed(telling(question, base)))


def blur(question: Question, base: Base, rng: random.Random) -> Iterator[Question]:
    """Tell a number to ten, to a hundred, … around it, the most telling one first."""
    for clue in telling(question, base):
        if ATTRIBUTES[clue.attribute][0] == "number" and (width := 10 * _width(clue)) <= base.values[clue.attribute]:
            low = clue.low // width * width
            yield _put(question, clue, clue._replace(low=low, high=low + width - 1))


def _width(clue: Clue) -> int:
    return clue.high - clue.low + 1


def describe(question: Question, base: Base, rng: random.Random) -> Iterator[Question]:
    """Tell what one is like to whom a link leads, instead of its name."""
    for clue in telling(question, base):
        if ATTRIBUTES[clue.attribute][0] == "link" and not clue.via:
            words = [letter for letter, (kind, _) in ATTRIBUTES.items() if kind == "word"]
            for letter in rng.sample(words, len(words)):
                yield _put(question, clue, base.true(letter, clue.low)._replace(via=clue.attribute))


def any_of(question: Question, base: Base, rng: random.Random) -> Iterator[Question]:
    """One of leaving out the most telling clue, blurring and describing, by chance; where it can do nothing, another."""
    for operator in rng.sample((salient, blur, describe), 3):
        yield from operator(question, base, rng)


def _put(question: Question, old: Clue, *new: Clue) -> Question:
    return tuple(one for clue in question for one in (new if clue is old else (clue,)))


Operator = Callable[[Question, Base, random.Random], Iterator[Question]]
OPERATORS: dict[str, Operator] = {"salient": salient, "flattest": flattest, "blur": blur, "describe": describe, "any": any_of}


class Evolved(NamedTuple):
    versions: tuple[Question, ...]
    """Q0, and the question after every edit."""
    refused: int
    """Edits that would have left more than one answer."""


def evolve(question: Question, base: Base, operator: Operator, rounds: int, rng: random.Random, *, checked: bool = True) -> Evolved:
    """So many edits, or fewer where no more can be made. Each is the first that the operator thinks of which leaves the answers as they
    are; not `checked`, the first."""
    versions, refused, answers = [question], 0, base.answers(question)
    for _ in range(rounds):
        for edited in operator(versions[-1], base, rng):
            if not checked or base.answers(edited) == answers:
                versions.append(edited)
                break
            refused += 1
        else:
            break
    return Evolved(tuple(versions), refused)


# ------------------------------------------------------------------------------------------------ the source


@dataclass(frozen=True)
class Clues:
    """Questions over a base of `entities`, another one for every seed, after `evolved` rounds of an `operator`. The entities that are asked
    for in training and in a test are never the same."""

    entities: int = 400
    evolved: int = 0
    operator: str = "salient"
    checked: int = 1
    shown: int = 3
    name: str = field(default="clues", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "entities", 100, MOST)
        within(self, "evolved", 0, 5)
        within(self, "checked", 0, 1)
        within(self, "shown", 1, 10)
        if self.operator not in OPERATORS:
            raise ValueError(f"clues: there is no operator {self.operator!r}. {nearest(self.operator, OPERATORS)}")

    @property
    def world(self) -> World:
        """Where it is searched."""
        return Pages(self.shown)

    def task(self, split: Split, seed: int, index: int) -> Task:
        base = base_of(self.entities, seed)

        def make(rng: random.Random) -> Task:
            while base.answers(question := whole(base, entity := rng.randrange(base.size))) != {entity}:
                continue  # another one is just like it
            operator = OPERATORS[self.operator]
            versions, _ = evolve(question, base, operator, self.evolved, rng, checked=bool(self.checked))
            clues = [base.written(clue) for clue in versions[-1]]
            needs = {"base": [self.entities, seed], "clues": clues, "answer": base.names[entity], "edits": len(versions) - 1}
            meta = {"seed": seed, "index": index, "where": f"{self.entities}/{seed}"}
            return Task(f"{' '.join(clues)}?", needs, self.name, meta)

        # whatever becomes of it, the same entity is asked for
        return draw(replace(self, evolved=0, operator="salient", checked=1), split, seed, index, make, lambda task: task.needs["answer"])

    def grade(self, task: Task, text: str) -> Graded:
        return grade_by(text, lambda answer: "" if answer == task.needs["answer"] else "another entity", said_last)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def answer(self, text: str) -> str | None:
        return said_answer(text, said_last)


NAME = re.compile(r"\b[a-z]{2,4}\b")


def said_last(text: str) -> list[str]:
    """The names of its last line, the last one first, or of its last tag's: what a world wrote before is no answer."""
    line = text[-TAIL:].rpartition("\n")[2]
    return NAME.findall(line.rpartition("<answer>")[2].partition("</answer>")[0])[::-1]
