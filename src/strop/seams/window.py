"""Window: what of an episode its policy still sees. After each answer of the world it says where the row goes on.

`next` gets the node that the last action ends and the episode's past, and gives nodes: the last is where the next action is written, and
those before it end rows that are closed now. Under the same root the row goes on; a new root (`past.open`, `past.again`) is a new row of
the same rollout. Every row is trained under exactly what it was drawn under, and each action once, in the row it was written in: what a
later row repeats of it is context. Nothing at all means that there is no room for another action, and the rollout ends as `length`.

With room enough each of them gives `Append`'s rows, bit for bit, but those that begin a row each turn (`afresh = True`); `strop check`
tries that, and that no row is longer than it may be.

What a window may have besides: `limit`, the most tokens that a row of its may have, 0 for what the model takes; `policy`, whom it asks
beside the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

from strop.records import Sampling, Segment, Stop, Task
from strop.seams.context import Ctx
from strop.seams.engine import Node
from strop.seams.part import nearest
from strop.seams.world import Call, Reply, Said


@dataclass(frozen=True)
class Turn:
    """One action and what was answered to it."""

    said: Said
    """The action."""
    written: tuple[Segment, ...]
    """Its tokens: several segments where new weights came in the middle of it. No node: what is not read any more needs no room."""
    reply: Reply
    """The world's answer, as it is shown: cut to the room it has."""
    cut: bool = False
    """The action had no room left, so what it lacks may be what it could not say."""


@dataclass(frozen=True)
class Past:
    """An episode as its window sees it."""

    task: Task
    """What was asked."""
    opening: str
    """The first message, with all that a sampler put beside the question."""
    turns: tuple[Turn, ...]
    """So far. The last one's answer is shown next."""
    head: str
    """The message that the row begins with."""
    since: int
    """Turns that this row does not hold: `turns[since:]` stand in it."""
    limit: int
    """The most tokens that a row may have."""
    room: int
    """Tokens that the next action may take."""
    answer: int
    """Tokens that an answer takes at most, with what the template puts around it."""
    sampling: Sampling
    """How its actions are drawn."""
    place: str
    """The rollout's id."""
    begin: Callable[[str, int], int]
    """Of a new row its first message and `since`; gives its ordinal, no two of a group alike."""

    @property
    def shown(self) -> str:
        """What the world just answered."""
        return self.turns[-1].reply.observation

    def fits(self, length: int) -> bool:
        """Whether a row of this length has room for another action."""
        return length + self.room <= self.limit

    async def open(self, text: str, ctx: Ctx, *more: str) -> Node:
        """A new row that begins with this message; `more` are replies and messages behind it, in turn. It holds none of the turns so far
        as they were drawn."""
        return await self._root(text, len(self.turns), ctx, *more)

    async def again(self, turns: int, ctx: Ctx, answers: Mapping[int, str] | None = None) -> Node:
        """A new row of the opening and the last so many turns, the actions token for token, though nobody trains them there. By its number
        among all of them a turn may get another answer."""
        since = len(self.turns) - turns
        node = await self._root(self.opening, since, ctx)
        for number, turn in enumerate(self.turns[since:], since):
            for place, segment in enumerate(turn.written):
                stop: Stop | None = "finished" if place + 1 == len(turn.written) else None
                again = replace(segment, logp=None)
                node = Node(again, node, node.next(), node.root, node.version, stop, node.length + len(segment.tokens))
            node = await ctx.policies["actor"].extend(node, (answers or {}).get(number, turn.reply.observation))
        return node

    async def _root(self, text: str, since: int, ctx: Ctx, *more: str) -> Node:
        return await ctx.policies["actor"].open(text, *more, root=ctx.place, ordinal=self.begin(text, since))


def written(node: Node) -> tuple[Segment, ...]:
    """The segments of the action that a node ends."""
    found = [node.segment]
    while (parent := node.parent) is not None and parent.cut:
        node = parent
        found.insert(0, node.segment)
    return tuple(found)


class Window(Protocol):
    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        """Where the row goes on, behind the ends of rows that are closed by it. Nothing: there is no room."""
        ...


@dataclass(frozen=True)
class Append:
    """Everything stays: the answer stands behind the action, until there is no room."""

    limit: int = 0
    """Tokens of a row; 0: what the model takes."""

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        node = await ctx.policies["actor"].extend(node, past.shown)
        return (node,) if past.fits(node.length) else ()


APPEND = Append()


@dataclass(frozen=True)
class Recent:
    """Where there is no room, the row begins again with the question and the last turns, in the policy's own words."""

    tokens: int = 0
    """So many of them at most, the last turn included; 0: half of the row."""
    limit: int = 0
    """Tokens of a row; 0: what the model takes."""

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        on = await ctx.policies["actor"].extend(node, past.shown)
        if past.fits(on.length):
            return (on,)
        most, turns, length = self.tokens or past.limit // 2, 0, on.length - node.length
        for turn in reversed(past.turns):
            length += sum(len(segment.tokens) for segment in turn.written) + (
                len(ctx.policies["actor"].renderer.turn(turn.reply.observation)) if turns else 0
            )
            if length > most:
                break
            turns += 1
        again = await past.again(turns, ctx)
        return (node, again) if turns and past.fits(again.length) else ()


