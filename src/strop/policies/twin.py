"""A model's twin in another number format: what an engine draws with where the learner computes otherwise.

A weight is rounded up or down by its own dither, which stands from delivery to delivery: of all weights that an update moves by a
hundredth of a step of the format, one in a hundred moves by a whole one. Rounded to the nearest, an update either is lost or, where many
weights lie half-way, as those of 4-bit files do, moves them all: the twin then is another policy.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor

from strop.policies import adapters

PERIOD = 1 << 16
"""The dither of weight i is that of weight i + PERIOD: all sixteen bits that are cut, each once."""
PIECE = 16 * PERIOD
"""Weights that are rounded at one time: on a CPU they stay in its cache."""


def twin(model: Any, dtype: torch.dtype, nearest: bool = False) -> Any:
    """A frozen copy; `follow` writes the model's weights into it again."""
    made = copy.deepcopy(model).to(dtype).requires_grad_(False)
    follow(model, made, nearest)
    return made


@torch.no_grad()
def follow(model: Any, made: Any, nearest: bool = False) -> None:
    """The model's weights as they stand, rounded once: adapters are merged before, not after. `nearest`: as a learner rounds that computes
    in this format itself."""
    whole = dict(adapters.whole(model))
    for name, parameter in made.named_parameters():
        if ".lora_" in name:
            parameter.zero_()
        else:
            parameter.copy_(rounded(whole[name.replace(".base_layer.", ".")], parameter.dtype, nearest))


def rounded(weight: Tensor, dtype: torch.dtype, nearest: bool = False) -> Tensor:
    """A weight that the format can say stays what it is."""
    if nearest or weight.dtype != torch.float32 or dtype != torch.bfloat16:
        return weight.to(dtype)
    bits, made = weight.contiguous().view(torch.int32).view(-1), torch.empty_like(weight, dtype=dtype)
    up, out = dither(weight.device), made.view(-1)
    for start in range(0, len(bits), PIECE):
        piece = bits[start : start + PIECE]
        out[start : start + PIECE] = (piece + up[: len(piece)]).bitwise_and_(-PERIOD).view(torch.float32)
    return made


@cache
def dither(device: torch.device) -> Tensor:
    """Of a piece: evenly spread, neighbours far from each other."""
    return (torch.arange(PIECE, dtype=torch.int64) * 40503 % PERIOD).to(device, torch.int32)


def fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the machine has instructions for products in this format; without them they are slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False) if dtype == torch.bfloat16 else False
    return dtype == torch.bfloat16 and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
