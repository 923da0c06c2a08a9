"""Declared families: decoders written as the few operations they are, and what each does otherwise than Llama.

Axes: N rows, T new positions, L cache positions, H query heads, Hkv key heads, D head size.
A family is one line of `FAMILIES`; what its configuration and its modules say by themselves (a bias on q, k, v, a norm on
queries and keys, experts) is read there. The pass here computes what the model's own forward computes (a test compares
them), in about a third of its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from strop.policies.adapters import adapted, merged
from strop.policies.forward import FLOOR, Block, Shape, ceil_to
from strop.policies.twin import fast


@dataclass(frozen=True)
class Scales:
    """Numbers that a family multiplies by where Llama has none. A cap c makes of x: c * tanh(x / c)."""

    embedding: float = 1.0
    residual: float = 1.0
    """Of what attention and feed-forward add."""
    logits: float = 1.0
    attention_cap: float | None = None
    logits_cap: float | None = None


@dataclass(frozen=True)
class Family:
    """A layer, with the names of its modules; None where a family has no such norm.

    x = x + attended(attention(enter(x)))
    x = x + fed(feed_forward(middle(x)))
    """

    enter: str | None = "input_layernorm"
    attended: str | None = None
    middle: str | None = "post_attention_layernorm"
    fed: str | None = None
    from_one: bool = False
    """Norms multiply by 1 + weight."""
    all_heads: bool = False
    """The norms of queries and keys are over all heads at once."""
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    gate_up: tuple[str, ...] = ("gate_proj", "up_proj")
    neighbours: bool = False
    """Rotary pairs are (0, 1), (2, 3), …, not (0, R / 2), (1, R / 2 + 1), …"""
    windows: Literal["none", "some", "all"] = "none"
    """Which layers have a window: some, by the configuration's `layer_types`."""
    activation: str = "hidden_act"
    scales: Callable[[Any], Scales] = lambda config: Scales()


_LLAMA = Family()
_QWEN = Family(windows="some")
_GEMMA = partial(
    Family,
    attended="post_attention_layernorm",
    middle="pre_feedforward_layernorm",
    fed="post_feedforward_layernorm",
    from_one=True,
    windows="some",
    activation="hidden_activation",
)
_OLMO = partial(Family, enter=None, attended="post_attention_layernorm", middle=None, fed="post_feedforward_layernorm", all_heads=True)
_GLM = partial(Family, gate_up=("gate_up_proj",), neighbours=True)

FAMILIES = {
    "llama": _LLAMA,
    "mistral": Family(windows="all"),
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "qwen2_moe": _QWEN,
    "qwen3_moe": Family(windows="all"),
    "gemma2": _GEMMA(scales=lambda c: Scales(c.hidden_size**0.5, 1.0, 1.0, c.attn_logit_softcapping, c.final_logit_softcapping)),
    "gemma3_text": _GEMMA(scales=lambda c: Scales(c.hidden_size**0.5, logits_cap=c.final_logit_softcapping)),
    "phi3": Family(qkv=("qkv_proj",), gate_up=("gate_up_proj",), windows="all"),
    "olmo2": _OLMO(),
    "olmo3": _OLMO(windows="some"),
    "glm": _GLM(),
    "glm4": _GLM(attended="post_self_attn_layernorm", fed="post_mlp_layernorm"),
    "granite": Family(scales=lambda c: Scales(c.embedding_multiplier, c.residual_multiplier, 1 / c.logits_scaling)),
}


@dataclass(frozen=True)
class Activation:
    torch: Callable[[Tensor], Tensor]
    onednn: tuple[str, str]
    """Its name there, and its algorithm."""


ACTIVATIONS = {
    "silu": Activation(F.silu, ("swish", "")),
    "gelu": Activation(F.gelu, ("gelu", "none")),
    "gelu_pytorch_tanh": Activation(partial(F.gelu, approximate="tanh"), ("gelu", "tanh")),
}
LARGE = 1 << 18
"""Numbers from which a head in float32 is multiplied as it lies."""
HEAD = "lm_head"
ROWS = 256
"""Rows that oneDNN lays weights out for. The bits are those of any other number."""
STATIC = ("default", "linear", "llama3", "yarn")
"""Rotary angles that depend on the position alone; longrope's and dynamic ones also on who is in the batch."""


