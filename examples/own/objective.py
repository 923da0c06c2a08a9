"""An objective: no clip, but a square that holds the ratio near 1 (SPO, arXiv:2401.16025).

strop train --method examples/own/objective.py
"""

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal


@part(
    formula="""
        ratio_T = exp(logp_T - old_logp_T)
        loss_T = -weight_T * (ratio_T * credit_T - abs(credit_T) * (ratio_T - 1) ** 2 / (2 * {near}))
    """
)
def held_near(logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor, weight_T: Tensor, *, near: float = 0.2) -> Tensor:
    """loss = -(ratio * A - |A| (ratio - 1)^2 / (2 near)): its best ratio is 1 + near where A > 0, 1 - near elsewhere."""
    ratio_T = (logp_T - old_logp_T).exp()
    return -weight_T * (ratio_T * credit_T - credit_T.abs() * (ratio_T - 1).square() / (2 * near))


SPO = GRPO.but("spo", paper="2401.16025", signals={"policy": Signal(held_near(), reduce=means("group", "rollout", "token"))})
