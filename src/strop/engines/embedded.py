"""The embedded engine: decodes in the trainer's process with the trainer's own weights.

Coroutines ask, one pump answers: it takes queued requests into slots, runs one decode
step for all of them, resolves whoever finished, and lets the coroutines ask again. Nothing
of an answer depends on when it was asked for or beside whom: noise is addressed, rows are left
aligned, and a row's arithmetic has the shape of its own length. `grade` says whether that
was seen to hold for this model on this machine.

Axes: N rows, T positions, V vocabulary.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from strop.engines import draw
from strop.engines.cache import Account, Arena, Store, length_class
from strop.engines.given import LOGITS, bucket, likely
from strop.policies.families import Fast, declared
from strop.policies.forward import FLOOR, Block, Generic, Runner, ceil_to
from strop.policies.twin import fast, follow, twin
from strop.records import Author, Sampling, Segment, Stop
from strop.seams.compute import Quantized
from strop.seams.engine import ROUNDED, Counters, Footprint, Node, called, inside, refuse, unchosen

if TYPE_CHECKING:
    from strop.recipe import Recipe

_LEASE: ContextVar[tuple[Any, Account] | None] = ContextVar("strop_lease", default=None)
_PREFILL_ENTRIES = 1 << 22
"""Query times key positions of one prefill batch: bounds its masks and scores."""
_BURST = 8
"""Decode steps between two looks at the event loop while nobody finishes."""


@dataclass(eq=False)
class _Request:
    node: Node
    path: tuple[int, ...]
    max: int
    stop: tuple[str, ...]
    sampling: Sampling
    keep: bool
    account: Account | None
    future: asyncio.Future[Node]
    key: int = 0
    before: tuple[int, ...] = ()
    """Pieces of this action that older weights wrote."""
    slot: int = -1
    ended: Stop | None = None


@dataclass(eq=False)
class _Scoring:
    node: Node
    future: asyncio.Future[tuple[float, ...]]


@dataclass(eq=False)
class _Given:
    """Texts that exist, each with the place of the first token that is asked about."""

    texts: Sequence[tuple[tuple[int, ...], int]]
    future: asyncio.Future[list[tuple[float, ...]]]


def beside(policy: Any, recipe: Recipe) -> EmbeddedEngine:
    """In this process, with the trainer's own weights, or a copy of them in what the method draws with."""
    compute, dtype = recipe.resolved().compute, None
    if isinstance(compute, Quantized):
        dtype = getattr(torch, compute.dtype)
        if not fast(dtype, policy.device):
            raise ValueError(
                f"drawing in {compute.dtype} is faster on processors with AVX512-BF16 or AMX and on GPUs, and this "
                f"{policy.device.type} has no such instructions: it would be slower than float32. Leave out --compute {compute.dtype}."
            )
    return EmbeddedEngine(
        policy.model,
        policy.tokenizer,
        seed=recipe.seed,
        slots=recipe.slots,
        cache=recipe.cache,
        eos_ids=policy.eos,
        dtype=dtype,
        nearest=policy.compute == dtype,
    )


