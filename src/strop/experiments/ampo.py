"""AMPO (arXiv:2505.02156): how it could be wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.experiments.arm import shortness
from strop.methods.ampo import AMPO, IMITATE, mode_level
from strop.recipe import Recipe
from strop.seams.credit import group_normalized
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.update import AdamW
from strop.tasks.bargain import MODES


@part(gives="curve")
def surplus(trace: Trace) -> Curve:
    """log of the mean share of what there is to gain, over held-out bargains: a difference of 0.02 is 2 %."""
    return [(spent, math.log(share)) for spent, share in held_out(trace, name="mean")]


def earned(trace: Trace) -> Iterator[dict[int, list[float]]]:
    """Of each group what each mode's replies were rewarded with."""
    for record, (groups, scores) in zip(trace.records(), trace.steps(), strict=True):
        for group in groups:
            found: dict[int, list[float]] = {}
            for rollout in group.rollouts:
                mode, reward = scores.get(rollout, "mode"), record["rewards"][rollout.id]
                if mode is not None and mode >= 0 and reward is not None:
                    found.setdefault(int(mode), []).append(reward)
            yield found


@part(gives="number")
def on(trace: Trace) -> float:
    """Share of groups in which two modes occur."""
    return fmean(len(rewards) > 1 for rewards in earned(trace))


@part(gives="number")
def tied(trace: Trace) -> float:
    """Share of groups in which two modes occur and all that occur earn the same: those that prefer the shorter one."""
    levels = ([fmean(one) for one in rewards.values()] for rewards in earned(trace))
    return fmean(len(level) > 1 and max(level) - min(level) <= 1e-6 for level in levels)


@part(gives="number")
def lost(trace: Trace, *, below: float = 0.05) -> float:
    """How many modes have a smaller share of the replies than this, over the last tenth of the steps."""
    lines = trace.lines[-max(len(trace.lines) // 10, 1) :]
    shares = Counter[int]()
    for line in lines:
        shares.update({mode: line["labels"]["mode"].get(str(mode), 0.0) / len(lines) for mode in range(len(MODES))})
    return sum(shares[mode] < below for mode in range(len(MODES)))


REINFORCE = AMPO.but(sampler=Independent(n=16, max_tokens=80), update=AdamW(minibatch=4), tasks=8)
