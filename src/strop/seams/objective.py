"""Objective: tracks -> loss at its grain. It does one thing; averaging is the reduction's.

Its grain says what it gives one loss per, `@part(grain="rollout")`; a decision's is the default. `weight_T` is the correction's weight (1
without one); each policy objective multiplies by it. It sees the decisions of its own signal alone, and `index` holds no others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strop.seams.credit import kl_estimate, kl_formula
from strop.seams.index import Index
from strop.seams.part import part


@part(needs=("one_update",), formula="loss_T = -weight_T * logp_T * credit_T")
def policy_gradient(logp_T: Tensor, credit_T: Tensor, weight_T: Tensor) -> Tensor:
    """loss = -logp * A: REINFORCE. Right for one update per batch; later updates need a ratio."""
    return -weight_T * logp_T * credit_T


@part(formula="loss_T = -weight_T * exp(logp_T - old_logp_T) * credit_T")
def importance_sampling(logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor) -> Tensor:
    """loss = -exp(logp - old_logp) * A, with no clip."""
    return -weight_T * (logp_T - old_logp_T).exp() * credit_T


def _clipped(ratio: Tensor, credit: Tensor, clip_low: float, clip_high: float, dual_clip: float | None) -> Tensor:
    gain = torch.minimum(ratio * credit, ratio.clamp(1 - clip_low, 1 + clip_high) * credit)
    if dual_clip is not None:
        gain = torch.where(credit < 0, torch.maximum(gain, dual_clip * credit), gain)
    return -gain


def _clipped_formula(*, dual_clip: float | None, **_: float) -> str:
    return (
        "ratio_T = exp(logp_T - old_logp_T)\n"
        "gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - {clip_low}, 1 + {clip_high}) * credit_T)\n"
        + ("" if dual_clip is None else "gain_T = where(credit_T < 0, max(gain_T, {dual_clip} * credit_T), gain_T)\n")
        + "loss_T = -weight_T * gain_T"
    )


@part(needs=("clip",), formula=_clipped_formula)
def clipped_surrogate(
    logp_T: Tensor,
    old_logp_T: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
) -> Tensor:
    """PPO's surrogate (arXiv:1707.06347) with a clip of its own on each side.

        ratio = exp(logp - old_logp)
        loss  = -min(ratio * A, clamp(ratio, 1 - clip_low, 1 + clip_high) * A)

    With `dual_clip` c, a decision with A < 0 loses at most -c * A (arXiv:1912.09729). On the first update over
    fresh rollouts every ratio is 1 and the gradient is plain REINFORCE; clips are felt from the second on.
    """
    return weight_T * _clipped((logp_T - old_logp_T).exp(), credit_T, clip_low, clip_high, dual_clip)


_SEQUENCE = """
    ratio_U = exp(mean(logp_T - old_logp_T, UNIT))
    earned_U = mean(credit_T, UNIT)
    gain_U = min(ratio_U * earned_U, clip(ratio_U, 1 - {clip_low}, 1 + {clip_high}) * earned_U)
    loss_U = -mean(weight_T, UNIT) * gain_U
"""
"""One ratio per unit; rows and rollouts differ in nothing else."""


@part(
    grain="rollout",
    needs=("clip",),
    formula=_SEQUENCE.replace("UNIT", "rollout").replace("_U", "_R"),
)
def sequence_ratio(
    logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index, *, clip_low: float = 3e-4, clip_high: float = 4e-4
) -> Tensor:
    """GSPO (arXiv:2507.18071): one ratio per rollout, the geometric mean of its decisions' ratios."""
    return _sequence(logp_T, old_logp_T, credit_T, weight_T, index, clip_low, clip_high, "rollout")


