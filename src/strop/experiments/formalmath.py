"""FormalMATH (arXiv:2505.02735): how it could be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace
from strop.lab.proofs import FILTERS, Tried, attacked, by_values, filtered, look, shares
from strop.method import Method
from strop.proofs.logic import free, read
from strop.proofs.session import KERNEL
from strop.recipe import Recipe
from strop.seams.context import keyed
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.update import Still

STEPS = 200
"""Of every search."""
FALSE_DROPPED, TRUE_DROPPED = 0.9, 0.02
"""The share of false statements that is to be dropped at least, and of true ones at most."""
AGAIN = 200
"""Statements of a run of which values are tried."""


@lru_cache(maxsize=32)
def tried(directory: Path) -> tuple[tuple[Tried, ...], ...]:
    """The statements of a run, step by step, and what the prover makes of each."""
    from strop.directory import read_commit, recorded_steps

    commits = (read_commit(directory, step) for step in range(recorded_steps(directory)))
    return tuple(tuple(looked(group["task"]["needs"]) for group in (record or {"groups": []})["groups"]) for record in commits)


def looked(needs: Mapping[str, Any]) -> Tried:
    return look(read(needs["statement"]), needs["true"], STEPS)


def dropped(those: Sequence[Tried], by: str) -> tuple[float, float]:
    """Of the false statements and of the true ones, the shares that a filter drops; by chance so often as the one on trial does."""
    if by != "chance":
        return shares(those, by)
    often = sum(one.negation for one in those) / len(those)
    return shares([one._replace(negation=keyed("chance", repr(one.statement)).random() < often) for one in those], "negation")


def smaller(false: float, sound: float) -> float:
    """The smaller of two ratios, each 1 where what is asked of it is just reached. Where no true statement is dropped the first counts."""
    return min(false / FALSE_DROPPED, TRUE_DROPPED / sound) if sound else false / FALSE_DROPPED


@part(gives="curve")
def standing(trace: Trace, *, by: str = "negation") -> Curve:
    """The smaller of the two ratios, over all statements so far, of what one filter drops."""
    those, curve = list[Tried](), Curve()
    for spent, step in zip(trace.spent, tried(trace.places[-1]), strict=True):
        those += step
        curve.append((float(spent), smaller(*dropped(those, by))))
    return curve


def every(trace: Trace) -> list[Tried]:
    return [one for step in tried(trace.places[-1]) for one in step]


@part(gives="number")
def statements(trace: Trace) -> float:
    """Different statements, over the run."""
    return len({repr(one.statement) for one in every(trace)})


@part(gives="number")
def false_ones(trace: Trace) -> float:
    """Share of the statements that are false."""
    those = every(trace)
    return sum(not one.true for one in those) / len(those)


@part(gives="number")
def left_open(trace: Trace) -> float:
    """Share of the statements that are open."""
    those = every(trace)
    return sum(bool(free(one.statement)) for one in those) / len(those)


@part(gives="number")
def agrees(trace: Trace) -> float:
    """Of statements without inner quantifiers, how often trying values, all of propositions and some small ones of numbers, says what
    the task says: a false one fails at some, a true one at none."""
    found = [(one.true, by_values(one.statement)) for one in every(trace)[:AGAIN]]
    return sum(sound is held for sound, held in found if held is not None) / max(sum(held is not None for _, held in found), 1)


@part(gives="number")
def true_kept(trace: Trace) -> float:
    """Share of the true statements that are not dropped."""
    return 1 - dropped(every(trace), "negation")[1]


ASKED = Method(
    "formalmath-asked",
    paper="2505.02735",
    sampler=Independent(n=1, max_tokens=1),
    credit=(),
    signals={},
    update=Still(),
    tasks=100,
)
"""Statements are drawn, and nothing is learned: a word is said to each, and what is read are the statements."""

NEGATION = Claim(
    "formalmath-negation",
    mechanism="Trying to prove a statement's negation, closed first, and dropping it where that is found,",
    consequence="reaches 0.9 of the false statements dropped, and 0.02 of the true ones or less: the smaller of the two ratios is 1",
    regime="on 2,000 statements of logic and arithmetic, half of them false after one edit, as z3 says, with 200 steps a search",
    method="formalmath",
    recipe=Recipe(model="seedling:layers=1,hidden=16", task="proofs:false=0.5", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("negation", ASKED, reads=standing(by="negation")),
        Arm("statement", ASKED, control="the same prover on the statement itself: a proof of it drops it", reads=standing(by="itself")),
        Arm(
            "unproven",
            ASKED,
            control="the same prover: what it cannot prove is dropped",
            reads=standing(by="unproven"),
        ),
        Arm("open", ASKED, control="an open statement is denied without being closed", reads=standing(by="open")),
        Arm("chance", ASKED, control="as many are dropped, by chance", random=True, reads=standing(by="chance")),
    ),
    compare=("negation", "statement"),
    measure=standing(),
    threshold=1.0,
    pilot=(1.0625, 1.0726, 1.0644),  # strop claim run formalmath-negation --profile pilot
    refuted_if="the interval of the paired difference lies below 1",
    profiles={"quick": Profile((0, 1), "500 decoded", 1), "full": Profile(tuple(range(8)), "2000 decoded", 4)},
    checks=(
        Check("statements that differ: their number", statements(), "negation", least=400),
        Check("some are false: their share", false_ones(), "negation", least=0.4),
        Check("some are open: their share", left_open(), "negation", least=0.3),
        Check("trying values says what z3 said: share", agrees(), "negation", least=0.95),
        Check("what is true is kept: share", true_kept(), "negation", least=0.98),
    ),
    selects=True,
    random=False,
    pitfalls="That no true statement is dropped is the kernel's soundness, not a finding: a proof of its negation would be a hole in it. "
    "What is found out is how many false ones a search of 200 steps refutes; nearly all that are left need a reason by divisibility, for "
    "which there is no rule. The edits are ours, and small numbers refute most of them. The prover is also strong on what is true here, so "
    "a filter that keeps only what is proven does as well; where provers prove a sixth of what is true, it would drop the rest.",
)


def attacks() -> str:
    """Which attacks the released rule counts as proofs, and at which gate each ends."""
    rows = [
        f"| {one['attack']} | {one['released']} of {one['of']} | {one['gates']} of {one['of']} | {one['ends at']} |"
        for one in attacked(KERNEL)
    ]
    return "\n".join(["| attack | released rule | gates | ends at |", "|---|---|---|---|", *rows])


def by_steps(count: int = 400) -> str:
    """What a search of so many steps refutes of the false, and proves of the true."""
    lines = ["| steps | false: negation | true: negation | false: negation left open | true: itself |", "|---|---|---|---|---|"]
    for steps in (8, 16, 32, 64, 200, 2000):
        found = filtered(count, steps)["dropped"]
        negation, left, itself = (found[FILTERS[by]] for by in ("negation", "open", "itself"))
        lines.append(f"| {steps} | {negation[0]:.3f} | {negation[1]:.3f} | {left[0]:.3f} | {itself[1]:.3f} |")
    return "\n".join(lines)
