"""ReSum-GRPO (arXiv:2509.13313): how it could be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out, mean_so_far
from strop.method import Method
from strop.methods.resum import LONG, ON_CARDS, TAUGHT
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Span, Task
from strop.seams.context import Ctx
from strop.seams.episode import Episodes
from strop.seams.part import part
from strop.seams.signal import spans
from strop.seams.update import Still
from strop.seams.window import Append, Recent, Summarised, Window
from strop.seams.world import World
from strop.worlds.wiki import Extract

END = "end"
TOLD, ASKED = re.compile(r"\b([a-z])[a-z0-9]\b"), re.compile(r">get ([a-z])")


@dataclass(frozen=True)
class Ended(Episodes):
    """Episodes whose last rows are told apart: their actions are spans `end`. Beside a rollout stands of each row that began with a summary
    which cards that tells, and which one was asked for first."""

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        groups = await super().__call__(task, world, ctx)
        text = ctx.policies["actor"].renderer.text
        return [replace(group, rollouts=tuple(_ended(r, text) for r in group.rollouts)) for group in groups]


def _ended(rollout: Rollout, text: Callable[[Sequence[int]], str]) -> Rollout:
    *before, last = rollout.rows
    marked = (replace(s, spans=(*s.spans, Span(END, 0, len(s.tokens)))) if s.id in last.trains else s for s in last.segments)
    began = [[*_began(row, text)] for row in rollout.rows[1:]]
    return replace(rollout, rows=(*before, Row(tuple(marked), last.trains)), keys={**rollout.keys, "began": began})


def _began(row: Row, text: Callable[[Sequence[int]], str]) -> tuple[str, str]:
    """The cards that its summary tells, and the one that is asked for first, if one is."""
    told = "".join(TOLD.findall(text(row.segments[0].tokens).partition("?\n")[2]))
    first = ASKED.match(text(row.segments[1].tokens)) if len(row.segments) > 1 else None
    return told, first[1] if first else ""


@part(gives="number")
def restarts(trace: Trace) -> float:
    """Of the rollouts that were learned from, over the run."""
    return fmean(len(r.rows) - 1 for groups, _ in trace.steps() for g in groups for r in g.rollouts)


@part(gives="number")
def went_on(trace: Trace) -> float:
    """Of the rows with a summary that ask for a card, the share that asks for none which the summary tells: over the run."""
    began = [one for groups, _ in trace.steps() for g in groups for r in g.rollouts for one in r.keys["began"]]
    return fmean(first not in told for told, first in began if first)


ACTED = Ended(**{f.name: getattr(LONG, f.name) for f in fields(LONG)})
ALL = ON_CARDS.but("resum-every-row", idea=("sampler",), sampler=ACTED)
POLICY = ON_CARDS.signals["policy"]

ROWS = Claim(
    "resum-rows",
    mechanism="Giving a rollout's credit to every row that came of its summaries",
    consequence="raises held-out accuracy by 0.06 or more over its last row's alone",
    regime="on chains of 8 to 12 cards in rows of 96 tokens, at equal calls, from a base that imitated chains of up to 4",
    method="resum",
    recipe=Recipe(task="wiki:least=8,most=12", steps=1000, lr=1e-4, checkpoint_every=1000),
    base=Recipe(method=TAUGHT, task="wiki:known=0.5", tasks=64, steps=200, lr=3e-3, eval_tasks=0, checkpoint_every=200),
    arms=(
        Arm("every", ALL),
        Arm(
            "last",
            ALL.but("resum-last-row", idea=("signals.policy",), signals={"policy": POLICY.but(on=spans(END))}),
            control="the same rollouts, and their last rows alone are trained",
        ),
        Arm(
            "uncut",
            ALL.but("resum-uncut", idea=("sampler",), sampler=replace(ACTED, window=Append())),
            control="nothing is summarised: rows as long as the chains",
        ),
    ),
    compare=("every", "last"),
    measure=held_out(name="pass@1"),
    threshold=0.06,
    refuted_if="the interval of the paired difference lies below 0.06",
    profiles={
        "quick": Profile((0,), "8000 calls", 3, arms=("every", "last")),
        "full": Profile((0, 1, 2, 3), "40000 calls", 25, arms=("every", "last")),
        "extended": Profile((0, 1, 2, 3), "40000 calls", 38),
    },
    checks=(
        Check("rollouts are summarised twice or more often", restarts(), "every", least=2.0),
        Check("summaries are read: what one tells is not asked for again", went_on(), "every", least=0.7),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(0.0, 1.0), max_tokens=LONG.max_tokens),
)


@part(gives="number")
def failed(trace: Trace) -> float:
    """Share of the rollouts that were wrong, over the run."""
    return 1 - fmean(line["outcome"] for line in trace.lines)


def still(name: str, window: Window) -> Method:
    return ON_CARDS.but(name, idea=("sampler", "update"), sampler=replace(LONG, window=window), update=Still())


UNTRAINED = Claim(
    "resum-untrained",
    mechanism="Beginning a full row again with a summary of what was found",
    consequence="raises accuracy by 0.10 or more over ending there, without any training",
    regime="on chains of 8 to 12 cards in rows of 96 tokens, from a base that imitated chains of up to 4, with and without known cards",
    method="resum",
    recipe=Recipe(task="wiki:least=8,most=12", steps=1000, lr=0.0, checkpoint_every=1000),
    base=ROWS.base,
    arms=(
        Arm("summary", still("resum-asked", LONG.window)),
        Arm("ended", still("react-asked", Append(limit=96)), control="the row ends where it is full"),
        Arm("recent", still("recent-asked", Recent(limit=96)), control="the row begins again with its last turns"),
        Arm(
            "another",
            still("resum-asked-another", Summarised(Extract(others=True), limit=96)),
            control="as many cards of another episode's: what a summary says, without what was found",
        ),
    ),
    compare=("summary", "ended"),
    measure=mean_so_far(name="outcome"),
    threshold=0.10,
    refuted_if="the interval of the paired difference lies below 0.10",
    profiles={
        "quick": Profile((0,), "3000 calls", 3, arms=("summary", "ended", "another")),
        "full": Profile((0, 1, 2, 3), "10000 calls", 15),
    },
    checks=(
        Check("rollouts are summarised twice or more often", restarts(), "summary", least=2.0),
        Check("another episode's summary tells nothing: share of wrong answers", failed(), "another", least=0.7),
    ),
    pitfalls="Where a row ends nobody answers, so that arm is wrong by definition on what does not fit. What a new row alone is worth is "
    "said by the arms with the last turns and with another's cards.",
)
