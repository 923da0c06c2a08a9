"""pool: a finite set of training tasks drawn from other sources, which take turns.

    pool:320:chain:steps=1+chain:steps=4+chain:steps=10

A curriculum that keeps statistics of every task needs an end to them. Held-out tasks take turns too and never end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from strop.records import Task
from strop.seams.source import Graded, Source, Split
from strop.tasks.shots import worked

MOST = 20
"""Draws per task of the pool before its sources count as exhausted."""


@dataclass(frozen=True)
class Pool:
    """The first `size` different training tasks of each seed; `members` are source texts."""

    size: int
    members: tuple[str, ...]
    name: str = field(default="pool", init=False)
    sources: tuple[Source, ...] = field(default=(), init=False, repr=False, compare=False)

    @property
    def sizes(self) -> dict[str, int | None]:
        return {"train": self.size, "test": None}

    def __post_init__(self) -> None:
        from strop.tasks import source

        if self.size < 1 or not self.members:
            raise ValueError(f"pool: needs at least one task and one source, got {self.size} tasks of {list(self.members)}")
        object.__setattr__(self, "sources", tuple(source(text) for text in self.members))

    def task(self, split: Split, seed: int, index: int) -> Task:
        if split == "train":
            return different(self, seed)[index % self.size]
        turn, member = divmod(index, len(self.sources))
        return self.sources[member].task(split, seed, turn)

    def owner(self, task: Task) -> Source:
        """Whoever made it; sources of one name grade alike."""
        return next(source for source in self.sources if source.name == task.source)

    def grade(self, task: Task, text: str) -> Graded:
        return self.owner(task).grade(task, text)

    def gold(self, task: Task) -> str | None:
        return self.owner(task).gold(task)

    def example(self, task: Task) -> str | None:
        return worked(self.owner(task), task)


@lru_cache(maxsize=8)
def different(pool: Pool, seed: int) -> tuple[Task, ...]:
    """The pool under one seed: a small source may draw a problem again, which is left out here."""
    found: dict[str, Task] = {}
    for asked in range(pool.size * MOST):
        if len(found) == pool.size:
            return tuple(found.values())
        turn, member = divmod(asked, len(pool.sources))
        task = pool.sources[member].task("train", seed, turn)
        found.setdefault(task.id, task)
    raise ValueError(f"pool: {list(pool.members)} have too few different tasks for a pool of {pool.size}. Make them harder or it smaller.")


def pool(rest: str) -> Pool:
    """`SIZE:SOURCE+SOURCE…`"""
    size, _, members = rest.partition(":")
    if not size.strip().isdecimal() or not members.strip():
        raise ValueError(f"a pool is written pool:SIZE:SOURCE+SOURCE…, as in pool:320:chain:steps=2+chain:steps=8; got 'pool:{rest}'")
    return Pool(int(size), tuple(text.strip() for text in members.split("+")))
