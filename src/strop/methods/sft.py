"""SFT: cross-entropy on the source's gold texts. No rollouts, no reward: the stage before reinforcement.

    loss   mean over tokens of -logp

Learning rate up over a tenth of the run and down a half cosine. A claim whose arms need a base that was taught something names this
as its `base`.
"""

from strop.method import Method
from strop.seams.feed import Demos
from strop.seams.objective import cross_entropy
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher, warmup_cosine
from strop.seams.update import AdamW

SFT = Method(
    "sft",
    feed=Demos(),
    credit=(),
    signals={"teacher": Signal(cross_entropy(), on=teacher, reduce=means("token"))},
    update=AdamW(lr=1e-5, betas=(0.9, 0.98), weight_decay=0.01, schedule=warmup_cosine(warmup=0.1, floor=0.02)),
    tasks=64,
)
