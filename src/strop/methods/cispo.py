"""CISPO (MiniMax-M1, arXiv:2506.13585): clip the importance weight, not the update, so that no token loses its gradient.

Against GRPO: the clipped ratio is a constant weight on -A logp, bounded above only, and every token of the batch counts the same.
The paper does not give its bound. 1 + 0.28 is DAPO's; TRL takes the bound itself as its epsilon_high (1.28 there is 0.28 here).
"""

from strop.methods.grpo import GRPO
from strop.seams.objective import cispo
from strop.seams.reduction import means
from strop.seams.signal import Signal

CISPO = GRPO.but(
    "cispo",
    paper="2506.13585",
    idea=("signals.policy",),
    signals={"policy": Signal(cispo(clip_high=0.28), reduce=means("token"))},
)
