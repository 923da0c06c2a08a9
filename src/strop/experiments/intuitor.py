"""Intuitor (arXiv:2505.19590): how it could be wrong."""

from __future__ import annotations

from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out, in_step
from strop.method import Method
from strop.methods.intuitor import FROZEN, INTUITOR
from strop.recipe import Recipe
from strop.records import Sampling, Scores
from strop.seams.grader import chance
from strop.seams.part import part
from strop.seams.reward import by_chance, outcome
from strop.seams.sampler import Independent


@part(gives="curve")
def ranking(trace: Trace) -> Curve:
    """How often the rewards of the steps so far put a right reply above a wrong sibling, ties half: the AUC that the credit sees."""
    won, pairs, curve = 0.0, 0, Curve()
    for spent, record in zip(trace.spent, trace.records(), strict=True):
        scores, reward = Scores.from_json(record["scores"]), record["rewards"]
        for group in record["groups"]:
            units = [r["id"] for r in group["rollouts"]]
            wrong, right = ([reward[u] for u in units if scores.get(u, "outcome") == verdict] for verdict in (0.0, 1.0))
            won += sum((high > low) + (high == low) / 2 for high in right for low in wrong)
            pairs += len(right) * len(wrong)
        curve += [(spent, won / pairs)] if pairs else []
    return curve


@part(gives="number")
def ranked_at_first(trace: Trace, *, steps: int) -> float:
    """That AUC over the first steps, before training has moved much."""
    return ranking(trace)[:steps][-1][1]


TAGS = (257, 262, 263, 264, 265)
"""pico's end of turn and its four tags; its other tokens are bytes."""


def drawing(method: Method, letters: bytes) -> Method:
    """Nothing but these bytes and the tags can be drawn: the rows of the vocabulary that a task uses."""
    return method.but(f"{method.name}-used-rows", sampler=Independent(sampling=Sampling(allowed=tuple(sorted({*letters, *TAGS})))))


CHANCE = INTUITOR.but("random-reward", graders=(*INTUITOR.graders, chance), reward=by_chance)
GOLD = INTUITOR.but("gold-reward", reward=outcome)
NOT_PEAKED = "two replies of a group can differ: nats a token in the first step"

RANKED: dict[str, Any] = {
    "regime": "on chain with pico, before any training",
    "method": "intuitor",
    "recipe": Recipe(task="chain", lr=0.0, tasks=32, group=8, max_tokens=128, steps=100),
    "arms": (
        Arm("all-rows", INTUITOR),
        Arm("used-rows", drawing(INTUITOR, b"0123456789+-*=;\n "), control="nothing that the task never uses is in the mean"),
        Arm("random", CHANCE, control="a score that knows nothing, whose AUC is a half", random=True),
    ),
    "measure": ranking(),
    "checks": (Check(NOT_PEAKED, in_step(name="entropy", step=0), "all-rows", least=0.05),),
    "profiles": {
        "quick": Profile(seeds=(0, 1), budget="9000 decoded", minutes=1),
        "full": Profile(seeds=(0, 1, 2, 3), budget="18000 decoded", minutes=3),
    },
}

PREMISE = Claim(
    "intuitor-premise",
    mechanism="Self-certainty over the whole vocabulary",
    consequence="reaches an AUC of 0.6, right replies against wrong siblings, where a random score has 0.5",
    compare=("all-rows", "random"),
    threshold=0.1,
    refuted_if="the interval of the paired difference lies below 0.1",
    pilot=(-0.328, -0.3338, -0.2908),  # strop claim run intuitor-premise --profile pilot
    **RANKED,
)

ROWS = Claim(
    "intuitor-rows",
    mechanism="Leaving the rows of the vocabulary that a task never uses out of self-certainty",
    consequence="raises the AUC by 0.2 or more",
    compare=("used-rows", "all-rows"),
    threshold=0.2,
    refuted_if="the interval of the paired difference lies below 0.2",
    pilot=(0.488, 0.5256, 0.4644),  # strop claim run intuitor-rows --profile pilot
    **RANKED,
)

TRAINED = Recipe(task="path", lr=1e-4, tasks=16, group=8, max_tokens=64, steps=1000, checkpoint_every=100)
"""Small steps, and more of them: what noise alone moves grows with the root of their number, what a reward moves with the number."""
PATH = b"abcdef "

ONLINE = Claim(
    "intuitor-online",
    mechanism="Self-certainty of the weights that learn, as the only reward where it ranks right above wrong,",
    consequence="raises greedy held-out accuracy over a random reward",
    regime="on path with pico and the used rows of its vocabulary, at the middle and at the end of the budget",
    method="intuitor",
    recipe=TRAINED,
    arms=(
        Arm("online", drawing(INTUITOR, PATH)),
        Arm("frozen", drawing(FROZEN, PATH), control="scored by the start instead of by the weights that learn"),
        Arm("random", drawing(CHANCE, PATH), control="a reward that knows nothing", random=True),
        Arm("gold", drawing(GOLD, PATH), control="the labels that the method does without"),
    ),
    compare=("online", "random"),
    measure=held_out(name="mean"),
    threshold=0.0,
    refuted_if="the interval of the paired difference at the end lies below 0: training on it does worse than on noise",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="50000 trained", minutes=3, arms=("online", "random")),
        "full": Profile(seeds=(0, 1, 2, 3, 4, 5), budget="300000 trained", minutes=14),
    },
    checks=(
        Check(NOT_PEAKED, in_step(name="entropy", step=0), "online", least=0.05),
        Check("the premise holds: AUC of certainty in the first 4 steps", ranked_at_first(steps=4), "online", least=0.6),
    ),
    held_out=HeldOut(tasks=400, samples=1, at=(0.0, 0.5, 1.0), max_tokens=64, temperature=0.0),
)

INVERTED = Claim(
    "intuitor-inverted",
    mechanism="Self-certainty of the weights that learn, as the only reward where it ranks wrong above right,",
    consequence="lowers held-out accuracy at temperature 1 by 0.05 or more under a random reward's",
    regime="on chain with pico and its whole vocabulary",
    method="intuitor",
    recipe=TRAINED.but(task="chain", max_tokens=128),
    arms=(
        Arm("online", INTUITOR),
        Arm("random", CHANCE, control="a reward that knows nothing", random=True),
    ),
    compare=("random", "online"),
    measure=held_out(name="mean"),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="50000 trained", minutes=3),
        "full": Profile(seeds=(0, 1, 2, 3), budget="150000 trained", minutes=5),
    },
    checks=(
        Check(NOT_PEAKED, in_step(name="entropy", step=0), "online", least=0.05),
        Check(
            "not sharpening, which lowers accuracy here by itself: nats a token at the end",
            in_step(name="entropy", step=-1),
            "online",
            least=0.1,
        ),
    ),
    held_out=HeldOut(tasks=200, samples=4, at=(0.0, 0.5, 1.0)),
)
