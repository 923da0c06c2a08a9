"""Feed: what supplies groups to a step. The step is the same whatever stands here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from strop.records import Group, Rollout, Row, Segment, Task
from strop.seams.context import Ctx
from strop.seams.sampler import Environment, Sampler, grown

Pick = Callable[[int], list[Task]]


class Feed(Protocol):
    @property
    def fresh(self) -> bool:
        """Whether what it gives was sampled in this step by the policy that learns."""
        ...

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

    @property
    def fresh(self) -> bool:
        return self.ahead == 0

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        places: list[tuple[Task, str]] = []
        for task in pick(want):
            places.append((task, f"{task.id}#{seen[task.id]}"))
            seen[task.id] += 1
        made = await asyncio.gather(*(grown(sampler, task, environment, ctx.at(place)) for task, place in places))
        return [group for groups in made for group in groups]


@dataclass(frozen=True)
class Recorded:
    """Groups that exist already, all of them in the first round: a step that was committed, or somebody else's rollouts."""

    groups: tuple[Group, ...]

    @property
    def fresh(self) -> bool:
        return False

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        if seen["recorded"]:
            return []
        seen["recorded"] += 1
        return list(self.groups)


@dataclass(frozen=True)
class Demos:
    """Demonstrations alone, one a task: supervised learning. The sampler is not asked."""

    @property
    def fresh(self) -> bool:
        return False

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        return [demo(task, f"demo/{task.id}#{number}", ctx) for number, task in enumerate(pick(want))]


@dataclass(frozen=True)
class WithDemos:
    """Another feed's groups and, once a step, demonstrations, role `demo`.

    A signal with `on=teacher` learns from them (`cross_entropy`: a supervised share beside reinforcement); signals on
    `actions` do not see them.
    """

    feed: Feed = Rollouts()
    demos: int = 8
    VERSION: ClassVar[int] = 2

    @property
    def fresh(self) -> bool:
        return self.feed.fresh

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        groups = await self.feed.take(pick, want, sampler, environment, ctx, seen)
        if not seen["demos"]:
            seen["demos"] += 1
            groups += [demo(task, f"demo/{task.id}#{number}", ctx) for number, task in enumerate(pick(self.demos))]
        return groups


def demo(task: Task, place: str, ctx: Ctx) -> Group:
    """The source's gold text as a teacher segment. It has no log-probability of ours, and none is made up."""
    gold = ctx.source.gold(task)
    if gold is None:
        raise ValueError(f"source {ctx.source.name!r} has no gold text for task {task.id}, so there is nothing to demonstrate")
    renderer = ctx.policies["actor"].renderer
    prompt = Segment("prompt", renderer.prompt(task.prompt), "0")
    taught = Segment("teacher", renderer.reply(gold), "0.0")
    rollout = Rollout((Row.of(prompt, taught),), f"{place}/0", provenance="gold", text=gold)
    return Group(task, (rollout,), role="demo", id=place)
