"""GRPO-RoC (arXiv:2508.20722): how it could be wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.methods.grpo_roc import GRPO_ROC, TAUGHT, ResampleOnCorrect
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores
from strop.seams.gate import DropFlat, Gate
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.update import AdamW
from strop.seams.world import calls

LAST = 10
"""Steps over which the share of broken calls is taken: a rollout has few calls, and the right ones soon few broken ones."""


def right(groups: list[Group], scores: Scores) -> Iterator[Rollout]:
    return (r for group in groups for r in group.rollouts if scores.get(r, "outcome") == 1)


@part(gives="curve")
def cleanness(trace: Trace) -> Curve:
    """-log of the share of broken calls inside right rollouts, all that were drawn in the last ten steps; half a call is added."""
    counts, curve = list[tuple[int, int]](), Curve()
    for spent, (groups, scores) in zip(trace.spent, trace.steps(), strict=True):
        made = [ok for r in right(groups, scores) for _, ok, _ in calls(r)]
        counts.append((len(made) - sum(made), len(made)))
        broken, every = (sum(column) for column in zip(*counts[-LAST:], strict=True))
        curve.append((float(spent), -math.log((broken + 0.5) / (every + 1))))
    return curve


@part(gives="number")
def tool_use(trace: Trace) -> float:
    """Share of the right rollouts that called the tool, over the run."""
    used = [bool(calls(r)) for groups, scores in trace.steps() for r in right(groups, scores)]
    return sum(used) / max(len(used), 1)


@part(gives="number")
def unlike(trace: Trace) -> float:
    """Share of the groups of both verdicts whose right rollouts differ in their faults, over the run: there is something to choose."""
    found = list[bool]()
    for groups, scores in trace.steps():
        for group in groups:
            if 0 < len(good := [*right([group], scores)]) < len(group.rollouts):
                found.append(len({scores.get(r, "tool_error") for r in good}) > 1)
    return sum(found) / max(len(found), 1)


def arm(name: str, *gate: Gate, n: int = 32) -> Method:
    sampler = Independent(n=n, max_tokens=32, turns=3, observation=24)
    return GRPO_ROC.but(name, idea=("gate",), gate=(DropFlat(of="outcome"), *gate), sampler=sampler, update=AdamW(minibatch=4))


CLEAN = Claim(
    "grpo-roc-clean",
    mechanism="Learning from the cleanest half of the right rollouts",
    consequence="halves, or more, the share of broken calls inside right rollouts (0.69 in logarithms)",
    regime="with a calculator and three turns, from a base that spoils three first calls in ten, at equal decoded positions",
    method=GRPO_ROC.name,
    recipe=Recipe(task="sums", steps=1000, lr=2e-4, checkpoint_every=1000),
    base=Recipe(method=TAUGHT, task="sums", tasks=64, steps=100, lr=3e-3, eval_tasks=0, checkpoint_every=100),
    arms=(
        Arm("cleanest", arm("roc-cleanest", ResampleOnCorrect())),
        Arm("chance", arm("roc-chance", ResampleOnCorrect(by="chance")), control="as many of each verdict, by chance", random=True),
        Arm("sixteen", arm("grpo-sixteen", n=16), control="half as many rollouts, all of them used, for as many positions"),
        Arm("weighted", arm("roc-weighted", ResampleOnCorrect(by="weighted")), control="the paper's odds, with an offset"),
        Arm("all", arm("grpo-all"), control="all 32 rollouts are learned from"),
    ),
    compare=("cleanest", "chance"),
    measure=cleanness(),
    threshold=0.69,
    refuted_if="the interval of the paired difference of logarithms lies below 0.69",
    profiles={
        "quick": Profile((0,), "70000 decoded", 2, arms=("cleanest", "chance")),
        "full": Profile((4, 5, 6, 7, 8, 9), "70000 decoded", 10, arms=("cleanest", "chance", "sixteen")),
        "extended": Profile((0, 1, 2, 3), "170000 decoded", 18),
    },
    checks=(
        Check("right rollouts call the tool: their share", tool_use(), "cleanest", least=0.8),
        Check("there is something to choose: groups whose right rollouts differ in faults", unlike(), "chance", least=0.3),
    ),
    selects=True,
    pilot=(1.56, 2.09, 1.13),  # at 70,000 positions of a pilot that had 170,000
    pitfalls="The share also falls where a model merely learns the tool: what counts is the contrast with as many taken by chance. "
    "The extended profile is the first design, and was inconclusive. Left to chance, broken calls drift that long, and in one seed they "
    "vanished by themselves.",
)
