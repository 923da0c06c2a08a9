"""Forward passes over a cache whose rows are at different positions; here, for any Hugging Face causal LM.

Axes: N rows, T new positions, S cache rows, L cache positions, Hkv key heads, D head size, V vocabulary.
A block is a run of rows that share one cache tensor; rows are left aligned, row n writes its
keys at its own positions and sees what lies at or before them. The length L a row attends
over is a function of its own length only, so its bits do not depend on its neighbours.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, PreTrainedModel

FLOOR = 16
"""Rows below which a matrix product's bits depend on how many rows there are; batches are padded to multiples of it."""


FAILS = (ValueError, TypeError, RuntimeError, IndexError, AttributeError)
"""What a model raises that does not take a cache like ours."""


def ceil_to(n: int, unit: int) -> int:
    return -(-n // unit) * unit


@dataclass
class Block:
    """`n` rows of a batch, in order, and the cache they live in: `kv` is [layers, 2, S, Hkv, L, D]."""

    kv: Tensor
    n: int
    fresh: bool = False
    """The rows start at position 0 and fill the cache: plain causal attention."""

    def hidden(self, pos_NT: Tensor, window: int | None) -> Tensor:
        """[n, T, L], True where a key is not seen: later than the query, or out of its window."""
        key_L = torch.arange(self.kv.shape[4], device=pos_NT.device)
        later = key_L > pos_NT[:, :, None]
        return later if window is None else later | (key_L <= pos_NT[:, :, None] - window)


@dataclass(frozen=True)
class Shape:
    """What a cache row holds per position: `2 * layers * heads * dim` numbers."""

    layers: int
    heads: int
    dim: int


class Runner(Protocol):
    """The model as the engine sees it."""

    name: str
    floor: int
    """A block's cache has a multiple of this many rows."""
    shape: Shape
    dtype: torch.dtype
    device: torch.device

    def refresh(self) -> None:
        """The weights changed."""
        ...

    width: int
    """Numbers of a state: the hidden size, or the vocabulary of a model whose head cannot be told from its body."""

    def run(self, ids_NT: Tensor, pos_NT: Tensor, blocks: list[Block]) -> Tensor:
        """The state after every position [N, T, width], from which `head` makes logits.

        Rows beyond the blocks' are padding: computed, stored nowhere, their states are garbage.
        """
        ...

    def head(self, state_NH: Tensor) -> Tensor:
        """Logits [N, V] of these states, in float32 or as the model computes: of those that somebody draws from, since a large vocabulary
        costs more than the body."""
        ...


class BlockCache(Cache):
    """transformers' cache protocol over one block: the attention of layer i writes and reads its slice."""

    def __init__(self, kv: Tensor, pos_NT: Tensor) -> None:
        super().__init__(layers=[])
        self.kv, self.pos_NT = kv, pos_NT
        self.rows_N1 = torch.arange(pos_NT.shape[0], device=pos_NT.device)[:, None]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        k, v = self.kv[layer_idx]
        k[self.rows_N1, :, self.pos_NT] = key_states.transpose(1, 2)
        v[self.rows_N1, :, self.pos_NT] = value_states.transpose(1, 2)
        return k, v

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        return self.kv.shape[4], 0


class Generic:
    """The model's own forward, one call per block. Slower than a declared family, and works for all of them."""

    name, floor = "generic", FLOOR

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.config = model.config.get_text_config()
        self.device, self.dtype = model.device, model.dtype
        self.shape = probe(model)
        kinds = getattr(self.config, "layer_types", None) or ["full_attention"]
        other = sorted(set(kinds) - {"full_attention", "sliding_attention"})
        if other:
            raise ValueError(f"{type(model).__name__} has layers of kind {other}; the embedded engine runs full and sliding attention.")
        window = getattr(self.config, "sliding_window", None)
        if getattr(self.config, "layer_types", None) is None:
            kinds = ["sliding_attention" if window else "full_attention"]
        self.windows = {kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds)}
        self.body, self._head = parted(model) or (model, None)
        self.cache = cache_name(self.body)
        self.width = self.config.hidden_size if self._head is not None else model.get_output_embeddings().weight.shape[0]  # pyright: ignore[reportOptionalMemberAccess]
        self._check()

    @torch.no_grad()
    def _check(self) -> None:
        """Whether this cache, these masks and positions give what the model alone gives: architectures differ in what they take."""
        ids = torch.arange(1, 9, device=self.device)[None]
        kv = torch.zeros(self.shape.layers, 2, FLOOR, self.shape.heads, 64, self.shape.dim, dtype=self.dtype, device=self.device)
        try:
            alone = self.model(input_ids=ids, use_cache=False).logits.float()
            parts = [self.run(ids[:, :5], torch.arange(5, device=self.device)[None], [Block(kv, 1)])]
            parts += [self.run(ids[:, t : t + 1], torch.tensor([[t]], device=self.device), [Block(kv, 1)]) for t in range(5, 8)]
        except FAILS as error:
            raise ValueError(unfit(self.model, f"its forward takes no cache of rows ({type(error).__name__}: {error})")) from error
        gap = (self.head(torch.cat(parts, 1)[0]) - alone[0]).abs().max().item()
        if not gap <= (1e-2 if self.dtype.itemsize >= 4 else 1e-1) * alone.abs().max().item():
            raise ValueError(unfit(self.model, f"with a cache it computes other logits, {gap:.2g} off"))

    def refresh(self) -> None:
        pass

    def run(self, ids_NT: Tensor, pos_NT: Tensor, blocks: list[Block]) -> Tensor:
        done, start = [], 0
        for block in blocks:
            rows = slice(start, start + block.n)
            done.append(self._block(ids_NT[rows], pos_NT[rows], block))
            start += block.n
        if start < ids_NT.shape[0]:
            done.append(done[0].new_zeros(ids_NT.shape[0] - start, *done[0].shape[1:]))
        return done[0] if len(done) == 1 else torch.cat(done)

    @torch.inference_mode()
    def head(self, state_NH: Tensor) -> Tensor:
        if self._head is None:
            return state_NH.float()
        n = state_NH.shape[0]
        return self._head(F.pad(state_NH, (0, 0, 0, max(FLOOR - n, 0))))[:n].float()

    def _block(self, ids_NT: Tensor, pos_NT: Tensor, block: Block) -> Tensor:
        n = block.n
        kv, full = block.kv, ceil_to(n, FLOOR)
        if full > n:
            ids_NT = torch.cat([ids_NT, ids_NT.new_zeros(full - n, ids_NT.shape[1])])
            pos_NT = torch.cat([pos_NT, torch.arange(pos_NT.shape[1], device=self.device).expand(full - n, -1)])
        if kv.shape[2] < full:
            raise AssertionError(f"a cache of {kv.shape[2]} rows for a batch padded to {full}")
        masks = {kind: self._mask(block, pos_NT, window) for kind, window in self.windows.items()}
        training = self.model.training
        if training:
            self.model.eval()
        try:
            output = self.body(
                input_ids=ids_NT,
                position_ids=pos_NT,
                attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
                use_cache=True,
                **{self.cache: BlockCache(kv[:, :, :full], pos_NT)},
            )
        finally:
            if training:
                self.model.train()
        return (output.logits if self._head is None else output.last_hidden_state)[:n]

    def _mask(self, block: Block, pos_NT: Tensor, window: int | None) -> Tensor:
        hidden = block.hidden(pos_NT, window)[:, None]
        return torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, torch.finfo(self.dtype).min)


