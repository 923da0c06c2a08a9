"""Reduction: one share per unit, so that a signal is sum(share x loss).

    means("group", "rollout", "token")      mean over groups of mean over rollouts of mean over tokens
    means("token")                          every token of the batch counts the same

Levels stand outermost first. At each level the children of one parent are combined by their mean, or by
`sum_over`, `over(level, k)` (divide by a constant) or `power_of(level, p)` (divide by count ** p). Shares come from
integer counts over the whole optimiser minibatch and never see the loss, so micro-batching cannot change them. Units
that hold no decision (dropped, context, fully masked) do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from strop.seams.formula import UNITS, number
from strop.seams.index import LEVELS, Index


@dataclass(frozen=True)
class Level:
    """One level of a nested mean."""

    name: str
    """group, rollout, row or token."""
    power: float = 1.0
    """Divide by count ** power: 1 is the mean, 0 the sum."""
    constant: float | None = None
    """Divide by this instead of by a count."""

    def __post_init__(self) -> None:
        if self.constant is not None and self.power != 1:
            raise ValueError(f"a level divides by {self.constant:g} or by a power of its count, not by both")
        if self.constant is not None and not self.constant > 0:
            raise ValueError(f"a level divides by a positive number, got {self.constant:g}")


def sum_over(level: str) -> Level:
    """Added up, not divided."""
    return Level(level, power=0.0)


def over(level: str, constant: float) -> Level:
    """Added up and divided by a constant."""
    return Level(level, constant=constant)


def power_of(level: str, power: float) -> Level:
    """Added up and divided by count ** power: 1 is the mean, 0 the sum."""
    return Level(level, power=power)


@dataclass(frozen=True)
class Reduction:
    """What `means` makes: levels, and from them the share of each unit."""

    levels: tuple[Level, ...]
    """The outermost first; the last is the grain of the objectives that it averages."""

    @property
    def grain(self) -> str:
        return self.levels[-1].name

    def shares(self, index: Index, dtype: torch.dtype = torch.float64) -> Tensor:
        """One share per unit of the last level; 0 for a unit that holds nothing."""
        grain, parent = self.grain, "batch"
        share = torch.ones(index.size(grain), dtype=dtype, device=index.row_T.device)
        for level in self.levels:
            if level.constant is not None:
                share = share / level.constant
            elif level.power:
                active = index.active(level.name).to(torch.long)
                children = torch.zeros(index.size(parent), dtype=torch.long, device=share.device)
                children = children.index_add(0, index.up(level.name, parent), active).clamp_min(1)
                share = share / index.spread(children, parent, grain).to(dtype) ** level.power
            parent = level.name
        return share * index.active(grain)

    def formula(self) -> str:
        """The share of each unit, with every denominator."""
        divided, parent = "1", "batch"
        for level in self.levels:
            if level.constant is not None:
                divided += f" / {number(level.constant)}"
            elif level.power:
                held = f"{'count' if level.name == 'token' else 'active'}({level.name}, {parent})"
                divided += f" / {held}" if level.power == 1 else f" / {held} ** {number(level.power)}"
            parent = level.name
        if self.grain != "token":
            divided = f"where(active({self.grain}), {divided}, 0)"
        return f"share_{UNITS[self.grain]} = {divided}"

    def words(self) -> str:
        words: list[str] = []
        for level in self.levels:
            if level.constant is not None:
                words.append(f"1/{level.constant:g} sum over {level.name}s")
            elif level.power == 1:
                words.append(f"mean over {level.name}s")
            elif level.power == 0:
                words.append(f"sum over {level.name}s")
            else:
                words.append(f"sum over {level.name}s / count^{level.power:g}")
        return " of ".join(words)


def means(*levels: str | Level) -> Reduction:
    """A nested mean, outermost level first."""
    made = tuple(level if isinstance(level, Level) else Level(level) for level in levels)
    ranks = [LEVELS.index(level.name) if level.name in LEVELS[:-1] else -1 for level in made]
    if not made or -1 in ranks or any(a <= b for a, b in pairwise(ranks)):
        names = ", ".join(level.name for level in made)
        raise ValueError(f"means({names}): name levels from the outermost to the finest, out of group, rollout, row, token")
    return Reduction(made)


PER_SEQUENCE = means("rollout", "token")
"""GRPO as first published: each rollout its own mean."""
PER_TOKEN = means("token")
"""DAPO, TRL's default: a long rollout weighs more."""
