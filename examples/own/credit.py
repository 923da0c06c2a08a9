"""A credit: each rollout against the best of its group.

strop train --method examples/own/credit.py
"""

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.index import Index
from strop.seams.part import part


@part(
    gives="credit_R",
    needs=("group",),
    formula="""
        baseline_R = {share} * mean(reward_R, group) + (1 - {share}) * max(reward_R, group)
        credit_R = reward_R - baseline_R
    """,
)
def against_the_best(reward_R: Tensor, index: Index, *, share: float = 0.5) -> Tensor:
    """reward - baseline, which lies between the group's mean (share 1) and its best (share 0)."""
    mean_G, best_G = index.mean(reward_R, "rollout", "group"), index.max(reward_R, "rollout", "group")
    return reward_R - index.spread(share * mean_G + (1 - share) * best_G, "group", "rollout")


BEST = GRPO.but("best", credit=(against_the_best(),))