class EmbeddedEngine:
    """Batches what coroutines ask of a Hugging Face causal LM.

    cache   positions of finished text kept for building on: `2 * layers * kv heads * head size` numbers each
    evict   False: whole tasks are admitted and nothing is evicted, so runs repeat bit for bit;
            True: the least recently used chunk goes and is computed again when needed (counted `recomputed`)
    path    "fast" for declared families, "generic" for the model's own forward, "auto" picks
    dtype   what to draw with, in a copy of the weights; None draws with the model itself
    nearest the copy is rounded as a learner does that computes in this format (`strop.policies.twin`)
    """

    cuts = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        name: str = "actor",
        seed: int = 0,
        slots: int = 256,
        cache: int = 1 << 18,
        evict: bool = False,
        path: Literal["auto", "fast", "generic"] = "auto",
        eos_ids: tuple[int, ...] | None = None,
        dtype: torch.dtype | None = None,
        nearest: bool = False,
    ) -> None:
        if slots < 1 or cache < 1:
            raise ValueError(f"slots and cache must be at least 1, got slots={slots}, cache={cache}.")
        if path not in ("auto", "fast", "generic"):
            raise ValueError(f"path must be 'auto', 'fast' or 'generic', got {path!r}.")
        self.model, self.tokenizer, self.name, self.seed, self.slots = model, tokenizer, name, seed, slots
        self.own = dtype is None or dtype == model.dtype
        self.limits: Mapping[str, float] = {} if self.own else ROUNDED
        self._drawing, self._nearest = model if dtype is None or self.own else twin(model, dtype, nearest), nearest
        self.runner: Runner = Fast(self._drawing) if path == "fast" or (path == "auto" and declared(model)) else Generic(self._drawing)
        self.path = self.runner.name
        self.version, self.step, self.counters = 0, 0, Counters()
        self.wrote: set[int] = set()
        """Hashes of the contexts that this step's actions ended."""
        self.limit: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 31
        self.vocab = int(model.get_output_embeddings().weight.shape[0])  # pyright: ignore[reportOptionalMemberAccess]
        self.eos_ids = _eos_ids(model, tokenizer) if eos_ids is None else tuple(eos_ids)
        self._ends_V = np.zeros(self.vocab, dtype=bool)
        self._ends_V[[i for i in self.eos_ids if i < self.vocab]] = True
        self._store = Store(cache, evict)
        self._seen: weakref.WeakSet[Node] = weakref.WeakSet()
        self._queue: deque[_Request] = deque()
        self._scorings: deque[_Scoring] = deque()
        self._givens: deque[_Given] = deque()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._leased = 0
        self._task: asyncio.Task[None] | None = None
        self._samplings: dict[Sampling, int] = {}
        self._pieces: dict[int, str] = {}
        self._reset_rows()
        self.grade: Literal["exact", "statistical"] = "exact" if self._rows_stand_alone() else "statistical"

    # ---- what coroutines call

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        """A prompt; computed when first generated on. Give a second context of the same root another `ordinal`."""
        tokens = inside(tokens, "a prompt", self.vocab)
        segment = Segment("prompt", tokens, called((ordinal,)))
        return Node(segment, None, (ordinal,), root, self.version, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        """One action under `node`, ended by an end token, a stop string in its text, or `max` tokens.

        The child's ordinal, and so its noise, is fixed by this call, not by when it is awaited.
        """
        refuse(node, max, stop, sampling, limit=self.limit, tokenizer=self.tokenizer)
        return self._generate(node, node.next(), max, tuple(stop), sampling, keep, self._account())

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        """Text the policy did not choose, under `node`; computed when generated on."""
        return self._extend(node, unchosen(tokens, kind, self.vocab), node.next(), kind)

    async def score(self, node: Node) -> tuple[float, ...]:
        """Log-probability of each of the node's own tokens given its past, by the weights as they stand.

        An action is scored under the temperature and allowed ids it was drawn with.
        A root's first token has no past, so a root cannot be scored.
        """
        if node.parent is None:
            raise ValueError("a prompt's first token has no past to be scored by; score a node under it.")
        future: asyncio.Future[tuple[float, ...]] = asyncio.get_running_loop().create_future()
        self._wake()
        self._scorings.append(_Scoring(node, future))
        return await future

    async def given(self, texts: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple[float, ...]]:
        """Log-probability of each text's tokens from a place on, given all before them, by the weights as they stand. What the texts have
        in common from their first token on is computed once, so an answer's last bits depend on what else its call asks about, and on
        nothing that others ask at the same time."""
        for text, start in texts:
            inside(text, "a text", self.vocab)
            if not 0 < start < len(text):
                raise ValueError(f"a text of {len(text)} tokens is asked about from place {start} on; a token has a past, so from 1 on")
            if len(text) > self.limit:
                raise ValueError(f"a text of {len(text)} tokens exceeds the model's {self.limit} positions. Shorten it.")
        future: asyncio.Future[list[tuple[float, ...]]] = asyncio.get_running_loop().create_future()
        self._wake()
        self._givens.append(_Given(texts, future))
        return await future

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        """Room for one task's cached positions, all of it or wait, first come first served.

        Nothing is evicted inside it, and on leaving it the task's chunks go. With
        `evict=True` there is nothing to wait for.
        """
        if footprint.positions > self._store.positions:
            raise ValueError(
                f"the task needs {footprint.positions} cached positions at one time and the engine's cache holds {self._store.positions}. "
                f"Set cache={footprint.positions} or more, or lower the group size or the token limit."
            )
        return self._admit(footprint)

    def begin(self, step: int) -> None:
        """A new training step: its number keys the noise of what is asked from here on."""
        self.step = step
        self.wrote.clear()

    def noise(self, root: str, segment: str, start: int, count: int) -> np.ndarray:
        """The numbers in [0, 1) that drew an action of this step, token by token, from its first position in the row."""
        key = draw.key(self.seed, self.step, root, tuple(map(int, segment.split("."))), self.name)
        return draw.uniforms(np.full(count, key, dtype=np.uint64), np.arange(start, start + count))

    def deliver(self, version: int) -> None:
        """The weights changed: joined projections are rebuilt and every cached chunk dies.

        What is being written ends here as a segment of its version; the rest will be its child, written by the new weights.
        """
        with torch.inference_mode():
            for slot in list(self._live):
                self._cut(slot)
        self.version = version
        self._store.clear()
        if self._drawing is not self.model:
            follow(self.model, self._drawing, self._nearest)
        self.runner.refresh()

    # ---- coroutines

    async def _generate(
        self, node: Node, path: tuple[int, ...], max: int, stop: tuple[str, ...], sampling: Sampling, keep: bool, account: Account | None
    ) -> Node:
        future: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self._wake()
        key = draw.key(self.seed, self.step, node.root, path, self.name)
        self._queue.append(_Request(node, path, max, stop, sampling, keep, account, future, key))
        return await future

    async def _extend(self, node: Node, tokens: tuple[int, ...], path: tuple[int, ...], kind: Literal["observation", "forced"]) -> Node:
        return Node(Segment(kind, tokens, called(path)), node, path, node.root, self.version, length=node.length + len(tokens))

    @asynccontextmanager
    async def _admit(self, footprint: Footprint) -> AsyncIterator[None]:
        before = _LEASE.get()
        if before is not None and before[0] is self:
            raise RuntimeError("this task already holds a lease: waiting for more while holding may never end. Declare the sum.")
        if self._store.evict:
            yield
            return
        count = footprint.positions
        if self._waiting or self._leased + self._store.common.used + count > self._store.positions:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((count, future))
            self._let_in()
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._leased -= count
                raise
            finally:
                self._waiting = deque(w for w in self._waiting if w[1] is not future)
                self._set_common()
                self._let_in()
        else:
            self._leased += count
            self._set_common()
        account = Account(count, nodes=weakref.WeakSet())
        _LEASE.set((self, account))
        try:
            yield
        finally:
            _LEASE.set(before)
            self._store.close(account)
            self._leased -= count
            self._set_common()
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            count, future = self._waiting[0]
            if future.done() or future.get_loop().is_closed():
                self._waiting.popleft()
                continue
            if self._leased + self._store.common.used + count > self._store.positions:
                return
            self._waiting.popleft()
            self._leased += count
            future.set_result(None)

    def _set_common(self) -> None:
        self._store.common.positions = self._store.positions - self._leased
        self._store.forget()

    def _account(self) -> Account | None:
        lease = _LEASE.get()
        return lease[1] if lease is not None and lease[0] is self else None

    # ---- the pump

    def _wake(self) -> None:
        """One pump per event loop; whatever a dead loop left behind is dropped."""
        loop = asyncio.get_running_loop()
        if self._task is not None and self._task.get_loop() is not loop:
            if self._queue or self._live or self._scorings or self._givens:
                self._abort(RuntimeError("the event loop that asked for this is gone"))
            self._task = None
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._pump())

    async def _pump(self) -> None:
        try:
            await asyncio.sleep(0)
            while self._queue or self._live or self._scorings or self._givens:
                with torch.inference_mode():
                    self._score()
                    self._likely()
                    self._enter()
                    for _ in range(_BURST):
                        if not self._live or self._advance():
                            break
                await asyncio.sleep(0)
        except BaseException as error:
            self._abort(error)
            if not isinstance(error, Exception):
                raise

    def _abort(self, error: BaseException) -> None:
        """Every waiting future hears of it; the engine is empty and usable afterwards."""
        futures = [r.future for r in (*self._queue, *self._live.values())] + [s.future for s in (*self._scorings, *self._givens)]
        self._queue.clear()
        self._scorings.clear()
        self._givens.clear()
        self._reset_rows()
        for future in futures:
            if future.done() or future.get_loop().is_closed():
                continue
            if isinstance(error, Exception):
                future.set_exception(error)
            else:
                future.cancel()

    # ---- rows: plain arrays by slot; a slot's row of keys is `_row` in the arena `_home`

    def _reset_rows(self) -> None:
        n = self.slots
        self._live: dict[int, _Request] = {}
        self._free = list(range(n - 1, -1, -1))
        self._arenas: dict[int, Arena] = {}
        self._row, self._home, self._length = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._last, self._count, self._max = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._kind, self._key = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint64)
        self._closing, self._watch = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self._out, self._logp = np.zeros((n, 64), dtype=np.int64), np.zeros((n, 64), dtype=np.float32)
        self._order: np.ndarray | None = None

    def _place(self, slots: list[int], length: int) -> tuple[Arena, int]:
        arena = self._arenas.get(length)
        if arena is None:
            arena = self._arenas[length] = Arena(self.runner.shape, length, self.runner.dtype, self.runner.device)
        first = arena.reserve(slots)
        self._row[slots] = np.arange(first, first + len(slots))
        self._home[slots] = length
        self._order = None
        return arena, first

    def _vacate(self, slot: int) -> None:
        moved = self._arenas[int(self._home[slot])].remove(int(self._row[slot]), self._length)
        if moved is not None:
            self._row[moved] = self._row[slot]
        self._order = None

    def _layout(self) -> tuple[np.ndarray, list[tuple[Arena, int]]]:
        """Slots in batch order, arena by arena."""
        if self._order is None:
            self._used = [(a, a.count) for _, a in sorted(self._arenas.items()) if a.count]
            self._order = np.concatenate([a.slots[:count] for a, count in self._used])
        return self._order, self._used

    # ---- entering: a request gets a slot, its past, and its first token

    def _enter(self) -> None:
        while self._queue and self._queue[0].future.done():
            self._queue.popleft()
        free = len(self._free)
        if not self._queue or not free or (self._live and free < min(len(self._queue), max(1, self.slots // 16))):
            return
        by_node: dict[Node, list[_Request]] = {}
        while self._queue and free:
            request = self._queue.popleft()
            if not request.future.done():
                by_node.setdefault(request.node, []).append(request)
                free -= 1
        try:
            pasts = self._pasts({node: requests[0].account for node, requests in by_node.items()})
            entered: list[_Request] = []
            for node, requests in by_node.items():
                slots = [self._free.pop() for _ in requests]
                for request, slot in zip(requests, slots, strict=True):
                    request.slot, self._live[slot] = slot, request
                    entered.append(request)
                arena, first = self._place(slots, length_class(node.length + 1))
                rows, at = slice(first, first + len(slots)), 0
                for kv in pasts[node][0]:
                    arena.kv[:, :, rows, :, at : at + kv.shape[3]] = kv[:, :, None]
                    at += kv.shape[3]
                self._length[slots] = at
                self.counters.copied += at * len(slots)
        except BaseException:
            self._queue.extendleft(r for requests in reversed(by_node.values()) for r in reversed(requests) if r.slot < 0)
            raise
        order = np.array([r.slot for r in entered])
        self._count[order] = 0
        self._closing[order] = False
        self._key[order] = np.array([r.key for r in entered], dtype=np.uint64)
        self._max[order] = [r.max for r in entered]
        self._watch[order] = [bool(r.stop) for r in entered]
        self._kind[order] = [self._samplings.setdefault(r.sampling, len(self._samplings)) for r in entered]
        most = int(self._max[order].max())
        if most > self._out.shape[1]:
            wider = ((0, 0), (0, ceil_to(most, 64) - self._out.shape[1]))
            self._out, self._logp = np.pad(self._out, wider), np.pad(self._logp, wider)
        first_of = {node: at for at, node in enumerate(by_node)}
        self._write(order, torch.stack([pasts[node][1] for node in by_node]), np.array([first_of[r.node] for r in entered]))

    def _pasts(self, wanted: dict[Node, Account | None]) -> dict[Node, tuple[list[Tensor], Tensor]]:
        """Keys and values along each node's line, and the state after it; what is missing is computed in batches."""
        found: dict[Node, tuple[list[Tensor], Tensor]] = {}
        partly: list[tuple[Node, tuple[Node, ...], list[Tensor]]] = []
        for node in wanted:
            rest, kvs, state = node.line(), list[Tensor](), None
            while rest and (chunk := self._store.get(rest[0], wanted[node])) is not None and chunk.kv is not None:
                kvs, state, rest = [*kvs, *chunk.kv], chunk.state, rest[1:]
            if state is not None and not rest:
                found[node] = kvs, state
            else:
                partly.append((node, rest, kvs))
        begun = self._begun([rest[0] for _, rest, _ in partly if rest[0].parent is None])
        missing: dict[tuple[int, int, bool], list[tuple[Node, tuple[Node, ...], list[Tensor]]]] = {}
        for node, rest, kvs in partly:
            if rest[0].parent is None:
                kvs = begun[rest[0].segment.tokens]
            start = sum(kv.shape[3] for kv in kvs)
            size = bucket(node.length - start)
            missing.setdefault((size, bucket(start + size), start == 0), []).append((node, rest, kvs))
        for (size, length, _), group in missing.items():
            # Always the same padding for the same text: what a prompt's bits are must not depend on who came with it.
            most = self.rows_at_once(size, length)
            for i in range(0, len(group), most):
                self._prefill(group[i : i + most], size, length, wanted, found)
        return found

    def _begun(self, roots: list[Node]) -> dict[tuple[int, ...], list[Tensor]]:
        """Keys and values of each prompt up to its last edge. What prompts have in common from their first token on is computed once;
        every prompt is cut at the same places, alone or in company, so its bits are its own."""
        begun: dict[tuple[int, ...], list[Tensor]] = {root.segment.tokens: [] for root in roots}
        seen = {root.segment.tokens for root in roots if root in self._seen}
        start, longest = 0, max(map(len, begun), default=0)
        while (end := _edge(start)) < longest:
            here = [prompt for prompt in begun if len(prompt) > end]
            texts = {prompt[:end]: prompt for prompt in here}
            ready = {text: kv for text in texts if (kv := self._store.prefix(text)) is not None}
            missing, most = [text for text in texts if text not in ready], self.rows_at_once(end - start, bucket(end))
            for i in range(0, len(missing), most):
                batch = missing[i : i + most]
                kv, _ = self.forward([(text[start:], begun[texts[text]]) for text in batch], end - start, bucket(end))
                ready |= {text: self._store.keep_prefix(text, kv[:, :, row, :, start:end].clone()) for row, text in enumerate(batch)}
                again = sum(texts[text] in seen for text in batch) * (end - start)
                self.counters.recomputed += again
                self.counters.prefilled += len(batch) * (end - start) - again
            for prompt in here:
                begun[prompt].append(ready[prompt[:end]])
            start = end
        return begun

    def rows_at_once(self, size: int, length: int) -> int:
        return max(1, min(_PREFILL_ENTRIES // (size * length), LOGITS // (size * self.runner.width)))

    def forward(self, rows: list[tuple[Sequence[int], list[Tensor]]], size: int, length: int) -> tuple[Tensor, Tensor]:
        """Rows of new tokens, each after its own past: the cache with both in it, and the states after the new ones."""
        starts = np.array([sum(kv.shape[3] for kv in past) for _, past in rows])
        fresh = not starts.any()
        kv, ids = self._space(len(rows), length, fresh), np.zeros((len(rows), size), dtype=np.int64)
        for row, (tokens, past) in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            at = 0
            for piece in past:
                kv[:, :, row, :, at : at + piece.shape[3]] = piece
                at += piece.shape[3]
        pos = starts[:, None] + np.arange(size)
        return kv, self.runner.run(self.to(ids), self.to(pos), [Block(kv, len(rows), fresh)])

    def _prefill(
        self,
        group: list[tuple[Node, tuple[Node, ...], list[Tensor]]],
        size: int,
        length: int,
        wanted: dict[Node, Account | None],
        found: dict[Node, tuple[list[Tensor], Tensor]],
    ) -> None:
        rows: dict[Any, int] = {}
        asked: list[tuple[Sequence[int], list[Tensor]]] = []
        for node, rest, past in group:
            if rows.setdefault(_same(node, rest, wanted[node]), len(rows)) == len(asked):
                start = sum(kv.shape[3] for kv in past)
                asked.append((node.tokens[start:], past))
        kv, states = self.forward(asked, size, length)
        billed: set[int] = set()
        for node, rest, past in group:
            row = rows[_same(node, rest, wanted[node])]
            kvs, at = list(past), node.length - len(asked[row][0])
            state, start = states[row, 0], at
            for part in rest:
                own = kv[:, :, row, :, at : part.length].clone()
                state = states[row, part.length - 1 - start].clone()
                if row not in billed:
                    again = part in self._seen or part.segment.logp is not None
                    self.counters.recomputed += part.length - at if again else 0
                    self.counters.prefilled += 0 if again else part.length - at
                self._seen.add(part)
                kvs.append(own)
                if not part.cut and self._store.get(part, wanted[node]) is None:  # no footprint has room for pieces
                    self._store.put(part, tuple(kvs) if part.parent is None else (own,), state, wanted[node])
                at = part.length
            billed.add(row)
            found[node] = kvs, state

    # ---- decoding

    def _advance(self) -> bool:
        """One decode step for all live rows; True when somebody finished."""
        order, used = self._layout()
        outgrown = order[self._length[order] >= self._home[order]]
        if len(outgrown):
            for slot in outgrown.tolist():
                self._move(slot)
            order, used = self._layout()
        n = len(order)
        ids, pos = np.zeros((ceil_to(n, FLOOR), 1), dtype=np.int64), np.zeros((ceil_to(n, FLOOR), 1), dtype=np.int64)
        ids[:n, 0], pos[:n, 0] = self._last[order], self._length[order]
        states = self.runner.run(self.to(ids), self.to(pos), [Block(a.kv, count) for a, count in used])[:n, 0]
        self._length[order] += 1
        closing = self._closing[order]
        if not closing.any():
            return self._write(order, states)
        closed = np.flatnonzero(closing)
        self._close(order[closed], states[self.to(closed)])
        going = np.flatnonzero(~closing)
        if len(going):
            self._write(order[going], states[self.to(going)])
        return True

    def _move(self, slot: int) -> None:
        """To the arena of the next length class."""
        length, old, row = int(self._length[slot]), self._arenas[int(self._home[slot])], int(self._row[slot])
        self._order = None
        kv = old.kv[:, :, row, :, :length]
        arena = self._arenas.get(length_class(length + 1))
        if arena is None:
            arena = self._arenas[length_class(length + 1)] = Arena(
                self.runner.shape, length_class(length + 1), self.runner.dtype, self.runner.device
            )
        first = arena.reserve([slot])
        arena.kv[:, :, first, :, :length] = kv
        self._vacate(slot)
        self._row[slot], self._home[slot] = first, arena.length

    def _write(self, order: np.ndarray, state_MH: Tensor, from_N: np.ndarray | None = None) -> bool:
        """Draws the next token of these slots, each from its own state or from the one named, and ends those that are done."""
        from_N = np.arange(len(order)) if from_N is None else from_N
        uniform, kinds, samplings = draw.uniforms(self._key[order], self._length[order]), self._kind[order], list(self._samplings)
        n, M = len(order), len(state_MH)
        token, logp = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.float32)
        piece = -(-M // -(-M * self.vocab // LOGITS))
        for first in range(0, M, piece):
            logits = self.runner.head(state_MH[first : first + piece])
            here = (from_N >= first) & (from_N < first + piece)
            for kind in np.unique(kinds[here]).tolist():
                rows = np.flatnonzero(here & (kinds == kind))
                token[rows], logp[rows] = draw.draw(logits, uniform[rows], samplings[kind], from_N[rows] - first)
        if not np.isfinite(logp).all():
            raise FloatingPointError(
                f"the logits of policy {self.name!r} at version {self.version} are not finite, so nothing can be drawn. "
                "The weights diverged: lower the learning rate or clip the gradient."
            )
        count = self._count[order]
        self._out[order, count], self._logp[order, count], self._last[order] = token, logp, token
        self._count[order] = count + 1
        self.counters.decoded += n
        done = self._ends_V[token] | (count + 1 >= self._max[order])
        if self._watch[order].any():
            done |= self._stops(order, token, done)
        if not done.any():
            return False
        self._finish(order[done])
        return True

    def _stops(self, order: np.ndarray, token: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Rows whose text now contains a stop string; only tokens that could complete one are decoded."""
        hit = np.zeros(len(order), dtype=bool)
        for i in np.flatnonzero(self._watch[order]).tolist():
            request = self._live[int(order[i])]
            if self._ends_V[token[i]] or not self._closes(int(token[i]), request.stop):
                continue
            count = int(self._count[order[i]])
            # Every token but a partial character's is at least one character or special, so this tail holds the longest stop.
            tail = [*request.before, *self._out[order[i], :count].tolist()][-4 * max(map(len, request.stop)) - 8 :]
            text = self.tokenizer.decode(tail, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if any(s in text for s in request.stop):
                hit[i], request.ended = True, "stop"
        return hit

    def _closes(self, token: int, stop: tuple[str, ...]) -> bool:
        """Whether this token could complete one of the stop strings."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return not piece or "\ufffd" in piece or any(text[-1] in piece for text in stop)

    # ---- leaving

    def _finish(self, slots: np.ndarray) -> None:
        """Kept rows run one more step, for their last token's keys and the state after it; the others leave now."""
        for slot in slots.tolist():
            request = self._live[slot]
            if self._ends_V[self._last[slot]]:
                request.ended = "finished"
            elif request.ended is None:
                request.ended = "length"
            if request.keep and not request.future.done():
                self._closing[slot] = True
            else:
                self._leave(slot, None)

    def _close(self, slots: np.ndarray, states: Tensor) -> None:
        for i, slot in enumerate(slots.tolist()):
            self._leave(slot, states[i])

    def _cut(self, slot: int) -> None:
        """New weights are here: this action's tokens so far are a segment, and the rest is asked for under it."""
        request = self._live[slot]
        if self._closing[slot]:
            return self._leave(slot, None)
        node = self._segment(slot)
        path = node.next()
        key, before = draw.key(self.seed, self.step, node.root, path, self.name), request.before + node.segment.tokens
        most = request.max - len(node.segment.tokens)
        self._queue.appendleft(
            _Request(node, path, most, request.stop, request.sampling, request.keep, request.account, request.future, key, before)
        )
        self._vacate(slot)
        del self._live[slot]
        self._free.append(slot)

    def _segment(self, slot: int) -> Node:
        """What stands in this slot, as a node."""
        request = self._live[slot]
        count = int(self._count[slot])
        tokens, logp = tuple(self._out[slot, :count].tolist()), tuple(self._logp[slot, :count].tolist())
        author = Author(self.name, self.version, request.sampling)
        segment = Segment("action", tokens, called(request.path), author, logp)
        length = request.node.length + count
        node = Node(segment, request.node, request.path, request.node.root, self.version, request.ended, length)
        self.wrote.add(hash(node.tokens))
        return node

    def _leave(self, slot: int, state: Tensor | None) -> None:
        request, node = self._live[slot], self._segment(slot)
        error: ValueError | None = None
        if state is not None and not request.future.done():
            kv = self._arenas[int(self._home[slot])].kv[:, :, int(self._row[slot]), :, request.node.length : node.length].clone()
            try:
                self._store.put(node, (kv,), state.clone(), request.account)
            except ValueError as full:
                error = full
        self._vacate(slot)
        del self._live[slot]
        self._free.append(slot)
        if request.future.done():
            return
        if error is None:
            request.future.set_result(node)
        else:
            request.future.set_exception(error)

    # ---- scoring

    def _score(self) -> None:
        """Right-padded passes over whole lines, the same padding for the same text."""
        groups: dict[int, list[_Scoring]] = {}
        piece = max(1, LOGITS // self.vocab)
        for scoring in self._scorings:
            if not scoring.future.done():
                groups.setdefault(bucket(scoring.node.length), []).append(scoring)
        for size, group in groups.items():
            most = self.rows_at_once(size, size)
            for i in range(0, len(group), most):
                part = group[i : i + most]
                _, states = self.forward([(scoring.node.tokens, []) for scoring in part], size, size)
                for row, scoring in enumerate(part):
                    node = scoring.node
                    sampling = node.segment.author.sampling if node.segment.author is not None else Sampling()
                    start, token = node.length - len(node.segment.tokens), self.to(np.array(node.segment.tokens))
                    pieces = zip(states[row, start - 1 : node.length - 1].split(piece), token.split(piece), strict=True)
                    logp = [draw.logp_of(self.runner.head(state), token, sampling) for state, token in pieces]
                    self.counters.scored += node.length
                    scoring.future.set_result(tuple(torch.cat(logp).cpu().tolist()))
        self._scorings.clear()

    def _likely(self) -> None:
        """What was asked about by now, by one version of the weights."""
        asked = [given for given in self._givens if not given.future.done()]
        self._givens.clear()
        for given, found in zip(asked, likely(self, [given.texts for given in asked]), strict=True):
            given.future.set_result(found)

    # ---- checks

    @torch.inference_mode()
    def _rows_stand_alone(self) -> bool:
        """Whether the same rows, alone and among others, come out bit for bit: a few steps on arbitrary tokens."""
        state = np.random.default_rng(0)
        many = 3 * FLOOR + 5
        ids = self.to(state.integers(0, self.vocab, (many, FLOOR + 2)))

        def trial(rows: slice) -> Tensor:
            n = ids[rows].shape[0]
            kv = self._space(ceil_to(n, FLOOR), 64, False)
            pos = self.to(np.broadcast_to(np.arange(FLOOR), (n, FLOOR)).copy())
            outs = [self.runner.head(self.runner.run(ids[rows, :FLOOR], pos, [Block(kv, n, False)])[:, -1])]
            pad = ceil_to(n, FLOOR) - n
            for t in range(2):
                step = torch.nn.functional.pad(ids[rows, FLOOR + t : FLOOR + t + 1], (0, 0, 0, pad))
                at = torch.zeros_like(step)
                at[:n] = FLOOR + t
                outs.append(self.runner.head(self.runner.run(step, at, [Block(kv, n)])[:n, 0]))
            return torch.stack(outs)

        together = trial(slice(None))
        return all(torch.equal(trial(slice(a, b)), together[:, a:b]) for a, b in ((0, 1), (2, 5), (3, 3 + FLOOR), (many - FLOOR - 3, many)))

    def _space(self, rows: int, length: int, fresh: bool) -> Tensor:
        """Cache for one pass. A fresh one is written before it is read; another must hold no garbage where nothing is written."""
        shape = self.runner.shape
        make = torch.empty if fresh else torch.zeros
        sizes = (shape.layers, 2, ceil_to(rows, self.runner.floor), shape.heads, length, shape.dim)
        return make(sizes, dtype=self.runner.dtype, device=self.runner.device)

    def to(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.runner.device)


def _edge(start: int) -> int:
    """Where a prompt is cut after this position, wherever it is cut: what two prompts share is counted in these steps."""
    return start + (32 if start < 256 else 64 if start < 1024 else 256)


def _same(node: Node, rest: tuple[Node, ...], account: Account | None) -> Any:
    """Roots with the same tokens in one task, or outside of any, are computed once."""
    return (rest[0].segment.tokens, id(account)) if len(rest) == 1 and node.parent is None else id(node)


def _eos_ids(model: PreTrainedModel, tokenizer: Any) -> tuple[int, ...]:
    found: list[int] = []
    for owner in (getattr(model, "generation_config", None), model.config.get_text_config(), tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found += [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    return tuple(dict.fromkeys(found))
