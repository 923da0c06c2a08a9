"""TreePO (arXiv:2508.17445): grow the rollouts of a task as a tree, and judge each against everyone it shares a beginning with.

Against GRPO two seams change.

Sampler. The rollouts of a task are the leaves of a tree of segments (`strop.seams.tree`): paths that go on are forked, what a path
that ended leaves over goes to the living, and a shared beginning is decoded once.

Credit. A leaf's reward against the mean of its group, and against the mean of the leaves under each of its ancestors, all depths alike:

    A[r] = mean over depths of (reward[r] - mean(reward of the leaves that share r's ancestor there))

whitened over the batch's tokens. The loss is DAPO's: the upper clip higher, every token of the batch alike, groups that agree
replaced. A token under several leaves is trained once for each. Left out: the penalty for overlong replies, so that reward is
accuracy and the gate sees what the paper's filter sees.

Read in TreePO@f055523, where paper and code disagree. It takes the batch's mean out when it whitens, as here; equation 5 does not
(`batch_whiten(center=False)`). It looks for repetition last, the paper and this first (`repetition_first=False` is the release's). Its
"more initial divergence" cannot be switched on; `first=(2, 8)` does it. A leaf that is alone in its group keeps its raw reward there;
here it earns nothing.
"""

from __future__ import annotations

from dataclasses import replace

from strop.methods.grpo import GRPO
from strop.seams.credit import batch_whiten, nested_centered
from strop.seams.gate import DropFlat
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.tree import SegmentTree

TREEPO = GRPO.but(
    "treepo",
    paper="2508.17445",
    idea=("sampler", "credit"),
    sampler=SegmentTree(),
    credit=(nested_centered(), batch_whiten()),
    gate=(DropFlat(refill=2),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=means("token"))},
    update=replace(GRPO.update, minibatch=8),
    tasks=16,
)
