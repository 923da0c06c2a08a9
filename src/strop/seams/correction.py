"""Correction: from the engine's log-probability to the learner's, once, before the update.

Gives the pair weight_T, mask_T: a factor per decision, and which decisions are left in; one that only masks says `gives="mask_T"`. The
objective's own ratio then goes from `old_logp` to the moving `logp`. With the embedded engine both are the same number and `none` is the
honest choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strop.seams.index import Index
from strop.seams.part import part

Corrected = tuple[Tensor, Tensor]


@part(gives="mask_T", formula="weight_T = 1\nmask_T = 1")
def none(old_logp_T: Tensor) -> Corrected:
    """Weight 1, nothing masked."""
    return torch.ones_like(old_logp_T), torch.ones_like(old_logp_T, dtype=torch.bool)


def _ratio(old_logp_T: Tensor, sampled_logp_T: Tensor, trained_T: Tensor, index: Index, level: str) -> Tensor:
    """old / sampled of the actions; forced and teacher decisions were drawn by nobody, so theirs is 1."""
    log_T = torch.where(trained_T, old_logp_T - sampled_logp_T, torch.zeros_like(old_logp_T))
    if level == "token":
        return log_T.exp()
    if level == "sequence":
        return index.spread(index.sum(log_T, "token", "rollout"), "rollout", "token").exp()
    raise ValueError(f"unknown level {level!r}; use token or sequence")


def _ratio_formula(level: str) -> str:
    log = "where(trained_T, old_logp_T - sampled_logp_T, 0)"
    known = {"token": f"ratio_T = exp({log})\n", "sequence": f"ratio_T = exp(sum({log}, rollout))\n"}
    if level not in known:
        raise ValueError(f"unknown level {level!r}; use token or sequence")
    return known[level]


def _truncated_formula(*, level: str, **_: float) -> str:
    return _ratio_formula(level) + "weight_T = min(ratio_T, {cap})\nmask_T = 1"


def _masked_formula(*, level: str, **_: float) -> str:
    return _ratio_formula(level) + "mask_T = {low} <= ratio_T <= {high}\nweight_T = where(mask_T, ratio_T, 1)"


@part(needs=("sampled",), formula=_truncated_formula)
def truncated(
    old_logp_T: Tensor, sampled_logp_T: Tensor, trained_T: Tensor, index: Index, *, cap: float = 2.0, level: str = "token"
) -> Corrected:
    """weight = min(old / sampled, cap), per token or with the whole rollout's ratio (TIS)."""
    ratio_T = _ratio(old_logp_T, sampled_logp_T, trained_T, index, level)
    return ratio_T.clamp_max(cap), torch.ones_like(ratio_T, dtype=torch.bool)


@part(needs=("sampled",), formula=_masked_formula)
def masked(
    old_logp_T: Tensor,
    sampled_logp_T: Tensor,
    trained_T: Tensor,
    index: Index,
    *,
    low: float = 0.5,
    high: float = 2.0,
    level: str = "token",
) -> Corrected:
    """weight = old / sampled inside [low, high]; outside, the decision (or the whole rollout) is left out."""
    ratio_T = _ratio(old_logp_T, sampled_logp_T, trained_T, index, level)
    mask_T = (ratio_T >= low) & (ratio_T <= high)
    return torch.where(mask_T, ratio_T, torch.ones_like(ratio_T)), mask_T


def _zeroed_formula(*, level: str, **_: float) -> str:
    return _ratio_formula(level) + "weight_T = where(ratio_T <= {cap}, ratio_T, 0)\nmask_T = 1"


@part(needs=("sampled",), formula=_zeroed_formula)
def zeroed(
    old_logp_T: Tensor, sampled_logp_T: Tensor, trained_T: Tensor, index: Index, *, cap: float = 3.0, level: str = "sequence"
) -> Corrected:
    """weight = old / sampled up to the cap and 0 above it. Against `masked`, what is zeroed still counts in every denominator."""
    ratio_T = _ratio(old_logp_T, sampled_logp_T, trained_T, index, level)
    return torch.where(ratio_T <= cap, ratio_T, torch.zeros_like(ratio_T)), torch.ones_like(ratio_T, dtype=torch.bool)
