"""Episodes: rollouts of several turns in a world, each in as many rows as its window makes of it.

    opening      the world's first message, or the task's prompt, with the tools and the turns where they are shown
    turn         an action, drawn or played -> what was called -> the world's answer -> the window says where the row goes on

Whoever acts and whatever is forgotten, the loop is one: `Independent(turns=…)` is it with everything kept, and `Played` is it with a
script in the policy's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

from strop.records import Group, Rollout, Row, Sampling, Segment, SegmentId, Stop, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.engine import Counters, Node, called
from strop.seams.part import added, nearest
from strop.seams.window import APPEND, Append, Past, Turn, Window, alone, filled, fitted, written
from strop.seams.world import Broken, Call, Said, Seat, Tool, World, asked, documents_of, replied, tools_of

Act = Callable[[Node, Any, int], Awaitable[Node]]
"""Writes an action under a node, in a state of the world, at a turn that is counted from 0."""


class Calls(Protocol):
    """How calls are written: shown to a policy, and read off what it says."""

    def shown(self, tools: Sequence[Tool]) -> str:
        """What a policy reads of them, in its first message."""
        ...

    def written(self, call: Call) -> str:
        """A call as this format writes it: what `read` reads."""
        ...

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        """All calls of an action, in order. It sees what a policy writes, so it may meet any text at all, and never raises for one."""
        ...


@dataclass(frozen=True)
class Between:
    """So many turns by chance, from `low` to `high`; or as many as a task says itself, as `needs["turns"]`."""

    low: int
    """The fewest."""
    high: int
    """The most."""
    per: str = "group"
    """group: siblings have as many. rollout: each its own."""
    says: str = ""
    """What the first message says of it, {} being the number; nothing where it is empty."""
    each: str = added("")
    """What every later message begins with: its turn and the number, where the two {} stand."""
    ends: bool = added(True)
    """The number ends the episode. False: the world is told it, and ends by a rule of its own; `high` turns are the most there are."""

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"Between({self.low}, {self.high}): from at least 1 to as many or more")
        if self.per not in PER:
            raise ValueError(f"Between(per={self.per!r}): {' or '.join(PER)}. {nearest(self.per, PER)}")
        if self.says and self.says.count("{}") != 1:
            raise ValueError(f"Between(says={self.says!r}): {{}} once, where the number stands")
        if self.each and self.each.count("{}") != 2:
            raise ValueError(f"Between(each={self.each!r}): {{}} twice, where the turn and the number stand")

    def drawn(self, task: Task, rng: Random) -> int:
        """The number, of a task or by chance."""
        if (said := task.needs.get("turns")) is None:
            return rng.randint(self.low, self.high)
        if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= self.high:
            raise ValueError(f"a task says that it has {said!r} turns, and Between(high={self.high}) allows from 1 to as many")
        return said


PER = ("group", "rollout")


@dataclass(frozen=True)
class Episodes:
    """n episodes of a task that know nothing of each other."""

    n: int = 8
    """Rollouts a task."""
    turns: int | Between = 4
    """Actions a rollout, at most."""
    max_tokens: int = 128
    """Of an action."""
    observation: int = 128
    """Longest answer of the world, in tokens with what the template puts around it; a longer one is cut there, and says so. 0: no room is
    kept, and none is cut."""
    window: Window = APPEND
    """What of an episode is still seen."""
    calls: Calls | None = None
    """How calls are written, in a world with tools."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end an action, beside the template's own."""
    own_context: ClassVar[bool] = True
    """Rows are trained in the context they were drawn in, and a group's id is the root of its noise."""

    def __post_init__(self) -> None:
        for name, least in (("n", self.n), ("max_tokens", self.max_tokens), ("turns", self.most_turns)):
            if least < 1:
                raise ValueError(f"Episodes({name}={least}): needs at least 1")
        limit = getattr(self.window, "limit", 0)
        if limit and limit <= self.max_tokens + self.observation:
            raise ValueError(
                f"Episodes: a row of {limit} tokens holds no prompt beside an answer of {self.observation} and an action of "
                f"{self.max_tokens}. Raise the window's limit, or lower observation or max_tokens."
            )

    @property
    def most_turns(self) -> int:
        """The most that a rollout can have."""
        return self.turns.high if isinstance(self.turns, Between) else self.turns

    @property
    def group_size(self) -> int:
        return self.n

    @property
    def policy(self) -> str:
        """Whom its window asks beside the actor."""
        return getattr(self.window, "policy", "actor")

    def footprint(self, prompt: int) -> Footprint:
        """Of each rollout one row is there at a time: what everything takes, with a summary, or what the window lets it have."""
        grown = (self.max_tokens + self.observation) * self.most_turns
        anew = 0 if isinstance(self.window, Append) else prompt + getattr(getattr(self.window, "by", None), "most", 0)
        row = min(grown + anew, getattr(self.window, "limit", 0) or grown + anew)
        return Footprint(positions=prompt + self.n * row, requests=self.n)

    def room(self, limit: int) -> int:
        """Of so many positions those that the first message may take: all that comes behind it has the rest, or one turn of it where the
        window makes room."""
        turn = self.max_tokens + self.observation
        if isinstance(self.window, Append):
            return limit - turn * self.most_turns
        return min(limit, getattr(self.window, "limit", 0) or limit) - turn

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is None:
            raise ValueError("Episodes needs a world that answers: environment=… in the method, or a source that brings its own")
        actor = self.telling(ctx.policies["actor"], task, world)
        return [await gathered(self, task, world, replace(ctx, policies={**ctx.policies, "actor": actor}), self.act(actor))]

    def opening(self, task: Task, world: World | None, turns: int = 0, first: str = "") -> str:
        """The first message: what the world shows or the task asks, with the tools before it and the number of turns behind, where they are
        told."""
        text, tools = first or task.prompt, documents_of(world, task)
        if self.calls is not None and tools and (told := self.calls.shown(tools)):
            text = f"{told}\n{text}"
        if isinstance(self.turns, Between) and self.turns.says:
            text = f"{text}\n{filled(self.turns.says, str(turns or self.turns.high))}"
        return text

    def told(self, observation: str, turn: int, seat: Seat) -> str:
        """What is read behind a turn: the world's answer, behind the number of the next one where that is told."""
        each = self.turns.each if isinstance(self.turns, Between) else ""
        return f"{filled(each, str(turn + 2), str(seat.turns))} {observation}" if each else observation

    def lasts(self, seat: Seat) -> int:
        """Turns after which nothing more is asked."""
        return self.turns.high if isinstance(self.turns, Between) and not self.turns.ends else seat.turns

    def telling(self, actor: Handle, task: Task, world: World | None) -> Handle:
        """The policy as it is told of this task's tools, where they stand in no message."""
        through: Callable[[Handle, Sequence[Tool]], Handle] | None = getattr(self.calls, "through", None)
        tools = documents_of(world, task)
        return through(actor, tools) if through is not None and tools else actor

    def act(self, actor: Handle) -> Act:
        """The policy's own actions."""

        async def drawn(node: Node, state: Any, turn: int) -> Node:
            return await actor.generate(node, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=self.most_turns > 1)

        return drawn


