"""StableReinforce (arXiv:2505.02835): three guards for REINFORCE++ on verdicts that are soon nearly always right.

Against REINFORCE++: advantages beyond three deviations of the whole batch are left out, the log-ratio is bounded before the exponential,
and a bonus for reasoning that agrees with the verdict is paid where the verdict is right alone. One rollout a task; no KL, with which the
paper begins. The mean is over each rollout's tokens first.

Where paper and code disagree, the paper is meant. The code's window for advantages, the raw mean plus and minus 3, is `raw_window`
(`stable-reinforce@r1-reward-3693413`): with rewards of 2 and 0.5 it leaves out every negative advantage once accuracy passes 0.69. Its
checker pays full reward where it raises; here what raises is our fault and no score.

Bounding the log-ratio is a dual clip (arXiv:1912.09729) at `high`; three deviations need more than ten rollouts under one mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from strop.methods.reinforce_pp import REINFORCE_PP
from strop.seams.credit import batch_whiten, returns_to_go
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.update import AdamW


@part(gives="reward_R", formula="reward_R = outcome_R * (1 + {bonus} * consistent_R) + {form} * format_R")
def gated_bonus(outcome_R: Tensor, consistent_R: Tensor, format_R: Tensor, *, bonus: float = 0.5, form: float = 0.5) -> Tensor:
    """A right verdict, more where its reasons agree with it, and something for the form; reasons of a wrong one earn nothing."""
    return outcome_R * (1 + bonus * consistent_R) + form * format_R


@part(gives="credit_T", formula="credit_T = where(abs(credit_T) <= {limit}, credit_T, 0)")
def drop_outliers(credit_T: Tensor, *, limit: float = 3.0) -> Tensor:
    """What lies beyond the limit teaches nothing; it stays in every denominator."""
    return torch.where(credit_T.abs() <= limit, credit_T, torch.zeros_like(credit_T))


@part(
    gives="credit_T",
    formula="""
        center = mean(credit_T, batch, trained_T)
        z_T = (credit_T - center) / max(std(credit_T, batch, trained_T), {std_floor})
        inside_T = z_T >= center - {limit} and z_T <= center + {limit} and abs(z_T) <= {most}
        credit_T = where(inside_T, z_T, 0)
    """,
)
def raw_window(credit_T: Tensor, trained_T: Tensor, *, limit: float = 3.0, most: float = 10.0, std_floor: float = 1e-4) -> Tensor:
    """`batch_whiten`, and then a window around the mean that was taken off: what the released code computes for three deviations."""
    known_T = credit_T[trained_T]
    if known_T.numel() == 0:
        return credit_T
    center: Tensor = known_T.mean()
    z_T = (credit_T - center) / (known_T - center).square().mean().sqrt().clamp_min(std_floor)
    inside_T = (z_T >= center - limit) & (z_T <= center + limit) & (z_T.abs() <= most)
    return torch.where(inside_T, z_T, torch.zeros_like(z_T))


@part(
    needs=("clip",),
    formula="""
        ratio_T = exp(clip(logp_T - old_logp_T, log({low}), log({high})))
        gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - {clip_low}, 1 + {clip_high}) * credit_T)
        loss_T = -weight_T * gain_T
    """,
)
def bounded_surrogate(
    logp_T: Tensor,
    old_logp_T: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    *,
    low: float = 1e-3,
    high: float = 1e3,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Tensor:
    """PPO's surrogate with the log-ratio bounded before the exponential: nothing overflows, and beyond the bounds there is no slope."""
    ratio_T = (logp_T - old_logp_T).clamp(math.log(low), math.log(high)).exp()
    gain_T = torch.minimum(ratio_T * credit_T, ratio_T.clamp(1 - clip_low, 1 + clip_high) * credit_T)
    return -weight_T * gain_T


STABLE_REINFORCE = REINFORCE_PP.but(
    "stable-reinforce",
    paper="2505.02835",
    idea=("reward", "credit", "signals.policy"),
    reward=gated_bonus(),
    credit=(returns_to_go(), batch_whiten(std_floor=1e-4), drop_outliers()),
    signals={"policy": Signal(bounded_surrogate(), means("rollout", "token"))},
    reference=False,
    sampler=Independent(n=1),
    tasks=256,
    update=AdamW(minibatch=128),
)
