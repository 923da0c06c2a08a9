"""Intuitor (arXiv:2505.19590): the policy's own certainty is the only reward. No label, no verifier.

Against GRPO the reward changes: how far from uniform, on average, the distributions are that a reply was drawn from,

    u = mean over the reply's tokens of KL(uniform || policy) = mean of log sum exp(z) - mean(z) - log V        z: the V logits

scored by the weights that learn (`online`; no gradient passes through u), standardised over the group, with a KL to the start.
One optimiser step per batch, so ratios are 1 and no clip is felt.

Paper against code: the paper averages the loss per rollout, both releases over the tokens of the batch (`RELEASED`). The paper names no
epsilon, so the deviation is GRPO's here, with its floor of 1e-4; Open-R1 adds 1e-4 to the sample deviation (`RELEASED`), verl 1e-6.
Open-R1 scores the distributions one position late (that of the first token is left out, one behind the end taken in); verl and strop
score those that the tokens were drawn from. Left out: the sum with other rewards, each standardised alone.
"""

from __future__ import annotations

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.records import Group, Scores
from strop.seams.context import Ctx
from strop.seams.credit import group_normalized
from strop.seams.objective import kl_to
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal, warmup_cosine
from strop.seams.update import AdamW


@part(gives="certainty")
async def self_certainty(groups: list[Group], ctx: Ctx, *, scorer: str = "online") -> Scores:
    """`certainty` is the mean of KL(uniform || scorer) over exactly the distributions that the rollout's tokens were drawn from.

    Temperature and allowed ids are applied as they were in drawing: ids that could not be drawn are not among the V. A demonstration is
    scored on its teacher's tokens.
    """
    batch = ctx.evaluate(groups, scorer, frozenset({"certainty_T"}))
    drawn_T = batch.of_kinds(("action", "teacher"))
    index = batch.index.select(drawn_T)
    mean_R = index.mean(batch.tracks["certainty_T"][drawn_T].double(), "token", "rollout")
    known_R = index.count("token", "rollout") > 0
    return Scores({unit: {"certainty": u.item()} for unit, u, known in zip(batch.units, mean_R, known_R, strict=True) if known})


@part(gives="reward_R", formula="reward_R = certainty_R")
def certainty(certainty_R: Tensor) -> Tensor:
    """The policy's certainty of its own reply, whatever the verifier says."""
    return certainty_R


INTUITOR = GRPO.but(
    "intuitor",
    paper="2505.19590",
    idea=("graders", "reward", "signals.kl"),
    graders=(self_certainty(scorer="online"),),
    reward=certainty,
    signals={"kl": Signal(kl_to(estimator="k3"), reduce=means("group", "rollout", "token"), weight=0.005)},
    reference=True,
    update=AdamW(lr=3e-6, schedule=warmup_cosine(warmup=0.1)),
    pico_lr=1e-5,  # faster, it gets certain of what is wrong
)
FROZEN = INTUITOR.but("intuitor-frozen", idea=("graders",), graders=(self_certainty(scorer="frozen"),))
RELEASED = INTUITOR.but(
    "intuitor-released",
    credit=(group_normalized(eps=1e-4),),
    signals={name: signal.but(reduce=means("token")) for name, signal in INTUITOR.signals.items()},
)
