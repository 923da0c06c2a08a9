"""Ctx: the one handle every seam gets. Progress, keyed noise, policies, ledger, grading."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from strop.records import Group, Sampling, Scores, Task, digest
from strop.seams.engine import Engine, Footprint, Node
from strop.seams.source import Source

if TYPE_CHECKING:
    from strop.batch import Batch
    from strop.seams.exchange import Exchange
    from strop.seams.flight import Flight


def keyed(*key: str | int | float) -> random.Random:
    """A generator whose stream is a function of its key alone."""
    return random.Random(int(digest(list(key))[:16], 16))


@dataclass(frozen=True)
class Progress:
    """Where the run stands: steps done and, in [0, 1], how much of its budget is spent."""

    step: int = 0
    steps: int = 1
    spent: float | None = None
    """Share of the budget in positions, where the recipe has one: then steps are only its upper bound."""

    @property
    def fraction(self) -> float:
        return min(self.step / max(self.steps, 1) if self.spent is None else self.spent, 1.0)


class Renderer(Protocol):
    """Text to tokens and back for one policy."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a reply, where no token does."""
        ...

    def prompt(self, text: str) -> tuple[int, ...]:
        """A user's message and the opening of the reply."""
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
    """A policy behind an engine, as samplers and graders see it."""

    engine: Engine
    renderer: Renderer

    async def open(self, text: str, *, root: str) -> Node:
        return await self.engine.open(self.renderer.prompt(text), root=root)

    async def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Node:
        return await self.engine.generate(node, max=max, stop=(*self.renderer.stop, *stop), sampling=sampling, keep=keep)

    async def extend(self, node: Node, text: str, *, kind: Literal["observation", "forced"] = "observation") -> Node:
        return await self.engine.extend(node, self.renderer.turn(text), kind=kind)

    async def join(self, node: Node, nodes: Sequence[Node], *, close: Sequence[int]) -> Node:
        raise NotImplementedError("not built yet: join (several predecessors in one row). Use one row per thread.")

    async def decide(self, observation: object) -> Node:
        raise NotImplementedError("not built yet: decide (policies whose decision is not a token)")

    async def score(self, node: Node, *, lens: object = None) -> tuple[float, ...]:
        if lens is not None:
            raise NotImplementedError("not built yet: lens (the same actions under another prompt)")
        return await self.engine.score(node)

    def text(self, node: Node) -> str:
        return self.renderer.text(node.written)


@dataclass(frozen=True)
class Ledger:
    """Facts per task, as of the last step: how often tried, how often solved."""

    trials: Mapping[str, int] = field(default_factory=dict[str, int])
    successes: Mapping[str, float] = field(default_factory=dict[str, float])

    def rate(self, task: Task) -> float | None:
        tried = self.trials.get(task.id, 0)
        return self.successes.get(task.id, 0.0) / tried if tried else None

    def after(self, groups: list[Group], scores: Scores) -> Ledger:
        """Only groups of the task itself (role `solve`) count."""
        trials, successes = dict(self.trials), dict(self.successes)
        for group in groups:
            if group.role != "solve":
                continue
            known = [v for r in group.rollouts if (v := scores.get(r, "outcome")) is not None]
            trials[group.task.id] = trials.get(group.task.id, 0) + len(known)
            successes[group.task.id] = successes.get(group.task.id, 0.0) + sum(known)
        return Ledger(trials, successes)


def _no_policy(groups: list[Group], scorer: str, want: frozenset[str]) -> Batch:
    raise ValueError(f"a grader asked the {scorer} policy for {', '.join(sorted(want))}, and there is none here")


@dataclass(frozen=True)
class Ctx:
    seed: int
    progress: Progress
    source: Source
    policies: Mapping[str, Handle]
    grade: Callable[[list[Group]], Awaitable[Scores]]
    ledger: Ledger = Ledger()
    place: str = ""
    """Set for a sampler: names this asking of this task inside the step, and roots its noise."""
    evaluate: Callable[[list[Group], str, frozenset[str]], Batch] = _no_policy
    """evaluate(groups, "online" or "frozen", tracks): these groups as a batch, with those tracks of all decisions, without gradient."""
    flight: Flight | None = None
    """Tasks that are being grown ahead of the learner, where a feed asks for that."""
    exchange: Exchange | None = None
    """Other trainers, where this one is in a swarm."""

    def rng(self, *key: str | int) -> random.Random:
        return keyed(self.seed, self.progress.step, *key)

    def at(self, place: str) -> Ctx:
        return replace(self, place=place)


__all__ = ["Ctx", "Footprint", "Handle", "Ledger", "Progress", "Renderer", "keyed"]
