"""RFT (arXiv:2308.01825): supervised learning on right texts of the policy's own, the others thrown away.

    loss   mean over tokens of -logp, of the chosen text of each pair

With `feed=Earlier(stage, right_ones())` it learns from every right text that an earlier stage sampled; from a file of pairs it takes
the chosen ones. What preference losses must beat: the same right texts without the wrong ones.
"""

from strop.methods.sft import SFT
from strop.seams.objective import cross_entropy
from strop.seams.recorded import Pairs
from strop.seams.reduction import means
from strop.seams.signal import Signal, chosen

RFT = SFT.but(
    "rft",
    paper="2308.01825",
    feed=Pairs(),
    signals={"teacher": Signal(cross_entropy(), on=chosen, reduce=means("token"))},
    tasks=32,
)
