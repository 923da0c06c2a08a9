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
from strop.methods.ampo import AMPO, mode_level
from strop.methods.sft import SFT_WORKED
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
SHARED: dict[str, Any] = {
    "regime": "on bargains of which half need no thought, in 11 levels of reward, at equal decoded positions, from a base taught all modes",
    "method": "ampo",
    "recipe": Recipe(task="bargain", steps=1000, lr=2e-4, checkpoint_every=1000),
    "base": Recipe(method=SFT_WORKED, task="bargain", tasks=64, steps=160, lr=3e-3, max_tokens=80, eval_tasks=0, checkpoint_every=160),
    "arms": (
        Arm("ampo", REINFORCE),
        Arm(
            "grpo",
            REINFORCE.but("grpo-modes", idea=("credit",), credit=(group_normalized(eps=1e-6),)),
            control="the same modes, reward and KL, without the mode level",
        ),
        Arm(
            "released",
            REINFORCE.but(
                "ampo-released", idea=("credit",), credit=(group_normalized(eps=1e-6), mode_level(modes=4, times=2, strict=True))
            ),
            control="the mode level where all four modes occur twice and nothing is malformed, as in the released code",
        ),
    ),
    "compare": ("ampo", "grpo"),
    "checks": (
        Check("the mode level is on: share of groups", on(), "ampo", least=0.2),
        Check("without it modes are lost: how many write under 5 % of the replies at the end", lost(), "grpo", least=1),
    ),
    "held_out": HeldOut(tasks=400, samples=4, at=(0.0, 1.0), max_tokens=80),
    "profiles": {
        "quick": Profile((0,), "120000 decoded", 3, arms=("ampo", "grpo")),
        "full": Profile((0, 1, 2, 3), "250000 decoded", 10, arms=("ampo", "grpo")),
        "extended": Profile((0, 1, 2, 3), "250000 decoded", 14),
    },
}

TOKENS = Claim(
    "ampo-tokens",
    mechanism="An advantage for the mode of thinking beside that of the reply",
    consequence="lowers the tokens of a held-out reply by 10 % or more (0.105 in logarithms)",
    measure=shortness(),
    threshold=0.105,
    refuted_if="the interval of the paired difference of logarithms lies below 0.105",
    **SHARED,
)

SURPLUS = Claim(
    "ampo-surplus",
    mechanism="An advantage for the mode of thinking beside that of the reply",
    consequence="keeps the share that is gained of held-out bargains within 2 %",
    measure=surplus(),
    threshold=0.02,
    tie=True,
    refuted_if="the interval of the paired difference of logarithms lies outside of [-0.02, 0.02]",
    **SHARED,
)