def undeclared(model: PreTrainedModel) -> str | None:
    """Why the model has no fast path; None where `Fast` computes it exactly. An undeclared variation keeps its own forward."""
    config: Any = model.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"{config.model_type!r} is none of {', '.join(FAMILIES)}"
    rope = getattr(config, "rope_parameters", None) or {}
    ropes = {r.get("rope_type", "default") for r in (rope.values() if all(isinstance(r, dict) for r in rope.values()) else [rope])}
    activation, embedding, size = getattr(config, family.activation), model.get_input_embeddings(), _head_size(config)
    added = [m for name, m in _projections(model, family) if name not in family.qkv]
    facts = (
        (activation in ACTIVATIONS, f"its activation is {activation!r}"),
        (ropes <= {*STATIC}, f"its rotary angles depend on more than the position ({', '.join(sorted(ropes))})"),
        (not getattr(config, "use_bidirectional_attention", False), "its attention looks ahead"),
        (size % 2 == 0, f"its heads have an odd size ({size})"),
        (all(getattr(m, "bias", None) is None for m in added), "a bias follows its attention or stands in its feed-forward part"),
        (all(type(m) is nn.Linear or adapted(m) for _, m in _projections(model, family)), "some of its products are not plain ones"),
        (
            type(embedding) is nn.Embedding or type(embedding).__module__.startswith("transformers.models."),
            "its embedding is not a plain one",
        ),
        (all(isinstance(e.gate_up_proj, Tensor) for e in _experts(model)), "its experts are not plain tensors"),
    )
    return next((words for holds, words in facts if not holds), None)


def declared(model: PreTrainedModel) -> bool:
    return undeclared(model) is None


def copied(model: PreTrainedModel, rounded: bool = False) -> int:
    """Numbers in weights that `Fast` holds beside the model's own: joined, laid out anew, an adapter merged in. `rounded`: the model
    is a twin that draws in fewer bits."""
    if not declared(model):
        return 0
    found = sum(
        m.weight.numel()
        for name, m in _projections(model, FAMILIES[model.config.model_type])
        if name != HEAD or rounded or m.weight.numel() < LARGE or adapted(m)
    )
    return found + sum(e.gate_up_proj.numel() + e.down_proj.numel() for e in _experts(model))


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _projections(model: PreTrainedModel, family: Family) -> Iterator[tuple[str, Any]]:
    """Quantised layers replace these; then a weight is not the function. What an adapter adds is merged (`refresh`)."""
    yield HEAD, model.lm_head
    for layer in model.model.layers:
        m = layer.mlp
        names = (*family.gate_up, "down_proj")
        dense = m if not hasattr(m, "experts") else getattr(m, "shared_expert", None)
        owners = [(layer.self_attn, (*family.qkv, "o_proj")), (dense, names)]
        if hasattr(m, "shared_expert_gate"):
            owners.append((m, ("shared_expert_gate",)))
        yield from ((name, getattr(owner, name)) for owner, found in owners if owner is not None for name in found)


def _experts(model: PreTrainedModel) -> Iterator[Any]:
    return (layer.mlp.experts for layer in model.model.layers if hasattr(layer.mlp, "experts"))