async def gathered(how: Episodes, task: Task, world: World, ctx: Ctx, act: Act) -> Group:
    """All episodes of a task."""
    between, key = how.turns, f"{ctx.seed}/{ctx.progress.before + ctx.progress.step}/{ctx.place}"
    limits = [between] * how.n if isinstance(between, int) else list[int]()
    if isinstance(between, Between):
        limits = [between.drawn(task, ctx.rng("turns", ctx.place, i * (between.per == "rollout"))) for i in range(how.n)]
    seats = [Seat(key, f"{key}/{i}", limit) for i, limit in enumerate(limits)]
    begun = await asyncio.gather(*(_begun(how, task, world, ctx, seat) for seat in seats))
    roots: dict[str, Node] = {}
    numbers = count(1)
    for _, opening in begun:  # alike openings are one prompt, computed once
        if opening not in roots:
            ordinal = 0 if not roots else next(numbers)
            roots[opening] = await ctx.policies["actor"].open(opening, root=ctx.place, ordinal=ordinal)
    first, rollouts = len(roots), list[Coroutine[Any, Any, Rollout]]()
    for i, (seat, (state, opening)) in enumerate(zip(seats, begun, strict=True)):
        ordinals = count(first + i, how.n)
        rollouts.append(lived(how, task, world, ctx, act, roots[opening], state, opening, seat, i, ordinals.__next__))
    return Group(task, tuple(await asyncio.gather(*rollouts)), id=ctx.place)


