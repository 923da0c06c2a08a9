"""Grader: a score of its own for every rollout, beside the source's verdict.

A grader is an async part that reads groups and a context and gives Scores; `gives` names its one channel. It is asked once per batch of
fresh groups, its scores are committed, and the reward picks the channel that is trained. What it asks of a policy
(`ctx.evaluate`) is on the bill as `scored`. A rollout that it could not score is None, never 0. It reads what was written as
`rollout.text`, and what a world noted as `rollout.keys["facts"]`.

One whose constant `spans` names the stretches of a mark scores each of them beside the rollout: `Scores(…, spans={unit: {channel: (label,
scores)}})`, in the order of the text. A credit reads these as `<channel>_T`: a stretch's score at its last decision, NaN elsewhere.

A constant called `scorer` says whose weights judge: the learner's as they stand, or the frozen copy of its start. One called `policy` or
`judge` names the policy that it asks, `channel` the channel that it gives, and `deadline` the seconds that it keeps to itself, a minute
after which nobody waits for it any more. A record among the constants may have `fits(constants, group_size)`, which raises ValueError.
"""

from __future__ import annotations

from collections import Counter

from strop.records import Group, Scores
from strop.seams.context import Ctx
from strop.seams.part import Part, part
from strop.seams.source import answer_of

GREEDY = "greedy"
"""Where a greedy reply comes from, as its rollout says."""
SCORERS = {"online": "actor", "frozen": "reference"}
"""Whose weights judge, in the words of a method's file."""


@part(gives="chance")
async def chance(groups: list[Group], ctx: Ctx) -> Scores:
    """`chance` is a random number in [0, 1): the reward that knows nothing, a control for any other."""
    return Scores({r.id: {"chance": ctx.rng("chance", r.id).random()} for group in groups for r in group.rollouts})


@part(gives="agreed")
async def agreed(groups: list[Group], ctx: Ctx) -> Scores:
    """`agreed` is 1 for a reply with the answer that most of its group give, 0 for another one or none: a reward without a verdict (TTRL,
    arXiv:2504.16084). Of several that are given as often, the one that was given first."""
    given = {r.id: answer_of(ctx.source, r.text) for group in groups for r in group.rollouts}
    most = {g.id: Counter(answer for r in g.rollouts if (answer := given[r.id]) is not None).most_common(1) for g in groups}
    return Scores({r.id: {"agreed": float(given[r.id] in {answer for answer, _ in most[g.id]})} for g in groups for r in g.rollouts})


@part(gives="greedy")
async def greedy(groups: list[Group], ctx: Ctx) -> Scores:
    """`greedy` is 1 for the reply that `WithGreedy` added to its group."""
    return Scores({r.id: {"greedy": float(r.provenance == GREEDY)} for group in groups for r in group.rollouts})


def patience(grader: Part) -> float:
    """Seconds that it says it may take."""
    held = grader.constants.get("deadline", 0.0)
    return float(held) if isinstance(held, int | float) else 0.0


def spans_of(grader: Part) -> str:
    """The label whose stretches it scores; none where it scores rollouts alone."""
    held = grader.constants.get("spans", "")
    return held if isinstance(held, str) else ""


def judges_frozen(grader: Part) -> bool:
    """Whether it needs the frozen copy of the start."""
    return grader.constants.get("scorer") == "frozen"
