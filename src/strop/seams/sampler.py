"""Sampler: grows the rollouts of one task, here or where the engine is.

A coroutine that gets a task and gives its groups, mostly one. It asks the policy by a handle, `ctx.policies["actor"]`: `open` a prompt,
`generate` under a node, `extend` a node with text. A rollout is a row of the nodes it ended with (`node.row()`), the text that was
written (`actor.text(node)` is that of its last action), why it ended (`node.stop`), and an id that begins with `ctx.place`.

What it may use: the task's prompt, `ctx.rng(name)` for noise of its own, and what came back from the policy. What ends first may not
decide anything, since that differs from run to run: `asyncio.gather` keeps the order in which was asked. A recipe's `group` and
`max_tokens` are put into its fields `n` and `max_tokens`, or given to a method `sized(group, max_tokens)` that returns another one.

Attributes say what holds of it, where they are there and true: `own_context`, its rows are the engine's own nodes and its groups' ids the
roots they were opened with, so that tripwires may draw again; `moves`, text that was joined stands elsewhere than it was drawn; `nested`,
each rollout names its sub-groups, `keys["nested"]`, outermost first; `grades`, channels that stand in its rollouts' `keys["scores"]`;
`opening(task, world)`, the first message where it is longer than the task's prompt, which its room is reckoned for; `room(limit)`, of so
many positions those that this message may take, where more than one reply follows it; `own_way`, held-out
tasks are asked by it too, since its replies are not written in one go; `own_world`, it brings what answers between turns, and a world
would answer nobody; `repeats`, "exact" where nothing is said of it, and "no" where what it grows may come out otherwise the next time (as
of a world); `evaluates`, it asks for evaluations alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from strop.records import Group, Rollout, Sampling, Scores, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.episode import Episodes
from strop.seams.part import added
from strop.seams.world import World


class Sampler(Protocol):
    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        """The groups of one task. `ctx.place` names this asking: it is the `root` of what is opened and begins every id."""
        ...

    def footprint(self, prompt: int) -> Footprint:
        """The most it can need at once, for a prompt of this many tokens."""
        ...

    @property
    def group_size(self) -> int:
        """The fewest rollouts of a group: what a credit that compares siblings asks for."""
        ...


@runtime_checkable
class Grows(Protocol):
    """An engine whose replicas are elsewhere: a whole task goes there and its groups come back, one message each way."""

    def ask(self, sampler: Sampler, task: Task, world: World | None, ctx: Ctx, *, step: int | None = None) -> Future[list[Group]]:
        """It goes on whatever its caller does meanwhile. `step` keys the noise; None: the engine's own."""
        ...

    def graded(self, groups: Sequence[Group]) -> Mapping[str, Scores]:
        """The source's verdicts that samplers asked for where these groups grew, by group: each is told once."""
        ...


def sized(sampler: Any, group: int | None, max_tokens: int | None) -> Any:
    """So many rollouts a task and so long a reply, where one is given; a sampler whose fields are not these says itself what they are."""
    if hasattr(sampler, "sized"):
        return sampler.sized(group, max_tokens)
    return replace(sampler, n=group or sampler.n, max_tokens=max_tokens or sampler.max_tokens)


def as_taught(sampler: Any, feed: Any) -> Any:
    """As a run is asked that learned from this feed, where the sampler knows a difference."""
    return sampler.taught(feed) if hasattr(sampler, "taught") else sampler


async def grown(sampler: Sampler, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
    """The groups of one task: elsewhere, or here with all the room it may need, waiting while it holds none."""
    actor = ctx.policies["actor"]
    if isinstance(actor.engine, Grows):
        if (asked := getattr(sampler, "policy", "actor")) != "actor":
            raise ValueError(f"a sampler that asks the policy {asked!r} grows its tasks where that is, and a replica has the actor alone")
        return await asyncio.wrap_future(actor.engine.ask(sampler, task, world, ctx))
    plain, shown = task, tuple[int, ...]()
    opened: Callable[[Task, World | None], str] | None = getattr(sampler, "opening", None)
    telling: Callable[[Handle, Task, World | None], Handle] | None = getattr(sampler, "telling", None)
    renderer = (actor if telling is None else telling(actor, task, world)).renderer

    def first(task: Task) -> int:
        """Tokens of its first message."""
        return len(renderer.prompt(task.prompt if opened is None else opened(task, world)))

    if ctx.remind is not None:
        room: Callable[[int], int] = getattr(sampler, "room", lambda limit: limit - getattr(sampler, "max_tokens", 0))
        beside = first(task) - len(actor.renderer.prompt(task.prompt))
        task, shown = ctx.remind(task, ctx, room(actor.engine.limit) - beside)
    async with actor.engine.admit(sampler.footprint(first(task))):
        groups = await sampler(task, world, ctx)
    return groups if ctx.remind is None else [_reminded(group, plain, shown) for group in groups]


def _reminded(group: Group, task: Task, shown: Sequence[int]) -> Group:
    """A group of the task, which was asked behind those cases."""
    if group.task.id != task.id:
        return group
    return replace(group, task=task, rollouts=tuple(replace(r, keys={**r.keys, "read": [*shown]}) for r in group.rollouts))


@dataclass(frozen=True)
class Independent:
    """n rollouts that know nothing of each other, one row each: replies, or episodes of which everything stays (`Episodes`)."""

    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 128
    """Per turn; part of the method's identity, since what is cut earns what a cut answer earns."""
    turns: int = 1
    """Actions a rollout; above 1 a world answers between them."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end an action, beside the template's own."""
    observation: int = added(0, shown=False)
    """Longest answer of the world, in tokens with what the template puts around it: room is kept for it."""
    own_context: ClassVar[bool] = True
    """Rows are the engine's own nodes, in the context they were drawn in, and a group's id is the root of its noise."""

    def __post_init__(self) -> None:
        for name in ("n", "max_tokens", "turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"Independent({name}={getattr(self, name)}): needs at least 1")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        own = (self.max_tokens + self.observation) * self.turns if self.turns > 1 else 0
        return Footprint(positions=prompt + self.n * own, requests=self.n)

    def room(self, limit: int) -> int:
        """Of so many positions those that the first message may take."""
        return limit - (self.max_tokens + self.observation) * self.turns

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is not None:
            how = Episodes(self.n, self.turns, self.max_tokens, observation=0, sampling=self.sampling, stop=self.stop)
            return await how(task, world, ctx)
        if self.turns > 1:
            raise ValueError(f"Independent(turns={self.turns}) needs a world that answers between turns: environment=…")
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        asked = (actor.generate(root, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=False) for _ in range(self.n))
        nodes = await asyncio.gather(*asked)
        made = (Rollout((n.row(),), f"{ctx.place}/{i}", stop=n.stop or "finished", text=actor.text(n)) for i, n in enumerate(nodes))
        return [Group(task, tuple(made), id=ctx.place)]
