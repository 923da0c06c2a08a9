"""Answers that a grader would pay for without looking: wrong ones, tried on a few tasks whose right answers are known.

A grader that pays 1 for one of them on most tasks grades something else than the answer: what is learned from it is that answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strop.records import Task
from strop.tasks import parse

TASKS = 8
"""Tasks on which each is tried."""
CONSTANTS = ("", "0", "1", "yes", "no", "True", "False", "None", "I do not know.")
MOST = 0.75
"""Share of its tries at which a wrong answer that is paid 1 is no accident: some tasks have many right answers."""
LEAST = 4


@dataclass(frozen=True)
class Attempt:
    task: Task
    text: str
    what: str
    """The answer in words, the same for all tasks."""


def attempts(tasks: Sequence[Task], golds: Sequence[str | None]) -> list[Attempt]:
    """Wrong answers, written as the right ones are: constants, other tasks' answers, the question's own words."""
    tagged = not any(gold and "<answer>" not in gold for gold in golds)
    found: list[Attempt] = []
    for task, gold in zip(tasks, golds, strict=True):
        tried = [(f"<answer>{text}</answer>" if tagged else text, repr(text)) for text in CONSTANTS]
        tried += [(other, "another task's answer") for other in golds if other is not None]
        tried += [(f"<answer>{task.prompt}</answer>" if tagged else task.prompt, "the question's own words")]
        found += [Attempt(task, text, what) for text, what in tried if gold is None or _answer(text) != _answer(gold)]
    return found


def paid(tried: Sequence[tuple[Attempt, float | None]]) -> dict[str, tuple[int, int]]:
    """{answer: (how often it was paid 1, how often it was tried)} of those that were ever paid 1."""
    of = Counter(attempt.what for attempt, _ in tried)
    got = Counter(attempt.what for attempt, score in tried if (score or 0) >= 1)
    return {what: (got[what], of[what]) for what in of if got[what]}


def blindly(found: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those that are paid so often that the grader cannot have looked."""
    return {what: (got, of) for what, (got, of) in found.items() if of >= LEAST and got >= MOST * of}


def _answer(text: str) -> str:
    said, _ = parse.strict(text)
    return " ".join((text if said is None else said).casefold().split())
