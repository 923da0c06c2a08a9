"""AMPO as released (github.com/MozerWang/AMPO at 88e70d5): all four modes occur, each twice, and nothing is malformed, or it is GRPO.

Read, in RL/: verl/trainer/ppo/core_algos.py, verl/utils/reward_score/sotopia.py, verl/workers/actor/dp_actor.py, sotopia_ampo_*.sh. Only in
such groups the mode level is on, so it fades as a mode dies out. Loss and KL are means over the tokens of the batch.

`judged_or_zero` is what becomes there of a judge's failure: a score of 0. There the reply loses its mode besides, so that its group is
without the mode level. Left out: the entropy bonus of 0.001 that the framework adds by default.
"""

from __future__ import annotations

from dataclasses import replace

from strop.methods.ampo import AMPO, GOAL, mode_level
from strop.records import Group, Scores
from strop.seams.context import Ctx
from strop.seams.credit import group_normalized
from strop.seams.judge import Form, judged
from strop.seams.part import part
from strop.seams.reduction import means


@part(gives="judged")
async def judged_or_zero(
    groups: list[Group], ctx: Ctx, *, judge: str = "judge", form: Form = GOAL, tries: int = 5, deadline: float = 300.0
) -> Scores:
    """What the policy `judge` says of each reply, and 0 where it cannot be read or never comes: a fault of ours that trains the policy."""
    scores = await judged(judge=judge, form=form, tries=tries, deadline=deadline).on({"groups": groups, "ctx": ctx})
    known = {unit: {name: 0.0 if value is None else value for name, value in said.items()} for unit, said in scores.values.items()}
    return replace(scores, values=known, incidents=())


AMPO_MOZERWANG = AMPO.but(
    "ampo@mozerwang-88e70d5",
    paper="2505.02156",
    idea=("credit", "signals.policy.reduce", "signals.kl.reduce"),
    credit=(group_normalized(eps=1e-6), mode_level(modes=4, times=2, strict=True)),
    signals={name: signal.but(reduce=means("token")) for name, signal in AMPO.signals.items()},
)
