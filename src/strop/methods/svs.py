"""SvS (arXiv:2508.14029): the policy writes new problems for solutions that it found, and learns from solving them too.

    solve      n rollouts a problem, as ever
    pick       problems that were solved sometimes, 1 to 4 times in 8
    write      each right solution is shown alone, and problems that it would answer are asked for: the reference answer carries over
    variant    n rollouts for every problem that was written, graded by that answer
    reward     a written problem earns 1 where it was solved sometimes, 1 to 5 times in 8: one that gives the answer away is solved always

On problems that come again and again reinforcement ends in their answers; here the problems move. All groups make one update, credit is
each group's own. What is written is not proven to have the answer: that some solve it and some do not is all that is known.

The paper's box has open windows, its code closed ones (`strict=True`). Its code ends a step in which no problem lies in the window
without an update, ordinary rollouts included; here it is an ordinary step. It pays for a copy of the problem that was hidden, and so does
this; `useful(copies=False)` does not. A writing group stays where one of it earned, also where all did, which then teaches nothing. The
released update of fixed size makes more updates the more was written: here there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Fate, Group, Incident, Scores
from strop.seams.context import Ctx
from strop.seams.credit import group_normalized
from strop.seams.gate import DropFlat, Fates, Seen
from strop.seams.objective import clipped_surrogate
from strop.seams.part import part
from strop.seams.reduction import PER_TOKEN
from strop.seams.reward import outcome
from strop.seams.role import Role
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.variants import VARIANT, WRITE, Variants, Window
from strop.tasks.equations import ASK, WRITTEN


@part(gives="useful")
async def useful(
    groups: list[Group], ctx: Ctx, *, low: float = 0.125, high: float = 0.625, strict: bool = False, copies: bool = True
) -> Scores:
    """`useful` is 1 for a written problem that was solved sometimes: its share of right solutions lies in the window. 0 for one nobody
    could be asked, and for what is no written problem. `copies=False`: 0 for the very problem that was hidden, too."""
    window = Window(low, high, strict)
    said, faults = dict[str, dict[str, float | None]](), list[Incident]()
    for group in groups:
        for r in group.rollouts:
            fact: dict[str, Any] = r.keys["facts"][0] if group.role == WRITE else {"problem": None}
            if fact["problem"] is not None and fact["solved"] is None:
                said[r.id] = {"useful": None}
                faults.append(Incident(r.id, "useful", "no solution of the written problem could be graded"))
            else:
                pays = fact["problem"] is not None and window.holds(fact["solved"]) and (copies or not fact["copy"])
                said[r.id] = {"useful": float(pays)}
    return Scores(said, incidents=tuple(faults))


@dataclass(frozen=True)
class DropUnpaid:
    """Leave out groups of which no rollout earned anything."""

    refill: int = 0
    """Rounds of sampling that may replace them."""

    def __call__(self, group: Group, seen: Seen) -> Fates:
        return {} if any(value > 0 for value in seen.rewards.values()) else {unit: Fate("drop", why="unpaid") for unit in seen.rewards}


SVS = GRPO.but(
    "svs",
    paper="2508.14029",
    idea=("sampler", "graders", "roles"),
    sampler=Variants(),
    graders=(useful(),),
    gate=(DropFlat(),),
    roles={WRITE: Role(outcome.reading(outcome_R="useful_R"), (DropUnpaid(),)), VARIANT: Role(outcome, (DropFlat(),))},
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=PER_TOKEN)},
    update=replace(GRPO.update, minibatch=None),
    tasks=16,
)

BOTH_WAYS = SFT.but("sft-both-ways", idea=())
"""Problems to solutions and back: the source decides."""

SVS_SMALL = SVS.but(sampler=Variants(Independent(n=8, max_tokens=48), Independent(n=4, max_tokens=32), most=4, ask=ASK, between=WRITTEN))
"""As `equations` are asked for and written."""

SVS_EQUATIONS = Program(
    "svs-equations",
    (
        Stage("imitate", BOTH_WAYS, steps(150), task="equations:writing=0.85", pace=15.0),
        Stage("self-play", SVS_SMALL, rest(), task="pool:64:equations"),
    ),
    paper="2508.14029",
)
