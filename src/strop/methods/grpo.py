"""GRPO (DeepSeekMath, arXiv:2402.03300): each rollout against its siblings, no value head.

    credit   A[r] = (reward[r] - group mean) / group std
    loss     mean over rollouts of mean over tokens of -min(ratio A, clip(ratio) A)

Two minibatches per batch, so that the ratio and its clip are felt. Left out against the paper: the KL penalty to a
reference (0.04 there), which most later work sets to 0; `kl_to` adds it back as a signal.
"""

from strop.method import Method
from strop.seams.credit import group_standardized
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO = Method(
    "grpo@strop-1",
    paper="2402.03300",
    sampler=Independent(n=8, max_tokens=128),
    credit=(group_standardized(),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.2), reduce=means("group", "rollout", "token"))},
    update=AdamW(lr=1e-6, minibatch=16),
    tasks=32,
)
