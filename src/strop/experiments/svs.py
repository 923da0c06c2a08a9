"""SvS (arXiv:2508.14029): how it could be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.method import Method
from strop.methods.svs import BOTH_WAYS, SVS_SMALL, useful
from strop.recipe import Recipe
from strop.records import Group, Rollout, Task
from strop.seams.context import Ctx
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.variants import VARIANT, WRITE, Variants
from strop.tasks.equations import answer


@dataclass(frozen=True)
class Again(Variants):
    """The problem itself is solved again, as often as problems would have been written for it."""

    async def _written(self, task: Task, solution: Rollout, ctx: Ctx) -> list[Group]:
        places = (ctx.at(f"{ctx.place}/{i}") for i in range(self.write.n))
        groups = await asyncio.gather(*(self.solve(task, None, place) for place in places))
        return [replace(group, role=VARIANT) for (group,) in groups]


@dataclass(frozen=True)
class ByChance(Variants):
    """Problems are written for any that was solved, each with this chance, however often it was."""

    share: float = 0.25

    def picks(self, rate: float, ctx: Ctx) -> bool:
        return rate > 0 and ctx.rng("pick", ctx.place).random() < self.share


def written(trace: Trace) -> Iterator[tuple[Task, dict[str, Any]]]:
    """The problem that was hidden, and what is known of each that was written for it."""
    for groups, _ in trace.steps():
        yield from ((g.task, r.keys["facts"][0]) for g in groups if g.role == WRITE for r in g.rollouts)


@part(gives="number")
def valid_and_new(trace: Trace) -> float:
    """Share of written problems that have the answer and are not the one that was hidden."""
    found = [answer(fact["problem"] or "") == task.needs["answer"] and not fact["copy"] for task, fact in written(trace)]
    return fmean(found) if found else 0.0


@part(gives="number")
def role_share(trace: Trace, *, role: str = VARIANT) -> float:
    """Share of the trained rollouts that are of this role, over the run."""
    kept = [(g.role == role, fate[0] == "keep") for record in trace.records() for g, fate in _fates(record)]
    return sum(mine and keep for mine, keep in kept) / max(sum(keep for _, keep in kept), 1)


def _fates(record: dict[str, Any]) -> Iterator[tuple[Group, list[Any]]]:
    for given in record["groups"]:
        group = Group.from_json(given)
        yield from ((group, record["fates"][r.id]) for r in group.rollouts)


@part(gives="number")
def unwritten(trace: Trace) -> float:
    """Share of the held-out questions that the policy did not happen to write."""
    asked = frozenset(trace.about["asked"])
    return 1 - len(asked & trace.wrote) / max(len(asked), 1)


@part(gives="number")
def entropy_lost(trace: Trace) -> float:
    """How much of its entropy a run loses: first five steps against the last fifth."""
    entropy = [line["entropy"] for line in trace.lines]
    return 1 - fmean(entropy[-max(len(entropy) // 5, 1) :]) / fmean(entropy[:5])


def arm(name: str, **changes: Any) -> Method:
    return SVS_SMALL.but(name, idea=("sampler",), **changes)


def like(kind: type[Variants], **more: Any) -> Variants:
    same = {each.name: getattr(SVS_SMALL.sampler, each.name) for each in fields(Variants)}
    return kind(**same, **more)


COVERAGE = Claim(
    "svs-coverage",
    mechanism="Learning from problems that the policy writes for its own solutions",
    consequence="keeps held-out pass@32 above that of as many more rollouts on the same problems",
    regime="on 64 equations that come again and again, at equal decoded positions, from a base taught both ways",
    method="svs",
    recipe=Recipe(task="pool:64:equations", steps=1000, lr=2e-4, checkpoint_every=1000),
    base=Recipe(method=BOTH_WAYS, task="equations:writing=0.85", tasks=64, steps=150, lr=3e-3, eval_tasks=0, checkpoint_every=150),
    arms=(
        Arm("svs", arm("svs-equations-small")),
        Arm("again", arm("svs-again", sampler=like(Again)), control="as many further rollouts on the very problems that were picked"),
        Arm("chance", arm("svs-by-chance", sampler=like(ByChance)), control="problems are written for any that was solved", random=True),
        Arm(
            "grpo",
            arm("svs-without", sampler=Independent(n=8, max_tokens=48), graders=(), roles={}),
            control="nothing is written: more steps on the problems alone",
        ),
        Arm("naive", arm("svs-naive", graders=(useful(low=0.01, high=1.0),)), control="a written problem earns if it was ever solved"),
    ),
    compare=("svs", "again"),
    measure=held_out(name="pass@32"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0",
    profiles={
        "quick": Profile((0,), "120000 decoded", 3, arms=("svs", "again")),
        "full": Profile((0, 1, 2, 3, 4, 5), "600000 decoded", 18, arms=("svs", "again")),
        "extended": Profile((0, 1, 2, 3), "600000 decoded", 30),
    },
    checks=(
        Check("what was written is learned from: its share of the trained rollouts", role_share(), "svs", least=0.2),
        Check("written problems have the answer and are others", valid_and_new(), "svs", least=0.3),
        Check("without them there is something to lose: entropy falls by a third", entropy_lost(), "again", least=1 / 3),
        Check("held-out questions are not among what was written", unwritten(), "svs", least=0.98),
    ),
    held_out=HeldOut(tasks=200, samples=32, at=(0.0, 1.0), max_tokens=48),
    selects=True,
    pilot=(0.0402, 0.0147, -0.0148),  # strop claim run svs-coverage --profile pilot
    pitfalls="At equal positions the arms differ in their number of updates: grpo makes the most. "
    "A written problem is never checked against its answer while training; here its grader can, and that share is an activity check.",
)
