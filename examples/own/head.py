"""A head: one number per prompt that learns how often it is solved, trained beside the policy.

strop train --method examples/own/head.py
"""

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.head import Head
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal


@part(grain="rollout", formula="loss_R = (hope_R - reward_R) ** 2")
def hoped(hope_R: Tensor, reward_R: Tensor) -> Tensor:
    """The squared error of what was hoped for; the head's number is on each metrics line as heads.hope."""
    return (hope_R - reward_R).square()


HOPEFUL = GRPO.but(
    "hopeful",
    idea=("heads", "signals.hope"),
    heads=(Head("hope", per="prompt"),),
    signals={"hope": Signal(hoped(), reduce=means("rollout"), weight=0.5)},
)
