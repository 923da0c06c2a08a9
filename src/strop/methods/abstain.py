"""Confidence targets (arXiv:2509.04664): answer only when more than t sure, where t stands in the question.

    reward = 1 (right), 0 (abstained), -t / (1 - t) (wrong)

With belief p an answer is worth p - (1 - p) t / (1 - t), more than nothing exactly where p > t. Graded right or wrong, as nearly every
benchmark does, abstaining never pays. The paper proposes the rule for evaluation and trains nothing; as a reward it is ours. Its text pairs
t = 0.75 with a penalty of 2, the formula gives 3: it is always computed from t.

Against GRPO the reward changes, and credit is not divided by the group's spread: in a group that holds two of the three outcomes the
division cancels the penalty's size, and t would act through groups that hold all three alone. `abstain.only(reward)` is the form with the
division. All rollouts of a group share one t, since t is part of the task.
"""

from __future__ import annotations

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.credit import group_centered
from strop.seams.part import part


@part(gives="reward_R", formula="reward_R = outcome_R - (1 - outcome_R - abstained_R) * target_R / (1 - target_R)")
def confidence_target(outcome_R: Tensor, abstained_R: Tensor, target_R: Tensor) -> Tensor:
    """1 right, 0 abstained, -t / (1 - t) wrong; a reply that is neither answer nor abstention is wrong."""
    return outcome_R - (1 - outcome_R - abstained_R) * target_R / (1 - target_R)


ABSTAIN = GRPO.but("abstain", paper="2509.04664", reward=confidence_target(), credit=(group_centered(),))
