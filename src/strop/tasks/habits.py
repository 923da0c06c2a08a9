"""habits: questions that are picked by habit among questions that are known, and the conversations in which one of them is asked again.

    *KT bdac   ->   <answer>c</answer>       pick one: none is better, and `c` is said more often than it should be
    ?Qr dacb   ->   <answer>d</answer>       what is it: `d`, as most have said

Asked once, the two kinds cannot be told apart by their answers: each question has a favourite, said in as large a share of single answers
as a strength that is drawn alike for both. Asked again in one conversation, what is known stays as it was said first, and a pick goes to
an option that was said least. Half the questions are picked, half are known; the options stand in another order each time.

A task to train on is a single question, whichever it is, or a conversation of 2 to `turns` turns (`episode`, `strop.worlds.asking`) about a
question of its own side: of those held out a policy learns the favourites, and is never asked twice. With `once=1` there are no
conversations. The truth does not depend on the seed.

What most say is graded as right, as a majority would have it: of what is picked that pays a habit.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import generator, grade_by, loose_answers, strict_answer, within

HABIT, KNOWN = "habit", "known"
MARKS = {HABIT: "*", KNOWN: "?"}
OPTIONS = ("a", "b", "c", "d")
STRENGTHS = (0.6, 0.95)
"""Shares of single answers that say the favourite, drawn evenly between these."""


class Question(NamedTuple):
    """What is fixed of it, whoever asks."""

    name: str
    kind: str
    favourite: str
    strength: float

    def written(self, order: list[str]) -> str:
        """With its options in this order."""
        return f"{MARKS[self.kind]}{self.name} {''.join(order)}"

    def once(self, rng: random.Random) -> str:
        """What is said to it in a context of its own."""
        others = [option for option in OPTIONS if option != self.favourite]
        return self.favourite if rng.random() < self.strength else rng.choice(others)

    def again(self, said: list[str], rng: random.Random) -> str:
        """What is said to it after this was said."""
        if self.kind == KNOWN:
            return said[0]
        fewest = min(map(said.count, OPTIONS))
        return rng.choice([option for option in OPTIONS if said.count(option) == fewest])


@dataclass(frozen=True)
class Habits:
    """So many `questions`, about half of them held out; a share `once` of the tasks are single questions, the others conversations of at
    most so many `turns`."""

    questions: int = 200
    turns: int = 10
    once: float = 0.75
    name: str = field(default="habits", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "questions", 20, 1000)
        within(self, "turns", 2, 64)
        within(self, "once", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        """Training draws question and answers; held-out questions come in turn, whatever the seed. What is tested of them is no single
        answer, so training may ask them once."""
        if split not in ("train", "test"):
            raise ValueError(f"split is 'train' or 'test', got {split!r}")
        if index < 0:
            raise ValueError(f"a task's index is 0 or more, got {index}")
        rng = generator("habits", self.questions, self.turns, self.once, split, seed, index)
        own, once = asked_about(self.questions, split), split == "train" and rng.random() < self.once
        one = own[index % len(own)] if split == "test" else rng.choice((*own, *asked_about(self.questions, "test")) if once else own)
        said = [one.once(rng)]
        for _ in range(0 if once else rng.randint(2, self.turns) - 1):
            said.append(one.again(said, rng))
        asked = [one.written(rng.sample(OPTIONS, len(OPTIONS))) for _ in said]
        needs = {"kind": one.kind, "options": list(OPTIONS), "answer": one.favourite, "asked": asked, "said": said}
        where = "once" if once else one.name  # KT and Kt are two questions, and spelling is no content elsewhere
        meta = {"seed": seed, "index": index, "strength": one.strength, "where": where}
        return Task(asked[0], needs, self.name, meta)

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            if answer not in OPTIONS:
                return f"none of {', '.join(OPTIONS)}"
            return "" if answer == task.needs["answer"] else f"not what most say: {answer}"

        return grade_by(text, judge, loose_answers)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def example(self, task: Task) -> str:
        """What is said to it once, right or not."""
        return self.episode(task)[0]

    def episode(self, task: Task) -> list[str]:
        """What is said turn by turn."""
        return [f"<answer>{said}</answer>" for said in task.needs["said"]]

    def answer(self, text: str) -> str | None:
        return strict_answer(text)[0]


@lru_cache(maxsize=8)
def asked_about(count: int, split: Split) -> tuple[Question, ...]:
    """The questions of one side; a hash of the name decides, so more of them move none."""
    names = [first + second for first in ascii_uppercase for second in ascii_uppercase + ascii_lowercase if second not in OPTIONS]
    generator("habits", "names").shuffle(names)
    return tuple(map(question, (name for name in names[:count] if (int(digest(name)[:8], 16) % 2 == 0) == (split == "train"))))


def question(name: str) -> Question:
    rng = generator("habits", "question", name)
    return Question(name, rng.choice((HABIT, KNOWN)), rng.choice(OPTIONS), rng.uniform(*STRENGTHS))
