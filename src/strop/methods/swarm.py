"""Swarm (SAPO, arXiv:2509.08721): train on groups that other trainers sampled, beside one's own.

Nobody sends weights or gradients. Each trainer shares its graded groups as text, draws some of the others' whose rewards differ, grades
and tokenises them anew, and treats them as if it had sampled them:

    A[r]   = (reward[r] - group mean) / group std          inside each group, own or foreign
    ratio  = now / old, with old the learner's own          1 for all text, since a batch is learned from once
    loss   = mean over all tokens of -min(ratio A, clip(ratio, 1 - 0.2, 1 + 0.28) A)

So a foreign group is plain advantage-weighted likelihood on text of another behaviour policy, and neither the clip nor any correction
knows who wrote it. Against GRPO: the feed, the upper clip, the mean over tokens, one update a batch; no KL. Four own and four foreign
groups, the paper's best share; `--share I/J` sets another. Called `swarm`, since SAPO is also a soft clip (arXiv:2511.20347).

Left out: the code's sample deviation with 1e-8 under the fraction (ours divides by G), and its lost stop token: it decodes its texts
and encodes them again without the token that ends them, so ending is never trained; here the message says that a text ended.
"""

from strop.methods.grpo import GRPO
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal, actions, teacher
from strop.seams.swarm import Swarm
from strop.seams.update import AdamW

SWARM = GRPO.but(
    "swarm",
    paper="2509.08721",
    idea=("feed", "signals.policy"),
    feed=Swarm(foreign=4),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), on=actions | teacher, reduce=means("token"))},
    update=AdamW(lr=1e-6),
    tasks=4,
)
