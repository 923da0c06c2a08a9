"""What a recipe will need of memory, before anything is loaded: from the model's config.json alone.

What a pass keeps for its backward is not a formula here: the model is built without weights, a pass runs on tensors that have shapes
and no content, and a meter counts the bytes that are alive. So every family, adapters and checkpointing are counted as they are.
What is held beside the pass is arithmetic: weights, gradients, moments, the engine's own layout of the weights, its rows of keys
and values.

    peak = held + the largest of: a pass with its gradients, a checkpoint being written, the engine's weights being laid out again
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from strop.batch import Batch, pack
from strop.engines.cache import length_class
from strop.learning import atom, whole_atoms
from strop.method import Method
from strop.policies.causal import CausalPolicy, blank
from strop.policies.families import copied
from strop.policies.forward import FLOOR, ceil_to
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Sampling, Segment, Task
from strop.seams.asked import REMOTE
from strop.seams.compute import Quantized

ADVICE = {
    "activations": "lower --token-budget (tokens in one training pass) or turn on --checkpointing",
    "keys and values": "lower --slots (rows decoded at once) or --max-tokens",
    "moments": "train adapters alone (--lora 16), or several processes with a part each (torchrun)",
    "gradients": "train adapters alone (--lora 16), or several processes with a part each (torchrun)",
    "weights": "choose a smaller model, or several processes with a part each (torchrun)",
    "reference": "train adapters alone (--lora 16): then the reference is the model without them, and no copy",
    "engine's weights": "choose a smaller model, or an engine elsewhere (--engine vllm)",
}
"""What to change when this is the largest thing that can be changed."""


class Meter(TorchDispatchMode):
    """Bytes of the storages that operations made and that are still alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, made)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest prompt and reply."""

    prompt: int
    reply: int

    @property
    def row(self) -> int:
        return self.prompt + self.reply


@dataclass(frozen=True)
class Forecast:
    """Bytes, by what holds them, at the moment that needs most."""

    moment: str
    parts: dict[str, int]
    rest: dict[str, int]
    """The totals of the other moments."""
    shape: dict[str, int]

    @property
    def peak(self) -> int:
        return sum(self.parts.values())

    @property
    def advice(self) -> str:
        return ADVICE[max((name for name in self.parts if name in ADVICE), key=lambda name: self.parts[name])]

    def to_json(self) -> dict[str, Any]:
        return {"peak": self.peak, "moment": self.moment, "parts": self.parts, "moments": self.rest, "shape": self.shape}


def forecast(recipe: Recipe, lengths: Lengths) -> Forecast:
    """The peak of one process that trains, and samples where the engine is embedded in it."""
    method = recipe.resolved()
    paired, learns = method.paired, bool(method.signals)
    rollouts = method.tasks * (2 if paired else getattr(method.sampler, "group_size", getattr(method.sampler, "n", 1)))
    policy, mode = blank(recipe)
    weights = sum(p.numel() * 4 for p in policy.model.parameters())
    trained = sum(p.numel() * 4 for p in policy.parameters().values())
    per_minibatch = rollouts * max(method.update.cuts(method.tasks)) // method.tasks
    rows = max(min(recipe.token_budget // lengths.row, per_minibatch), 1)
    first, later = passes(policy, mode, method, rows, lengths) if learns else (trained, trained)
    several = per_minibatch > rows
    here = recipe.engine == "embedded" and not paired
    rounded = isinstance(method.compute, Quantized)  # then the engine has a copy of the weights, of half their size
    kv = keys_and_values(policy.model.config, min(recipe.slots, rollouts), lengths) // (2 if rounded else 1) if here else 0
    laid_out = (4 * copied(policy.model, rounded) + rounded * weights) // (2 if rounded else 1) if here else 0
    learners = 1 + len(method.trained)  # each with weights, an engine and moments of its own, and gradients while it is its turn
    asked = sum(not one.start.startswith(REMOTE) for one in method.policies.values()) - len(method.trained)
    held = {
        "weights": weights,
        "reference": weights * learners if method.reference and not recipe.lora else 0,
        "policies that are asked": weights * asked,
        "weights of others that are trained": weights * len(method.trained),
        "engine's weights": laid_out * learners,
        "keys and values": kv * learners,
        "moments": 2 * trained * learners if learns else 0,
    }
    moments = {
        "a training pass": {"gradients": trained, "activations": (later if several else first) - trained} if learns else {},
        "a checkpoint": {"copies being written": 2 * trained},
    }
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    total = {name: sum(held.values()) + sum(parts.values()) for name, parts in moments.items()}
    shape = {"rows": rows, "tokens": rows * lengths.row, "parameters": weights // 4, "trained": trained // 4}
    return Forecast(moment, {name: size for name, size in {**held, **moments[moment]}.items() if size}, total, shape)


def passes(policy: CausalPolicy, mode: Any, method: Method, rows: int, lengths: Lengths) -> tuple[int, int]:
    """Bytes at the peak of a first forward and backward pass, and of one that adds to gradients which are there."""
    moved = {"logp_T", *(name for name in ("entropy_T", *(h.track for h in method.heads)) if method.needs(name))}
    batch = _rows(rows, lengths, getattr(method.sampler, "group_size", getattr(method.sampler, "n", 1)))
    sizes = whole_atoms(batch.index.up("token", atom(method)), policy.at_once)
    pieces = torch.arange(sum(sizes)).split(sizes)[:2]  # the others need as much
    peaks: list[int] = []
    with mode, Meter() as meter:
        for _ in range(2):
            meter.peak = meter.now
            for _, tracks in policy.parts(batch, frozenset({*moved, "entropy_T"}), pieces):
                torch.stack([tracks[name].sum() for name in sorted(moved)]).sum().backward()
            peaks.append(meter.peak)
    return peaks[0], peaks[1]


def keys_and_values(config: Any, rows: int, lengths: Lengths) -> int:
    """A growing row leaves one length class for the next, and each keeps its room."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    classes = {length_class(length) for length in range(lengths.prompt + 1, lengths.row + 1)}
    return 2 * text.num_hidden_layers * heads * dim * 4 * ceil_to(rows, FLOOR) * sum(classes)


def _rows(count: int, lengths: Lengths, size: int) -> Batch:
    """Groups of so many replies to a prompt of their own, and what is left over."""
    action = Segment("action", (1,) * lengths.reply, "0.0", Author("actor", 0, Sampling()), (0.0,) * lengths.reply)
    prompts = [Segment("prompt", (1 + i // size, *(1,) * (lengths.prompt - 1)), "0") for i in range(count)]
    group = Group(Task("", {}, ""), tuple(Rollout((Row.of(prompt, action),), str(i)) for i, prompt in enumerate(prompts)))
    return pack([group], {}, dict.fromkeys((r.id for r in group.rollouts), 0.0), 0)