@dataclass(frozen=True)
class Pruned:
    """Where there is no room, the row begins again with every turn, and of the answers the last ones alone: a mark stands for the
    others."""

    after: int = 2
    """Answers that stay."""
    mark: str = "…"
    """What stands for one that went."""
    limit: int = 0
    """Tokens of a row; 0: what the model takes."""

    def __post_init__(self) -> None:
        if self.after < 1:
            raise ValueError(f"Pruned(after={self.after}): the last answer stays, so it is at least 1")

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        on = await ctx.policies["actor"].extend(node, past.shown)
        if past.fits(on.length):
            return (on,)
        again = await past.again(len(past.turns), ctx, dict.fromkeys(range(len(past.turns) - self.after), self.mark))
        return (node, again) if past.fits(again.length) else ()


@dataclass(frozen=True)
class Spent:
    """Where an action calls a tool, all answers before it have served: the row begins again with every turn, and a mark for each of those
    (WebWeaver, arXiv:2509.13312)."""

    by: str = "write"
    """The tool's name."""
    mark: str = "…"
    """What stands for an answer that went."""
    limit: int = 0
    """Tokens of a row; 0: what the model takes."""

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        last = len(past.turns) - 1
        if not any(isinstance(call, Call) and call.tool == self.by for call in past.turns[last].said.calls):
            held = await ctx.policies["actor"].extend(node, past.shown)
            return (held,) if past.fits(held.length) else ()
        again = await past.again(len(past.turns), ctx, dict.fromkeys(range(last), self.mark))
        return (node, again) if past.fits(again.length) else ()


class Summariser(Protocol):
    """Says in few words what an episode has found so far. One that writes at the end of the row says with `room(past, ctx)` how many tokens
    that takes, one that asks another policy its name with `policy`."""

    async def __call__(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, str] | None:
        """What ends the old row, and the summary. `past.head` begins that row, `past.turns[past.since:]` stand in it. None: it could
        not."""
        ...


@dataclass(frozen=True)
class Own:
    """The actor itself, at the end of the row: what it writes is an action and is trained."""

    most: int = 64
    """Tokens of a summary."""
    ask: str = "Summarise what you have found so far."
    """What it is asked, behind the world's last answer."""

    def room(self, past: Past, ctx: Ctx) -> int:
        """With the answer that stands before it."""
        return past.answer + len(ctx.policies["actor"].renderer.turn(self.ask)) + self.most

    async def __call__(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, str] | None:
        actor = ctx.policies["actor"]
        asked = await actor.extend(node, f"{past.shown}\n{self.ask}")
        if asked.length + self.most > past.limit:
            return None
        said = await actor.generate(asked, max=self.most, sampling=past.sampling, keep=False)
        return said, actor.text(said)


OWN = Own()


@dataclass(frozen=True)
class By:
    """Another policy of the method, asked for text: what it says is input to the actor, and on its own bill."""

    policy: str
    """Its name."""
    most: int = 256
    """Tokens of a summary."""
    ask: str = "Summarise what was found, so that one who has not seen it can go on."
    """What it is asked, behind the row that is closed."""

    async def __call__(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, str] | None:
        other = ctx.policies[self.policy]
        told = "\n".join((past.head, *(f"{turn.said.text}\n{turn.reply.observation}" for turn in past.turns[past.since :]), self.ask))
        if len(other.renderer.prompt(told)) + self.most > other.engine.limit:
            return None
        asked = await other.open(told, root=f"{past.place}/{len(past.turns)}")
        said = await other.generate(asked, max=self.most, keep=False)
        return node, other.text(said)


@dataclass(frozen=True)
class Summarised:
    """Where there is soon no room, the row is closed, and the next begins with the question and a summary (ReSum, arXiv:2509.13313)."""

    by: Summariser = OWN
    """Who writes it."""
    limit: int = 0
    """Tokens of a row; 0: what the model takes."""
    at: float = 0.9
    """Share of it at which the row is closed."""
    says: str = "{}\n{}"
    """The next row's first message: the question, and the summary."""

    def __post_init__(self) -> None:
        if not 0 < self.at <= 1 or self.says.count("{}") != 2:
            raise ValueError(
                f"Summarised(at={self.at}, says={self.says!r}): a share of the row, and a message with {{}} for question and summary"
            )

    @property
    def policy(self) -> str:
        """Whom it asks."""
        return getattr(self.by, "policy", "actor")

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        on = await ctx.policies["actor"].extend(node, past.shown)
        room: Callable[[Past, Ctx], int] | None = getattr(self.by, "room", None)
        if on.length + past.room <= min(self.at * past.limit, past.limit - (0 if room is None else room(past, ctx))):
            return (on,)
        if (found := await self.by(node, past, ctx)) is None:
            return (on,) if past.fits(on.length) else ()  # what stands there goes on as it is, as long as it can
        closed, summary = found
        again = await past.open(filled(self.says, past.opening, summary), ctx)
        return (closed, again) if past.fits(again.length) else ()


