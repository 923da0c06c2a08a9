"""GRPO as prime-rl runs it: centred only, no clip but a bound on the probability itself, and a pull back to the sampler.

Read in prime-rl 0.8.0: orchestrator/algo/grpo.py 28 (credit), trainer/rl/loss.py 109-150 (objective: the ratio to the sampler, masked where
the probability rose by over 0.2 with A > 0 or fell by over 0.2 otherwise; 1e-3 times the squared log-ratio), trainer/rl/train.py 318-334
(division by all trained tokens, masked ones included), orchestrator/filters.py 100 (rollouts of zero credit are not sent).
Made for sampling ahead of the learner, up to eight steps, which is left out, as are its filters against gibberish and repetition.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import group_centered
from strop.seams.gate import SkipZeroCredit
from strop.seams.objective import drift_from_sampler, probability_bound
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO_PRIME_RL = GRPO.but(
    "grpo@prime-rl-0.8",
    paper=GRPO.paper,
    idea=("gate", "credit", "signals", "update"),
    gate=(SkipZeroCredit(),),
    credit=(group_centered(),),
    signals={
        "policy": Signal(probability_bound(low=0.2, high=0.2), reduce=means("token")),
        "drift": Signal(drift_from_sampler(), reduce=means("token"), weight=1e-3),
    },
    update=AdamW(lr=1e-6, weight_decay=0.01),
)
