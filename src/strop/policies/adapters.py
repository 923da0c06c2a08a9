"""LoRA through peft: small matrices beside the model's own products, which alone are trained (arXiv:2106.09685).

    y = W x + scale * B A x        W frozen, A [rank, in], B [out, rank], scale = 2

The same function has two forms: adapters beside W, and W + scale * B A merged. Engines and exports get the merged one, whose tensors
have the names and shapes of the model's own files; peft alone can load the other.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.batch import Batch

NAME = "default"
"""What peft calls the one adapter there is."""
DIRECTORY = "adapter"
"""Beside the merged weights of a checkpoint."""
SCALE = 2
"""alpha / rank: a change of rank leaves the size of what is added alone."""
ALL = "all-linear"


def adapt(model: Any, rank: int, targets: str, seed: int) -> Any:
    """The model with adapters in it, in place, and peft's wrapper of it. B begins at zero, so nothing changes yet."""
    if importlib.util.find_spec("peft") is None:
        raise ModuleNotFoundError("lora needs peft: pip install 'strop[lora]'")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=chosen(model, targets), task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in words that are going out of use
        return get_peft_model(model, config, adapter_name=NAME).eval()


def chosen(model: Any, targets: str) -> str | list[str]:
    """Names of linear layers, or all of them but the last."""
    if targets == ALL:
        return ALL
    linear = {name.rpartition(".")[2]: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    known, wanted = linear.keys(), [name.strip() for name in targets.split(",")]
    for name in wanted:
        if name in known and linear[name].weight is model.get_input_embeddings().weight:
            raise ValueError(f"lora_targets={targets!r}: this model's {name} is its embedding too, so nothing can be merged into it alone.")
        if name not in known:
            raise ValueError(f"lora_targets={targets!r}: the model has no linear layer {name!r}. {nearest(name, {*known, ALL})}")
    return wanted


def adapted(module: Any) -> bool:
    """A linear layer with an adapter beside it."""
    return hasattr(module, "lora_A") and type(getattr(module, "base_layer", None)) is nn.Linear


def merged(module: Any) -> Tensor:
    """A linear layer's weight, with its adapter if it has one."""
    with torch.no_grad():
        return module.base_layer.weight + module.get_delta_weight(NAME) if adapted(module) else module.weight.detach()


def whole(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors under the names of its saved files, adapters merged, tied ones once."""
    for name, parameter in model.named_parameters():
        place, _, leaf = name.rpartition(".")
        if place.endswith(".base_layer"):
            place = place.removesuffix(".base_layer")
            yield f"{place}.{leaf}", merged(model.get_submodule(place)) if leaf == "weight" else parameter.detach()
        elif ".lora_" not in name:
            yield name, parameter.detach()


def beside(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The frozen tensors that the adapters stand beside, under the names of the model's files."""
    return ((name.replace(".base_layer.", "."), p.detach()) for name, p in model.named_parameters() if ".lora_" not in name)


@contextmanager
def off(model: nn.Module) -> Iterator[None]:
    """The model as it was before its adapters. peft's own way of saying this also turns off gradients, which sharded weights remember."""
    layers: list[Any] = [module for module in model.modules() if adapted(module)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


class Before:
    """A policy as it was before its adapters: the frozen reference, without a copy."""

    def __init__(self, policy: Any, name: str):
        self.policy, self.name = policy, name

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        with off(self.policy.model), torch.no_grad():
            return self.policy.evaluate(batch, want)


def save(adapter: Any, directory: Path) -> None:
    """As peft reads it."""
    adapter.save_pretrained(directory / DIRECTORY, safe_serialization=True, save_embedding_layers=False)


def restore(adapter: Any, directory: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(adapter, load_file(directory / DIRECTORY / "adapter_model.safetensors"), adapter_name=NAME)
