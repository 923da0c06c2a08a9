"""Seedling: a model of pico's kind and tokenizer that has learned nothing: `seedling`, `seedling:layers=3,hidden=96`.

Its weights are a function of the recipe's seed alone. For studies in which what a model knows must come from the run: which data moved it,
what it could not have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from strop import pico
from strop.policies.chat import ModelError
from strop.seams.part import nearest

NAME = "seedling"
SPREAD = 0.02
"""Standard deviation of matrices; norms begin at 1."""


@dataclass(frozen=True)
class Seedling:
    layers: int = 4
    hidden: int = 128
    """Numbers of a state; three times as many inside a layer."""
    heads: int = 4
    """Of queries; half as many of keys where that is whole."""

    def __post_init__(self) -> None:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden={self.hidden} is to be divided among heads={self.heads}, an even part each")


def is_one(name: str) -> bool:
    return name.partition(":")[0] == NAME


def read(name: str) -> Seedling:
    """What a model's name asks for."""
    found, known = dict[str, int](), [f.name for f in fields(Seedling)]
    for part in filter(None, name.partition(":")[2].split(",")):
        option, _, value = (piece.strip() for piece in part.partition("="))
        if option not in known:
            raise ModelError(f"model {name!r}: a seedling has no {option!r}. {nearest(option, known)}")
        if option in found or not value.isdecimal() or not 1 <= int(value) <= 4096:
            raise ModelError(f"model {name!r}: write {option}=N once, N a whole number of 1 to 4096")
        found[option] = int(value)
    try:
        return Seedling(**found)
    except ValueError as error:
        raise ModelError(f"model {name!r}: {error}") from error


def config(name: str) -> Any:
    """pico's, with other sizes."""
    from transformers import AutoConfig

    asked = read(name)
    sizes = {"num_hidden_layers": asked.layers, "hidden_size": asked.hidden, "intermediate_size": 3 * asked.hidden}
    sizes |= {"num_attention_heads": asked.heads, "num_key_value_heads": max(asked.heads // 2, 1), "head_dim": asked.hidden // asked.heads}
    return AutoConfig.from_pretrained(pico.path(), trust_remote_code=False, layer_types=["full_attention"] * asked.layers, **sizes)


def grown(name: str, seed: int, dtype: torch.dtype) -> Any:
    """The model, float by float from the seed."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    with torch.random.fork_rng():  # what a library draws first is drawn again below
        model = AutoModelForCausalLM.from_config(config(name))
    noise = torch.Generator().manual_seed(seed % (1 << 63))
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.ndim > 1:
                weight.normal_(0, SPREAD, generator=noise)
            else:
                weight.fill_(1.0)
    model.generation_config = GenerationConfig.from_pretrained(pico.path())
    return model.to(dtype)
