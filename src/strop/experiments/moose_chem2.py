"""MOOSE-Chem2 (arXiv:2505.19209): how it could be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple, cast

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, end_of, held_out
from strop.method import Method
from strop.methods.moose_chem2 import IMITATE, MOOSE_CHEM2, PREFER, SEARCH, SMALL
from strop.program import Program, Stage
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores, Task
from strop.seams.climbs import Climbed
from strop.seams.context import Ctx, Renderer
from strop.seams.part import part
from strop.seams.recorded import Earlier, compared_pairs
from strop.tasks.landscape import Landscapes

LINES = Landscapes().names
"""The levels, from the one on which all others depend."""


@dataclass(frozen=True)
class AnyOrder(Climbed):
    """The levels in an order of each task's own."""

    def ordered(self, ctx: Ctx) -> tuple[str, ...]:
        return tuple(ctx.rng("order", ctx.place).sample(self.levels, len(self.levels)))


@dataclass(frozen=True)
class Coin:
    """A judge that has read nothing."""

    async def __call__(self, task: Task, first: str, second: str, ctx: Ctx, *, votes: int, orders: int, strict: bool) -> list[float | None]:
        rng = ctx.rng("coin", ctx.place)
        return [float(rng.random() < 0.5) for _ in range(votes * orders)]


def searched(name: str, how: Climbed) -> Method:
    return SEARCH.but(f"moose-{name}", idea=("sampler",), sampler=how, tasks=20)


class Ended(NamedTuple):
    """What is read of one search."""

    slots: float
    """Share of right ones in what it ended with."""
    votes: int
    """That it asked for."""
    compared: int
    """Pairs of texts."""
    levels: tuple[dict[str, Any], ...]
    """Calls, steps and acceptances of each, in the order they were gone through."""


@lru_cache(maxsize=256)
def searches_of(directory: Path) -> tuple[tuple[Ended, ...], ...]:
    """Of a run, step by step."""
    from strop.directory import read_commit, recorded_steps

    steps = list[tuple[Ended, ...]]()
    for step in range(recorded_steps(directory)):
        record = read_commit(directory, step) or {"groups": [], "scores": Scores().to_json()}
        scores, made = Scores.from_json(record["scores"]), list[Ended]()
        found = (Rollout.from_json(r) for group in record["groups"] for r in group["rollouts"])
        for one in (r for r in found if r.stop != "error"):  # one that was broken off found nothing, and says nothing
            votes, levels = sum(map(len, one.keys["calls"])), tuple(one.keys["facts"][0]["levels"])
            made.append(Ended(scores.get(one, "slots") or 0.0, votes, len(one.keys["compared"]), levels))
        steps.append(tuple(made))
    return tuple(steps)


def all_of(trace: Trace) -> list[Ended]:
    return [one for step in searches_of(trace.places[-1]) for one in step]


@part(gives="curve")
def recall(trace: Trace) -> Curve:
    """Share of the slots that are right in what a search ended with: the mean over all landscapes so far."""
    shares, curve = list[float](), Curve()
    for spent, step in zip(trace.spent, searches_of(trace.places[-1]), strict=True):
        shares += [one.slots for one in step]
        curve.append((float(spent), fmean(shares)))
    return curve


@part(gives="number")
def missed(trace: Trace) -> float:
    """Share of the slots that are not: an arm that finds everything would leave nothing to compare."""
    return 1 - end_of(measure=recall()).on({"trace": trace})


@part(gives="number")
def searches(trace: Trace) -> float:
    """How many there were."""
    return len(all_of(trace))


@part(gives="number")
def spent_of(trace: Trace, *, calls: int) -> float:
    """Share of the votes it may ask for that a search did: the smallest one."""
    return min(one.votes for one in all_of(trace)) / calls


@part(gives="number")
def accepted(trace: Trace, *, level: int) -> float:
    """Share of the proposals at one level, in the order they were gone through, that were accepted."""
    seen = [one.levels[level] for one in all_of(trace)]
    return sum(one["accepted"] for one in seen) / sum(one["steps"] for one in seen)


