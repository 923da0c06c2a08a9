"""Engine: writes decisions for a policy. Nodes are immutable text; caches belong to the engine.

An engine batches what coroutines ask of it: `await generate` of many tasks runs as
one decode loop. Generating twice on one node is a fork. Holding a node holds no memory.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from strop.records import Row, Sampling, Segment, Stop


@dataclass(frozen=True, eq=False)
class Node:
    """A segment with its past. Its path of ordinals, fixed when the call is made, names it inside its task."""

    segment: Segment
    parent: Node | None
    path: tuple[int, ...]
    root: str
    """Key given to `open`: with the path it keys the noise of what is generated here."""
    version: int
    stop: Stop | None = None
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
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for node in self.line() for token in node.segment.tokens)

    def row(self) -> Row:
        return Row.of(*(node.segment for node in self.line()))


@dataclass
class Counters:
    """Positions an engine computed or moved, since its start. Discarded work is in here too."""

    prefilled: int = 0
    decoded: int = 0
    scored: int = 0
    recomputed: int = 0
    copied: int = 0

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass(frozen=True)
class Footprint:
    """The most cached positions a task's sampler needs at one time, and its largest number of requests."""

    positions: int
    requests: int


class Engine(Protocol):
    name: str
    version: int
    counters: Counters

    @property
    def own(self) -> bool:
        """What it records while sampling is the learner's own log-probability, within rounding: it computes with the learner's weights and
        arithmetic. Where it is not, the learner's is measured and the method's correction bridges the two."""
        ...

    async def open(self, tokens: Sequence[int], *, root: str) -> Node:
        """A prompt. Its positions are computed once however often it is generated on."""
        ...

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        """One action under `node`. The child's ordinal, and so its noise, is fixed by this call, not by when it is awaited.

        `keep=False` says nobody will build on it, so its cache need not stay.
        """
        ...

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]: ...

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
        """The weights changed; caches of older versions die."""
        ...
