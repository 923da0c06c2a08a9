"""ARM (arXiv:2505.20258): how it could be wrong."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.methods.arm import ADA_GRPO
from strop.methods.sft import SFT_WORKED
from strop.recipe import Recipe
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.update import AdamW


@part(gives="reward_R", formula="reward_R = where(format_R >= 0, outcome_R, 0)")
def well_formed(outcome_R: Tensor, format_R: Tensor) -> Tensor:
    """The verdict on a reply in one of the formats; any other earns nothing."""
    return torch.where(format_R >= 0, outcome_R, torch.zeros_like(outcome_R))


@part(
    gives="reward_R",
    formula="reward_R = where(format_R >= 0, outcome_R, 0) * (1 - {price} * length_R)",
)
def priced(outcome_R: Tensor, format_R: Tensor, length_R: Tensor, *, price: float = 0.01) -> Tensor:
    """The same less a price for each token of a right reply."""
    return well_formed(outcome_R, format_R) * (1 - price * length_R)


@part(gives="curve")
def shortness(trace: Trace) -> Curve:
    """-log of the mean tokens of a held-out reply: a difference of 0.288 is a quarter fewer."""
    return [(spent, -math.log(length)) for spent, length in held_out(trace, name="length")]


def share(line: dict[str, Any], label: int) -> float:
    return line["labels"]["format"].get(str(label), 0.0)


@part(gives="number")
def longest_at_end(trace: Trace) -> float:
    """Share of replies in the longest format, over the last tenth of the steps."""
    return fmean(share(line, 2) for line in trace.lines[-max(len(trace.lines) // 10, 1) :])


@part(gives="number")
def mixed(trace: Trace) -> float:
    """Share of groups that hold right answers in two formats, over the first half of the run: those that feel the bonus."""
    found = list[bool]()
    for groups, scores in list(trace.steps())[: len(trace.lines) // 2]:
        for group in groups:
            right = {scores.get(r, "format") for r in group.rollouts if scores.get(r, "outcome") == 1}
            found.append(len(right - {-1.0}) > 1)
    return fmean(found)


REINFORCE = ADA_GRPO.but(sampler=Independent(n=8, max_tokens=64), update=AdamW(minibatch=8), tasks=16)
SHARED: dict[str, Any] = {
    "regime": "on chains in three formats, at equal decoded positions, from a base that was taught all three alike",
    "method": "arm",
    "recipe": Recipe(task="formats", steps=1000, lr=2e-4, checkpoint_every=1000),
    "base": Recipe(method=SFT_WORKED, task="formats", tasks=64, steps=120, lr=3e-3, max_tokens=64, eval_tasks=0, checkpoint_every=120),
    "arms": (
        Arm("ada-grpo", REINFORCE),
        Arm(
            "grpo",
            REINFORCE.but("grpo-formats", idea=("reward",), reward=well_formed),
            control="the same verdict on replies in a format, without the bonus",
        ),
        Arm(
            "priced",
            REINFORCE.but("grpo-priced", idea=("reward",), reward=priced()),
            control="a price for each token, and no bonus for a rare format",
        ),
    ),
    "compare": ("ada-grpo", "grpo"),
    "checks": (
        Check("without the bonus the longest format takes over: its share at the end", longest_at_end(), "grpo", least=0.8),
        Check("the bonus is felt: groups with right answers in two formats", mixed(), "ada-grpo", least=0.5),
    ),
    "held_out": HeldOut(tasks=400, samples=4, at=(0.0, 1.0), max_tokens=64),
    "profiles": {
        "quick": Profile((0,), "120000 decoded", 3, arms=("ada-grpo", "grpo")),
        "full": Profile((0, 1, 2, 3), "350000 decoded", 12, arms=("ada-grpo", "grpo")),
        "extended": Profile((0, 1, 2, 3), "350000 decoded", 18),
    },
}

TOKENS = Claim(
    "arm-tokens",
    mechanism="A bonus for rare formats of right answers, gone at the end,",
    consequence="lowers the tokens of a held-out reply by a quarter or more (0.288 in logarithms)",
    measure=shortness(),
    threshold=0.288,
    refuted_if="the interval of the paired difference of logarithms lies below 0.288",
    pilot=(0.3338, 0.4192, 0.3582),  # strop claim run arm-tokens arm-accuracy --profile pilot
    **SHARED,
)

ACCURACY = Claim(
    "arm-accuracy",
    mechanism="A bonus for rare formats of right answers, gone at the end,",
    consequence="keeps held-out accuracy within 0.02",
    measure=held_out(name="pass@1"),
    threshold=0.02,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.02, 0.02]",
    pilot=(-0.0682, -0.077, -0.0487),
    **SHARED,
)
