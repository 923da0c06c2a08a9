"""Preference: losses over pairs, a group of two rollouts with the better text first (`chosen_R` is 1 and 0).

`h` is the log-ratio of a whole text, the sum over its decisions of logp - reference_logp. Each loss is one number per pair, grain `group`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from strop.seams.index import Index
from strop.seams.part import part


def _log_ratio(logp_T: Tensor, reference_logp_T: Tensor, index: Index) -> Tensor:
    return index.sum(logp_T - reference_logp_T, "token", "rollout")


@part(
    grain="group",
    needs=("reference",),
    formula="""
        h_R = sum(logp_T - reference_logp_T, rollout)
        margin_G = {beta} * sum(where(chosen_R == 1, h_R, -h_R), group)
        loss_G = log(1 + exp(-margin_G))
    """,
)
def dpo(logp_T: Tensor, reference_logp_T: Tensor, chosen_R: Tensor, index: Index, *, beta: float = 0.1) -> Tensor:
    """DPO (arXiv:2305.18290): -log sigmoid(beta * (h of the chosen text - h of the rejected one))."""
    h_R = _log_ratio(logp_T, reference_logp_T, index)
    return -logsigmoid(beta * index.sum(h_R.where(chosen_R == 1, -h_R), "rollout", "group"))


@part(
    grain="group",
    needs=("reference",),
    formula="""
        h_R = sum(logp_T - reference_logp_T, rollout)
        apart_R = {beta} * h_R - running
        loss_G = sum(where(active(rollout), log(1 + exp(where(chosen_R == 1, -apart_R, apart_R))), 0), group)
    """,
)
def bco(logp_T: Tensor, reference_logp_T: Tensor, chosen_R: Tensor, running: float, index: Index, *, beta: float = 0.1) -> Tensor:
    """BCO (arXiv:2404.04656): each text against a shift, the running mean of beta * h, the chosen one above it and the other below.

    loss = -log sigmoid(beta * h of the chosen - shift) - log sigmoid(shift - beta * h of the rejected)
    """
    apart_R = beta * _log_ratio(logp_T, reference_logp_T, index) - running
    loss_R = -logsigmoid(apart_R.where(chosen_R == 1, -apart_R))
    return index.sum(loss_R.where(index.active("rollout"), 0.0), "rollout", "group")


@part(gives="value_R", needs=("reference",), formula="value_R = {beta} * sum(old_logp_T - reference_logp_T, rollout)")
def implicit_reward(old_logp_T: Tensor, reference_logp_T: Tensor, index: Index, *, beta: float = 0.1) -> Tensor:
    """beta * h at the start of the update: what `bco` takes its shift from."""
    return beta * _log_ratio(old_logp_T, reference_logp_T, index)
