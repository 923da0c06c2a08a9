"""ends: what becomes of an episode, by how it ended: one table, which is a gate and a reward.

    ENDS = Ends(cut="context", form=-0.5, call=-0.5)
    GRPO.but("mine", graders=ENDS.graders, reward=ENDS.reward, gate=(ENDS,), idea=("graders", "reward", "gate"))

How an episode ended is read off the rollout, the worst that holds of it first:

    lost     its world failed (`stop="error"`): our fault, so nobody scores it
    call     a call was broken, or its world ended it for a tool's misuse
    form     a turn before the last one called nothing where other turns or siblings call, or the end holds no answer
    cut      no turn, room or budget was left, or it repeated itself; or an action had no room for its call
    right, wrong    by the verdict

What a tool answers to a good call, `no such page` say, is none of these. Scores and fates from two tables would drift apart: a rollout
that is punished has to be trained, and one that is masked has no score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from torch import Tensor

from strop.records import Fate, Group, Rollout, Scores
from strop.seams.context import Ctx
from strop.seams.formula import number
from strop.seams.gate import Fates, Seen
from strop.seams.part import Part, nearest, part

ENDED = ("answered", "cut", "form", "call", "lost")
"""How an episode ended, as the channel `ended` counts."""
CUT = ("length", "turns", "budget", "repetition")
WORDS = ("train", "context")

End = str | float | None
"""train: with its verdict. context: with its verdict, in its group's statistics alone. A number: trained with it. None: left out."""


@dataclass(frozen=True)
class Ends:
    """By how an episode ended: `train`, `context`, a score, or None."""

    right: End = "train"
    wrong: End = "train"
    cut: End = "context"
    """Cut without an answer: so it was wrong, and says little of why."""
    form: End = "train"
    """Broken format."""
    call: End = "train"
    """A broken call, whatever was answered in the end."""
    lost: None = None
    """A lost tool: our fault, which is no score."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __post_init__(self) -> None:
        for name in ("right", "wrong", *ENDED[1:]):
            end = getattr(self, name)
            if isinstance(end, str) and end not in WORDS:
                raise ValueError(f"Ends({name}={end!r}): train, context, a score, or None. {nearest(end, WORDS)}")
            if isinstance(end, int | float) and (isinstance(end, bool) or not isfinite(end)):
                raise ValueError(f"Ends({name}={end!r}): train, context, a score that is a number, or None")
        if self.lost is not None:
            raise ValueError(f"Ends(lost={self.lost!r}): a lost tool is our fault, so the policy is neither paid nor punished for it: None")

    @property
    def graders(self) -> tuple[Part, ...]:
        """What both read."""
        return (ended(),)

    @property
    def reward(self) -> Part:
        """The scores of this table."""
        each = {name: getattr(self, name) for name in ("right", "wrong", *ENDED[1:-1])}
        return as_it_ended(**{name: end for name, end in each.items() if isinstance(end, int | float)})

    @property
    def channels(self) -> tuple[str, ...]:
        return ("ended", "outcome")

    def __call__(self, group: Group, seen: Seen) -> Fates:
        how, right = seen.channel("ended"), seen.channel("outcome")
        fates: Fates = {}
        for unit, code in how.items():
            name = ENDED[int(code)]
            name = name if name != "answered" else "right" if right.get(unit) == 1 else "wrong"
            if (end := getattr(self, name)) in ("context", None):
                fates[unit] = Fate("context" if end else "drop", why=name)
        return fates


@part(gives="ended", version=3)
async def ended(groups: list[Group], ctx: Ctx) -> Scores:
    """`ended` tells how an episode ended: 0 answered, 1 cut, 2 in broken form, 3 with a broken call, 4 lost."""
    reads: Callable[[str], str | None] | None = getattr(ctx.source, "answer", None)
    calling = {g.id: any(r.keys.get("calls") for r in g.rollouts) for g in groups}
    return Scores({r.id: {"ended": float(ENDED.index(how(r, reads, calling[g.id])))} for g in groups for r in g.rollouts})


def how(rollout: Rollout, reads: Callable[[str], str | None] | None = None, calling: bool = False) -> str:
    """A word of `ENDED`. `reads` finds an answer in a text; without it, and where a world graded, every end that is no cut is one.
    `calling`: some of its siblings called something, so one that never does is no better than one that stops calling."""
    turns: list[list[Any]] = rollout.keys.get("calls") or [list[Any]() for _ in rollout.keys.get("facts", ()) if calling]
    cut = {*rollout.keys.get("cut", ())}
    broken = {number for number, turn in enumerate(turns) if not all(tool for tool, _, _ in turn)}
    silent = {number for number, turn in enumerate(turns[:-1]) if not turn}
    if rollout.stop == "error":
        return "lost"
    if rollout.stop == "tool" or broken - cut:
        return "call"
    if rollout.stop == "format" or silent - cut:
        return "form"
    if rollout.stop in CUT or (broken | silent) & cut:
        return "cut"
    unread = reads is not None and "scores" not in rollout.keys and reads(rollout.text) is None
    return "form" if unread else "answered"


Scored = float | None


def _said(right: Scored, wrong: Scored, cut: Scored, form: Scored, call: Scored) -> str:
    """What has no score of its own has the verdict."""
    said = "outcome_R"
    for code, end in ((1, cut), (2, form), (3, call)):
        said = said if end is None else f"where(ended_R == {code}, {number(end)}, {said})"
    for end, holds in ((wrong, "not (outcome_R == 1)"), (right, "outcome_R == 1")):
        said = said if end is None else f"where(ended_R == 0 and {holds}, {number(end)}, {said})"
    return f"reward_R = {said}"


@part(gives="reward_R", formula=_said)
def as_it_ended(
    outcome_R: Tensor,
    ended_R: Tensor,
    *,
    right: Scored = None,
    wrong: Scored = None,
    cut: Scored = None,
    form: Scored = None,
    call: Scored = None,
) -> Tensor:
    """The verdict, or the score that such an end has: None is none of its own."""
    reward_R = outcome_R.clone()
    held = ((ended_R == 1, cut), (ended_R == 2, form), (ended_R == 3, call))
    held += (((ended_R == 0) & (outcome_R != 1), wrong), ((ended_R == 0) & (outcome_R == 1), right))
    for such_R, end in held:
        reward_R = reward_R if end is None else reward_R.masked_fill(such_R, end)
    return reward_R
