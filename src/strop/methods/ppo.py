"""PPO (arXiv:1707.06347) for language models: a value head, GAE, four minibatches.

Against GRPO: the baseline is learned, credit differs along a rollout, and groups need no siblings.
A rollout cut at its limit keeps the value it had, since it did not end; verl and OpenRLHF end it at 0.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import batch_whiten, gae, kl_in_reward
from strop.seams.head import value
from strop.seams.objective import clipped_value
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW

PPO = GRPO.but(
    "ppo",
    paper="1707.06347",
    idea=("credit", "heads", "signals.policy.reduce", "signals.value", "update"),
    heads=(value,),
    reference=True,
    credit=(kl_in_reward(coefficient=0.05), gae(gamma=1.0, lam=0.95), batch_whiten()),
    signals={
        "policy": GRPO.signals["policy"].but(reduce=means("token")),
        "value": Signal(clipped_value(clip=0.2), reduce=means("token"), weight=0.5),
    },
    update=AdamW(lr=1e-6, minibatch=8),
)