@dataclass(frozen=True)
class Report:
    """A row each turn: the question, the report that the policy keeps in its replies, and the last answer (WebResearcher,
    arXiv:2509.13309)."""

    tag: str = "report"
    """What it stands between: `<report>` and `</report>`."""
    most: int = 128
    """Tokens of it that are kept."""
    limit: int = 0
    """Tokens of a row; 0: what the model takes."""
    says: str = "{}\n{}\n{}"
    """A row's first message: question, report, answer."""
    afresh: ClassVar[bool] = True
    """A row each turn, however much room there is."""

    def __post_init__(self) -> None:
        if self.says.count("{}") != 3:
            raise ValueError(f"Report(says={self.says!r}): a message with {{}} for question, report and answer")

    def kept(self, past: Past, ctx: Ctx) -> str:
        """The last report that was written."""
        for turn in reversed(past.turns):
            _, opened, rest = turn.said.text.rpartition(f"<{self.tag}>")
            inside, closed, _ = rest.partition(f"</{self.tag}>")
            if opened and closed:
                return fitted(inside.strip(), self.most, alone(ctx))
        return ""

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        again = await past.open(filled(self.says, past.opening, self.kept(past, ctx), past.shown), ctx)
        return (node, again) if past.fits(again.length) else ()


@dataclass(frozen=True)
class Afresh:
    """A row each turn: everything so far as the template writes it now. For templates that rewrite what stands above."""

    limit: int = 0
    """Tokens of a row; 0: what the model takes."""
    afresh: ClassVar[bool] = True
    """A row each turn, however much room there is."""

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        more = [text for turn in past.turns for text in (turn.said.text, turn.reply.observation)]
        again = await past.open(past.opening, ctx, *more)
        return (node, again) if past.fits(again.length) else ()


WINDOWS: dict[str, type[Append | Recent | Pruned | Spent | Summarised | Report | Afresh]] = {
    "append": Append,
    "recent": Recent,
    "pruned": Pruned,
    "spent": Spent,
    "summarised": Summarised,
    "report": Report,
    "afresh": Afresh,
}
"""By the names that the command line has for them."""


def named(text: str) -> Window:
    """`recent:tokens=512,limit=2048`. A summary is the actor's own, or another policy's: `summarised:by=NAME,most=128,limit=2048`.

    >>> named("pruned:after=1,limit=96")
    Pruned(after=1, mark='…', limit=96)
    """
    name, _, rest = text.partition(":")
    if name not in WINDOWS:
        raise ValueError(f"no window {name!r}. {nearest(name, WINDOWS)}")
    given = dict[str, Any]()
    for piece in filter(None, rest.split(",")):
        knob, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or knob in given:
            raise ValueError(f"window {text!r}: write NAME:KNOB=VALUE,… with each knob once, got {piece!r}")
        given[knob] = value
    if name == "summarised":
        own: dict[str, Any] = {"most": int(given.pop("most"))} if given.get("most", "").isdecimal() else {}
        given["by"] = By(given["by"], **own) if given.get("by") else Own(**own)
    kinds: dict[str, Any] = {f.name: type(f.default) for f in fields(WINDOWS[name])}
    for knob, value in given.items():
        if knob not in kinds:
            raise ValueError(f"window {name} has no knob {knob!r}. {nearest(knob, kinds)}")
        if knob != "by":
            try:
                given[knob] = kinds[knob](value)
            except ValueError:
                raise ValueError(f"window {text!r}: {knob} is a number, got {value!r}") from None
    return WINDOWS[name](**given)


def filled(says: str, *texts: str) -> str:
    """A message with these texts where it has {}; what stands in them is not looked at.

    >>> filled("{}: {}.", "{}", "b")
    '{}: b.'
    """
    before, *behind = says.split("{}")
    return before + "".join(text + more for text, more in zip(texts, behind, strict=True))


def fitted(text: str, most: int, size: Callable[[str], int], behind: str = "") -> str:
    """A text of at most this size: whole, or the longest beginning that is, with `behind` after it."""
    if size(text) <= most:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[:middle] + behind) <= most else (low, middle - 1)
    return text[:low] + behind


def alone(ctx: Ctx) -> Callable[[str], int]:
    """Tokens of a text by itself, in rows that templates write anew."""
    prompt = ctx.policies["actor"].renderer.prompt
    empty = len(prompt(""))
    return lambda text: len(prompt(text)) - empty