class Plain:
    """A layer's products and norm in torch's own operations: any device and dtype."""

    linear = staticmethod(F.linear)
    rows = FLOOR
    """A row's bits are the same in a batch of any multiple of so many."""

    @staticmethod
    def weight(weight: Tensor) -> Tensor:
        return weight

    head = weight

    @staticmethod
    def added(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        return torch.addmm(x, h, weight.t())

    @staticmethod
    def gated(h: Tensor, gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
        return activation.torch(F.linear(h, gate)).mul_(F.linear(h, up))

    @staticmethod
    def norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
        return (F.rms_norm(x, (x.shape[-1],), None, eps) * scale).to(x.dtype)


class OneDNN:
    """The same on a CPU, in formats that it has instructions for, and faster: oneDNN uses AVX-512 where torch's default (MKL)
    does not, weights lie as its kernels read them, what follows a product is done in its last pass, and a norm is one pass. In float32 a
    row's bits are the same from two rows on."""

    rows = 2

    @staticmethod
    def weight(weight: Tensor) -> Tensor:
        """In oneDNN's own order, else every product would bring it there first. The bits are the same."""
        return torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    @staticmethod
    def head(weight: Tensor) -> Tensor:
        """That of a real vocabulary stays as it lies in float32: it gains a tenth, and would be another gigabyte."""
        return weight if weight.dtype == torch.float32 and weight.numel() >= LARGE else OneDNN.weight(weight)

    @staticmethod
    def linear(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(h, weight, bias, "none", [], "")

    @staticmethod
    def added(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(h, x, weight, None, "add")

    @staticmethod
    def gated(h: Tensor, gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
        name, algorithm = activation.onednn
        opened = torch.ops.mkldnn._linear_pointwise(h, gate, None, name, [], algorithm)
        return torch.ops.mkldnn._linear_pointwise.binary(h, opened, up, None, "mul")

    @staticmethod
    def norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x * length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()).mul_(scale).to(x.dtype)


def operations(device: torch.device, dtype: torch.dtype) -> type[Plain | OneDNN]:
    onednn = device.type == "cpu" and (dtype == torch.float32 or fast(dtype, device)) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return OneDNN if onednn and torch.backends.mkldnn.is_available() else Plain


@dataclass
class Gated:
    """down(activation(gate(h)) * up(h))"""

    gate: Tensor
    up: Tensor
    down: Tensor


@dataclass
class Experts:
    """Of many such, the `top` that the router finds likeliest, weighed by its probabilities; and one that all rows take."""

    router: Tensor
    top: int
    to_one: bool
    """The weights of those taken are made to sum to one."""
    each: list[Gated]
    shared: Gated | None
    share: Tensor | None
    """[1, hidden]: how much of the shared one a row takes."""


@dataclass
class Layer:
    """One layer's weights: q, k, v joined so that they are one product."""

    enter: Tensor | None
    qkv: Tensor
    bias: Tensor | None
    heads: Tensor | None
    """[H + Hkv, D] scales of the head norms; None where the family has none."""
    out: Tensor
    attended: Tensor | None
    middle: Tensor | None
    feed: Gated | Experts
    fed: Tensor | None
    window: int | None
    rotary: str
    """Which of the rotary tables, where kinds of layers have their own."""


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


class Rotary:
    """Tables of the model's own angles that grow, one for each kind of layer that has its own.

    Only the first R of a head's D dimensions may turn, and which make a pair differs. The tables are written for one form, a pair
    is (i, i + D / 2) and what does not turn has angle 0; `order` says where a head's dimensions stand in it. Queries and keys are
    laid out so, which their products do not feel.
    """

    def __init__(self, module: Any, embed: Tensor, size: int, neighbours: bool) -> None:
        self.module, self.like, self.size = module, embed[:1, None].detach(), size
        self.kinds: tuple[str, ...] = tuple(module.rope_type) if isinstance(module.rope_type, dict) else ("",)
        self.tables: dict[str, tuple[Tensor, Tensor]] = {}
        self.grow(1)
        turning = self.turning
        first = torch.arange(0, turning, 2) if neighbours else torch.arange(turning // 2)
        second = first + 1 if neighbours else first + turning // 2
        rest = torch.arange(turning, size).chunk(2) if turning < size else (first[:0], first[:0])
        order = torch.cat([first, rest[0], second, rest[1]])
        self.order = None if torch.equal(order, torch.arange(size)) else order.to(embed.device)

    def arranged(self, heads: Tensor) -> Tensor:
        """[heads, D, …] in the tables' order."""
        return heads if self.order is None else heads[:, self.order]

    def grow(self, length: int) -> None:
        position = torch.arange(ceil_to(length, 256), device=self.like.device)[None]
        for kind in self.kinds:
            cos, sin = (table[0] for table in self.module(self.like, position, *([kind] if kind else [])))
            self.turning = cos.shape[-1]
            half, still = self.turning // 2, (self.size - self.turning) // 2
            one, none = cos.new_ones(len(cos), still), cos.new_zeros(len(cos), still)
            self.tables[kind] = (
                torch.cat([cos[:, :half], one, cos[:, half:], one], -1),
                torch.cat([-sin[:, :half], none, sin[:, half:], none], -1),
            )

    def at(self, pos_NT: Tensor, length: int) -> dict[str, tuple[Tensor, Tensor]]:
        """By kind, cos and signed sin [N * T, 1, D] of the positions, all below `length`."""
        if len(self.tables[self.kinds[0]][0]) < length:
            self.grow(length)
        at = pos_NT.reshape(-1)
        return {kind: (cos[at][:, None], sin[at][:, None]) for kind, (cos, sin) in self.tables.items()}


class Fast:
    """A declared family's forward over the engine's cache."""

    floor = 1

    def __init__(self, model: PreTrainedModel) -> None:
        if (why := undeclared(model)) is not None:
            raise ValueError(f"{type(model).__name__} has no fast path: {why}. Pass path='generic' for the model's own forward.")
        config: Any = model.config
        self.model, self.family = model, FAMILIES[config.model_type]
        self.name = f"fast:{config.model_type}"
        self.device, self.dtype = model.device, model.dtype
        self.ops = operations(self.device, self.dtype)
        self.H, self.Hkv, self.D = config.num_attention_heads, config.num_key_value_heads, _head_size(config)
        self.eps, self.width = config.rms_norm_eps, config.hidden_size
        self.scale = model.model.layers[0].self_attn.scaling
        self.scales = self.family.scales(config)
        self.activation = ACTIVATIONS[getattr(config, self.family.activation)]
        self.shape = Shape(config.num_hidden_layers, self.Hkv, self.D)
        self.rotary = Rotary(model.model.rotary_emb, model.model.embed_tokens.weight, self.D, self.family.neighbours)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Join and lay out again what is joined and laid out, the former ones gone; all other weights are the model's own tensors."""
        self.layers, self.lm_head = list[Layer](), torch.empty(0)
        self.layers += [self._layer(layer, i) for i, layer in enumerate(self.model.model.layers)]
        self.embed, self.norm = self.model.model.embed_tokens.weight, self._norm(self.model.model, "norm")
        self.lm_head = self.ops.head(merged(self.model.lm_head))

    def _layer(self, layer: Any, index: int) -> Layer:
        a, family, config = layer.self_attn, self.family, self.model.config
        joined = [getattr(a, name) for name in family.qkv]
        heads = None
        if hasattr(a, "q_norm"):
            q, k = (self._norm(a, name).view(-1, self.D) for name in ("q_norm", "k_norm"))
            heads = self.rotary.arranged(torch.cat([q.expand(self.H, -1), k.expand(self.Hkv, -1)]))
        kind = config.layer_types[index] if family.windows == "some" else ""
        windowed = family.windows == "all" or kind == "sliding_attention"
        return Layer(
            enter=self._norm(layer, family.enter),
            qkv=self.ops.weight(self._turned(torch.cat([merged(m) for m in joined]))),
            bias=None if joined[0].bias is None else self._turned(torch.cat([m.bias for m in joined])),
            heads=heads,
            out=self.ops.weight(merged(a.o_proj)),
            attended=self._norm(layer, family.attended),
            middle=self._norm(layer, family.middle),
            feed=self._experts(layer.mlp) if hasattr(layer.mlp, "experts") else self._gated(layer.mlp),
            fed=self._norm(layer, family.fed),
            window=config.sliding_window if windowed else None,
            rotary=kind if kind in self.rotary.kinds else "",
        )

    def _norm(self, owner: Any, name: str | None) -> Any:
        if name is None:
            return None
        weight = getattr(owner, name).weight
        return 1 + weight.float() if self.family.from_one else weight

    def _turned(self, joined: Tensor) -> Tensor:
        """The rows of q and k in the order of the rotary tables."""
        heads, turning = joined.view(self.H + 2 * self.Hkv, self.D, -1), self.H + self.Hkv
        heads[:turning] = self.rotary.arranged(heads[:turning])
        return joined

    def _gated(self, m: Any) -> Gated:
        names = self.family.gate_up
        both = merged(getattr(m, names[0])).chunk(2) if len(names) == 1 else [merged(getattr(m, name)) for name in names]
        return Gated(*map(self.ops.weight, (*both, merged(m.down_proj))))

    def _experts(self, m: Any) -> Experts:
        config: Any = self.model.config
        each = [
            Gated(*map(self.ops.weight, (*both.chunk(2), down)))
            for both, down in zip(m.experts.gate_up_proj.detach(), m.experts.down_proj.detach(), strict=True)
        ]
        shared = getattr(m, "shared_expert", None)
        return Experts(
            router=self.ops.weight(m.gate.weight.detach()),
            top=config.num_experts_per_tok,
            to_one=config.norm_topk_prob,
            each=each,
            shared=None if shared is None else self._gated(shared),
            share=None if shared is None else merged(m.shared_expert_gate),
        )

    @torch.inference_mode()
    def run(self, ids_NT: Tensor, pos_NT: Tensor, blocks: list[Block]) -> Tensor:
        N, T = ids_NT.shape
        H, Hkv, D, half = self.H, self.Hkv, self.D, self.D // 2
        ops, eps, scales = self.ops, self.eps, self.scales
        turns = self.rotary.at(pos_NT, max(block.kv.shape[4] for block in blocks))
        x = self.embed[ids_NT.reshape(-1)]
        if scales.embedding != 1.0:
            x *= torch.tensor(scales.embedding, dtype=x.dtype)
        starts = [0, *accumulate(block.n for block in blocks)]
        parts = [Part(block, start, pos_NT) for block, start in zip(blocks, starts, strict=False)]
        mixed = torch.empty(N * T, H * D, dtype=x.dtype, device=x.device)
        mixed[starts[-1] * T :] = 0
        for index, layer in enumerate(self.layers):
            h = x if layer.enter is None else ops.norm(x, layer.enter, eps)
            qkv = ops.linear(h, layer.qkv, layer.bias).view(N * T, H + 2 * Hkv, D)
            qk, (cos, sin) = qkv[:, : H + Hkv], turns[layer.rotary]
            turning = qk if layer.heads is None else self._heads(qk, layer.heads)
            turned = torch.cat((turning[..., half:], turning[..., :half]), -1)
            torch.addcmul(turning * cos, turned, sin, out=qk)
            q = qkv[:, :H].contiguous()
            for part in parts:
                block, rows = part.block, part.rows
                if T == 1:
                    part.flat[index].index_put_((part.place,), qkv[rows, H:].reshape(-1, D))
                    score = self._score(q[rows].view(-1, H // Hkv, D), part.keys[index], part.mask(layer.window))
                    torch.bmm(score.softmax(-1), part.values[index], out=mixed[rows].view(-1, H // Hkv, D))
                else:
                    k, v = qkv[rows, H : H + Hkv], qkv[rows, H + Hkv :]
                    mixed[rows] = self._chunk(q[rows], k, v, part.pos, block.kv[index], block, layer.window)
            x = self._added(x, mixed, layer.out, layer.attended)
            h = x if layer.middle is None else ops.norm(x, layer.middle, eps)
            if isinstance(layer.feed, Gated):
                x = self._added(x, ops.gated(h, layer.feed.gate, layer.feed.up, self.activation), layer.feed.down, layer.fed)
            else:
                x = x + self._routed(h, layer.feed)
        return x.view(N, T, -1)

    @torch.inference_mode()
    def head(self, state_NH: Tensor) -> Tensor:
        n, scales = state_NH.shape[0], self.scales
        padded = F.pad(state_NH, (0, 0, 0, FLOOR - n)) if n < FLOOR else state_NH
        logits = self.ops.linear(self.ops.norm(padded, self.norm, self.eps), self.lm_head)[:n]
        if scales.logits != 1.0:
            logits = logits.float().mul_(scales.logits)
        return logits if scales.logits_cap is None else _cap(logits.float(), scales.logits_cap)

    def _heads(self, qk: Tensor, scale: Tensor) -> Tensor:
        """Queries and keys [N * T, H + Hkv, D], normed each head by itself or all at once."""
        if not self.family.all_heads:
            return self.ops.norm(qk, scale, self.eps)
        sides = zip(qk.split([self.H, self.Hkv], 1), scale.split([self.H, self.Hkv]), strict=True)
        return torch.cat([self.ops.norm(x.flatten(1), s.flatten(), self.eps).view_as(x) for x, s in sides], 1)

    def _added(self, x: Tensor, h: Tensor, weight: Tensor, norm: Tensor | None) -> Tensor:
        """x and a product, with what the family does to it in between."""
        if norm is None and self.scales.residual == 1.0:
            return self.ops.added(x, h, weight)
        y = self.ops.linear(h, weight)
        return torch.add(x, y if norm is None else self.ops.norm(y, norm, self.eps), alpha=self.scales.residual)

    def _score(self, q: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        if self.scales.attention_cap is None:
            return torch.baddbmm(mask, q, keys, alpha=self.scale)
        return _cap(torch.bmm(q, keys).mul_(self.scale), self.scales.attention_cap).add_(mask)

    def _routed(self, h: Tensor, experts: Experts) -> Tensor:
        """Each row through the experts that it takes, in their order: its sum depends on no other row."""
        ops = self.ops
        chance, taken = ops.linear(h, experts.router).softmax(-1, dtype=torch.float32).topk(experts.top, -1)
        if experts.to_one:
            chance /= chance.sum(-1, keepdim=True)
        by_expert = taken.flatten().argsort(stable=True)
        rows, weight = by_expert // experts.top, chance.flatten()[by_expert, None].to(h.dtype)
        counts = taken.flatten().bincount(minlength=len(experts.each)).tolist()
        if experts.shared is None or experts.share is None:
            out = torch.zeros_like(h)
        else:
            out = self._gate(h, experts.shared).mul_(_sigmoid((h * experts.share).sum(-1, keepdim=True)))
        for gated, count, row, w in zip(experts.each, counts, rows.split(counts), weight.split(counts), strict=True):
            if count:
                padded = F.pad(h[row], (0, 0, 0, ceil_to(count, ops.rows) - count))
                out.index_add_(0, row, self._gate(padded, gated)[:count] * w)
        return out

    def _gate(self, h: Tensor, gated: Gated) -> Tensor:
        return self.ops.linear(self.ops.gated(h, gated.gate, gated.up, self.activation), gated.down)

    def _chunk(self, q: Tensor, k: Tensor, v: Tensor, pos_NT: Tensor, kv: Tensor, block: Block, window: int | None) -> Tensor:
        """Attention of several new positions per row, after what is cached."""
        n, T = pos_NT.shape
        q, k, v = (t.view(n, T, -1, self.D).transpose(1, 2) for t in (q, k, v))
        cap = self.scales.attention_cap
        if block.fresh and cap is None and (window is None or window >= T):
            kv[0, :n, :, :T], kv[1, :n, :, :T] = k, v
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=self.Hkv != self.H)
            return out.transpose(1, 2).reshape(n * T, -1)
        rows = torch.arange(n, device=q.device)[:, None]
        kv[0][rows, :, pos_NT], kv[1][rows, :, pos_NT] = k.transpose(1, 2), v.transpose(1, 2)
        hidden = block.hidden(pos_NT, window)[:, None]
        if cap is None:
            out = F.scaled_dot_product_attention(
                q, kv[0, :n], kv[1, :n], attn_mask=~hidden, scale=self.scale, enable_gqa=self.Hkv != self.H
            )
        else:
            score = q.reshape(n, self.Hkv, -1, self.D) @ kv[0, :n].transpose(2, 3)
            score = _cap(score.mul_(self.scale), cap).view(n, self.H, T, -1).masked_fill_(hidden, -torch.inf)
            out = (score.softmax(-1).view(n, self.Hkv, -1, score.shape[-1]) @ kv[1, :n]).view(n, self.H, T, self.D)
        return out.transpose(1, 2).reshape(n * T, -1)


def _sigmoid(x_N1: Tensor) -> Tensor:
    """As a softmax against 0: torch's own gives the last elements of a tensor, so the last rows of a batch, other bits."""
    return F.pad(x_N1, (0, 1)).softmax(-1)[:, :1]


def _cap(x: Tensor, cap: float) -> Tensor:
    """In place."""
    return x.div_(cap).tanh_().mul_(cap)
