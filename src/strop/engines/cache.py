"""Where keys and values live: rows being written, and chunks of finished text.

Axes: S rows, Hkv key heads, L positions, D head size.
A row lives in the arena of its length's class and moves to the next when it outgrows it,
so short rows never pay for long ones. A chunk is one node's own positions; a path is
chunks in a line, so a fork shares its prefix.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strop.policies.forward import FLOOR, Shape, ceil_to
from strop.seams.engine import Node

_REMEMBERED = 1 << 12
"""Positions of prompts' beginnings that stay for prompts to come, where the cache has room."""


def length_class(length: int) -> int:
    """The number of positions a row of this length attends over: at least 64, steps of 32 up to 256, then of about a fifth."""
    size = 64
    while size < length:
        size += 32 if size < 256 else ceil_to(size // 5, 64)
    return size


class Arena:
    """Rows of one length class, dense from 0. `slots[i]` says whose row i is."""

    def __init__(self, shape: Shape, length: int, dtype: torch.dtype, device: torch.device) -> None:
        self.length, self.count = length, 0
        self.slots = np.zeros(0, dtype=np.int64)
        self._make = lambda rows: torch.zeros(shape.layers, 2, rows, shape.heads, length, shape.dim, dtype=dtype, device=device)
        self.kv = self._make(0)

    def reserve(self, slots: list[int]) -> int:
        """Rows for these slots, at the end; returns the first. Zeros, never garbage: a masked NaN would still spread."""
        first, self.count = self.count, self.count + len(slots)
        if self.count > self.kv.shape[2]:
            rows = ceil_to(max(self.count, self.kv.shape[2] * 2), FLOOR)
            kv = self._make(rows)
            kv[:, :, :first] = self.kv[:, :, :first]
            self.kv, self.slots = kv, np.concatenate([self.slots, np.zeros(rows - len(self.slots), dtype=np.int64)])
        self.slots[first : self.count] = slots
        return first

    def remove(self, row: int, lengths: np.ndarray) -> int | None:
        """Closes the hole with the last row; returns the slot that moved to `row`, if one did."""
        self.count -= 1
        last = self.count
        if row == last:
            return None
        moved = int(self.slots[last])
        self.kv[:, :, row, :, : lengths[moved]] = self.kv[:, :, last, :, : lengths[moved]]
        self.slots[row] = moved
        return moved


@dataclass(eq=False)
class Account:
    """Positions of the store that may be used by one task, or by all who have no lease."""

    positions: int
    used: int = 0
    nodes: weakref.WeakSet[Any] | None = None
    """Nodes whose chunks end with the lease."""
    prompts: weakref.WeakValueDictionary[tuple[int, ...], Chunk] = field(default_factory=weakref.WeakValueDictionary)
    """Prompts by their tokens: the same text opened again is not computed again."""

    def give(self, positions: int) -> None:
        self.used -= positions


@dataclass(eq=False)
class Chunk:
    """One node's keys and values, pieces of [layers, 2, Hkv, n, D], and the state after it; `kv` is None once evicted."""

    kv: tuple[Tensor, ...] | None
    state: Tensor | None
    touched: int = 0
    free: Any = None


class Store:
    """Chunks of live nodes, at most `positions` of them. A chunk goes with its node, its lease, or its turn."""

    def __init__(self, positions: int, evict: bool) -> None:
        self.positions, self.evict = positions, evict
        self.common = Account(positions)
        self.chunks: weakref.WeakKeyDictionary[Node, Chunk] = weakref.WeakKeyDictionary()
        self.clock = 0
        self._prefixes: weakref.WeakValueDictionary[tuple[int, ...], Tensor] = weakref.WeakValueDictionary()
        self._recent: dict[tuple[int, ...], Tensor] = {}

    def prefix(self, tokens: tuple[int, ...]) -> Tensor | None:
        """Keys and values of the last stretch of what prompts may begin with, while one of them holds it or one lately did."""
        kv = self._prefixes.get(tokens)
        return None if kv is None else self.keep_prefix(tokens, kv)

    def keep_prefix(self, tokens: tuple[int, ...], kv: Tensor) -> Tensor:
        self._prefixes[tokens] = kv
        self._recent.pop(tokens, None)
        self._recent[tokens] = kv
        self.forget()
        return kv

    def forget(self) -> None:
        """Prefixes that nobody holds give way to whoever needs the room."""
        room = min(_REMEMBERED, self.common.positions - self.common.used)
        held = sum(kv.shape[3] for kv in self._recent.values())
        while self._recent and held > room:
            held -= self._recent.pop(next(iter(self._recent))).shape[3]

    def get(self, node: Node, account: Account | None) -> Chunk | None:
        chunk = self.chunks.get(node)
        if (chunk is None or chunk.kv is None) and node.parent is None:
            chunk = self._owner(account).prompts.get(node.segment.tokens)
            if chunk is not None and chunk.kv is not None:
                self._keep(node, chunk, self._owner(account))
        if chunk is None or chunk.kv is None:
            return None
        self.clock += 1
        chunk.touched = self.clock
        return chunk

    def _owner(self, account: Account | None) -> Account:
        return self.common if self.evict or account is None else account

    def _keep(self, node: Node, chunk: Chunk, account: Account) -> None:
        self.chunks[node] = chunk
        if account.nodes is not None:
            account.nodes.add(node)
        if node.parent is None:
            account.prompts[node.segment.tokens] = chunk

    def put(self, node: Node, kv: tuple[Tensor, ...], state: Tensor, account: Account | None) -> None:
        """Keeps a chunk; its tensors must be the caller's to give away.

        Without eviction a chunk that does not fit is an error: dropping it would have
        to be made up for by a prefill, whose bits are not those of the decode.
        """
        count = sum(piece.shape[3] for piece in kv)
        account = self._owner(account)
        if self.evict:
            if count > self.positions:
                return
            self._make_room(count)
        elif account.used + count > account.positions:
            if account is self.common:
                raise ValueError(
                    f"the engine's cache of {self.positions} positions is full ({account.used} used or leased, {count} more needed). "
                    "Raise `cache`, enter `engine.admit(footprint)` first, pass keep=False where nobody builds on, or set evict=True."
                )
            raise ValueError(
                f"the task declared a footprint of {account.positions} positions and needs {account.used + count}. "
                "Raise the footprint that its sampler declares."
            )
        account.used += count
        self.forget()
        self.clock += 1
        chunk = Chunk(kv, state, self.clock)
        chunk.free = weakref.finalize(chunk, account.give, count)
        chunk.free.atexit = False
        self._keep(node, chunk, account)

    def close(self, account: Account) -> None:
        for node in list(account.nodes or ()):
            self.chunks.pop(node, None)

    def clear(self) -> None:
        self.chunks.clear()
        self._prefixes.clear()
        self._recent.clear()

    def _make_room(self, count: int) -> None:
        if self.common.used + count <= self.positions:
            return
        for chunk in sorted(self.chunks.values(), key=lambda c: c.touched):
            if chunk.kv is not None:
                chunk.free()
                chunk.kv = chunk.state = None
            if self.common.used + count <= self.positions:
                return