async def _begun(how: Episodes, task: Task, world: World, ctx: Ctx, seat: Seat) -> tuple[Any, str]:
    """The world's first state, and the first message."""
    state, show = world.start(task, seat), getattr(world, "show", None)
    return state, how.opening(task, world, seat.turns, "" if show is None else await show(state))


async def lived(
    how: Episodes,
    task: Task,
    world: World,
    ctx: Ctx,
    act: Act,
    node: Node,
    state: Any,
    opening: str,
    seat: Seat,
    ordinal: int,
    number: Callable[[], int],
) -> Rollout:
    """One episode, from its first state to its end."""
    actor, ask, tools = ctx.policies["actor"], asked(world, ctx.policies), tools_of(world, task)
    limit = min(actor.engine.limit, getattr(how.window, "limit", 0) or actor.engine.limit)
    heads, place = {node.line()[0].path: (opening, 0)}, f"{ctx.place}/{ordinal}"
    turns, made, text = list[Turn](), list[Row](), ""
    stop: Stop = "turns"
    last = how.lasts(seat)
    for turn in range(last):
        node = await act(node, state, turn)
        said = Said(actor.text(node)) if how.calls is None else _heard(how.calls, actor.text(node), tools)
        state, reply = await replied(world, state, said, ask)
        text += said.text
        shown = replace(reply, observation=_cut(how, how.told(reply.observation, turn, seat), ctx))
        turns.append(Turn(said, written(node), shown, cut=node.stop == "length"))
        if reply.done or turn + 1 == last:
            stop = reply.stop if reply.done else "turns"
            break
        head, since = heads[node.line()[0].path]

        def begin(text: str, since: int) -> int:
            ordinal = number()
            heads[(ordinal,)] = (text, since)
            return ordinal

        past = Past(task, opening, tuple(turns), head, since, limit, how.max_tokens, how.observation, how.sampling, place, begin)
        if not (moved := await how.window.next(node, past, ctx)):
            stop = "length"
            break
        *closed, node = moved
        made += [end.row() for end in closed]
        del closed, moved  # nobody builds on a row that is closed: it needs no room any more
        text += f"\n{past.shown}\n"
    return Rollout(once((*made, node.row())), place, stop=stop, keys=noted(turns, seat), text=text)


