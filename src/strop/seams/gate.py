"""Gate: decides the fate of rollouts and groups, and says whether more are wanted.

Gates run in the order written; each sees what the earlier ones kept. What is dropped stays on the bill.
A rollout whose reward could not be measured never reaches a gate: it is dropped as `ungraded`. A group of which nothing is kept
is replaced while the gates' largest `refill` has rounds left; what is `context` or dropped is counted on the metrics line by its `why`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Protocol

from strop.records import Fate, Group

Rewards = Mapping[str, float]
Fates = dict[str, Fate]


class Gate(Protocol):
    @property
    def refill(self) -> int:
        """How many further rounds of sampling may replace dropped groups."""
        ...

    def __call__(self, group: Group, rewards: Rewards) -> Fates:
        """Fates of the rollouts it has an opinion on; the others are kept. `rewards` holds the kept ones."""
        ...


@dataclass(frozen=True)
class DropFlat:
    """Leave out groups whose rollouts all earned the same: their group-relative credit is zero (DAPO, arXiv:2503.14476)."""

    refill: int = 0
    """Rounds of sampling that may replace them."""
    tolerance: float = 0.0
    """Rewards this near count as the same."""

    def __call__(self, group: Group, rewards: Rewards) -> Fates:
        values = list(rewards.values())
        if values and max(values) - min(values) > self.tolerance:
            return {}
        return {unit: Fate("drop", why="flat") for unit in rewards}


@dataclass(frozen=True)
class MaskOverlong:
    """Rollouts cut at their length limit count in their group's statistics but are not trained (`context`), or are dropped."""

    fate: str = "context"
    """context or drop."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __call__(self, group: Group, rewards: Rewards) -> Fates:
        if self.fate not in ("context", "drop"):
            raise ValueError(f"MaskOverlong gives the fate context or drop, not {self.fate!r}")
        cut = (r.id for r in group.rollouts if r.stop == "length" and r.id in rewards)
        return {unit: Fate("context" if self.fate == "context" else "drop", why="overlong") for unit in cut}


@dataclass(frozen=True)
class SkipZeroCredit:
    """Rollouts that earned exactly their group's mean count in it but are not trained: centred credit gives them nothing to learn.

    Unlike `DropFlat` it also takes single rollouts. They leave the denominators, so what remains weighs more.
    """

    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""
    tolerance: float = 1e-9
    """Rewards this near to the mean count as it."""

    def __call__(self, group: Group, rewards: Rewards) -> Fates:
        mean = fsum(rewards.values()) / max(len(rewards), 1)
        return {unit: Fate("context", why="zero credit") for unit, value in rewards.items() if abs(value - mean) <= self.tolerance}


def decide(gates: tuple[Gate, ...], group: Group, rewards: Mapping[str, float | None]) -> Fates:
    """One fate per rollout of the group. A demonstration is not judged: nothing was tried."""
    fates: Fates = {r.id: Fate() if rewards[r.id] is not None else Fate("drop", why="ungraded") for r in group.rollouts}
    for gate in gates:
        known = ((unit, rewards[unit]) for unit, fate in fates.items() if fate.kind == "keep")
        left = {unit: value for unit, value in known if value is not None}
        fates.update(gate(group, left))
    if any(fate.kind == "carry" for fate in fates.values()):
        raise NotImplementedError("not built yet: the fate carry (groups kept for a later step). Use keep, context or drop.")
    return fates
