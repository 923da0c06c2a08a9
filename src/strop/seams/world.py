"""World: what answers the policy between turns. Two methods, and a state that is a value.

A class with `start` and `reply` is a world. `reply` gives back the next state and changes nothing: a rollout that forks asks the same state
again, and a world in another process is sent its state. What the policy did wrong is an observation, or an end with a word for it
(`stop="format"`); what the world itself fails at is `Reply("", done=True, stop="error", facts={"error": why})`: the rollout is not graded.
One that raises stops the run.

It goes with a sampler of several turns that keeps room for its answers, `Episodes(turns=4, observation=48)`. Held-out evaluation asks in it
too. The source grades `rollout.text`, all actions with the observations between them, a line each; a world that grades says `scores` with
its last answer, and they stand in place of the source's. A source may bring the world of its tasks as its `world`; the method's own goes
first.

What a world may have besides: `tools`, what may be called in it, where the sampler reads calls, or `tools(task)`, where each task has its
own; `documents(task)`, what of them is shown, where that is something else; `asks`, the names of policies that it asks, of which it gets
handles; `seats`, the names of its scripts whose place a policy may take, and `seating(names)`, itself with policies there; `async
show(state)`, the first message, where it is not the task's; `expert(state)`, what a demonstration says next, a text or a call; `async
reply_many(asked)`, several `(state, said, ask)` answered together, in their order and each as `reply` answers it alone: whoever waits at
one time is asked so; `within(weakest)` and `stands()`, where it executes what it is told: itself behind other walls, and those that hold on
this machine, which a run tries and keeps; `took()`, seconds of every call since it was asked last, by tool; `repeats`, "exact" where
nothing is said of it: at "checked" a state may have to be told again from its beginning, and what is answered then is compared
(`strop.worlds.live`); at "no" the same words may be answered otherwise, so nothing forks, nothing is proven by asking again, and a run is
the same given its own records alone (grade `logged`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast, get_args

from strop.records import Rollout, Stop, Task, canonical
from strop.seams.context import Handle, keyed

Repeats = Literal["exact", "checked", "no"]
"""Whether a world answers the same when it is asked the same again."""


@dataclass(frozen=True)
class Tool:
    """Something that can be called in a world."""

    name: str
    """How a call names it."""
    description: str
    """What the policy reads of it."""
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON schema of its arguments, an object."""


@dataclass(frozen=True)
class Call:
    """A call that was read off an action, with arguments that keep to the tool's schema."""

    tool: str
    """Its name."""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON."""


@dataclass(frozen=True)
class Broken:
    """What was meant to be a call and is none: the policy's fault, in words it may read."""

    why: str
    """What is wrong with it."""
    tool: str = field(default="", compare=False)
    """The tool that it names, where there is one of that name."""


@dataclass(frozen=True)
class Said:
    """One action, as a world hears it."""

    text: str
    """All of it."""
    calls: tuple[Call | Broken, ...] = ()
    """What was read off it, where the sampler reads calls."""


@dataclass(frozen=True)
class Called:
    """What became of one call."""

    tool: str
    """Which; empty where nobody could tell."""
    ok: bool
    """Whether it was a good one."""
    why: str = ""
    """What was wrong with it."""


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
    calls: tuple[Called, ...] = ()
    """What became of each call of this turn: in `keys["calls"]`, a list of each turn."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """The verdict, with the last answer: channels, `outcome` among them. They stand in `keys["scores"]`."""

    def __post_init__(self) -> None:
        if not isinstance(self.observation, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a world's observation is a text, got {self.observation!r:.60}")
        if self.stop not in get_args(Stop):
            raise ValueError(f"an episode ends by one of {', '.join(get_args(Stop))}, got {self.stop!r}")
        try:
            canonical([dict(self.facts), dict(self.scores), [[call.tool, call.ok, call.why] for call in self.calls]])
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"a world's facts, scores and calls are plain JSON, since they are kept with the rollout: {error}") from error


@dataclass(frozen=True)
class Seat:
    """Where an episode sits: what its world may draw from, and how long it lasts. Plain data, so that it can be sat in again."""

    group: str
    """Key of the noise that siblings share."""
    own: str
    """Key of the noise that is this episode's alone; the `root` of what its world opens."""
    turns: int = 1
    """Actions it has at most; where a sampler leaves its end to the world (`Between(ends=False)`), the number that the world goes by."""

    def shared(self, name: str) -> Random:
        """A generator that its siblings get too."""
        return keyed(self.group, name)

    def rng(self, name: str) -> Random:
        """A generator of its own."""
        return keyed(self.own, name)


