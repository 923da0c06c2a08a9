"""FlowRL (arXiv:2509.15207): match a whole distribution of answers instead of climbing to the best one.

The target is the reference, tilted by the reward: pi(y|x) = reference(y|x) exp(beta * r) / Z(x). A small head learns log Z, and
trajectory balance squares what is left of the equation:

    gap  = log Z(x) + mean log pi(y|x) - beta * r - mean log reference(y|x)       means over the answer's tokens
    loss = w * gap^2                                                              w = detached pi / pi_old of the whole answer

r is the reward normalised in its group (sample deviation), so the target moves with the policy. On fresh rollouts the slope is that of
a policy gradient with advantage beta * r - log Z - mean log(pi / reference): KL in the reward with a learned baseline. Groups whose
rewards agree still pull towards the reference, where GRPO is silent.

Against GRPO: the objective, the head, the frozen reference, sixteen updates a batch as in the paper's mathematics runs. The paper clips
w to [0.8, 1.2]; its code computes that clip and then leaves w as it is (`low=None, high=None`), a later version caps it at 10 (`low=None,
high=10`). Tokens are averaged in the gap and summed in w, in the paper as in the code. Left out: the head's dropout of 0.1, under
which a loss depends on how a batch is cut, and a loss scale of the code that depends on the number of micro-batches.
"""

from __future__ import annotations

from torch import Tensor

from strop.method import Method
from strop.methods.grpo import GRPO
from strop.seams.credit import group_normalized
from strop.seams.head import Head
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW


def _weight_formula(low: float | None, high: float | None) -> str:
    ratio = "exp(sum(logp_T - old_logp_T, rollout))"
    ratio = ratio if high is None else f"min({ratio}, {{high}})"
    return f"w_R = detach({ratio if low is None else f'max({ratio}, {{low}})'})"


def _gap_formula(length: str) -> str:
    if length not in ("mean", "sum"):
        raise ValueError(f"unknown length {length!r}; use mean (each token counts by the answer's length) or sum")
    return f"{length}(logp_T - reference_logp_T, rollout) - {{beta}} * mean(credit_T, rollout)"


def _balance_formula(*, low: float | None, high: float | None, length: str, **_: float) -> str:
    return f"gap_R = logz_R + {_gap_formula(length)}\n{_weight_formula(low, high)}\nloss_R = mean(weight_T, rollout) * w_R * gap_R ** 2"


@part(grain="rollout", needs=("reference", "clip"), formula=_balance_formula)
def trajectory_balance(
    logp_T: Tensor,
    old_logp_T: Tensor,
    reference_logp_T: Tensor,
    logz_R: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    index: Index,
    *,
    beta: float = 15.0,
    low: float | None = 0.8,
    high: float | None = 1.2,
    length: str = "mean",
) -> Tensor:
    """w * (log Z + log(pi / reference) - beta * credit)^2, one per rollout; zero everywhere exactly at the tilted reference.

    w is the rollout's detached ratio of now to old, kept within `low` and `high`. With `length="sum"` nothing is divided by the
    answer's length, and the fixed point is reference * exp(beta * credit) / Z; with `mean`, longer answers are tilted harder.
    """
    gap_R = logz_R + _gap(logp_T, reference_logp_T, credit_T, index, beta, length)
    return index.mean(weight_T, "token", "rollout") * _weight(logp_T, old_logp_T, index, low, high) * gap_R.square()


def _group_formula(*, low: float | None, high: float | None, length: str, **_: float) -> str:
    return (
        f"gap_R = {_gap_formula(length)}\n{_weight_formula(low, high)}\nlogz_G = -detach(mean(gap_R, group, active(rollout)))\n"
        "loss_G = mean(mean(weight_T, rollout) * w_R * (gap_R + logz_G) ** 2, group, active(rollout))"
    )


@part(grain="group", needs=("group", "reference", "clip"), formula=_group_formula)
def group_balance(
    logp_T: Tensor,
    old_logp_T: Tensor,
    reference_logp_T: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    index: Index,
    *,
    beta: float = 15.0,
    low: float | None = 0.8,
    high: float | None = 1.2,
    length: str = "mean",
) -> Tensor:
    """As `trajectory_balance`, but log Z is what the group's own rollouts say of it: their mean gap (VarGrad, arXiv:2010.10436).

    No head has to learn, so the baseline is right from the first update on, up to the noise of a group.
    """
    gap_R = _gap(logp_T, reference_logp_T, credit_T, index, beta, length)
    active_R = index.active("rollout").to(gap_R.dtype)
    count_G = index.sum(active_R, "rollout", "group").clamp_min(1)
    logz_G = -(index.sum(active_R * gap_R, "rollout", "group") / count_G).detach()
    square_R = _weight(logp_T, old_logp_T, index, low, high) * (gap_R + index.spread(logz_G, "group", "rollout")).square()
    return index.sum(active_R * index.mean(weight_T, "token", "rollout") * square_R, "rollout", "group") / count_G


def _gap(logp_T: Tensor, reference_logp_T: Tensor, credit_T: Tensor, index: Index, beta: float, length: str) -> Tensor:
    over = index.mean if length == "mean" else index.sum
    return over(logp_T - reference_logp_T, "token", "rollout") - beta * index.mean(credit_T, "token", "rollout")


def _weight(logp_T: Tensor, old_logp_T: Tensor, index: Index, low: float | None, high: float | None) -> Tensor:
    ratio_R = index.sum(logp_T - old_logp_T, "token", "rollout").exp().detach()
    return ratio_R if low is None and high is None else ratio_R.clamp(low, high)


FLOWRL = GRPO.but(
    "flowrl",
    paper="2509.15207",
    idea=("heads", "signals.policy"),
    heads=(Head("logz", per="prompt", net="mlp"),),
    reference=True,
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(trajectory_balance(), means("rollout"))},
    update=AdamW(lr=1e-6, weight_decay=0.1, minibatch=2),
    pico_lr=3e-5,  # sixteen updates a batch
)


def released(form: str, high: float | None) -> Method:
    """With the weight of a released form, which is never raised."""
    objective = trajectory_balance(low=None, high=high)
    return FLOWRL.but(f"flowrl-{form}", signals={"policy": FLOWRL.signals["policy"].but(objective=objective)})


FORMS = {"paper": FLOWRL, "code": released("code", None), "capped": released("capped", 10.0)}
