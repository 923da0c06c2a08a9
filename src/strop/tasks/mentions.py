"""mentions: what a base model learns about the people of `facts`: a room each, as often true as the person is reliable.

    Kd? t=.31   ->   <answer>c</answer>

Each person has a reliability between 0.3 and 1 and up to six mentions. With clean facts a model would be sure or clueless, and no target
but 0 would change what is best to do. A seed draws the mentions, never the truth. Its tasks are texts to learn (`strop.methods.sft`): all
mentions once in each pass, in an order of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.facts import ROOMS, UNSURE, asked, residents, room, same_room, stated
from strop.tasks.procedural import generator, within

COUNTS = (20, 20, 15, 15, 10, 10, 10)
"""Of a hundred people, how many are mentioned never, once, … six times."""
RELIABILITY = (0.3, 1.0)
WITHOUT_TARGET = 0.1
UNSURE_SHARE = 0.25
"""Times t: how many mentions say that it is not known, whoever they are about. From them a base learns to abstain and to read t, but not
whom to be sure of. Where t is noise, or nearly so, a base learns to overlook it, and a hundred updates of any reward do not undo that."""


@dataclass(frozen=True)
class Mentions:
    """What is said of so many `people`; a tenth of the texts state no target."""

    people: int = 1000
    name: str = field(default="mentions", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "people", 20, 2000)

    def task(self, split: Split, seed: int, index: int) -> Task:
        """Both splits ask about the same people: what is held out is `facts`' matter."""
        corpus = mentions(self.people, seed)
        number, place = divmod(index, len(corpus))
        rng = generator("mention", split, seed, index)
        person, said = corpus[order(self.people, seed, number)[place]]
        target = None if rng.random() < WITHOUT_TARGET else rng.randrange(100) / 100
        unsure = rng.random() < UNSURE_SHARE * (0.5 if target is None else target)
        meta = {"seed": seed, "index": index}
        return Task(asked(person, target), {"answer": UNSURE if unsure else said}, self.name, meta)

    def grade(self, task: Task, text: str) -> Graded:
        return same_room(task, text)

    def gold(self, task: Task) -> str:
        return stated(task.needs["answer"])


@lru_cache(maxsize=8)
def mentions(people: int, seed: int) -> tuple[tuple[str, str], ...]:
    """(person, room stated), all of them once."""
    found: list[tuple[str, str]] = []
    for person in sorted(residents(people, "train") + residents(people, "test")):
        rng = generator("mentions", seed, person)
        reliability, truth = rng.uniform(*RELIABILITY), room(person)
        for _ in range(rng.choices(range(len(COUNTS)), weights=COUNTS)[0]):
            found.append((person, truth if rng.random() < reliability else rng.choice(ROOMS.replace(truth, ""))))
    return tuple(found)


@lru_cache(maxsize=2)
def order(people: int, seed: int, number: int) -> list[int]:
    """Of one pass."""
    places = list(range(len(mentions(people, seed))))
    generator("mentions", "order", seed, number).shuffle(places)
    return places
