"""REINFORCE++ (arXiv:2501.03262): KL in the reward, returns to go, one whitening over the whole batch.

Against GRPO: no group baseline (a group may have one rollout); credit is normalised over all trained tokens of the batch.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import batch_whiten, kl_in_reward, returns_to_go
from strop.seams.reduction import means

REINFORCE_PP = GRPO.but(
    "reinforce++",
    paper="2501.03262",
    idea=("credit", "signals.policy.reduce"),
    reference=True,
    credit=(kl_in_reward(coefficient=0.01), returns_to_go(), batch_whiten()),
    signals={"policy": GRPO.signals["policy"].but(reduce=means("token"))},
)