@part(
    grain="row",
    needs=("clip",),
    formula=_SEQUENCE.replace("UNIT", "row").replace("_U", "_W"),
)
def row_ratio(
    logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index, *, clip_low: float = 3e-4, clip_high: float = 4e-4
) -> Tensor:
    """As `sequence_ratio`, but one ratio per row: for rollouts whose context was restarted."""
    return _sequence(logp_T, old_logp_T, credit_T, weight_T, index, clip_low, clip_high, "row")


def _sequence(
    logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index, low: float, high: float, unit: str
) -> Tensor:
    ratio = index.mean(logp_T - old_logp_T, "token", unit).exp()
    credit, weight = index.mean(credit_T, "token", unit), index.mean(weight_T, "token", unit)
    return weight * _clipped(ratio, credit, low, high, None)


def _cispo_formula(*, clip_low: float | None, **_: float) -> str:
    low = "0" if clip_low is None else "1 - {clip_low}"
    return f"ratio_T = exp(logp_T - old_logp_T)\nloss_T = -weight_T * detach(clip(ratio_T, {low}, 1 + {{clip_high}})) * credit_T * logp_T"


@part(needs=("clip",), formula=_cispo_formula)
def cispo(
    logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, *, clip_low: float | None = None, clip_high: float = 0.28
) -> Tensor:
    """CISPO (MiniMax-M1, arXiv:2506.13585): clip the weight, keep every decision's gradient.

    loss = -stop_gradient(clamp(ratio, 1 - clip_low, 1 + clip_high)) * A * logp
    """
    ratio_T = (logp_T - old_logp_T).exp()
    low = 0.0 if clip_low is None else 1 - clip_low
    return -weight_T * ratio_T.clamp(low, 1 + clip_high).detach() * credit_T * logp_T


def _kl_to_formula(*, estimator: str) -> str:
    return f"log_ratio_T = logp_T - reference_logp_T\nloss_T = {kl_formula(estimator)}"


@part(needs=("reference",), formula=_kl_to_formula)
def kl_to(logp_T: Tensor, reference_logp_T: Tensor, *, estimator: str = "k3") -> Tensor:
    """KL(policy || reference) estimated per decision; it follows the moving policy. Use as a signal of its own."""
    return kl_estimate(logp_T - reference_logp_T, estimator)


@part(formula="loss_T = -entropy_T")
def entropy_bonus(entropy_T: Tensor) -> Tensor:
    """loss = -entropy of the distribution each decision was drawn from."""
    return -entropy_T


@part(formula="loss_T = -logp_T")
def cross_entropy(logp_T: Tensor) -> Tensor:
    """loss = -logp: supervised learning on what `on` selects."""
    return -logp_T


@part(needs=("one_update",), formula="loss_T = -credit_T * exp(logp_T) / (exp(logp_T) + {gamma})")
def shaped(logp_T: Tensor, credit_T: Tensor, *, gamma: float = 0.1) -> Tensor:
    """loss = -A p / (p + gamma): for text of others in a group (`WithGold`), of which a plain gradient would hardly move what the policy
    finds unlikely (LUFFY, arXiv:2504.14945)."""
    return -credit_T * logp_T.exp() / (logp_T.exp() + gamma)


def _clipped_value_formula(*, clip: float | None) -> str:
    if clip is None:
        return "loss_T = (value_T - return_T) ** 2 / 2"
    return """
        near_T = old_value_T + clip(value_T - old_value_T, -{clip}, {clip})
        loss_T = max((value_T - return_T) ** 2, (near_T - return_T) ** 2) / 2
    """


@part(needs=("value",), formula=_clipped_value_formula)
def clipped_value(value_T: Tensor, old_value_T: Tensor, return_T: Tensor, *, clip: float | None = 0.2) -> Tensor:
    """Half the squared error of the value head, pessimistic within `clip` of the old value (PPO)."""
    error_T = (value_T - return_T).square()
    if clip is not None:
        near_T = old_value_T + (value_T - old_value_T).clamp(-clip, clip)
        error_T = torch.maximum(error_T, (near_T - return_T).square())
    return error_T / 2


