"""A learner's matrix products on a CPU: slopes of weights are added where they are kept.

    with products(device, dtype, compute): ...               every `linear` of a model, whoever wrote it
    with products(device, dtype, compute, into=True): ...    and the slope of a weight is added to its `.grad` as soon as it is known

Elsewhere torch makes the slope beside `.grad` and adds it afterwards: for the head of a real vocabulary, or its table of embeddings, that
is another gigabyte to be written and read again for every few hundred decisions. `into` is for a pass all of whose slopes go to `.grad`.
The products themselves are torch's own. Backward, rows without slope are left out of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def products(device: torch.device, dtype: torch.dtype, compute: torch.dtype, *, into: bool = False) -> AbstractContextManager[Any]:
    """What suits weights of this dtype on this device that are computed with in that one."""
    return Products(into) if device.type == "cpu" and dtype == compute else nullcontext()


OTHERWISE = ("max_norm", "scale_grad_by_freq", "sparse")
"""What a table of embeddings may be asked for besides, and hardly ever is."""


MOST = 0.9
"""Of a product's rows, the share beyond which all are multiplied, whatever their slope."""
WIDE = 512
"""Numbers that go into one of a product's sums, from which looking for rows without slope costs next to nothing beside it."""


class Products(TorchFunctionMode):
    def __init__(self, into: bool):
        super().__init__()
        self.into = into

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs:
            return _linear(self.into, *args)
        if func is F.embedding and self.into and _kept(args[1]) and not any((kwargs or {}).get(name) for name in OTHERWISE):
            return Embedding.apply(*args, kwargs["padding_idx"])
        return func(*args, **(kwargs or {}))


def _linear(into: bool, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = Linear.apply(x.reshape(-1, x.shape[-1]), weight, into and _kept(weight)).view(*x.shape[:-1], weight.shape[0])
    return y if bias is None else y + bias


def _kept(weight: Tensor) -> bool:
    """Its slope is added to its own `.grad`, and nobody else waits for it."""
    return weight.is_leaf and weight.requires_grad and torch.is_grad_enabled()


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, into: bool) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        ctx.width = weight.shape[1]
        ctx.kept = weight if into else None  # what a checkpoint computes again comes back as another tensor
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        for_x, for_weight, _ = ctx.needs_input_grad
        count, pulled = len(slope), _pulled(slope) if ctx.width >= WIDE else None
        if pulled is not None:
            slope, x = slope[pulled], x[pulled] if for_weight else x
        down = slope @ weight if for_x else None
        if down is not None and pulled is not None:
            down = down.new_zeros(count, down.shape[1]).index_copy_(0, pulled, down)
        if not for_weight:
            return down, None, None
        if ctx.kept is None:
            return down, slope.t() @ x, None
        if ctx.kept.grad is None:
            ctx.kept.grad = slope.t() @ x
        else:
            ctx.kept.grad.addmm_(slope.t(), x)
        return down, None, None


def _pulled(slope: Tensor) -> Tensor | None:
    """The rows that anything pulls at, where these are few enough to be worth a copy. Replies of a group that agrees have no slope, nor
    has padding, and their products are zero. Tensors without values, as `strop plan` has, keep all."""
    if type(slope) is not Tensor:
        return None
    pulled = torch.linalg.vector_norm(slope, 1, -1).nonzero()[:, 0]
    return pulled if len(pulled) <= MOST * len(slope) else None


class Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.kept, ctx.padding = weight, padding
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (ids,), kept = ctx.saved_tensors, ctx.kept
        if ctx.padding is not None:
            slope = slope.masked_fill((ids == ctx.padding)[..., None], 0.0)
        if kept.grad is None:
            kept.grad = torch.zeros_like(kept)
        kept.grad.index_add_(0, ids.flatten(), slope.reshape(-1, slope.shape[-1]))
        return None, None, None
