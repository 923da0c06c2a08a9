"""SFT: cross-entropy on the source's gold texts. No rollouts, no reward: the stage before reinforcement.

    sft             the right answer, as the source writes it
    sft-worked      the worked solution, where the source has one (GSM8K's rows do)
    sft-messages    what is said turn by turn, with what a world answers between: rows with `messages` of `--data`, or what the source or
                    its world can show

    loss   mean over tokens of -logp

Learning rate up over a tenth of the run and down a half cosine. A claim whose arms need a base that was taught something names this
as its `base`.
"""

from strop.method import Method
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.objective import cross_entropy
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher, warmup_cosine
from strop.seams.update import AdamW
from strop.worlds.calls import Hermes

SFT = Method(
    "sft",
    paper="2203.02155",
    feed=Demos(),
    credit=(),
    signals={"teacher": Signal(cross_entropy(), on=teacher, reduce=means("token"))},
    update=AdamW(lr=1e-5, betas=(0.9, 0.98), weight_decay=0.01, schedule=warmup_cosine(warmup=0.1, floor=0.02)),
    tasks=64,
)

SFT_WORKED = SFT.but("sft-worked", paper="2203.02155", idea=("feed",), feed=Demos(text="worked"))

SFT_MESSAGES = SFT.but(
    "sft-messages",
    paper="2203.02155",
    idea=("feed", "sampler"),
    feed=Demos(text="episode"),
    sampler=Episodes(n=1, turns=8, max_tokens=128, observation=0, calls=Hermes()),
    tasks=16,
)
