"""skewed: which letter occurs most often, when nearly always it is `a`.

    most: abacab   ->   a

A policy that ignores the question and says `a` is right in `share` of the cases: the source to see a method drift to
the prior of the answers instead of learning to read.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, grade_by, loose_answers, within

LETTERS = "abcd"


@dataclass(frozen=True)
class Skewed:
    """Words of `length` letters from a to d; `share` of them have `a` as the answer."""

    length: int = 10
    share: float = 0.8
    name: str = field(default="skewed", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "length", 4, 64)
        within(self, "share", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            answer = "a" if rng.random() < self.share else rng.choice(LETTERS[1:])
            while True:
                word = "".join(rng.choice(LETTERS) for _ in range(self.length))
                counts = {letter: word.count(letter) for letter in LETTERS}
                if all(counts[letter] < counts[answer] for letter in LETTERS if letter != answer):
                    break
            meta = {"length": self.length, "seed": seed, "index": index}
            return Task(f"most: {word}", {"answer": answer}, self.name, meta)

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            if len(answer) != 1 or answer not in LETTERS:
                return f"not one letter of {LETTERS}"
            return "" if answer == task.needs["answer"] else f"wrong: {answer}"

        return grade_by(text, judge, letters)

    def gold(self, task: Task) -> str:
        return answered(task.needs["answer"], " ".join(counted(task)))

    def worked(self, task: Task, rng: random.Random) -> str:
        """A text to train a base model on: the answer at once or after counting, one in eight of them wrong."""
        answer = rng.choice(LETTERS) if rng.random() < 0.16 else task.needs["answer"]
        style = rng.random()
        if style < 0.55:
            return answered(answer)
        work = " ".join(counted(task))
        return answered(answer, work) if style < 0.95 else f"<think>{work}</think>{answer}"


def counted(task: Task) -> list[str]:
    word = task.prompt.rpartition(" ")[2]
    return [f"{letter}{word.count(letter)}" for letter in LETTERS]


def letters(text: str) -> list[str]:
    """The last letter that stands alone in the best place that holds one."""
    for place in loose_answers(text):
        if found := re.findall(rf"\b[{LETTERS}]\b", place.lower()):
            return found[-1:]
    return []
