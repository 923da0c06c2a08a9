"""CDAS (arXiv:2505.17652): how it could be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out, mean_so_far
from strop.methods.cdas import CDAS
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.curriculum import NearRate
from strop.seams.gate import DropFlat
from strop.seams.part import part


@part(gives="number")
def revisited(trace: Trace, *, times: int = 3) -> float:
    """Share of the pool that was tried so often: below it the pool was only swept."""
    visits = trace.state["curriculum"]["visits"]
    return sum(count >= times for count in visits) / len(visits)


@part(gives="number")
def moved(trace: Trace) -> float:
    """How far the pass rate of the picks, from the second half of the run on, is from that of the first pass over the pool."""
    rates = [[rate for group in groups if (rate := scores.rate(group)) is not None] for groups, scores in trace.steps()]
    first, pool = [], len(trace.state["curriculum"]["visits"])
    for step in rates:
        first += step if len(first) < pool else []
    late = [rate for step in rates[len(rates) // 2 :] for rate in step]
    return abs(sum(late) / len(late) - sum(first) / len(first))


MIXED = "chain+path+countdown+chain:steps=6"
"""Three kinds of task that the base model was taught, of different difficulty, and one that it never saw."""
ARMS = (
    Arm("cdas", CDAS),
    Arm("uniform", GRPO, control="no selection: every task once before any comes again", random=True),
    Arm("near-half", GRPO.but("near-half", curriculum=NearRate()), control="a fixed target rate of 0.5 instead of the fixed point"),
    Arm(
        "refill",
        GRPO.but("refill", gate=(DropFlat(refill=2),)),
        control="sampling more and throwing flat groups away, all of it on the bill",
    ),
)
CHECKS = (
    Check("the pool was not only swept: tasks tried three times or more", revisited(times=3), "cdas", least=0.15),
    Check("the picks are no longer like the pool: their pass rate moved", moved(), "cdas", least=0.05),
)
QUICK = Profile(seeds=(0, 1), budget="60000 decoded", minutes=3, task=f"pool:64:{MIXED}")
FULL = Profile(seeds=(0, 1, 2, 3, 4, 5), budget="250000 decoded", minutes=20)
SHARED: dict[str, Any] = {
    "regime": "on 320 tasks of three kinds that the base was taught and one it was not, at equal decoded positions, first pass included",
    "method": "cdas",
    "recipe": Recipe(task=f"pool:320:{MIXED}", tasks=16, group=8, max_tokens=128, steps=1000, checkpoint_every=50),
    "arms": ARMS,
    "checks": CHECKS,
    "held_out": HeldOut(tasks=200, samples=4, at=(0.0, 0.5, 1.0)),
    "selects": True,
}

SPREAD = Claim(
    "cdas-spread",
    mechanism="Picking tasks whose difficulty lies nearest to the model's competence",
    consequence="raises by 0.06 or more, over uniform picks, the share of groups whose rewards differ",
    compare=("cdas", "uniform"),
    measure=mean_so_far(name="spread"),
    threshold=0.06,
    refuted_if="the interval of the paired difference lies below 0.06",
    profiles={"quick": replace(QUICK, arms=("cdas", "uniform")), "full": FULL},
    pilot=(0.116, 0.1295, 0.1901),  # strop claim run cdas-spread --profile pilot
    **SHARED,
)

FIXED_POINT = Claim(
    "cdas-fixed-point",
    mechanism="Letting difficulty and competence move together, instead of asking for a pass rate of one half,",
    consequence="raises the share of groups whose rewards differ",
    compare=("cdas", "near-half"),
    measure=mean_so_far(name="spread"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: the plain target finds more of them",
    profiles={"quick": replace(QUICK, arms=("cdas", "near-half")), "full": FULL},
    pilot=(-0.0535, -0.0336, -0.0275),  # strop claim run cdas-fixed-point --profile pilot
    **SHARED,
)

ACCURACY = Claim(
    "cdas-accuracy",
    mechanism="Picking tasks whose difficulty lies nearest to the model's competence",
    consequence="raises held-out accuracy by 0.03 or more over uniform picks",
    compare=("cdas", "uniform"),
    measure=held_out(name="mean"),
    threshold=0.03,
    refuted_if="the interval of the paired difference lies below 0.03",
    profiles={"quick": replace(QUICK, arms=("cdas", "uniform")), "full": FULL},
    pilot=(-0.0348, -0.0218, -0.0907),  # strop claim run cdas-accuracy --profile pilot
    **SHARED,
)
