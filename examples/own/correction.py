"""A correction: the importance weight of a whole rollout, softened by its length and capped.

strop train --method examples/own/correction.py
"""

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.index import Index
from strop.seams.part import part


@part(
    needs=("sampled",),
    formula="""
        gap_T = where(trained_T, old_logp_T - sampled_logp_T, 0)
        weight_T = min(exp(mean(gap_T, rollout)), {cap})
        mask_T = 1
    """,
)
def geometric(old_logp_T: Tensor, sampled_logp_T: Tensor, trained_T: Tensor, index: Index, *, cap: float = 2.0) -> tuple[Tensor, Tensor]:
    """weight = min(geometric mean of old / sampled over the rollout, cap); nothing is masked."""
    gap_T = torch.where(trained_T, old_logp_T - sampled_logp_T, torch.zeros_like(old_logp_T))
    weight_R = index.mean(gap_T, "token", "rollout").exp().clamp_max(cap)
    return index.spread(weight_R, "rollout", "token"), torch.ones_like(trained_T)


GEOMETRIC = GRPO.but("geometric", correction=geometric())