@part(
    grain="rollout",
    formula="""
        ratio_R = exp(sum(logp_T - old_logp_T, rollout))
        earned_R = mean(credit_T, rollout)
        gain_R = min(ratio_R * earned_R, clip(ratio_R, 1 - {clip_low}, 1 + {clip_high}) * earned_R)
        loss_R = -mean(weight_T, rollout) * gain_R
    """,
)
def product_ratio(
    logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index, *, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """One ratio per rollout, the product of its decisions' ratios, clipped as a whole: the rollout as one action (TRL's RLOO).

    Against `sequence_ratio` there is no root, so a long rollout leaves the clip range after a small step.
    """
    ratio_R = index.sum(logp_T - old_logp_T, "token", "rollout").exp()
    credit_R, weight_R = index.mean(credit_T, "token", "rollout"), index.mean(weight_T, "token", "rollout")
    return weight_R * _clipped(ratio_R, credit_R, clip_low, clip_high, None)


@part(formula="loss_T = -exp(logp_T - sampled_logp_T) * credit_T")
def importance_to_sampler(logp_T: Tensor, sampled_logp_T: Tensor, credit_T: Tensor) -> Tensor:
    """loss = -exp(logp - sampled_logp) * A, with no clip: one ratio bridges engine, old weights and new, so no correction is asked for."""
    return -(logp_T - sampled_logp_T).exp() * credit_T


@part(
    formula="""
        moved_T = detach(exp(logp_T) - exp(sampled_logp_T))
        far_T = where(credit_T > 0, moved_T > {high}, moved_T < -{low})
        loss_T = where(far_T, 0, -exp(logp_T - sampled_logp_T) * credit_T)
    """,
)
def probability_bound(logp_T: Tensor, sampled_logp_T: Tensor, credit_T: Tensor, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """loss = -exp(logp - sampled_logp) * A, but nothing once the probability itself moved far in A's direction (arXiv:2602.04879).

    Far is: up by more than `high` where A > 0, down by more than `low` elsewhere. A bound on the difference, not the ratio, leaves
    unlikely tokens free. What is left out counts in the denominator.
    """
    moved_T = (logp_T.exp() - sampled_logp_T.exp()).detach()
    far_T = torch.where(credit_T > 0, moved_T > high, moved_T < -low)
    return -torch.where(far_T, torch.zeros_like(logp_T), (logp_T - sampled_logp_T).exp() * credit_T)


@part(formula="loss_T = (logp_T - sampled_logp_T) ** 2")
def drift_from_sampler(logp_T: Tensor, sampled_logp_T: Tensor) -> Tensor:
    """(logp - sampled_logp)^2: a pull back to the policy that wrote the rollout, no reference needed. Use as a signal of its own."""
    return (logp_T - sampled_logp_T).square()


def _kl_with_score_formula(*, estimator: str, **_: float) -> str:
    score = f"exp(logp_T - detach(logp_T)) * ({kl_formula(estimator)})"
    return f"log_ratio_T = logp_T - reference_logp_T\nloss_T = clip({score}, -{{limit}}, {{limit}})"


@part(needs=("reference",), formula=_kl_with_score_formula)
def kl_with_score(logp_T: Tensor, reference_logp_T: Tensor, *, estimator: str = "k3", limit: float = 10.0) -> Tensor:
    """As `kl_to`, but the gradient also passes through the sampling: the derivative of the KL, not only of its estimate.

        loss = exp(logp - stop_gradient(logp)) * KL estimate, limited to [-limit, limit]

    Its value is `kl_to`'s. The gradient of k3 alone pushes towards KL(reference || policy); with the score term it is the one asked for
    on fresh rollouts (arXiv:2506.09477). Beyond the limit there is no gradient.
    """
    return ((logp_T - logp_T.detach()).exp() * kl_estimate(logp_T - reference_logp_T, estimator)).clamp(-limit, limit)
