"""A model's twin in another number format: what an engine draws with where the learner computes otherwise."""

from __future__ import annotations

import copy
from typing import Any

import torch

from strop.policies import adapters


def twin(model: Any, dtype: torch.dtype) -> Any:
    """A frozen copy; `follow` writes the model's weights into it again."""
    made = copy.deepcopy(model).to(dtype).requires_grad_(False)
    follow(model, made)
    return made


@torch.no_grad()
def follow(model: Any, made: Any) -> None:
    """The model's weights as they stand, rounded once: adapters are merged before, not after."""
    whole = dict(adapters.whole(model))
    for name, parameter in made.named_parameters():
        if ".lora_" in name:
            parameter.zero_()
        else:
            parameter.copy_(whole[name.replace(".base_layer.", ".")])


def fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the machine has instructions for products in this format; without them they are slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False) if dtype == torch.bfloat16 else False
    return dtype == torch.bfloat16 and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
