"""Curriculum: picks the next tasks. What it remembers is plain data, saved with the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.source import Source

State = dict[str, Any]


class Curriculum(Protocol):
    def init(self, source: Source) -> State: ...

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]: ...

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        """Called on every graded group, before the gate, in canonical order."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every task drawn independently; the same one may come twice."""

    def init(self, source: Source) -> State:
        return {"drawn": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        start = int(state["drawn"])
        span = ctx.source.size or 2**31
        tasks = [ctx.source.task("train", ctx.seed, keyed(ctx.seed, "uniform", start + i).randrange(span)) for i in range(n)]
        return tasks, {"drawn": start + n}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state


@dataclass(frozen=True)
class Epochs:
    """Every task once before any comes again, each epoch in an order of its own. A stream never comes round."""

    def init(self, source: Source) -> State:
        return {"drawn": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        start, size = int(state["drawn"]), ctx.source.size
        numbers: list[int] = []
        orders: dict[int, list[int]] = {}
        for at in range(start, start + n):
            if size is None:
                numbers.append(at)
                continue
            epoch, place = divmod(at, size)
            if epoch not in orders:
                orders[epoch] = list(range(size))
                keyed(ctx.seed, "epoch", epoch).shuffle(orders[epoch])
            numbers.append(orders[epoch][place])
        return [ctx.source.task("train", ctx.seed, number) for number in numbers], {"drawn": start + n}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state
