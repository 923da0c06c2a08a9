"""Ctx: the one handle every seam gets. Progress, keyed noise, policies, ledger, grading."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from strop.records import Group, Sampling, Scores, Task, digest
from strop.seams.engine import Engine, Footprint, Node
from strop.seams.source import Source

if TYPE_CHECKING:
    from strop.batch import Batch
    from strop.seams.exchange import Exchange
    from strop.seams.flight import Flight


T = TypeVar("T")


def keyed(*key: str | int | float) -> random.Random:
    """A generator whose stream is a function of its key alone."""
    return random.Random(int(digest(list(key))[:16], 16))


@dataclass(frozen=True)
class Progress:
    """Where the run stands: steps done and, in [0, 1], how much of its budget is spent."""

    step: int = 0
    """Steps that are done; in a program those of the stage."""
    steps: int = 1
    """Of the recipe, or the stage."""
    spent: float | None = None
    """Share of the budget in positions, where the recipe has one: then steps are only its upper bound."""
    before: int = 0
    """Steps of earlier stages: noise goes on from them."""

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1: by its budget where it has one, else by steps."""
        return min(self.step / max(self.steps, 1) if self.spent is None else self.spent, 1.0)


class Renderer(Protocol):
    """Text to tokens and back for one policy."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a reply, where no token does."""
        ...

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        """A user's message and the opening of the reply. `more` are replies and messages that follow it in turn, a message last."""
        ...

    def turn(self, text: str) -> tuple[int, ...]:
        """What closes the reply, a further user's message, and the next opening: only the new tokens."""
        ...

    def reply(self, text: str) -> tuple[int, ...]:
        """A whole reply somebody else wrote, with what ends it."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """What was written, without what ends it."""
        ...

    def plain(self, text: str) -> tuple[int, ...] | None:
        """Tokens of a text from elsewhere; None where it holds a special token's name or does not come back from its tokens."""
        ...


@dataclass(frozen=True)
class Handle:
    """A policy behind an engine, as samplers and graders see it: texts go in, nodes come out."""

    engine: Engine
    """What writes; it speaks of tokens."""
    renderer: Renderer
    """Text to tokens and back."""

    async def open(self, text: str, *more: str, root: str, ordinal: int = 0) -> Node:
        """A user's message with the opening of the reply; `more` are replies and messages behind it, in turn. `root`, a sampler's
        `ctx.place`, keys the noise of all that follows; a second prompt under it takes another `ordinal`."""
        return await self.engine.open(self.renderer.prompt(text, *more), root=root, ordinal=ordinal)

    async def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Node:
        """One action of at most `max` tokens under a node, until an end token or one of the texts `stop`. Twice on one node is a fork, each
        with noise of its own. `keep=False`: nobody will build on it."""
        return await self.engine.generate(node, max=max, stop=(*self.renderer.stop, *stop), sampling=sampling, keep=keep)

    async def extend(self, node: Node, text: str) -> Node:
        """Under a node, a further message of the user with the next opening: an `observation`, never trained."""
        return await self.engine.extend(node, self.renderer.turn(text), kind="observation")

    async def force(self, node: Node, text: str) -> Node:
        """Under a node, words in the policy's own mouth: `forced`, which only a signal on forced text trains (`on=forced`)."""
        tokens = self.renderer.plain(text)
        if tokens is None:
            raise ValueError(
                f"{text[:40]!r} cannot be put in the policy's mouth: its tokens do not give it back, or it names a special token"
            )
        return await self.engine.extend(node, tokens, kind="forced")

    async def join(self, node: Node, nodes: Sequence[Node], *, close: str) -> Node:
        """Words behind several threads of one node, which then stand one behind the other. What the first wrote stands where it was drawn
        and is not computed again; what the others wrote has no log-probability there (`strop.seams.branches`)."""
        if not nodes:
            raise ValueError("join: name the threads that are to stand one behind the other, at least one")
        at, above = nodes[0], len(node.line())
        for thread in nodes:
            if (line := thread.line())[above - 1 : above] != (node,) or len(line) == above:
                raise ValueError(f"join: a thread of {node.path} is {thread.path}, which does not stand under it")
            for own in line[above:] if thread is not nodes[0] else ():
                segment = replace(own.segment, logp=None)
                at = Node(segment, at, at.next(), at.root, own.version, own.stop, at.length + len(segment.tokens))
        return await self.force(at, close)

    async def decide(self, observation: object) -> Node:
        """Not built yet."""
        raise NotImplementedError("not built yet: decide (policies whose decision is not a token)")

    async def score(self, node: Node) -> tuple[float, ...]:
        """Log-probability of each of the node's own tokens given its past. Of texts under contexts of their own:
        `strop.seams.likelihood`."""
        return await self.engine.score(node)

    def text(self, node: Node) -> str:
        """Of the action that this node ends, without what ends it."""
        return self.renderer.text(node.written)


