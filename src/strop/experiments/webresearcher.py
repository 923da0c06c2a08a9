"""WebResearcher (arXiv:2509.13309): how it could be wrong."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.methods.webresearcher import IMITATED, ROUNDS
from strop.recipe import Recipe
from strop.records import Group, Task
from strop.seams.context import Ctx
from strop.seams.episode import Episodes
from strop.seams.part import part
from strop.seams.window import Append, Past, Recent, Report, Window
from strop.seams.world import World
from strop.tasks.procedural import strict_answer
from strop.worlds.stream import Stream

SHORT, LONG = 8, 24
ITS_OWN, OTHER = 0, 1
"""Of the replies to a held-out question: in the window that was taught, and in the one beside it."""


@dataclass(frozen=True)
class Both(Episodes):
    """Episodes, and behind them as many that another window makes of the same policy."""

    beside: Window = Append()

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        (own,) = await super().__call__(task, world, ctx)
        (other,) = await Episodes.__call__(replace(self, window=self.beside), task, world, ctx.at(f"{ctx.place}/beside"))
        return [replace(own, rollouts=(*own.rollouts, *other.rollouts))]


@dataclass(frozen=True)
class Blank(Report):
    """Rounds whose report is lost."""

    def kept(self, past: Past, ctx: Ctx) -> str:
        return ""


def right(trace: Trace, window: int, rounds: int) -> float:
    """The share of held-out questions over so many rounds that were answered rightly, in one of the two windows."""
    (said,) = trace.replies
    asked = [one for one in said if len(one["needs"]["outputs"]) == rounds]
    return fmean(strict_answer(one["texts"][window])[0] == one["needs"]["answer"] for one in asked)


@part(gives="curve")
def change(trace: Trace, *, window: int = ITS_OWN, short: int = SHORT, long: int = LONG) -> Curve:
    """Accuracy over long streams less that over short ones: minus what is lost."""
    (seen,) = trace.held_out
    return [(float(seen["spent"]), right(trace, window, long) - right(trace, window, short))]


@part(gives="number")
def accuracy(trace: Trace, *, window: int, rounds: int) -> float:
    """Over streams of so many outputs."""
    return right(trace, window, rounds)


@part(gives="number")
def lost_without(trace: Trace) -> float:
    """The share of held-out questions that are answered wrongly where every report is lost, over short and long streams."""
    return 1 - fmean(right(trace, OTHER, rounds) for rounds in (SHORT, LONG))


@part(gives="number")
def alike(trace: Trace) -> float:
    """The share of the short streams on which both windows let the policy say the same."""
    (said,) = trace.replies
    return fmean(one["texts"][ITS_OWN] == one["texts"][OTHER] for one in said if len(one["needs"]["outputs"]) == SHORT)


@part(gives="number")
def apart(trace: Trace) -> float:
    """The share of held-out questions of whose facts no output shows more than one."""
    (said,) = trace.replies
    return fmean(most_at_once(one["needs"]) == 1 for one in said)


def most_at_once(needs: dict[str, Any]) -> int:
    """Facts that one output shows, at most."""
    return max(sum(pair[0] in needs["asked"] for pair in output.split()) for output in needs["outputs"])


@part(gives="number")
def overflow(trace: Trace) -> float:
    """What a held-out stream shows, over what a report can hold: the least of them, by letters."""
    (said,) = trace.replies
    return min(sum(map(len, one["needs"]["outputs"])) for one in said) / REPORT.most


@part(gives="number")
def rows(trace: Trace) -> float:
    """Rows of a demonstration, over its actions."""
    return fmean(len(r.rows) / len(r.keys["facts"]) for groups, _ in trace.steps() for g in groups for r in g.rollouts)


REPORT = ROUNDS.window
KEPT = {f.name: getattr(ROUNDS, f.name) for f in fields(ROUNDS)}
WINDOW = Recent(limit=120)
"""Eight outputs, what is said between them and an answer."""

ROUND_BY_ROUND = IMITATED.but(
    "sft-stream-report", idea=("sampler",), sampler=Both(**KEPT, beside=Blank(REPORT.tag, REPORT.most, REPORT.limit))
)
TRANSCRIPT = IMITATED.but(
    "sft-stream-transcript",
    idea=("sampler", "environment"),
    sampler=Both(**{**KEPT, "window": Append()}, beside=WINDOW),
    environment=Stream(tag=""),
    tasks=32,
)
NOTED = TRANSCRIPT.but("sft-stream-noted", idea=("environment",), environment=Stream(), tasks=16)

FLATTER = Claim(
    "webresearcher-rounds",
    mechanism="A report that is written anew each round, and is all that the next one sees",
    consequence="loses at least 0.30 less accuracy from streams of 8 outputs to streams of 24 than a transcript in a window of 8",
    regime="imitated on as many tokens, where three facts lie one in each third of a stream and a report holds four",
    method="webresearcher",
    recipe=Recipe(task="stream:step=8", steps=100_000, lr=3e-3, checkpoint_every=100_000),
    arms=(
        Arm("report", ROUND_BY_ROUND),
        Arm(
            "recent",
            TRANSCRIPT,
            control="the transcript, of which the last 8 outputs or fewer are seen",
            reads=change(window=OTHER),
        ),
        Arm(
            "noted",
            NOTED,
            control="the same reports, in the window of a transcript",
            reads=change(window=OTHER),
        ),
    ),
    compare=("report", "recent"),
    measure=change(),
    threshold=0.30,
    refuted_if="the interval of the paired difference lies below 0.30",
    profiles={
        "quick": Profile((0,), "400000 trained", 3, arms=("report", "recent")),
        "full": Profile((0, 1, 2, 3), "400000 trained", 9, arms=("report", "recent")),
        "extended": Profile((0, 1, 2, 3), "400000 trained", 14),
    },
    checks=(
        Check("no output shows two of the facts: share of the questions", apart(), "report", least=1.0),
        Check("a stream shows more than a report holds: how often its size", overflow(), "report", least=3.0),
        Check("each action is a row of its own: rows an action", rows(), "report", least=1.0),
        Check("what a report says is needed: share wrong where it is blanked", lost_without(), "report", least=0.9),
        Check("the transcript is learned: its accuracy over 24 outputs, all of them seen", accuracy(window=ITS_OWN, rounds=LONG), "recent", least=0.5),
        Check("the window holds 8 outputs: share that is said alike with all of them seen", alike(), "recent", least=0.95),
    ),
    held_out=HeldOut(tasks=300, samples=1, at=(1.0,), max_tokens=ROUNDS.max_tokens, temperature=0.0, replies=True),
)
