"""Targets: what an estimator is measured against. Exact population gradients at the world's `now`, by enumeration.

Each gives the direction in which the logits should move (ascent), as an array over prefixes and tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from strop.lab.world import World
from strop.seams.part import nearest


def expected_reward(world: World, beta: float = 0.0) -> Tensor:
    """Gradient of J = sum over y of pi(y) R(y)."""

    def value(logp_N: Tensor) -> Tensor:
        return (logp_N.exp() * world.reward_N).sum()

    return world.uphill(value)


def reward_minus_kl(world: World, beta: float) -> Tensor:
    """Gradient of J - beta KL(pi || reference), the KL of whole sequences."""
    reference_N = world.language.logp_N(world.reference_PV)

    def value(logp_N: Tensor) -> Tensor:
        return (logp_N.exp() * (world.reward_N - beta * (logp_N - reference_N))).sum()

    return world.uphill(value)


def tilted(world: World, beta: float) -> Tensor:
    """Gradient of -KL(tilted || pi), where tilted(y) is in proportion to reference(y) exp(R(y) / beta).

    The other direction, -KL(pi || tilted), is `reward_minus_kl` divided by beta: the same arrow.
    """
    tilted_N = (world.language.logp_N(world.reference_PV) + world.reward_N / beta).softmax(0)

    def value(logp_N: Tensor) -> Tensor:
        return (tilted_N * logp_N).sum()

    return world.uphill(value)


TARGETS: dict[str, Callable[[World, float], Tensor]] = {
    "reward": expected_reward,
    "reward-kl": reward_minus_kl,
    "tilted": tilted,
}


def gradient_of(name: str, world: World, beta: float) -> Tensor:
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}. {nearest(name, TARGETS)}")
    if name != "reward" and not beta > 0:
        raise ValueError(f"target {name!r} needs beta above 0, got {beta:g}: it weighs the KL to the reference. Give --beta.")
    return TARGETS[name](world, beta)
