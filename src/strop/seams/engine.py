"""Engine: writes decisions for a policy. Nodes are immutable text; caches belong to the engine.

An engine batches what coroutines ask of it: `await generate` of many tasks runs as
one decode loop. Generating twice on one node is a fork. Holding a node holds no memory.

One of one's own comes with a policy of one's own, by a claim's `world`. It draws with noise that is a function of its address (seed,
step, its name, `node.root` and the path that `node.next()` gave: `strop.seams.context.keyed`), so that a resumed run draws alike; it notes
with each token the log-probability it was drawn with, at the sampling it was asked for; and it counts what it computes in `counters`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

from strop.records import Row, Sampling, Segment, Stop

ROUNDED: Mapping[str, float] = MappingProxyType(
    {"undelivered-weights": 0.05, "stale-weights": 0.05, "mismatch-ratio": 10.0, "mismatch-kl": 0.01, "mismatch-ess": 0.95}
)
"""Limits of tripwires for an engine that draws in 16 bits what is learned in 32."""


class EngineLost(ValueError):
    """What computed for this engine is not there any more: its server ended, or answers nobody. Another one can do its work."""


@dataclass(frozen=True, eq=False)
class Node:
    """A segment with its past. Its path of ordinals, fixed when the call is made, names it inside its task."""

    segment: Segment
    """Its own text: tokens, who wrote them and how likely they were."""
    parent: Node | None
    """What stands before it; None for a prompt."""
    path: tuple[int, ...]
    """Ordinals from the prompt down: its first child is 0, the next 1."""
    root: str
    """Key given to `open`: with the path it keys the noise of what is generated here."""
    version: int
    """Of the weights that wrote it."""
    stop: Stop | None = None
    """Why an action ended; None for other text."""
    length: int = 0
    """Tokens from the root to the end of this node."""
    children: list[int] = field(default_factory=lambda: [0], repr=False)
    """How many were asked for so far: the next child's ordinal."""

    def line(self) -> tuple[Node, ...]:
        """From the root to this node."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return tuple(reversed(nodes))

    @property
    def written(self) -> tuple[int, ...]:
        """The whole action that this node ends: where new weights came in the middle of it, its pieces are nodes of their own."""
        tokens, node = self.segment.tokens, self.parent
        while node is not None and node.cut:
            tokens, node = node.segment.tokens + tokens, node.parent
        return tokens

    @property
    def cut(self) -> bool:
        """A piece of an action that went on under new weights: nobody ended it."""
        return self.segment.kind == "action" and self.stop is None

    @property
    def calls(self) -> int:
        """How many were made from the root to here; an action in pieces is one."""
        return sum(not node.cut for node in self.line()) - 1

    @property
    def tokens(self) -> tuple[int, ...]:
        """From the root to here."""
        return tuple(token for node in self.line() for token in node.segment.tokens)

    def row(self) -> Row:
        """Everything from the root to here, with all that is not prompt or observation trained."""
        return Row.of(*(node.segment for node in self.line()))

    def next(self) -> tuple[int, ...]:
        """The path of the next child. Its ordinal is taken by asking, so nobody gets it twice."""
        ordinal = self.children[0]
        self.children[0] += 1
        return (*self.path, ordinal)


def called(path: tuple[int, ...]) -> str:
    """A segment's id: its path of ordinals."""
    return ".".join(map(str, path))


def refuse(node: Node, most: int, stop: tuple[str, ...], sampling: Sampling, *, limit: int, tokenizer: object) -> None:
    """What no engine can write under this node, with the way out. `limit` is the model's number of positions."""
    if most < 1:
        raise ValueError(f"max is the largest number of tokens to write, at least 1; got {most}.")
    if node.length + most > limit:
        raise ValueError(f"{node.length} tokens and {most} more exceed the model's {limit} positions. Lower `max` or shorten the prompt.")
    if stop and tokenizer is None:
        raise ValueError("stop strings are matched in decoded text: give the engine its tokenizer, or stop by eos_ids.")
    if any(not s for s in stop):
        raise ValueError("a stop string is empty: it would end every action before its first token.")
    if not 0 <= sampling.temperature < float("inf") or not 0 < sampling.top_p <= 1:
        raise ValueError(f"temperature must be at least 0 and top_p in (0, 1], got {sampling}.")
    if sampling.allowed is not None and not sampling.allowed:
        raise ValueError("sampling.allowed is empty: no token could be drawn. Pass None to allow all.")


def inside(tokens: Sequence[int], what: str, vocab: int) -> tuple[int, ...]:
    """These tokens, if the vocabulary holds them."""
    checked = tuple(int(token) for token in tokens)
    if not checked:
        raise ValueError(f"{what} needs at least one token, got none.")
    if min(checked) < 0 or max(checked) >= vocab:
        raise ValueError(f"{what} has token {min(checked) if min(checked) < 0 else max(checked)}, outside the model's {vocab}.")
    return checked


def unchosen(tokens: Sequence[int], kind: str, vocab: int) -> tuple[int, ...]:
    """These tokens, if they can stand in a node as text that the policy did not choose."""
    if kind not in ("observation", "forced"):
        raise ValueError(f"kind must be 'observation' or 'forced', got {kind!r}.")
    return inside(tokens, f"{kind} text", vocab)


@dataclass
class Counters:
    """Positions an engine computed or moved, since its start. Discarded work is in here too."""

    prefilled: int = 0
    """Prompts and observations, each once however often it is generated on."""
    decoded: int = 0
    """Tokens that were drawn."""
    scored: int = 0
    """Tokens whose log-probability somebody asked for."""
    recomputed: int = 0
    """Computed again because their cache had been given up."""
    copied: int = 0
    """Cached positions that were moved; no work of a policy's."""

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass(frozen=True)
class Footprint:
    """The most cached positions a task's sampler needs at one time, and its largest number of requests."""

    positions: int
    """Tokens that stay cached while more is built on them: the prompt, and every `generate` with `keep` and `extend`."""
    requests: int
    """Calls of `generate` that wait at once."""


class Engine(Protocol):
    name: str
    """The policy's: `actor`."""
    version: int
    """Of the weights it draws with."""
    counters: Counters
    """What it computed since its start."""
    limit: int
    """Positions that a row may have."""

    @property
    def own(self) -> bool:
        """What it records while sampling is the learner's own log-probability, within rounding: it computes with the learner's weights and
        arithmetic. Where it is not, the learner's is measured and the method's correction bridges the two."""
        ...

    @property
    def limits(self) -> Mapping[str, float]:
        """Limits of tripwires that its arithmetic asks for, by their names: how far its log-probabilities may be from the learner's on the
        same weights. None of them where it computes as the learner does."""
        ...

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        """A prompt. Its positions are computed once however often it is generated on. A second prompt of the same root gets another
        `ordinal`: ids of segments and noise follow from both."""
        ...

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        """One action under `node`. The child's ordinal, and so its noise, is fixed by this call, not by when it is awaited.

        `keep=False` says nobody will build on it, so its cache need not stay.
        """
        ...

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        """Text under `node` that the policy did not choose."""
        ...

    async def score(self, node: Node) -> tuple[float, ...]:
        """Log-probability of each of the node's own tokens given its past, by the weights as they stand."""
        ...

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        """Room for one task, all of it or wait: nobody waits while holding cache."""
        ...

    def begin(self, step: int) -> None:
        """A new training step: its number keys the noise."""
        ...

    def deliver(self, version: int) -> None:
        """The weights changed; caches of older versions die. An engine with the attribute `cuts` takes them in the middle of an action."""
        ...
