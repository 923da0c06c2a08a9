"""Flight: tasks that are being grown ahead of the learner. Which they are is saved with each step; how far they are is not.

A run that is resumed asks again for those that were in flight, so a task that was picked is learned from or reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from strop.records import Group, Scores, Task

LONGEST = 3600.0
"""Seconds until a task that never comes is an error. Whoever grows it watches itself; this is for one that forgot to."""


class Flight:
    def __init__(self) -> None:
        self._asked: dict[int, tuple[Task, str]] = {}
        """By the number in which they were asked for."""
        self._sent: dict[int, Future[list[Group]]] = {}
        self._number = 0
        self.stale: list[dict[str, Any]] = []
        """What was discarded since the last step: its place, age, mean length and pass rate."""

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, tasks: Iterable[Task], step: int) -> None:
        """Its place names the asking for good: step, task, and which one."""
        for task in tasks:
            self._asked[self._number] = (task, f"{step}/{task.id}#{self._number}")
            self._number += 1

    def send(self, ask: Callable[[Task, str], Future[list[Group]]]) -> None:
        """Ask for those that nobody was asked for yet."""
        for number, (task, place) in self._asked.items():
            if number not in self._sent:
                self._sent[number] = ask(task, place)

    async def next(self) -> tuple[int, list[Group]]:
        """The earliest asked of those that are done, or the first to be."""
        done, _ = await asyncio.to_thread(wait, self._sent.values(), LONGEST, FIRST_COMPLETED)
        if not done:
            raise TimeoutError(
                f"none of {len(self._sent)} tasks came within {LONGEST:g} s, the first of them {self._asked[min(self._sent)][1]}"
            )
        number = min(number for number, future in self._sent.items() if future in done)
        groups = self._sent.pop(number).result()
        del self._asked[number]
        return number, groups

    def discarded(self, groups: list[Group], age: int, scores: Scores) -> None:
        for group in groups:
            length = sum(r.length for r in group.rollouts) / len(group.rollouts)
            self.stale.append({"place": group.id, "age": age, "length": length, "rate": scores.rate(group)})

    def to_json(self) -> dict[str, Any]:
        asked = [[number, task.to_json(), place] for number, (task, place) in sorted(self._asked.items())]
        return {"asked": asked, "number": self._number, "stale": self.stale}

    def restore(self, data: Mapping[str, Any]) -> None:
        """As a step left it. Nothing is sent yet."""
        self._asked = {number: (Task.from_json(task), place) for number, task, place in data["asked"]}
        self._number = data["number"]


def age(groups: Iterable[Group], version: int) -> int:
    """How many versions ago the oldest decision was written."""
    wrote = [s.author.version for g in groups for r in g.rollouts for row in r.rows for s in row.segments if s.author is not None]
    return version - min(wrote, default=version)