def once(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of a rollout. What the policy wrote is trained where it stands first: what a later row repeats of it is
    context."""
    made, seen = list[Row](), set[SegmentId]()
    for row in rows:
        made.append(replace(row, trains=row.trains - seen))
        seen |= row.trains
    return tuple(made)


def noted(turns: Sequence[Turn], seat: Seat) -> dict[str, Any]:
    """What stands beside a rollout: facts and calls of each turn, and which were cut; and where the world graded, its scores with what they
    follow from."""
    keys: dict[str, Any] = {"facts": [dict(turn.reply.facts) for turn in turns]}
    if cut := [number for number, turn in enumerate(turns) if turn.cut]:
        keys["cut"] = cut
    if any(turn.reply.calls for turn in turns):
        keys["calls"] = [[[call.tool, call.ok, call.why] for call in turn.reply.calls] for turn in turns]
    if scores := turns[-1].reply.scores:
        keys |= {"scores": dict(scores), "seat": [seat.group, seat.own, seat.turns], "said": [turn.said.text for turn in turns]}
    return keys


def _heard(calls: Calls, text: str, tools: Sequence[Tool]) -> Said:
    return Said(text, calls.read(text, tools))


CUT = " [cut]"


def _cut(how: Episodes, text: str, ctx: Ctx) -> str:
    """An answer that has room, in as many tokens as one may take."""
    if not how.observation:
        return text
    renderer = ctx.policies["actor"].renderer

    def as_turn(text: str) -> int:
        return len(renderer.turn(text))

    return fitted(text, how.observation, alone(ctx) if getattr(how.window, "afresh", False) else as_turn, CUT)


# ------------------------------------------------------------------------------------------------ a script in the policy's place


Say = str | Call | tuple[str | Call, ...]
"""A text, a call, or several of both."""


def spoken(said: Say, written: Callable[[Call], str]) -> str:
    """As one text, in which calls are written so; of several each stands on a line of its own."""
    return "\n".join(part if isinstance(part, str) else written(part) for part in (said if isinstance(said, tuple) else (said,)))


class Agent(Protocol):
    """A script that acts in a world."""

    def __call__(self, state: Any, turn: int) -> Say:
        """What it says in this state, or calls, written as the sampler reads it. `turn` is counted from 0."""
        ...


class Pen:
    """An engine that computes nothing: text goes on paper, and nothing can be drawn."""

    name, version, own = "actor", 0, False
    limits: Mapping[str, float] = MappingProxyType({})

    def __init__(self, limit: int):
        self.limit, self.counters = limit, Counters()

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        return Node(Segment("prompt", tuple(tokens), called((ordinal,))), None, (ordinal,), root, 0, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        raise ValueError("a script plays this episode, and its window asks the policy to write: use one that does not (Append(), Recent())")

    async def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced", "teacher"]) -> Node:
        path = node.next()
        segment = Segment(kind, tuple(tokens), called(path))
        return Node(segment, node, path, node.root, 0, "finished" if kind == "teacher" else None, node.length + len(tokens))

    async def score(self, node: Node) -> tuple[float, ...]:
        raise ValueError("a script plays this episode: nobody scores what it says")

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def begin(self, step: int) -> None: ...

    def deliver(self, version: int) -> None: ...


ONE = Episodes(n=1)


@dataclass(frozen=True)
class Played:
    """Episodes in which a script acts: what it says is the text of a teacher, in the rows that a policy's would stand in."""

    agent: Agent
    """Who acts."""
    how: Episodes = ONE
    """Turns, room, window and calls."""

    @property
    def n(self) -> int:
        return self.how.n

    @property
    def max_tokens(self) -> int:
        return self.how.max_tokens

    def sized(self, group: int | None, max_tokens: int | None) -> Played:
        return replace(self, how=replace(self.how, n=group or self.n, max_tokens=max_tokens or self.max_tokens))

    @property
    def group_size(self) -> int:
        return self.how.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(0, 0)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is None:
            raise ValueError("Played needs a world that answers: environment=… in the method, or a source that brings its own")
        theirs = ctx.policies["actor"]
        pen = Pen(theirs.engine.limit)
        actor = self.how.telling(Handle(pen, theirs.renderer), task, world)

        def called_as(call: Call) -> str:
            if self.how.calls is None:
                raise ValueError("a script calls a tool, and the sampler has no way to write calls: calls=Line()")
            return self.how.calls.written(call)

        async def act(node: Node, state: Any, turn: int) -> Node:
            text = spoken(self.agent(state, turn), called_as)
            return await pen.extend(node, actor.renderer.reply(text), kind="teacher")

        return [await gathered(self.how, task, world, replace(ctx, policies={**ctx.policies, "actor": actor}), act)]
