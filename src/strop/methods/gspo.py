"""GSPO (arXiv:2507.18071): one importance ratio per rollout, clipped as a whole.

Against GRPO: the ratio is the geometric mean over the rollout's tokens and the clip range is hundreds of times tighter.
"""

from strop.methods.grpo import GRPO
from strop.seams.objective import sequence_ratio
from strop.seams.reduction import means
from strop.seams.signal import Signal

GSPO = GRPO.but(
    "gspo",
    paper="2507.18071",
    idea=("signals.policy",),
    signals={"policy": Signal(sequence_ratio(clip_low=3e-4, clip_high=4e-4), reduce=means("group", "rollout"))},
)
