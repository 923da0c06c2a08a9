"""Cascade RL (arXiv:2508.18265): preferences among the policy's own texts first, then reinforcement.

    collect     sample and grade, learn nothing
    prefer      MPO on pairs of right and wrong texts of one task: 0.8 DPO + 0.2 BCO + 1.0 negative log-likelihood of the right one
    reinforce   GSPO on tasks that were solved now and then

BCO's shift is the mean of beta * h over every text seen so far. The released code runs GSPO with a clip of 0.2, at which a ratio that is
a geometric mean is almost never clipped; `gspo` has the clip of its own paper.
"""

from strop.method import Method
from strop.methods.dpo import DPO
from strop.methods.gspo import GSPO
from strop.program import Program, Stage, rest, steps
from strop.seams.curriculum import Band
from strop.seams.objective import cross_entropy, sequence_ratio
from strop.seams.preference import bco, dpo, implicit_reward
from strop.seams.recorded import Earlier, correctness_pairs
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal, chosen, teacher
from strop.seams.update import Still

COLLECT = Method("collect", sampler=Independent(n=8, max_tokens=128), credit=(), signals={}, update=Still(), tasks=32)

MPO = DPO.but(
    "mpo",
    paper="2411.10442",
    signals={
        "prefer": Signal(dpo(beta=0.1), on=teacher, reduce=means("group"), weight=0.8),
        "quality": Signal(bco(beta=0.1), on=teacher, reduce=means("group"), weight=0.2, running=implicit_reward(beta=0.1)),
        "write": Signal(cross_entropy(), on=chosen, reduce=means("group", "rollout", "token")),
    },
)

WIDE_GSPO = GSPO.but(
    "gspo-wide",
    signals={"policy": Signal(sequence_ratio(clip_low=0.2, clip_high=0.2), reduce=means("group", "rollout"))},
    curriculum=Band(low=0.2, high=0.8),
)

CASCADE = Program(
    "cascade",
    (
        Stage("collect", COLLECT, steps(4)),
        Stage("prefer", MPO.but("mpo-on-own", idea=("feed",), feed=Earlier("collect", correctness_pairs(most=15))), steps(16), pace=0.2),
        Stage("reinforce", WIDE_GSPO, rest()),
    ),
    paper="2508.18265",
)
