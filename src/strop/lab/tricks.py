"""Tricks or traps: four tricks of policy gradients, all sixteen ways to have some of them, on tables whose pass rates are known exactly.

    std        credit divided by the group's deviation, or only centred
    token      a mean over all tokens, or over each reply's own first
    higher     a wider clip above than below, or as wide
    kl         a penalty for leaving the beginning, or none

A trick's effect is the pass rate with it less that without, a mean over the eight ways to have the others. An interaction of several is how
the effect of one depends on the others. Each way has the best of some learning rates, chosen on seeds of its own: at one rate for all a
trick that merely makes steps longer would look like one that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import prod
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, cast

from strop.claims.statistics import LEVEL, interval
from strop.lab import tabular
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.credit import group_centered, group_standardized
from strop.seams.objective import clipped_surrogate, kl_to
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.update import AdamW

TRICKS = ("std", "token", "higher", "kl")
Cell = tuple[bool, ...]
CELLS: tuple[Cell, ...] = tuple(product((False, True), repeat=len(TRICKS)))
RATES = (0.1, 0.2, 0.4)
STEPS, TASKS = 40, 8
TUNING = (1000, 1001)


@cache
def source() -> tabular.Table:
    """Replies of up to four letters, a fifth of them right."""
    return tabular.Table(tasks=TASKS, vocab=4, length=4, share=0.2)


def method(cell: Cell) -> Method:
    std, token, higher, kl = cell
    levels = ("token",) if token else ("group", "rollout", "token")
    policy = Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28 if higher else 0.2), reduce=means(*levels))
    signals = {"policy": policy} | ({"kl": Signal(kl_to(estimator="k3"), reduce=means(*levels), weight=0.05)} if kl else {})
    return GRPO.but(
        "tricks-" + ("-".join(name for name, on in zip(TRICKS, cell, strict=True) if on) or "none"),
        sampler=Independent(n=8, max_tokens=5),
        credit=(group_standardized() if std else group_centered(),),
        signals=signals,
        reference=kl,
        update=AdamW(minibatch=16, clip_norm=None),
        tasks=TASKS,
    )


def pass_rate(cell: Cell, seed: int, rate: float, steps: int = STEPS) -> float:
    """The mean over tasks of the exact chance of a right reply, after training."""
    recipe = Recipe(method=method(cell), model="table", task="table", steps=steps, seed=seed, lr=rate, eval_tasks=0, checkpoint_every=steps)
    with TemporaryDirectory() as place:
        run = tabular.create(recipe, Path(place) / "run", source(), weights=seed)
        run.train()
        return fmean(cast(tabular.TabularPolicy, run.policy).rates(source()))


@dataclass(frozen=True)
class Effect:
    tricks: tuple[str, ...]
    """One of them, or several: their interaction."""
    mean: float
    interval: tuple[float, float]

    @property
    def found(self) -> bool:
        """Whether its interval leaves out 0."""
        return not self.interval[0] <= 0 <= self.interval[1]

    def to_json(self) -> dict[str, Any]:
        return {"tricks": list(self.tricks), "mean": self.mean, "interval": list(self.interval), "found": self.found}


def effects(rates: Mapping[Cell, Sequence[float]]) -> list[Effect]:
    """All main effects and interactions of what each cell reached under each seed; interactions share the error among them."""
    found: list[Effect] = []
    several = sum(1 for size in range(2, len(TRICKS) + 1) for _ in combinations(TRICKS, size))
    for size in range(1, len(TRICKS) + 1):
        for chosen in combinations(range(len(TRICKS)), size):
            level = LEVEL if size == 1 else 1 - (1 - LEVEL) / several
            signs = {cell: prod(1 if cell[i] else -1 for i in chosen) for cell in CELLS}
            seeds = range(len(next(iter(rates.values()))))
            each = [sum(signs[cell] * rates[cell][seed] for cell in CELLS) / (len(CELLS) / 2) for seed in seeds]
            found.append(Effect(tuple(TRICKS[i] for i in chosen), fmean(each), interval(each, level)))
    return found


def study(
    seeds: Sequence[int], steps: int = STEPS, rates: Sequence[float] = RATES, tell: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """The pass rates of all cells, and what follows from them."""
    reached: dict[Cell, list[float]] = {}
    chosen: dict[Cell, float] = {}
    total = len(CELLS) * (len(rates) * len(TUNING) + len(seeds))

    def counted() -> Iterator[None]:
        for done in range(1, total + 1):
            if tell is not None:
                tell(done, total)
            yield

    tick = counted()

    def one(cell: Cell, seed: int, rate: float) -> float:
        value = pass_rate(cell, seed, rate, steps)
        next(tick)
        return value

    for cell in CELLS:
        tried = {rate: fmean(one(cell, seed, rate) for seed in TUNING) for rate in rates}
        chosen[cell] = max(tried, key=tried.__getitem__)
        reached[cell] = [one(cell, seed, chosen[cell]) for seed in seeds]
    found = effects(reached)
    largest = max((e for e in found if len(e.tricks) > 1), key=lambda e: abs(e.mean))
    return {
        "steps": steps,
        "seeds": list(seeds),
        "cells": [
            {"tricks": [n for n, on in zip(TRICKS, c, strict=True) if on], "rate": chosen[c], "pass": reached[c], "mean": fmean(reached[c])}
            for c in CELLS
        ],
        "effects": [effect.to_json() for effect in found],
        "largest_interaction": largest.to_json(),
    }
