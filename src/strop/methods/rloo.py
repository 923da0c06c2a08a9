"""RLOO (arXiv:2402.14740): REINFORCE with the other rollouts' mean as baseline; the whole rollout is one action.

Against GRPO: the baseline leaves the judged rollout out, nothing is divided by the spread, log-probabilities are
summed over the rollout instead of averaged, and one unclipped update is made per batch.
Left out: the KL in the outcome; `rloo@trl` has it, and a clipped ratio for more than one update.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import leave_one_out
from strop.seams.objective import policy_gradient
from strop.seams.reduction import means, sum_over
from strop.seams.signal import Signal
from strop.seams.update import AdamW

RLOO = GRPO.but(
    "rloo",
    paper="2402.14740",
    idea=("credit", "signals.policy", "update"),
    credit=(leave_one_out(),),
    signals={"policy": Signal(policy_gradient(), reduce=means("group", "rollout", sum_over("token")))},
    update=AdamW(lr=1e-6),
)
