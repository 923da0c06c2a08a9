"""GRPO as NeMo-RL runs it: baseline and deviation of the siblings alone, and a KL whose gradient is the KL's.

Read in NeMo-RL 0.7.0: algorithms/utils.py 103-195 (mean and std both leave the rollout out), algorithms/advantage_estimator.py 43-82
(nothing is divided where that std is 0), algorithms/loss/loss_functions.py 405-451 (k3, 0.01, times exp(logp - logp.detach())), 463-500
(clip), algorithms/utils.py 41-100 (limit 10), examples/configs/grpo_math_1B.yaml for the defaults.
Left out: 1e-8 added to every count of tokens; a limit of 20 on the KL's log-ratio, which for k3 lies beyond the limit of 10 on its
value; the float32 rounding of the std, which is E[x^2] - E[x]^2 there, so that siblings who agree on a reward like 0.3 may divide by
about 1e-5 instead of not at all; the warm-up of the rate.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import siblings_standardized
from strop.seams.objective import kl_with_score
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO_NEMO_RL = GRPO.but(
    "grpo@nemo-rl-0.7",
    paper=GRPO.paper,
    idea=("credit", "signals", "update"),
    reference=True,
    credit=(siblings_standardized(eps=1e-6),),
    signals={
        "policy": GRPO.signals["policy"].but(reduce=means("token")),
        "kl": Signal(kl_with_score(estimator="k3", limit=10.0), reduce=means("token"), weight=0.01),
    },
    update=AdamW(lr=5e-6, weight_decay=0.01),
)
