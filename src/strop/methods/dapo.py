"""DAPO (arXiv:2503.14476): clip higher, mean over tokens, drop groups without spread and refill, mask the overlong.

Against GRPO: upper clip 0.28, every token of the batch counts the same, groups that agree are replaced by fresh
ones (two more rounds at most), and a rollout cut at its limit is not trained. Left out: the soft length
penalty. Its rewards are -1 and 1; ours are 0 and 1, which standardised credit does not see. The paper writes a mean over
the tokens of one group; its code, and this, take those of the whole minibatch.
"""

from strop.methods.grpo import GRPO
from strop.seams.gate import DropFlat, MaskOverlong
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal

DAPO = GRPO.but(
    "dapo",
    paper="2503.14476",
    idea=("gate", "signals.policy"),
    gate=(DropFlat(refill=2), MaskOverlong()),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=means("token"))},
)
