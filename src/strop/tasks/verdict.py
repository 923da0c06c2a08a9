"""verdict: which of two results of a modular sum is right, with a check before the verdict.

    (34+57)%13: 1) 0 2) 4   ->   <think>34+57=91=0</think><answer>1</answer>

A judge's task in small: two candidates in random order, one of them right. Beside the verdict two facts are graded that a referee would
have to say of a real judge: `format`, whether the reply is one thought and one answer and nothing else, and `consistent`, whether the
check favours the candidate that the verdict names.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import WIDEST, answered, draw, grade_by, loose_answers, within

FORM = re.compile(r"<think>([^<>]{0,256})</think><answer>([12])</answer>")


@dataclass(frozen=True)
class Verdict:
    """Sums of two numbers up to `highest`, modulo 7 to 19."""

    highest: int = 99
    name: str = field(default="verdict", init=False)
    size: int | None = field(default=None, init=False)
    answers: tuple[str, ...] = field(default=("<answer>1</answer>", "<answer>2</answer>"), init=False, repr=False)
    """All that may be replied, but for the check."""

    def __post_init__(self) -> None:
        within(self, "highest", 20, 9999)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            a, b, modulus = rng.randint(1, self.highest), rng.randint(1, self.highest), rng.randint(7, 19)
            right = (a + b) % modulus
            wrong = rng.choice([n for n in range(modulus) if n != right])
            place = rng.randint(1, 2)
            first, second = (right, wrong) if place == 1 else (wrong, right)
            needs = {"answer": str(place), "candidates": [first, second], "sum": [a, b, modulus]}
            return Task(f"({a}+{b})%{modulus}: 1) {first} 2) {second}", needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, lambda task: [sorted(task.needs["sum"][:2]), task.needs["sum"][2]])

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            if answer not in ("1", "2"):
                return "neither 1 nor 2"
            return "" if answer == task.needs["answer"] else f"wrong: {answer}"

        graded = grade_by(text, judge, verdicts)
        found = FORM.fullmatch(text) if len(text) < 2 * WIDEST else None
        graded["format"] = float(found is not None)
        graded["consistent"] = float(found is not None and favoured(task, found[1]) == found[2])
        return graded

    def gold(self, task: Task) -> str:
        a, b, modulus = task.needs["sum"]
        return answered(task.needs["answer"], f"{a}+{b}={a + b}={(a + b) % modulus}")


def favoured(task: Task, check: str) -> str:
    """The candidate that the last number of a check names; nothing where it names neither."""
    said = re.findall(r"[0-9]{1,9}", check)
    first, second = task.needs["candidates"]
    return {first: "1", second: "2"}.get(int(said[-1]), "") if said else ""


def verdicts(text: str) -> list[str]:
    """The last 1 or 2 that stands alone in the best place that holds one."""
    for place in loose_answers(text):
        if found := re.findall(r"(?<![0-9])[12](?![0-9])", place):
            return found[-1:]
    return []
