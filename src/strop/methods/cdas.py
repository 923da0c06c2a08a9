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

from dataclasses import dataclass
from math import exp
from typing import Any

from strop.methods.grpo import GRPO
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx
from strop.seams.curriculum import finite, placed, unvisited
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
