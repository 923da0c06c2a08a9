"""Feed: what supplies groups to a step. The step is the same whatever stands here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from strop.records import Group, Task
from strop.seams.context import Ctx
from strop.seams.sampler import Environment, Sampler

Pick = Callable[[int], list[Task]]


class Feed(Protocol):
    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        """Groups for `want` tasks in canonical order; `seen` counts how often each task was asked for in this step."""
        ...


@dataclass(frozen=True)
class Rollouts:
    """Fresh ones, grown by the method's sampler with the weights as they stand."""

    ahead: int = 0

    def __post_init__(self) -> None:
        if self.ahead:
            raise NotImplementedError("not built yet: Rollouts(ahead > 0), sampling ahead of the learner. Use ahead=0.")

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        places: list[tuple[Task, str]] = []
        for task in pick(want):
            places.append((task, f"{task.id}#{seen[task.id]}"))
            seen[task.id] += 1
        grown = await asyncio.gather(*(self._admitted(task, place, sampler, environment, ctx) for task, place in places))
        return [group for groups in grown for group in groups]

    async def _admitted(self, task: Task, place: str, sampler: Sampler, environment: Environment | None, ctx: Ctx) -> list[Group]:
        """One task with all the room it may need, or waiting while it holds none."""
        actor = ctx.policies["actor"]
        async with actor.engine.admit(sampler.footprint(len(actor.renderer.prompt(task.prompt)))):
            return await sampler(task, environment, ctx.at(place))


@dataclass(frozen=True)
class Swarm:
    """Groups shared by other trainers."""

    def __post_init__(self) -> None:
        raise NotImplementedError("not built yet: Swarm, groups shared by other trainers")
