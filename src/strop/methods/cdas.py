"""CDAS (arXiv:2505.17652): train on the tasks whose difficulty lies nearest to the model's competence.

Against GRPO only the curriculum changes. Difficulty is a running mean, over all visits of a task, of expected minus observed
success; competence is minus the mean difficulty of the pool; both move together:

    expected   = 1 / (1 + exp(difficulty - competence))
    difficulty = ((n + prior - 1) difficulty + expected - pass rate) / (n + prior)        at the task's n-th visit
    competence = -mean(difficulty)                                                        over all tasks, visited or not

Half of each batch comes from just below the competence, half from just above. Needs a finite pool, and a first pass over it:
unvisited tasks sit at 0, nearer than any other, so until all were tried once the pool is swept in a random order, on the bill.
The released code sweeps too (its first epoch), in random order, and forgets the first step. `prior=1` is its update, where the initial
0 counts as one observation; `prior=0` is the plain mean. Left out: its penalty for a wrong format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out, mean_so_far
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx
from strop.seams.curriculum import NearRate, finite, placed, unvisited
from strop.seams.gate import DropFlat
from strop.seams.part import part
from strop.seams.source import Source


@dataclass(frozen=True)
class CompetenceAligned:
    """Picks around the competence; remembers difficulty and visits of every task of a finite pool."""

    prior: int = 1
    """Observations that the initial difficulty of 0 counts for."""

    def __post_init__(self) -> None:
        if self.prior < 0:
            raise ValueError(f"CompetenceAligned(prior={self.prior}): a number of observations is at least 0")

    def init(self, source: Source) -> dict[str, Any]:
        size = finite(source)
        return {"competence": 0.0, "difficulty": [0.0] * size, "visits": [0] * size, "place": {}}

    def pick(self, n: int, state: dict[str, Any], ctx: Ctx) -> tuple[list[Task], dict[str, Any]]:
        new = unvisited(state["visits"], ctx.seed)[:n]
        known = [at for at, visits in enumerate(state["visits"]) if visits]
        ctx.rng("ties").shuffle(known)
        return placed(new + around(known, n - len(new), state["difficulty"], state["competence"]), state, ctx)

    def observe(self, state: dict[str, Any], groups: list[Group], scores: Scores, ctx: Ctx) -> dict[str, Any]:
        difficulty, visits, competence = list(state["difficulty"]), list(state["visits"]), state["competence"]
        for group in groups:
            at, rate = state["place"].get(group.task.id), scores.rate(group)
            if group.role != "solve" or at is None or rate is None:
                continue
            expected = 1 / (1 + exp(difficulty[at] - competence))
            visits[at] += 1
            difficulty[at] += (expected - rate - difficulty[at]) / (visits[at] + self.prior)
        return {**state, "competence": -sum(difficulty) / len(difficulty), "difficulty": difficulty, "visits": visits}


def around(places: list[int], n: int, difficulty: list[float], competence: float) -> list[int]:
    """n places, half from at or below the competence and half from above, nearest first; a short side is filled from the other.

    The released code takes n // 2 of each, so an odd n loses one; here the odd one comes from above.

    >>> around([0, 1, 2, 3, 4], 2, [-0.4, -0.1, 0.0, 0.3, 0.9], competence=0.1)
    [2, 3]
    """
    below = sorted((at for at in places if difficulty[at] <= competence), key=lambda at: -difficulty[at])
    above = sorted((at for at in places if difficulty[at] > competence), key=lambda at: difficulty[at])
    high = min(len(above), n - min(len(below), n // 2))
    return below[: n - high] + above[:high]


CDAS = GRPO.but("cdas", paper="2505.17652", idea=("curriculum",), curriculum=CompetenceAligned())


# How it could be wrong.


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