class World(Protocol):
    def start(self, task: Task, seat: Seat) -> Any:
        """The episode's state: a value; `reply` returns the next one. `task.needs` is what the source gave its grader."""
        ...

    async def reply(self, state: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
        """The next state, and what the policy reads. `ask` has the policies that it names in `asks`."""
        ...


async def replied(world: World, state: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
    """What a world answers, which may be anybody's: refused in words where it is no answer. One that answers many at once is asked with all
    who wait for it."""
    if hasattr(world, "reply_many"):
        return await _Waiting.at(world).ask((state, said, ask))
    given: Any = world.reply(state, said, ask)
    return an_answer(world, await given if inspect.isawaitable(given) else "what is no `async def`")


def an_answer(world: Any, given: Any) -> tuple[Any, Reply]:
    """What a world gave, which is one."""
    if not isinstance(given, tuple) or len(cast("tuple[Any, ...]", given)) != 2 or not isinstance(given[1], Reply):
        raise ValueError(f"the world {type(world).__name__}: reply gives {given!r:.80}, and it is (state, Reply(…))")
    return cast("tuple[Any, Reply]", given)


Waits = tuple[Any, Said, Mapping[str, Handle]]


class _Waiting:
    """Those who wait for one world's answer at one time."""

    here: ClassVar[dict[tuple[int, int], _Waiting]] = {}

    def __init__(self, world: Any, key: tuple[int, int]):
        self.world, self.key = world, key
        self.those: list[tuple[Waits, asyncio.Future[tuple[Any, Reply]]]] = []

    @classmethod
    def at(cls, world: Any) -> _Waiting:
        key = (id(asyncio.get_running_loop()), id(world))
        return cls.here.setdefault(key, cls(world, key))

    async def ask(self, one: Waits) -> tuple[Any, Reply]:
        future: asyncio.Future[tuple[Any, Reply]] = asyncio.get_running_loop().create_future()
        self.those.append((one, future))
        if len(self.those) == 1:
            self.asking = asyncio.ensure_future(self._ask())
        return await future

    async def _ask(self) -> None:
        """Waits until nobody new has come in one turn of the loop, and asks for all."""
        count = 0
        try:
            while count < len(self.those):
                count = len(self.those)
                await asyncio.sleep(0)
        finally:
            del self.here[self.key]
        left = [(one, future) for one, future in self.those if not future.done()]
        try:
            given: Any = await self.world.reply_many([one for one, _ in left])
            if not isinstance(given, Sequence) or len(cast("Sequence[Any]", given)) != len(left):
                raise ValueError(f"the world {type(self.world).__name__}: reply_many gives {given!r:.80}, and {len(left)} were asked for")
            answers = [an_answer(self.world, each) for each in cast("Sequence[Any]", given)]
        except BaseException as error:
            for _, future in left:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), made in zip(left, answers, strict=True):
            if not future.done():
                future.set_result(made)


S = TypeVar("S")


def answered(state: S, said: Said, call: Callable[[S, Call], tuple[S, str, Called]]) -> tuple[S, Reply]:
    """What a world answers to an action with calls: to one after the other, a line each. `call` gives the next state, what is told and what
    became of it; a broken one is told why it is none."""
    told, became = list[str](), list[Called]()
    for one in said.calls:
        if isinstance(one, Broken):
            line, called = f"error: {one.why}", Called("", False, one.why)
        else:
            state, line, called = call(state, one)
        told.append(line)
        became.append(called)
    return state, Reply("\n".join(told), calls=tuple(became))


def world_of(environment: World | None, source: Any) -> World | None:
    """The method's own world, else the one that the source brings."""
    return environment if environment is not None else getattr(source, "world", None)


def tools_of(world: World | None, task: Task) -> Sequence[Tool]:
    """What may be called in it: `tools`, of all its tasks or of this one."""
    found: Any = getattr(world, "tools", ())
    return cast("Sequence[Tool]", found(task) if callable(found) else found)


def documents_of(world: World | None, task: Task) -> Sequence[Tool]:
    """What is shown of them: they are, where the world does not show something else."""
    shown: Callable[[Task], Sequence[Tool]] | None = getattr(world, "documents", None)
    return tools_of(world, task) if shown is None else shown(task)


def seated(world: World, names: Iterable[str]) -> World:
    """The same with policies of these names in the places of its scripts, as far as it has such and does not ask them already."""
    there: Any = world
    new = [name for name in names if name in getattr(world, "seats", ()) and name not in getattr(world, "asks", ())]
    return there.seating(tuple(new)) if new else world


def asked(world: World, policies: Mapping[str, Handle]) -> dict[str, Handle]:
    """Handles of the policies that a world asks."""
    return {name: policies[name] for name in getattr(world, "asks", ())}


def calls(rollout: Rollout) -> list[tuple[str, bool, str]]:
    """(tool, ok, why) of all calls of a rollout, in order."""
    return [tuple(call) for turn in rollout.keys.get("calls", ()) for call in turn]


async def verdict(
    world: World, task: Task, seat: Seat, said: Sequence[Said], ask: Mapping[str, Handle] | None = None
) -> Mapping[str, float]:
    """The scores again, of what was said alone: the world plays the episode over. Nothing where it was not over by then."""
    state, reply = world.start(task, seat), Reply("")
    for one in said:
        state, reply = await replied(world, state, one, ask or {})
    return reply.scores