@part(gives="number")
def compared(trace: Trace) -> float:
    """Comparisons that a search keeps, on average."""
    return fmean(one.compared for one in all_of(trace))


LANDSCAPES = 40
"""Under each seed."""
CALLS = 3600
"""Votes for a landscape."""
BUDGET = f"{LANDSCAPES * (CALLS - 10)} calls"
"""What all searches of a seed spend, but for the votes that were too few for one comparison more."""
TAKEN = Climbed(LINES, votes=5, calls=CALLS)
FLAT = Climbed(votes=3, calls=CALLS)
SEARCHED: dict[str, Any] = {"method": "moose-chem2", "measure": recall(), "selects": True}

LEVELS = Claim(
    "moose-chem2-levels",
    mechanism="Climbing level by level, from what others depend on to what depends on it,",
    consequence="raises the share of right slots by 0.08 or more over climbs of any edits with recombination",
    regime="on landscapes of five levels, by a judge that is right nine times in ten, at 3,600 votes, each with as many an edit as suit it",
    recipe=Recipe(task="landscape", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("levels", searched("levels", TAKEN), reads=recall()),
        Arm("flat", searched("flat", FLAT), control="edits of any level, the same climbs and recombination, at three votes an edit"),
        Arm("flat, 5 votes", searched("flat-five", replace(FLAT, votes=5)), control="the same at as many votes an edit"),
        Arm("reversed", searched("reversed", replace(TAKEN, levels=LINES[::-1])), control="the schedule without its sense"),
        Arm("any order", searched("any-order", AnyOrder(LINES, votes=5, calls=CALLS)), control="an order by chance", random=True),
        Arm("coin", searched("coin", replace(TAKEN, judge=Coin())), control="edits accepted by chance", random=True),
        Arm("levels, 3 votes", searched("levels-three", replace(TAKEN, votes=3)), control="more edits, of three votes each"),
        Arm("levels, 1 vote", searched("levels-one", replace(TAKEN, votes=1)), control="five times the edits, of one vote each"),
        Arm("flat, 1 vote", searched("flat-one", replace(FLAT, votes=1)), control="three times the edits, of one vote each"),
        Arm("failures shown", searched("failures", replace(TAKEN, failed=8)), control="none of the last eight rejected edits again"),
        Arm("branches", searched("branches", replace(TAKEN, branches=2)), control="two branches on half the votes each"),
        Arm("pooled", searched("pooled", replace(TAKEN, branches=2, pooled=True)), control="the best two of both go on"),
    ),
    compare=("levels", "flat"),
    threshold=0.08,
    refuted_if="the interval of the paired difference lies below 0.08",
    profiles={
        "quick": Profile((0, 1), BUDGET, 1, arms=("levels", "flat")),
        "full": Profile(tuple(range(8)), BUDGET, 6, arms=("levels", "flat", "flat, 5 votes", "reversed", "any order", "coin")),
        "extended": Profile(tuple(range(8)), BUDGET, 16),
    },
    pilot=(0.1409, 0.1075, 0.141),
    checks=(
        Check("landscapes that are searched", searches(), "levels", least=LANDSCAPES),
        Check("the votes are used: least share of a search", spent_of(calls=CALLS), "levels", least=0.98),
        Check("and by flat climbs", spent_of(calls=CALLS), "flat", least=0.98),
        Check("something is left to find: share of the slots", missed(), "levels", least=0.1),
        Check("edits of the first line are accepted: share", accepted(level=0), "levels", least=0.02),
        Check("edits of the last line are accepted: share", accepted(level=4), "levels", least=0.02),
        Check("comparisons are kept, for pairs: of a search", compared(), "levels", least=100),
    ),
    pitfalls="A landscape that rewards its levels' order by construction, and a comparator for a chemist. What the order is worth depends "
    "on the votes an edit: with one or three, what is wrongly accepted takes away as much as is found, and a level that was left is not "
    "looked at again, so at one vote flat climbs are ahead. The votes of both arms are those that did best for them in a pilot.",
    **SEARCHED,
)

FEW = replace(TAKEN, calls=1800)

