"""Declared families: decoders of the Llama shape, written as the few operations they are.

Axes: N rows, T new positions, L cache positions, H query heads, Hkv key heads, D head size.
Qwen3, Qwen2, Llama and Mistral differ in three facts: a bias on q, k, v; a norm on each
query and key head; a window on some layers. The pass here computes what the model's own
forward computes (a test compares them), in about a third of its operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from strop.engines.forward import FLOOR, Block, Shape, ceil_to

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
        and all(type(m) is torch.nn.Linear for m in _projections(model))
    )


def _projections(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Adapters and quantised layers replace these; then the weight alone is not the function."""
    found: list[torch.nn.Module] = [model.lm_head]
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        found += [a.q_proj, a.k_proj, a.v_proj, a.o_proj, m.gate_proj, m.up_proj, m.down_proj]
    return found


@dataclass
class Layer:
    """One layer's weights: q, k, v and gate, up joined so that each is one product."""

    enter: Tensor
    qkv: Tensor
    bias: Tensor | None
    heads: Tensor | None
    """[H + Hkv, D] scales of the head norms; None where the family has none."""
    out: Tensor
    middle: Tensor
    gate_up: Tensor
    down: Tensor
    window: int | None


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
        self.H, self.Hkv = config.num_attention_heads, config.num_key_value_heads
        self.D = getattr(config, "head_dim", None) or config.hidden_size // self.H
        self.eps = config.rms_norm_eps
        self.shape = Shape(config.num_hidden_layers, self.Hkv, self.D)
        self._cos = self._sin = torch.empty(0)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Join the projections again; all other weights are the model's own tensors."""
        self.layers = [self._layer(layer, i) for i, layer in enumerate(self.model.model.layers)]
        self.embed, self.norm, self.lm_head = self.model.model.embed_tokens.weight, self.model.model.norm.weight, self.model.lm_head.weight

    def _layer(self, layer: Any, index: int) -> Layer:
        a, m = layer.self_attn, layer.mlp
        heads = None
        if hasattr(a, "q_norm"):
            heads = torch.cat([a.q_norm.weight.expand(self.H, -1), a.k_norm.weight.expand(self.Hkv, -1)])
        bias = None if a.q_proj.bias is None else torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias])
        return Layer(
            enter=layer.input_layernorm.weight,
            qkv=torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]),
            bias=bias,
            heads=heads,
            out=a.o_proj.weight.t(),
            middle=layer.post_attention_layernorm.weight,
            gate_up=torch.cat([m.gate_proj.weight, m.up_proj.weight]),
            down=m.down_proj.weight.t(),
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
    def run(self, ids_NT: Tensor, pos_NT: Tensor, blocks: list[Block], pick_N: Tensor | None = None) -> Tensor:
        N, T = ids_NT.shape
        H, Hkv, D, half = self.H, self.Hkv, self.D, self.D // 2
        cos, sin = self._rotation(pos_NT, max(block.kv.shape[4] for block in blocks))
        x = self.embed[ids_NT.reshape(-1)]
        width = (x.shape[-1],)
        places = self._places(pos_NT, blocks)
        scale = D**-0.5
        mixed = torch.empty(N * T, H * D, dtype=x.dtype, device=x.device)
        mixed[sum(block.n for block in blocks) * T :] = 0
        for index, layer in enumerate(self.layers):
            h = F.rms_norm(x, width, layer.enter, self.eps)
            qkv = F.linear(h, layer.qkv, layer.bias).view(N * T, H + 2 * Hkv, D)
            qk = qkv[:, : H + Hkv]
            if layer.heads is not None:
                qk = F.rms_norm(qk, (D,), None, self.eps) * layer.heads
            turned = torch.cat((qk[..., half:], qk[..., :half]), -1)
            qk = torch.addcmul(qk * cos, turned, sin)
            q, k, v = qk[:, :H].contiguous(), qk[:, H:], qkv[:, H + Hkv :]
            for block, (rows, place) in zip(blocks, places, strict=True):
                kv = block.kv[index]
                if T == 1:
                    kv[0].view(-1, D).index_put_((place,), k[rows].reshape(-1, D))
                    kv[1].view(-1, D).index_put_((place,), v[rows].reshape(-1, D))
                    flat = block.n * Hkv
                    keys, values = (kv[:, : block.n]).flatten(1, 2)
                    mask = self._additive(block, pos_NT[rows], layer.window)
                    score = torch.baddbmm(mask, q[rows].view(flat, H // Hkv, D), keys.transpose(1, 2), alpha=scale)
                    torch.bmm(score.softmax(-1), values, out=mixed[rows].view(flat, H // Hkv, D))
                else:
                    mixed[rows] = self._chunk(q[rows], k[rows], v[rows], pos_NT[rows.start // T : rows.stop // T], kv, block, layer.window)
            x = torch.addmm(x, mixed, layer.out)
            h = F.rms_norm(x, width, layer.middle, self.eps)
            gate, up = F.linear(h, layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
        if pick_N is not None:
            x = x.view(N, T, -1)[torch.arange(N, device=x.device), pick_N]
        rows = x.shape[0]
        if rows < FLOOR:
            x = F.pad(x, (0, 0, 0, FLOOR - rows))
        logits = F.linear(F.rms_norm(x, width, self.norm, self.eps), self.lm_head)[:rows].float()
        return logits if pick_N is not None else logits.view(N, T, -1)

    def _places(self, pos_NT: Tensor, blocks: list[Block]) -> list[tuple[slice, Tensor]]:
        """Per block: its rows in the flat batch, and for single positions where in the flat cache each head writes."""
        found, start, T = [], 0, pos_NT.shape[1]
        for block in blocks:
            rows = slice(start * T, (start + block.n) * T)
            place = torch.empty(0)
            if T == 1:
                head = torch.arange(block.n * self.Hkv, device=pos_NT.device).view(block.n, self.Hkv)
                place = (head * block.kv.shape[4] + pos_NT[rows]).view(-1)
            found.append((rows, place))
            start += block.n
        return found

    def _additive(self, block: Block, pos_N1: Tensor, window: int | None) -> Tensor:
        """[n * Hkv, H / Hkv, L]: 0 or -inf; one per step and window, shared by the layers."""
        mask = block.memo.get(window)
        if mask is None:
            hidden = block.hidden(pos_N1, window)
            mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, -torch.inf)
            mask = mask[:, None].expand(-1, self.Hkv, self.H // self.Hkv, -1).reshape(-1, self.H // self.Hkv, hidden.shape[-1])
            block.memo[window] = mask
        return mask

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