def parted(model: PreTrainedModel) -> tuple[Any, Any] | None:
    """Its body and its head, where logits are exactly the head of the body's last state; tried on a few tokens."""
    body, head = model.base_model, model.get_output_embeddings()
    if head is None or body is model:
        return None
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(1, 9, device=model.device)[None]
            whole = model(input_ids=ids, use_cache=False).logits
            parts = head(body(input_ids=ids, use_cache=False).last_hidden_state)
    except FAILS:
        return None
    finally:
        model.train(training)
    return (body, head) if torch.equal(whole, parts) else None


def cache_name(model: PreTrainedModel) -> str:
    """What a forward calls the keys and values of before: transformers 5.24 began to rename it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def probe(model: PreTrainedModel) -> Shape:
    """The cache's shape, found by running one token: configurations name it in many ways."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=True)
    except FAILS as error:
        raise ValueError(unfit(model, str(error))) from error
    finally:
        model.train(training)
    past: Any = getattr(output, cache_name(model), None)
    found: set[tuple[tuple[int, ...], tuple[int, ...]] | None] = {
        (tuple(layer.keys.shape[1::2]), tuple(layer.values.shape[1::2])) if getattr(layer, "keys", None) is not None else None
        for layer in getattr(past, "layers", [])
    }
    only = next(iter(found), None)
    if len(found) != 1 or only is None or len(set(only)) != 1:
        raise ValueError(unfit(model, f"it keeps something else than equal keys and values in every layer ({found})"))
    (heads, dim), _ = only
    return Shape(len(past.layers), heads, dim)


def unfit(model: PreTrainedModel, why: str) -> str:
    return (
        f"the embedded engine cannot decode for {type(model).__name__}: {' '.join(why.split())[:240]}. Take a decoder with plain attention."
    )
