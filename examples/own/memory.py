"""A reader of a memory: the latest cases, whatever they are about.

strop train --method examples/own/memory.py --task plans
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.memory import Bank, Embed, Told, Weights, Words


@dataclass(frozen=True)
class Latest:
    """Cases in the order of their age, the youngest first."""

    embed: Embed = Words(1)  # noqa: RUF009
    whole: ClassVar[bool] = False

    def init(self, seed: int) -> Weights:
        return {}

    def scores(self, weights: Weights, asked_D: Tensor, kept_ND: Tensor, rng: Any) -> Tensor:
        return torch.arange(len(kept_ND), dtype=torch.float32)

    def learn(self, weights: Weights, told: Told, seed: int) -> tuple[Weights, dict[str, float]]:
        return weights, {}


LATEST = GRPO.but("latest", idea=("memory",), memory=Bank(Latest(), k=2))
