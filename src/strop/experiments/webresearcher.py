"""WebResearcher (arXiv:2509.13309): how it could be wrong."""

from __future__ import annotations

from collections.abc import Mapping
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
from strop.seams.window import APPEND, Append, Past, Recent, Report, Window
from strop.seams.world import World
from strop.tasks.procedural import strict_answer
from strop.worlds.stream import Stream

SHORT, LONG = 8, 24
"""Outputs of a stream."""
MOST = 12
"""Tokens of a report."""
OWN, OTHER = 0, 1
"""Of the replies to a held-out question: in the window that was taught, and in the one beside it."""


@dataclass(frozen=True)
class Both(Episodes):
    """Episodes, and behind them as many that another window makes of the same policy."""

    beside: Window = APPEND

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        (own,) = await super().__call__(task, world, ctx)
        (other,) = await Episodes.__call__(replace(self, window=self.beside), task, world, ctx.at(f"{ctx.place}/beside"))
        return [replace(own, rollouts=(*own.rollouts, *other.rollouts))]


@dataclass(frozen=True)
class Blank(Report):
    """Rounds whose report is lost."""

    def kept(self, past: Past, ctx: Ctx) -> str:
        return ""


def replies(trace: Trace, rounds: int = 0) -> list[dict[str, Any]]:
    """What was said at the end to each held-out question, over streams of so many outputs; 0: over all."""
    (said,) = trace.replies
    return [one for one in said if rounds in (0, len(one["needs"]["outputs"]))]


@part(gives="number")
def accuracy(trace: Trace, *, window: int = OWN, rounds: int = LONG) -> float:
    """The share of held-out questions that were answered rightly."""
    return fmean(strict_answer(one["texts"][window])[0] == one["needs"]["answer"] for one in replies(trace, rounds))


@part(gives="curve")
def change(trace: Trace, *, window: int = OWN) -> Curve:
    """Accuracy over long streams, less that over short ones: what is lost, with a minus."""
    (seen,) = trace.held_out
    long, short = (accuracy(window=window, rounds=rounds).on({"trace": trace}) for rounds in (LONG, SHORT))
    return [(float(seen["spent"]), long - short)]


@part(gives="number")
def wrong(trace: Trace, *, window: int) -> float:
    """The share of all held-out questions that were not."""
    return 1 - accuracy(window=window, rounds=0).on({"trace": trace})


@part(gives="number")
def alike(trace: Trace) -> float:
    """The share of the short streams to which the policy said the same in both windows."""
    return fmean(one["texts"][OWN] == one["texts"][OTHER] for one in replies(trace, SHORT))


@part(gives="number")
def apart(trace: Trace) -> float:
    """The share of held-out questions of whose facts no output shows two."""
    return fmean(most_at_once(one["needs"]) == 1 for one in replies(trace))


def most_at_once(needs: Mapping[str, Any]) -> int:
    """The most facts that one output shows."""
    return max(sum(pair[0] in needs["asked"] for pair in output.split()) for output in needs["outputs"])


@part(gives="number")
def overflow(trace: Trace) -> float:
    """How often a report would have to be full to hold all letters and digits of a stream: of the stream that shows least."""
    return min(len("".join(one["needs"]["outputs"]).replace(" ", "")) for one in replies(trace)) / MOST


@part(gives="number")
def rows(trace: Trace) -> float:
    """Rows of a demonstration, over its actions."""
    return fmean(len(r.rows) / len(r.keys["facts"]) for groups, _ in trace.steps() for g in groups for r in g.rollouts)


TAUGHT = {f.name: getattr(ROUNDS, f.name) for f in fields(ROUNDS)}
WINDOW = Recent(limit=124)
"""Eight outputs, what is said between them, and an answer."""

ROUND_BY_ROUND = IMITATED.but("sft-stream-report", idea=("sampler",), sampler=Both(**TAUGHT, beside=Blank("r", most=MOST, limit=56)))
TRANSCRIPT = IMITATED.but(
    "sft-stream-transcript",
    idea=("sampler", "environment"),
    sampler=Both(**{**TAUGHT, "window": Append()}, beside=WINDOW),
    environment=Stream(tag=""),
    tasks=5,
)
NOTED = TRANSCRIPT.but("sft-stream-noted", idea=("environment",), environment=Stream(), tasks=3)

FLATTER = Claim(
    "webresearcher-rounds",
    mechanism="Writing a report anew each round, from the last one and one output",
    consequence="keeps at least 0.30 more accuracy from streams of 8 outputs to streams of 24 than a transcript in a window of 8",
    regime="on streams that show one of three facts in each third, imitated on as many tokens, with a report that holds four",
    method="webresearcher",
    recipe=Recipe(task="stream:step=16", steps=100_000, lr=3e-3, checkpoint_every=100_000),
    arms=(
        Arm("report", ROUND_BY_ROUND),
        Arm("recent", TRANSCRIPT, control="the transcript, of which the last 8 outputs or fewer are seen", reads=change(window=OTHER)),
        Arm("noted", NOTED, control="the same reports, kept where they were written, in the same window", reads=change(window=OTHER)),
    ),
    compare=("report", "recent"),
    measure=change(),
    threshold=0.30,
    refuted_if="the interval of the paired difference lies below 0.30",
    profiles={
        "quick": Profile((0,), "350000 trained", 3, arms=("report", "recent")),
        "full": Profile((0, 1, 2, 3), "350000 trained", 10, arms=("report", "recent")),
        "extended": Profile((0, 1, 2, 3), "350000 trained", 15),
    },
    checks=(
        Check("no output shows two of the facts: share of the questions", apart(), "report", least=1.0),
        Check("a stream shows more than a report holds: full reports that it takes", overflow(), "report", least=2.0),
        Check("each action stands in a row of its own: rows an action", rows(), "report", least=1.0),
        Check("what a report says is needed: share wrong where it is blanked", wrong(window=OTHER), "report", least=0.9),
        Check("the transcript is learned: accuracy over 24 outputs, all of them seen", accuracy(), "recent", least=0.5),
        Check("8 outputs fit the window: share said as with all of them seen", alike(), "recent", least=0.95),
    ),
    held_out=HeldOut(tasks=160, samples=1, at=(1.0,), max_tokens=ROUNDS.max_tokens, temperature=0.0, replies=True),
    pitfalls="With everything in sight the transcript may do as well as the report: the claim is about a bounded context. The window "
    "cannot hold the first of 24 outputs beside the last; what is open is whether a report that is written anew twenty times still does.",
)
