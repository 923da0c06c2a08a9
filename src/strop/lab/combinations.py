"""Combinations to compare: one base, one thing changed at a time.

The base is leave-one-out credit, the plain policy gradient, and a sum over each rollout's tokens: the textbook estimator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from strop import own
from strop.method import Method
from strop.methods.rloo import RLOO
from strop.seams.correction import masked, none, truncated
from strop.seams.credit import batch_whiten, group_centered, group_standardized, kl_in_reward, returns_to_go, reward_itself
from strop.seams.objective import clipped_surrogate, importance_sampling, kl_to, policy_gradient
from strop.seams.part import Part, nearest
from strop.seams.reduction import Reduction, means, over, sum_over
from strop.seams.signal import Signal

SUM = means("group", "rollout", sum_over("token"))
BETA = 0.1
"""What the combinations with a reference charge for KL."""


def _with(name: str, *credit: Part, **changes: Any) -> Method:
    return RLOO.but(name, paper="", idea=(), credit=credit or RLOO.credit, **changes)


def _policy(objective: Part = policy_gradient(), reduce: Reduction = SUM) -> dict[str, Signal]:
    return {"policy": Signal(objective, reduce)}


def _kl(estimator: str) -> dict[str, Signal]:
    return {**_policy(), "kl": Signal(kl_to(estimator=estimator), SUM, weight=BETA)}


TWICE = replace(RLOO.update, minibatch=RLOO.tasks // 2)
"""Two updates per batch, so that there is a second one to look at."""

COMBINATIONS: dict[str, Method] = {
    made.name: made
    for made in (
        _with("loo-sum"),
        _with("raw-sum", reward_itself()),
        _with("centered-sum", group_centered()),
        _with("standardized-sum", group_standardized()),
        _with("whitened-sum", reward_itself(), batch_whiten()),
        _with("loo-rollout-mean", signals=_policy(reduce=means("group", "rollout", "token"))),
        _with("loo-batch-mean", signals=_policy(reduce=means("token"))),
        _with("loo-constant", signals=_policy(reduce=means("group", "rollout", over("token", 128)))),
        _with("standardized-rollout-mean", group_standardized(), signals=_policy(reduce=means("group", "rollout", "token"))),
        _with("k1-in-reward", kl_in_reward(coefficient=BETA), returns_to_go(), reference=True),
        _with("k1-loss", returns_to_go(), signals=_kl("k1"), reference=True),
        _with("k2-loss", returns_to_go(), signals=_kl("k2"), reference=True),
        _with("k3-loss", returns_to_go(), signals=_kl("k3"), reference=True),
        _with("loo-importance", signals=_policy(importance_sampling()), update=TWICE),
        _with("loo-clipped", signals=_policy(clipped_surrogate()), update=TWICE),
        _with("bridge-none", correction=none()),
        _with("bridge-token", correction=truncated(level="token")),
        _with("bridge-rollout", correction=truncated(level="sequence")),
        _with("bridge-token-masked", correction=masked(level="token")),
        _with("bridge-rollout-masked", correction=masked(level="sequence")),
    )
}


def find(name: str) -> Method:
    """A combination, a registered method, or a sum of methods."""
    from strop.methods import ALIASES, METHODS, known, method

    if name in COMBINATIONS:
        return COMBINATIONS[name]
    if not known(name) and own.place(name) is None:
        raise ValueError(f"unknown method or combination {name!r}. {nearest(name, [*METHODS, *ALIASES, *COMBINATIONS])}")
    return method(name)
