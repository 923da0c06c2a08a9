"""Sampler: grows the rollouts of one task, here or where the engine is.

A coroutine that gets a task and gives its groups, mostly one. It asks the policy by a handle, `ctx.policies["actor"]`: `open` a prompt,
`generate` under a node, `extend` a node with text. A rollout is a row of the nodes it ended with (`node.row()`), the text that was
written (`actor.text(node)` is that of its last action), why it ended (`node.stop`), and an id that begins with `ctx.place`.

What it may use: the task's prompt, `ctx.rng(name)` for noise of its own, and what came back from the policy. What ends first may not
decide anything, since that differs from run to run: `asyncio.gather` keeps the order in which was asked. A recipe's `group` and
`max_tokens` are put into its fields `n` and `max_tokens`, or given to a method `sized(group, max_tokens)` that returns another one.

Attributes say what holds of it, where they are there and true: `own_context`, its rows are the engine's own nodes and its groups' ids the
roots they were opened with, so that tripwires may draw again; `moves`, text that was joined stands elsewhere than it was drawn; `nested`,
each rollout names its sub-groups, `keys["nested"]`, outermost first; `own_way`, held-out tasks are asked by it too, since its replies are
not written in one go; `evaluates`, it asks for evaluations alone.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, cast, get_args, runtime_checkable

from strop.records import Group, Rollout, Sampling, Scores, Stop, Task, canonical
from strop.seams.context import Ctx, Footprint
from strop.seams.engine import Node
from strop.seams.part import added


@dataclass(frozen=True)
class Reply:
    """What the world answers to one action."""

    observation: str
    """Shown to the policy as the next message of its user. A text, also where the world is done."""
    done: bool = False
    """Nothing more is asked; what the policy wrote stands as it is."""
    stop: Stop = "finished"
    """Why it is done: the rollout's own ending."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON for graders and readers: it stands in the rollout's `keys["facts"]`, one of each turn."""

    def __post_init__(self) -> None:
        if not isinstance(self.observation, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a world's observation is a text, got {self.observation!r:.60}")
        if self.stop not in get_args(Stop):
            raise ValueError(f"an episode ends by one of {', '.join(get_args(Stop))}, got {self.stop!r}")
        try:
            canonical(dict(self.facts))
        except (TypeError, ValueError) as error:
            raise ValueError(f"a world's facts are plain JSON, since they are kept with the rollout: {error}") from error


class Environment(Protocol):
    """World: what answers the policy between turns. Two methods, and a state that is a value.

    `reply` gives back the next state and changes nothing: a rollout that forks asks the same state again, and a world that lives in
    another process is sent its state. What the policy did wrong is an observation, or an end with a word for it (`stop="format"`); what
    the world itself fails at is `Reply("", done=True, stop="error", facts={"error": why})`: the rollout is not graded. One that raises
    stops the run.

    The source grades `rollout.text`: all actions with the observations between them, a line each. A world has no say in the reward but by
    its facts, which a grader of the method's own may read. It goes with a sampler of several turns that keeps room for its answers,
    `Independent(turns=2, observation=48)`. Held-out evaluation asks in it too. One that offers tools notes of each turn `tool`, the one
    that was called or nothing, and `ok`, whether the call was a good one.
    """

    def start(self, task: Task) -> Any:
        """The episode's state: a value; `reply` returns the next one. `task.needs` is what the source gave its grader."""
        ...

    async def reply(self, state: Any, action: str) -> tuple[Any, Reply]:
        """The next state, and what the policy reads. `action` is the text of its last reply."""
        ...


async def replied(environment: Environment, state: Any, action: str) -> tuple[Any, Reply]:
    """What a world answers, which may be anybody's: refused in words where it is no answer."""
    given: Any = environment.reply(state, action)
    given = await given if inspect.isawaitable(given) else "what is no `async def`"
    if not isinstance(given, tuple) or len(cast("tuple[Any, ...]", given)) != 2 or not isinstance(given[1], Reply):
        raise ValueError(f"the world {type(environment).__name__}: reply gives {given!r:.80}, and it is (state, Reply(…))")
    return cast("tuple[Any, Reply]", given)


class Sampler(Protocol):
    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
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

    def ask(
        self, sampler: Sampler, task: Task, environment: Environment | None, ctx: Ctx, *, step: int | None = None
    ) -> Future[list[Group]]:
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


async def grown(sampler: Sampler, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
    """The groups of one task: elsewhere, or here with all the room it may need, waiting while it holds none."""
    actor = ctx.policies["actor"]
    if isinstance(actor.engine, Grows):
        if (asked := getattr(sampler, "policy", "actor")) != "actor":
            raise ValueError(f"a sampler that asks the policy {asked!r} grows its tasks where that is, and a replica has the actor alone")
        return await asyncio.wrap_future(actor.engine.ask(sampler, task, environment, ctx))
    async with actor.engine.admit(sampler.footprint(len(actor.renderer.prompt(task.prompt)))):
        return await sampler(task, environment, ctx)


@dataclass(frozen=True)
class Independent:
    """n rollouts that know nothing of each other, one row each."""

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
    """Longest answer of the environment, in tokens with what the template puts around it: room is kept for it."""
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
                state, reply = await replied(environment, state, actor.text(node))
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