VOTES = Claim(
    "moose-chem2-votes",
    mechanism="Deciding an edit by three votes instead of trying three edits by one vote each",
    consequence="raises the share of right slots by 0.02 or more",
    regime="on landscapes of five levels, climbed level by level, by a judge that is right seven times in ten, at 1,800 votes",
    recipe=Recipe(task="landscape:right=0.7", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("three votes", searched("three-votes", replace(FEW, votes=3)), reads=recall()),
        Arm("one vote", searched("one-vote", replace(FEW, votes=1)), control="three times the edits"),
        Arm("coin", searched("coin-votes", replace(FEW, votes=3, judge=Coin())), control="edits accepted by chance", random=True),
    ),
    compare=("three votes", "one vote"),
    threshold=0.02,
    refuted_if="the interval of the paired difference lies below 0.02",
    profiles={
        "quick": Profile((0, 1), f"{LANDSCAPES * 1790} calls", 1, arms=("three votes", "one vote")),
        "full": Profile(tuple(range(8)), f"{LANDSCAPES * 1790} calls", 3),
    },
    checks=(
        Check("landscapes that are searched", searches(), "three votes", least=LANDSCAPES),
        Check("the votes are used: least share of a search", spent_of(calls=1800), "three votes", least=0.98),
        Check("edits are accepted: share at the first line", accepted(level=0), "three votes", least=0.02),
    ),
    pitfalls="A majority of three is right 78 times in a hundred where one vote is 70 times, if votes are independent. Those of one model "
    "on one question are not.",
    **SEARCHED,
)


# ------------------------------------------------------------------------------------------------ what pairs of a search teach


@part(gives="pairs")
def tossed(groups: Sequence[Group], scores: Scores, rng: Random, renderer: Renderer) -> list[Group]:
    """The pairs of a search, each with a side by chance as the better one."""
    pairs = compared_pairs(groups, scores, rng, renderer)
    return [replace(pair, rollouts=pair.rollouts[::-1]) if rng.random() < 0.5 else pair for pair in pairs]


def taught(name: str, last: Method, pace: float = 1.0) -> Program:
    search, imitate, prefer = (cast("Stage", stage) for stage in MOOSE_CHEM2.stages)
    return Program(f"moose-{name}", (search, imitate, replace(prefer, method=last, pace=pace)), paper="2505.19209")


@part(gives="number")
def right_found(trace: Trace) -> float:
    """Share of the searches that ended with all slots right."""
    return fmean(
        scores.get(r, "outcome") or 0.0
        for groups, scores in trace.steps()
        for g in groups
        for r in g.rollouts
        if "compared" in r.keys and r.stop != "error"
    )


PAIRS = Claim(
    "moose-chem2-pairs",
    mechanism="Learning which of two texts a search preferred, after imitating what it ended with,",
    consequence="raises the share of right answers by 0.10 or more over going on with imitating",
    regime="on plans of two lines under laws that nobody tells, searched with a judge that is right nine times in ten, at equal trained "
    "positions",
    method="moose-chem2",
    recipe=Recipe(task=SMALL, steps=2000, lr=1e-4, checkpoint_every=1000),
    arms=(
        Arm("pairs", taught("pairs", PREFER)),
        Arm("imitation", taught("imitation", IMITATE, pace=10.0), control="as many positions more of what was found"),
        Arm("tossed", taught("tossed", PREFER.but("dpo-tossed", feed=Earlier("search", tossed()))), control="sides by chance", random=True),
    ),
    compare=("pairs", "imitation"),
    measure=held_out(name="mean"),
    threshold=0.10,
    refuted_if="the interval of the paired difference lies below 0.10",
    profiles={
        "quick": Profile((0,), "400000 trained", 3, arms=("pairs", "imitation")),
        "full": Profile((0, 1, 2, 3), "400000 trained", 12),
    },
    checks=(Check("something is found: share of searches that end with all right", right_found(), "pairs", least=0.05),),
    held_out=HeldOut(tasks=200, samples=4, at=(0.0, 1.0), max_tokens=32),
    selects=True,
    pitfalls="The laws are few and the same for all ideas, so faults of single searches average out. DPO makes a policy surer of what it "
    "says, and at temperature 1 that alone raises a mean: the majority of what imitation says is right far oftener than one of it.",
)
