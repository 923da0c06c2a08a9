"""Company: samplers that put another reply beside those of a task, or draw by how far the run is.

    WithGold(Independent())      a right text of the source's, `teacher`, in the group: its reward counts
    WithGreedy(Independent())    the greedy reply: a baseline (`over_greedy`)
    Cooled(Independent())        a temperature that moves with the run

Signals on=teacher learn from a right text; the gate `SetAside` keeps a greedy one from being trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from strop.records import Group, Rollout, Row, Sampling, Segment, Task
from strop.seams.context import Ctx, Footprint
from strop.seams.grader import GREEDY
from strop.seams.sampler import Independent
from strop.seams.world import World


@dataclass(frozen=True)
class WithGold:
    """Another sampler's rollouts with the source's right text among them."""

    sampler: Independent = Independent()
    """Whose."""

    @property
    def group_size(self) -> int:
        return self.sampler.n + 1

    @property
    def sampling(self) -> Sampling:
        return self.sampler.sampling

    @property
    def max_tokens(self) -> int:
        return self.sampler.max_tokens

    def sized(self, group: int | None, max_tokens: int | None) -> WithGold:
        """`group` counts what is drawn."""
        return replace(self, sampler=_sized(self.sampler, group, max_tokens))

    def footprint(self, prompt: int) -> Footprint:
        return self.sampler.footprint(prompt)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        (group,) = await self.sampler(task, world, ctx)
        gold = ctx.source.gold(task)
        if gold is None:
            raise ValueError(f"source {ctx.source.name!r} has no gold text for task {task.id}, so none can stand among the replies")
        renderer = ctx.policies["actor"].renderer
        row = Row.of(Segment("prompt", renderer.prompt(task.prompt), "1"), Segment("teacher", renderer.reply(gold), "1.0"))
        taught = Rollout((row,), f"{ctx.place}/gold", provenance="gold", text=gold)
        return [replace(group, rollouts=(*group.rollouts, taught))]


@dataclass(frozen=True)
class WithGreedy:
    """Another sampler's rollouts with the greedy one among them. Training takes no greedy text: give the method the gate `SetAside`."""

    sampler: Independent = Independent()
    """Whose."""
    own_context: ClassVar[bool] = True

    @property
    def group_size(self) -> int:
        return self.sampler.n + 1

    @property
    def sampling(self) -> Sampling:
        return self.sampler.sampling

    @property
    def max_tokens(self) -> int:
        return self.sampler.max_tokens

    def sized(self, group: int | None, max_tokens: int | None) -> WithGreedy:
        """`group` counts the others."""
        return replace(self, sampler=_sized(self.sampler, group, max_tokens))

    def footprint(self, prompt: int) -> Footprint:
        one = self.sampler.footprint(prompt)
        return Footprint(one.positions, one.requests + 1)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        (group,) = await self.sampler(task, world, ctx)
        root = await actor.open(task.prompt, root=ctx.place, ordinal=1)
        surest = Sampling(temperature=0.0)
        node = await actor.generate(root, max=self.sampler.max_tokens, stop=self.sampler.stop, sampling=surest, keep=False)
        best = Rollout((node.row(),), f"{ctx.place}/greedy", stop=node.stop or "finished", provenance=GREEDY, text=actor.text(node))
        return [replace(group, rollouts=(*group.rollouts, best))]


@dataclass(frozen=True)
class Cooled:
    """Another sampler's rollouts, drawn at a temperature on the line between two, by how much of the run is done."""

    sampler: Independent = Independent()
    """Whose."""
    first: float = 1.2
    """At the beginning."""
    last: float = 0.8
    """At the end."""
    own_context: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not min(self.first, self.last) > 0:
            raise ValueError(f"Cooled(first={self.first}, last={self.last}): training draws at temperatures above 0")

    @property
    def group_size(self) -> int:
        return self.sampler.n

    @property
    def sampling(self) -> Sampling:
        """As it begins."""
        return replace(self.sampler.sampling, temperature=self.first)

    @property
    def max_tokens(self) -> int:
        return self.sampler.max_tokens

    def sized(self, group: int | None, max_tokens: int | None) -> Cooled:
        return replace(self, sampler=_sized(self.sampler, group, max_tokens))

    def footprint(self, prompt: int) -> Footprint:
        return self.sampler.footprint(prompt)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        now = round(self.first + (self.last - self.first) * ctx.progress.fraction, 3)
        return await replace(self.sampler, sampling=replace(self.sampler.sampling, temperature=now))(task, world, ctx)


def _sized(sampler: Independent, group: int | None, max_tokens: int | None) -> Independent:
    return replace(sampler, n=group or sampler.n, max_tokens=max_tokens or sampler.max_tokens)
