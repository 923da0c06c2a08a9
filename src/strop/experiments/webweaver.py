"""WebWeaver (arXiv:2509.13312): how it could be wrong."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.method import Method
from strop.methods.webweaver import IMITATED, SECTIONS
from strop.recipe import Recipe
from strop.records import Rollout
from strop.seams.part import part
from strop.seams.window import Append, Window
from strop.worlds.dossier import Dossier

FEW, MANY = 8, 48
"""Lines of a bank."""
CALLS = 8
"""Of a report: four sections, each fetched and written."""


def demonstrations(trace: Trace) -> list[Rollout]:
    """What was imitated."""
    return [r for groups, _ in trace.steps() for g in groups for r in g.rollouts]


@part(gives="number")
def mean_held_out(trace: Trace, *, name: str) -> float:
    """One mean over held-out tasks at the last evaluation."""
    return float(trace.held_out[-1]["means"][name])


@part(gives="number")
def wrong_held_out(trace: Trace, *, name: str) -> float:
    """What is left of one to 1."""
    return 1 - mean_held_out(name=name).on({"trace": trace})


@part(gives="number")
def rows_of_reports(trace: Trace) -> float:
    """Rows of a demonstration, of the one that has fewest."""
    return float(min(len(r.rows) for r in demonstrations(trace)))


@part(gives="number")
def row_of_banks(trace: Trace) -> float:
    """The longest row over the smallest banks, as a share of the longest over the largest: 1 where it does not depend on the bank."""
    longest = {FEW: 0, MANY: 0}
    for r in demonstrations(trace):
        lines = r.keys["facts"][0]["lines"]
        if lines in longest:
            longest[lines] = max(longest[lines], *(len(row.tokens) for row in r.rows))
    return longest[FEW] / longest[MANY]


@part(gives="number")
def reached(trace: Trace) -> float:
    """The share of the held-out reports from the largest banks that are no longer than the longest that was imitated."""
    most = max(len(r.text) for r in demonstrations(trace))
    return fmean(len(text) <= most for one in said(trace, MANY) for text in one["texts"])


def said(trace: Trace, lines: int) -> list[dict[str, Any]]:
    """What was said at the end to held-out tasks with so many lines."""
    return [one for one in trace.replies[-1] if len(one["needs"]["bank"]) == lines]


def arm(name: str, window: Window, world: Dossier) -> Method:
    return IMITATED.but(f"sft-dossier-{name}", idea=("sampler", "environment"), sampler=replace(SECTIONS, window=window), environment=world)


ALL_AT_ONCE = arm("all", Append(), Dossier(sight="all"))
PRUNED = arm("pruned", SECTIONS.window, Dossier())
BASE = Recipe(
    method=ALL_AT_ONCE.but("sft-dossier-base"), task="dossier:lines=8", steps=6000, tasks=4, lr=1e-3, eval_tasks=0, checkpoint_every=6000
)
"""It has all evidence in sight, as the control has: eight lines of it."""
ARMS = (
    Arm("pruned", PRUNED),
    Arm("all", ALL_AT_ONCE, control="the same calls and sections, and the whole bank stands in the first message"),
    Arm("kept", arm("kept", Append(), Dossier(sight="report")), control="what was fetched stays in sight"),
    Arm("chance", arm("chance", SECTIONS.window, Dossier(chance=True)), control="lines by chance are given", random=True),
)

LARGE = Claim(
    "webweaver-48",
    mechanism="Fetching the evidence of a section and leaving it out again behind the section",
    consequence="raises the precision of citations by 0.15 or more over the whole bank in sight",
    regime="on reports of four sections from banks of 48 lines, imitated alike from banks of 8, 24 and 48, from a base with 8 in sight",
    method="webweaver",
    recipe=Recipe(task="dossier", steps=100_000, lr=7e-4, checkpoint_every=100_000),
    base=BASE,
    base_seeds="one",
    arms=ARMS,
    compare=("pruned", "all"),
    measure=held_out(name=f"precision_{MANY}"),
    threshold=0.15,
    refuted_if="the interval of the paired difference lies below 0.15",
    profiles={
        "quick": Profile((0,), "3200 calls", 10, arms=("pruned", "all")),
        "full": Profile((0, 1, 2, 3), "9600 calls", 30, arms=("pruned", "all")),
        "extended": Profile((0, 1, 2, 3), "9600 calls", 38),
    },
    checks=(
        *(
            Check("it is learned: precision from banks of 8 lines", mean_held_out(name=f"precision_{FEW}"), one, least=0.75)
            for one in ("pruned", "all", "kept")
        ),
        Check("evidence is left out behind each section: rows of a report", rows_of_reports(), "pruned", least=4.0),
        Check("what is in sight does not grow with the bank: longest row, 8 lines over 48", row_of_banks(), "pruned", least=1.0),
        Check("48 lines are no more positions than were trained: share of the reports", reached(), "all", least=0.9),
        Check(
            "without its evidence a section cannot be cited: wrong citations", wrong_held_out(name=f"precision_{MANY}"), "chance", least=0.7
        ),
    ),
    held_out=HeldOut(tasks=120, samples=1, at=(0.5, 1.0), max_tokens=SECTIONS.max_tokens, temperature=0.0, replies=True),
)

SMALL = replace(
    LARGE,
    name="webweaver-8",
    consequence="keeps the precision of citations within 0.03 of that with the whole bank in sight",
    regime="on reports of four sections from banks of 8 lines, imitated alike from banks of 8, 24 and 48, from a base with 8 in sight",
    measure=held_out(name=f"precision_{FEW}"),
    threshold=0.03,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.03, 0.03]",
)
