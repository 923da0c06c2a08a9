"""Declared families: decoders of the Llama shape, written as the few operations they are.

Axes: N rows, T new positions, L cache positions, H query heads, Hkv key heads, D head size.
Qwen3, Qwen2, Llama and Mistral differ in three facts: a bias on q, k, v; a norm on each
query and key head; a window on some layers. The pass here computes what the model's own
forward computes (a test compares them), in about a third of its operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from strop.policies.adapters import adapted, merged
from strop.policies.forward import FLOOR, Block, Shape, ceil_to

FAMILIES = ("qwen3", "qwen2", "llama", "mistral")


def declared(model: PreTrainedModel) -> bool:
    """Whether the model is one that `Fast` computes exactly: an undeclared variation falls back to its own forward."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in ("default", "linear", "llama3")
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and not getattr(config, "mlp_bias", False)
        and getattr(model.model.layers[0].self_attn.o_proj, "bias", None) is None
        and all(type(m) is torch.nn.Linear or adapted(m) for m in _projections(model))
        and type(model.model.embed_tokens) is torch.nn.Embedding
    )


def _projections(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Quantised layers replace these; then a weight is not the function. What an adapter adds is merged (`refresh`)."""
    found: list[torch.nn.Module] = [model.lm_head]
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        found += [a.q_proj, a.k_proj, a.v_proj, a.o_proj, m.gate_proj, m.up_proj, m.down_proj]
    return found


class Plain:
    """A layer's products and norm in torch's own operations: any device and dtype."""

    linear = staticmethod(F.linear)

    @staticmethod
    def weight(weight: Tensor) -> Tensor:
        return weight

    @staticmethod
    def added(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        return torch.addmm(x, h, weight.t())

    @staticmethod
    def gated(h: Tensor, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(F.linear(h, gate)).mul_(F.linear(h, up))

    @staticmethod
    def norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), None, eps) * scale


class OneDNN:
    """The same for float32 on a CPU, up to twice as fast: oneDNN uses AVX-512 where torch's default (MKL) does not, what
    follows a product is done in its last pass, and a norm is one pass. A row's bits are the same from two rows on."""

    @staticmethod
    def weight(weight: Tensor) -> Tensor:
        """Input-major, else every product would turn it round first."""
        return weight.t().contiguous().t()

    @staticmethod
    def linear(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(h, weight, bias, "none", [], "")

    @staticmethod
    def added(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(h, x, weight, None, "add")

    @staticmethod
    def gated(h: Tensor, gate: Tensor, up: Tensor) -> Tensor:
        opened = torch.ops.mkldnn._linear_pointwise(h, gate, None, "swish", [], "")
        return torch.ops.mkldnn._linear_pointwise.binary(h, opened, up, None, "mul")

    @staticmethod
    def norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return (x * length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()).mul_(scale)


def operations(device: torch.device, dtype: torch.dtype) -> type[Plain | OneDNN]:
    onednn = device.type == "cpu" and dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return OneDNN if onednn and torch.backends.mkldnn.is_available() else Plain


@dataclass
class Layer:
    """One layer's weights: q, k, v joined so that they are one product."""

    enter: Tensor
    qkv: Tensor
    bias: Tensor | None
    heads: Tensor | None
    """[H + Hkv, D] scales of the head norms; None where the family has none."""
    out: Tensor
    middle: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    window: int | None


class Part:
    """One block of a pass: its rows of the flat batch and, for single positions, what all layers share."""

    def __init__(self, block: Block, start: int, pos_NT: Tensor) -> None:
        T, (S, Hkv, L, D) = pos_NT.shape[1], block.kv.shape[2:]
        self.block, self.rows = block, slice(start * T, (start + block.n) * T)
        self.pos, self._masks = pos_NT[start : start + block.n], dict[int | None, Tensor]()
        if T == 1:
            near = block.kv.flatten(2, 3)[:, :, : block.n * Hkv]
            self.keys, self.values = near[:, 0].transpose(2, 3).unbind(), near[:, 1].unbind()
            self.flat = block.kv.view(-1, 2 * S * Hkv * L, D).unbind()
            head = torch.arange(2 * S * Hkv, device=pos_NT.device).view(2, S, Hkv)[:, : block.n].transpose(0, 1)
            self.place = (head * L + self.pos[:, :, None]).reshape(-1)
            """Where in a layer's flat cache each key head and each value head of each row writes."""

    def mask(self, window: int | None) -> Tensor:
        """[n * Hkv, 1, L]: -inf where a key is later than the query or out of its window."""
        if window not in self._masks:
            kv, L = self.block.kv, self.block.kv.shape[4]
            row = (L - 1 - self.pos).repeat_interleave(kv.shape[3])
            self._masks[window] = masks(L, window, kv.dtype, kv.device)[row][:, None]
        return self._masks[window]


@lru_cache(maxsize=256)
def masks(length: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[L, L]: row i is the mask of a query at L - 1 - i. All are windows of one ramp, so they take no room."""
    after = torch.arange(1 - length, length, device=device)
    seen = after <= 0 if window is None else (after <= 0) & (after > -window)
    return torch.where(seen, 0.0, -torch.inf).to(dtype).unfold(0, length, 1)


class Fast:
    """A declared family's forward over the engine's cache."""

    floor = 1

    def __init__(self, model: PreTrainedModel) -> None:
        if not declared(model):
            raise ValueError(
                f"a {model.config.model_type!r} model has no fast path (there is one for plain {', '.join(FAMILIES)}); pass path='generic'."
            )
        config: Any = model.config
        self.model = model
        self.name = f"fast:{config.model_type}"
        self.device, self.dtype = model.device, model.dtype
        self.ops = operations(self.device, self.dtype)
        self.H, self.Hkv = config.num_attention_heads, config.num_key_value_heads
        self.D = getattr(config, "head_dim", None) or config.hidden_size // self.H
        self.eps, self.width = config.rms_norm_eps, config.hidden_size
        self.shape = Shape(config.num_hidden_layers, self.Hkv, self.D)
        self._cos = self._sin = torch.empty(0)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Join and lay out the projections again; all other weights are the model's own tensors."""
        self.layers = [self._layer(layer, i) for i, layer in enumerate(self.model.model.layers)]
        self.embed, self.norm = self.model.model.embed_tokens.weight, self.model.model.norm.weight
        self.lm_head = self.ops.weight(merged(self.model.lm_head))

    def _layer(self, layer: Any, index: int) -> Layer:
        a, m = layer.self_attn, layer.mlp
        heads = None
        if hasattr(a, "q_norm"):
            heads = torch.cat([a.q_norm.weight.expand(self.H, -1), a.k_norm.weight.expand(self.Hkv, -1)])
        bias = None if a.q_proj.bias is None else torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias])
        return Layer(
            enter=layer.input_layernorm.weight,
            qkv=self.ops.weight(torch.cat([merged(a.q_proj), merged(a.k_proj), merged(a.v_proj)])),
            bias=bias,
            heads=heads,
            out=self.ops.weight(merged(a.o_proj)),
            middle=layer.post_attention_layernorm.weight,
            gate=self.ops.weight(merged(m.gate_proj)),
            up=self.ops.weight(merged(m.up_proj)),
            down=self.ops.weight(merged(m.down_proj)),
            window=_window(self.model.config, index),
        )

    def _rotation(self, pos_NT: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin [N * T, 1, D] of the positions, from a table that grows."""
        if self._cos.shape[0] < length:
            size = ceil_to(length, 256)
            cos, sin = self.model.model.rotary_emb(self.embed[:1, None], torch.arange(size, device=self.device)[None])
            half = self.D // 2
            self._cos, self._sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)
        at = pos_NT.reshape(-1)
        return self._cos[at][:, None], self._sin[at][:, None]

    @torch.inference_mode()
    def run(self, ids_NT: Tensor, pos_NT: Tensor, blocks: list[Block]) -> Tensor:
        N, T = ids_NT.shape
        H, Hkv, D, half = self.H, self.Hkv, self.D, self.D // 2
        ops, eps, scale = self.ops, self.eps, D**-0.5
        cos, sin = self._rotation(pos_NT, max(block.kv.shape[4] for block in blocks))
        x = self.embed[ids_NT.reshape(-1)]
        starts = [0, *accumulate(block.n for block in blocks)]
        parts = [Part(block, start, pos_NT) for block, start in zip(blocks, starts, strict=False)]
        mixed = torch.empty(N * T, H * D, dtype=x.dtype, device=x.device)
        mixed[starts[-1] * T :] = 0
        for index, layer in enumerate(self.layers):
            qkv = ops.linear(ops.norm(x, layer.enter, eps), layer.qkv, layer.bias).view(N * T, H + 2 * Hkv, D)
            qk = qkv[:, : H + Hkv]
            turning = qk if layer.heads is None else ops.norm(qk, layer.heads, eps)
            turned = torch.cat((turning[..., half:], turning[..., :half]), -1)
            torch.addcmul(turning * cos, turned, sin, out=qk)
            q = qkv[:, :H].contiguous()
            for part in parts:
                block, rows = part.block, part.rows
                if T == 1:
                    part.flat[index].index_put_((part.place,), qkv[rows, H:].reshape(-1, D))
                    score = torch.baddbmm(part.mask(layer.window), q[rows].view(-1, H // Hkv, D), part.keys[index], alpha=scale)
                    torch.bmm(score.softmax(-1), part.values[index], out=mixed[rows].view(-1, H // Hkv, D))
                else:
                    k, v = qkv[rows, H : H + Hkv], qkv[rows, H + Hkv :]
                    mixed[rows] = self._chunk(q[rows], k, v, part.pos, block.kv[index], block, layer.window)
            x = ops.added(x, mixed, layer.out)
            x = ops.added(x, ops.gated(ops.norm(x, layer.middle, eps), layer.gate, layer.up), layer.down)
        return x.view(N, T, -1)

    @torch.inference_mode()
    def head(self, state_NH: Tensor) -> Tensor:
        n = state_NH.shape[0]
        padded = F.pad(state_NH, (0, 0, 0, FLOOR - n)) if n < FLOOR else state_NH
        return self.ops.linear(self.ops.norm(padded, self.norm, self.eps), self.lm_head)[:n].float()

    def _chunk(self, q: Tensor, k: Tensor, v: Tensor, pos_NT: Tensor, kv: Tensor, block: Block, window: int | None) -> Tensor:
        """Attention of several new positions per row, after what is cached."""
        n, T = pos_NT.shape
        q, k, v = (t.view(n, T, -1, self.D).transpose(1, 2) for t in (q, k, v))
        if block.fresh and (window is None or window >= T):
            kv[0, :n, :, :T], kv[1, :n, :, :T] = k, v
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.Hkv != self.H)
        else:
            rows = torch.arange(n, device=q.device)[:, None]
            kv[0][rows, :, pos_NT], kv[1][rows, :, pos_NT] = k.transpose(1, 2), v.transpose(1, 2)
            seen = ~block.hidden(pos_NT, window)[:, None]
            out = F.scaled_dot_product_attention(q, kv[0, :n], kv[1, :n], attn_mask=seen, enable_gqa=self.Hkv != self.H)
        return out.transpose(1, 2).reshape(n * T, -1)


def _window(config: Any, index: int) -> int | None:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return config.sliding_window if kinds[index] == "sliding_attention" else None
    return getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
