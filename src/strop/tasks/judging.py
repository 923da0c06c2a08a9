"""What sources share that show a written solution and ask which of its steps is the first wrong one.

A task's needs hold `question`, the `steps` as they are written, of each its `labels`, which say of every way in which a step may be wrong
whether it is right, and `answer`, the number of the first that is wrong in any way; 0 says that none is. By them a judge of steps is taught
and asked (`strop.seams.steps`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from strop.records import Task
from strop.seams.source import Graded
from strop.tasks.chain import integers
from strop.tasks.procedural import answered, grade_by

USE = "use"
"""The way in which a step may be wrong that is right in all others: it leads nowhere."""


def kind_of(rng: random.Random, wrong: float, useless: float, local: Sequence[str], use: bool) -> str:
    """In which way the next step is wrong, "" for none: with the chance `wrong`, of those `useless` lead nowhere where one can (`use`), the
    others are shared alike among `local`, the ways in which it can be wrong here."""
    if rng.random() >= wrong:
        return ""
    if use and rng.random() < useless:
        return USE
    return rng.choice(local) if len(local) > 1 else "".join(local)


def shown(source: str, question: str, lines: list[str], labels: list[list[int]], meta: dict[str, Any]) -> Task:
    """The task that asks for the first wrong one of these steps."""
    first = next((number for number, said in enumerate(labels, 1) if not right(said)), 0)
    needs = {"question": question, "steps": lines, "labels": labels, "answer": first}
    return Task("\n".join((question, *lines)), needs, source, meta)


def right(labels: Sequence[Any]) -> int:
    """Whether a step is right in every way."""
    return int(all(labels))


def graded(task: Task, text: str) -> Graded:
    """Beside the verdict: `faulty`, whether a step is wrong, and `caught`, whether the first of them was found."""

    def judge(answer: str) -> str:
        return "" if answer == str(task.needs["answer"]) else f"not step {answer[:8]!r}"

    found, faulty = grade_by(text, judge, integers), task.needs["answer"] > 0
    return Graded({**found, "faulty": float(faulty), "caught": found["outcome"] if faulty else 0.0}, found.reason)


def gold(task: Task) -> str:
    return answered(str(task.needs["answer"]))
