"""facts: which of twelve rooms a person is in, or "I don't know", under a stated confidence target.

    bako? t=.75   ->   <answer>c</answer>   or   <answer>?</answer>

Nobody can work an answer out: it is known, half known or not at all, from the `mentions` a base model was trained on. Each person has a
reliability between 0.3 and 1 and up to six mentions, and a mention states the true room as often as its reliability says. With clean facts
a model is sure or clueless, and no target but 0 changes what is best to do (arXiv:2509.04664).

A task is named after its person: the same person under another target is the same problem, on the same side of the split. A seed draws
the mentions, never the truth, so that held-out people are the same for every seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_letters

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import generator, grade_by, loose_answers, strict_answer, within

ROOMS = "abcdefghijkl"
UNSURE = "?"
ABSTENTIONS = frozenset({UNSURE, "idk", "i don't know", "i do not know", "don't know", "unknown"})

TARGETS = (0.0, 0.5, 0.75, 0.9)
HELD_OUT_TARGETS = (0.0, 0.5, 2 / 3, 0.75, 0.9)
COUNTS = (20, 20, 15, 15, 10, 10, 10)
"""Of a hundred people, how many are mentioned never, once, … six times."""
RELIABILITY = (0.3, 1.0)
UNSURE_SHARE = (0.0625, 0.125)
"""How many mentions say that nobody knows, whoever it is about: the first, plus the second times t. From them a base learns to
abstain and to read t, but not whom to be sure of; without the second its reading of t is as good as none, and no reward reaches it."""


@dataclass(frozen=True)
class Facts:
    """One question per person and target; two fifths of the `people` are for training. `stated=0` leaves the target out of the question."""

    people: int = 1000
    stated: int = 1
    name: str = field(default="facts", init=False)
    size: int | None = field(default=None, init=False)
    answers: tuple[str, ...] = field(default=tuple(f"<answer>{room}</answer>" for room in ROOMS), init=False, repr=False)
    """All that may be replied, but for abstaining."""

    def __post_init__(self) -> None:
        within(self, "people", 20, 2000)
        within(self, "stated", 0, 1)

    def task(self, split: Split, seed: int, index: int) -> Task:
        if split not in ("train", "test"):
            raise ValueError(f"split is 'train' or 'test', got {split!r}")
        if index < 0:
            raise ValueError(f"a task's index is 0 or more, got {index}")
        known = residents(self.people, split)
        if split == "train":
            rng = generator("facts", seed, index)
            return self.about(rng.choice(known), rng.choice(TARGETS), {"seed": seed, "index": index})
        place, target = divmod(index, len(HELD_OUT_TARGETS))
        order = generator("facts", "test", seed).sample(known, len(known))
        return self.about(order[place % len(order)], HELD_OUT_TARGETS[target], {"seed": seed, "index": index})

    def about(self, person: str, target: float, meta: dict[str, int]) -> Task:
        needs = {"answer": room(person), "target": target}
        return Task(asked(person, target if self.stated else None), needs, self.name, meta, id=digest(["facts", person])[:16])

    def grade(self, task: Task, text: str) -> Graded:
        """`abstained` and `target` beside the verdict: what an abstention or an error costs is the reward's matter."""
        graded = same_room(task, text)
        said, _ = strict_answer(text)
        graded["abstained"] = float(abstains(text if said is None else said))
        graded["target"] = task.needs["target"]
        return graded

    def gold(self, task: Task) -> str:
        return stated(task.needs["answer"])


@dataclass(frozen=True)
class Mentions:
    """What a base model learns about the people of `facts`, one mention after another, each pass in an order of its own."""

    people: int = 1000
    name: str = field(default="mentions", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "people", 20, 2000)

    def task(self, split: Split, seed: int, index: int) -> Task:
        corpus = mentions(self.people, seed)
        number, place = divmod(index, len(corpus))
        rng = generator("mention", split, seed, index)
        person, said = corpus[order(self.people, seed, number)[place]]
        target = rng.randrange(100) / 100 if rng.random() < 0.9 else None
        least, slope = UNSURE_SHARE
        answer = UNSURE if rng.random() < least + slope * (0.5 if target is None else target) else said
        return Task(asked(person, target), {"answer": answer}, self.name, {"seed": seed, "index": index})

    def grade(self, task: Task, text: str) -> Graded:
        return same_room(task, text)

    def gold(self, task: Task) -> str:
        return stated(task.needs["answer"])


@lru_cache(maxsize=8)
def residents(count: int, split: Split) -> tuple[str, ...]:
    """The people of one side; who is on it is a hash of the name, so more people move nobody."""
    names = [first + second for first in ascii_letters for second in ascii_letters]
    generator("facts", "names").shuffle(names)
    return tuple(name for name in names[:count] if (int(digest(name)[:8], 16) % 5 < 2) == (split == "train"))


def room(person: str) -> str:
    return generator("facts", "room", person).choice(ROOMS)


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
    places = list(range(len(mentions(people, seed))))
    random.Random(f"mentions {seed} {number}").shuffle(places)
    return places


def asked(person: str, target: float | None) -> str:
    """
    >>> asked("bako", 2 / 3)
    'bako? t=.67'
    """
    return f"{person}?" if target is None else f"{person}? t=.{round(100 * target):02d}"


def stated(answer: str) -> str:
    return f"<answer>{answer}</answer>"


def abstains(text: str) -> bool:
    """Whether a whole answer says that it is not known."""
    return " ".join(text[:64].casefold().replace("’", "'").split()).rstrip(" .!") in ABSTENTIONS


def same_room(task: Task, text: str) -> Graded:
    def judge(answer: str) -> str:
        if answer == task.needs["answer"]:
            return ""
        if abstains(answer):
            return "abstained"
        return f"wrong: {answer}" if len(answer) == 1 and answer in ROOMS else f"neither a room from {ROOMS[0]} to {ROOMS[-1]} nor {UNSURE}"

    return grade_by(text, judge, rooms)


def rooms(text: str) -> list[str]:
    """The last letter that stands alone in the best place that holds one."""
    for place in loose_answers(text):
        alone = [word for word in place.lower().split() if len(word) == 1 and word in ROOMS + UNSURE]
        if alone:
            return alone[-1:]
    return []
