"""facts: which of twelve rooms somebody is in, or that it is not known, under a stated confidence target.

    Kd? t=.75   ->   <answer>c</answer>   or   <answer>?</answer>

Nobody can work an answer out: it is well known, half known or not at all, from the `mentions` that a base model was trained on.

A task is named after its person: the same person under another target is the same problem, on the same side of the split. The truth does
not depend on the seed, so held-out people are the same for every run. `abstained` and `target` are graded beside the verdict; what an
abstention or an error earns is the reward's matter (arXiv:2509.04664).
"""

from __future__ import annotations

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
        """Training draws person and target; held-out people come in turn, each under every target, whatever the seed."""
        if split not in ("train", "test"):
            raise ValueError(f"split is 'train' or 'test', got {split!r}")
        if index < 0:
            raise ValueError(f"a task's index is 0 or more, got {index}")
        known = residents(self.people, split)
        if split == "train":
            rng = generator("facts", seed, index)
            return self.about(rng.choice(known), rng.choice(TARGETS), {"seed": seed, "index": index})
        place, target = divmod(index, len(HELD_OUT_TARGETS))
        return self.about(known[place % len(known)], HELD_OUT_TARGETS[target], {"seed": seed, "index": index})

    def about(self, person: str, target: float, meta: dict[str, int]) -> Task:
        needs = {"answer": room(person), "target": target}
        return Task(asked(person, target if self.stated else None), needs, self.name, meta, id=digest(["facts", person])[:16])

    def grade(self, task: Task, text: str) -> Graded:
        graded = same_room(task, text)
        said, _ = strict_answer(text)
        graded["abstained"] = float(abstains(text if said is None else said))
        graded["target"] = task.needs["target"]
        return graded

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


def asked(person: str, target: float | None) -> str:
    """
    >>> asked("Kd", 2 / 3)
    'Kd? t=.67'
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