@dataclass(frozen=True)
class Ledger:
    """Facts per task, as of the last step: how often tried, how often solved."""

    trials: Mapping[str, int] = field(default_factory=dict[str, int])
    """Graded rollouts by task id."""
    successes: Mapping[str, float] = field(default_factory=dict[str, float])
    """The sum of their outcomes by task id."""
    last: Mapping[str, Sequence[float]] = field(default_factory=dict[str, "Sequence[float]"])
    """The last time it was tried, by task id: mean outcome, graded rollouts, step."""

    def rate(self, task: Task) -> float | None:
        """Mean outcome of all its rollouts so far; None where it was not tried."""
        tried = self.trials.get(task.id, 0)
        return self.successes.get(task.id, 0.0) / tried if tried else None

    def after(self, groups: list[Group], scores: Scores, step: int = 0) -> Ledger:
        """Only groups of the task itself (role `solve`) count."""
        trials, successes, last = dict(self.trials), dict(self.successes), dict(self.last)
        for group in groups:
            if group.role != "solve":
                continue
            known = [v for r in group.rollouts if (v := scores.get(r, "outcome")) is not None]
            trials[group.task.id] = trials.get(group.task.id, 0) + len(known)
            successes[group.task.id] = successes.get(group.task.id, 0.0) + sum(known)
            if known:
                last[group.task.id] = [sum(known) / len(known), len(known), step]
        return Ledger(trials, successes, last)


def _no_stage(stage: str, every: bool = False) -> tuple[list[Group], Scores]:
    raise ValueError(f"there is no stage {stage!r} before this run: Earlier({stage!r}, …) reads the groups of a program's earlier stage")


def _no_policy(groups: list[Group], scorer: str, want: frozenset[str]) -> Batch:
    raise ValueError(f"a grader asked the {scorer} policy for {', '.join(sorted(want))}, and there is none here")


@dataclass(frozen=True)
class Ctx:
    """What every seam is handed beside its data."""

    seed: int
    """The run's."""
    progress: Progress
    """Where the run stands."""
    source: Source
    """Where tasks come from."""
    policies: Mapping[str, Handle]
    """By name: `actor`, and those that the method has beside it, asked or trained."""
    grade: Callable[[list[Group]], Awaitable[Scores]]
    """The source's verdict on groups, and the method's graders': for feeds and samplers that must know before the step does."""
    ledger: Ledger = Ledger()
    """How often each task was tried and solved, as of the last step."""
    place: str = ""
    """Set for a sampler: names this asking of this task inside the step, and roots its noise."""
    evaluate: Callable[[list[Group], str, frozenset[str]], Batch] = _no_policy
    """evaluate(groups, "online" or "frozen", tracks): these groups as a batch, with those tracks of all decisions, without gradient."""
    flight: Flight | None = None
    """Tasks that are being grown ahead of the learner, where a feed asks for that."""
    exchange: Exchange | None = None
    """Other trainers, where this one is in a swarm."""
    earlier: Callable[..., tuple[list[Group], Scores]] = _no_stage
    """earlier(stage, every=False): what the latest stage of this name committed, or every one: its groups and their scores."""
    graded: Callable[[Scores], None] = lambda scores: None
    """What a feed or sampler knows already of what it gives: the step asks nobody for it again."""
    remind: Callable[[Task, Ctx, int], tuple[Task, tuple[int, ...]]] | None = None
    """remind(task, ctx, room): the task as it is asked, with cases before its question, and which; None without a memory."""
    made: dict[str, Any] = field(default_factory=dict[str, Any])
    """What `once` made."""

    def rng(self, *key: str | int) -> random.Random:
        """A generator of the run's: the same for the same seed, step and key."""
        return keyed(self.seed, self.progress.before + self.progress.step, *key)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Made when it is first asked for, and kept while the process lives: what takes long and comes out the same again."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def at(self, place: str) -> Ctx:
        """The same at another place."""
        return replace(self, place=place)


__all__ = ["Ctx", "Footprint", "Handle", "Ledger", "Progress", "Renderer", "keyed"]
