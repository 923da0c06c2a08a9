"""GRPO as verl runs it: sample deviation, dual clip at 3, every token of the minibatch the same, no KL.

Read in verl 0.9.1: trainer/ppo/core_algos.py 267-330 (credit: torch.std, eps 1e-6 added), 1286-1374 (clip and dual clip), 1140-1172 (token
mean over the minibatch of all ranks), trainer/config/actor/actor.yaml and ppo_trainer.yaml for the defaults, of which one is changed:
adv_estimator is "gae" there and "grpo" here. No KL in reward or loss, no correction of the sampler unless asked for.
Left out: log-ratios are limited to [-20, 20]; a rollout without siblings keeps its raw reward (here: zero). Four updates per batch.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import group_normalized
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO_VERL = GRPO.but(
    "grpo@verl-0.9",
    paper=GRPO.paper,
    idea=("credit", "signals.policy", "update"),
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.2, dual_clip=3.0), reduce=means("token"))},
    update=AdamW(lr=1e-6, weight_decay=0.01, minibatch=8),
)
