"""Sampler: grows the rollouts of one task, here or where the engine is. Environment: answers the policy between turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from strop.records import Group, Rollout, Sampling, Stop, Task
from strop.seams.context import Ctx, Footprint
from strop.seams.engine import Node
from strop.seams.part import added


@dataclass(frozen=True)
class Reply:
    """What the world answers to one action."""

    observation: str
    done: bool = False
    stop: Stop = "finished"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Environment(Protocol):
    def start(self, task: Task) -> Any:
        """The episode's state: a value; `reply` returns the next one."""
        ...

    async def reply(self, state: Any, action: str) -> tuple[Any, Reply]: ...


class Sampler(Protocol):
    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]: ...

    def footprint(self, prompt: int) -> Footprint:
        """The most it can need at once, for a prompt of this many tokens."""
        ...

    @property
    def group_size(self) -> int: ...


@runtime_checkable
class Grows(Protocol):
    """An engine whose replicas are elsewhere: a whole task goes there and its groups come back, one message each way."""

    def ask(
        self, sampler: Sampler, task: Task, environment: Environment | None, ctx: Ctx, *, step: int | None = None
    ) -> Future[list[Group]]:
        """It goes on whatever its caller does meanwhile. `step` keys the noise; None: the engine's own."""
        ...


async def grown(sampler: Sampler, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
    """The groups of one task: elsewhere, or here with all the room it may need, waiting while it holds none."""
    actor = ctx.policies["actor"]
    if isinstance(actor.engine, Grows):
        return await asyncio.wrap_future(actor.engine.ask(sampler, task, environment, ctx))
    async with actor.engine.admit(sampler.footprint(len(actor.renderer.prompt(task.prompt)))):
        return await sampler(task, environment, ctx)


@dataclass(frozen=True)
class Independent:
    """n rollouts that know nothing of each other, one row each."""

    n: int = 8
    max_tokens: int = 128
    """Per turn; part of the method's identity, since what is cut earns what a cut answer earns."""
    turns: int = 1
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    observation: int = added(0, shown=False)
    """Longest answer of the environment, in tokens with what the template puts around it: room is kept for it."""
    own_context: ClassVar[bool] = True
    """Rows are the engine's own nodes, in the context they were drawn in, and a group's id is the root of its noise."""

    def __post_init__(self) -> None:
        for name in ("n", "max_tokens", "turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"Independent({name}={getattr(self, name)}): needs at least 1")
        if self.sampling.top_p < 1 or self.sampling.top_k or self.sampling.temperature <= 0:
            raise ValueError(
                f"training on {self.sampling} would need the support of every step: top_p below 1, top_k and greedy decoding "
                "are for evaluation. Train with top_p=1, top_k=0 and a temperature above 0."
            )

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        own = (self.max_tokens + self.observation) * self.turns if self.turns > 1 else 0
        return Footprint(positions=prompt + self.n * own, requests=self.n)

    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
        if self.turns > 1 and environment is None:
            raise ValueError(f"Independent(turns={self.turns}) needs an environment that answers between turns")
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        grown = await asyncio.gather(*(self._episode(task, environment, root, ctx, i) for i in range(self.n)))
        return [Group(task, tuple(grown), id=ctx.place)]

    async def _episode(self, task: Task, environment: Environment | None, root: Node, ctx: Ctx, ordinal: int) -> Rollout:
        actor = ctx.policies["actor"]
        node = await actor.generate(
            root, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=environment is not None and self.turns > 1
        )
        text, facts, stop = actor.text(node), list[Mapping[str, Any]](), node.stop or "finished"
        if environment is not None:
            state = environment.start(task)
            for turn in range(self.turns):
                state, reply = await environment.reply(state, actor.text(node))
                facts.append(dict(reply.facts))
                if reply.done:
                    stop = reply.stop
                    break
                if turn + 1 == self.turns:
                    stop = "turns"
                    break
                node = await actor.extend(node, reply.observation)
                node = await actor.generate(node, max=self.max_tokens, stop=self.stop, sampling=self.sampling)
                text += "\n" + reply.observation + "\n" + actor.text(node)
        keys: dict[str, Any] = {"facts": facts} if facts else {}
        return Rollout((node.row(),), f"{ctx.place}/{ordinal}", stop=stop, keys=keys, text=text)
