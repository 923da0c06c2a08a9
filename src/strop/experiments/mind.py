"""MinD (arXiv:2505.19788): how it could be wrong."""

from __future__ import annotations

import math
import random
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.methods.mind import IMITATE, MIND_GRPO
from strop.program import Program, Stage, rest, steps
from strop.recipe import Recipe
from strop.seams.objective import policy_gradient
from strop.seams.part import part
from strop.seams.reduction import Reduction, means, over
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.turns import turns
from strop.seams.update import AdamW

# On tables.

STOP = 0.35
"""The chance to stop behind the answer, and behind each turn that changes nothing."""
LENGTH = 3.5
"""What the control divides by: tokens of a reply at first, so that both arms move alike fast."""


@cache
def repeats() -> Any:
    from strop.lab.stopping import Repeats

    return Repeats(tasks=8, length=6)


def tables(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """Tasks that are answered rightly with chances of 0.55 to 0.85, drawn by the seed; all stop alike, whatever they answered."""
    from strop.lab.tabular import engine

    rng = random.Random(recipe.seed)
    rights = [rng.uniform(0.55, 0.85) for _ in range(repeats().tasks)]
    return {"policy": repeats().policy(rights, STOP), "source": repeats(), "engine": engine}


@part(gives="curve")
def exact_shortness(trace: Trace) -> Curve:
    """Minus the expected tokens of a reply, by enumeration, at the checkpoints that were kept: the mean over tasks."""
    from safetensors.torch import load_file

    from strop.lab.stopping import expected_lengths

    curve = Curve()
    for step, checkpoint in trace.checkpoints.items():
        logits_SPV = load_file(checkpoint / "table.safetensors")["logits"]
        curve.append((float(trace.spent[step - 1]), -float(expected_lengths(repeats().language, logits_SPV).mean())))
    return curve


@part(gives="number")
def mixed(trace: Trace) -> float:
    """The share of groups that hold right replies and wrong ones, over the whole run: the others move nothing."""
    seen = [{scores.get(r, "outcome") for r in group.rollouts} for groups, scores in trace.steps() for group in groups]
    return fmean(len(outcomes) > 1 for outcomes in seen)


@part(gives="number")
def right_at_first(trace: Trace) -> float:
    """The share of right replies in the first step."""
    return float(trace.lines[0]["outcome"])


def on_tables(name: str, reduce: Reduction) -> Method:
    """GRPO with one update a batch, and slopes whose size the optimiser leaves as it is."""
    update = AdamW(lr=1.0, eps=1.0, clip_norm=None)
    return GRPO.but(name, signals={"policy": Signal(policy_gradient(), reduce)}, update=update)


BY_REPLY = on_tables("grpo-mean", means("group", "rollout", "token"))
SUMMED_UP = on_tables("grpo-sum", means("group", "rollout", over("token", LENGTH)))
LENGTHS = Claim(
    "mind-length",
    mechanism="A mean over each reply's own tokens, instead of their sum over a constant,",
    consequence="lowers the exact expected length of a reply, though nothing pays for short ones",
    regime="on tables where a reply answers and then stops, whatever it answered, and most replies are right",
    method="mind",
    recipe=Recipe(task="repeats", model="table", tasks=8, group=8, max_tokens=6, steps=4000, checkpoint_every=10),
    arms=(
        Arm("mean", BY_REPLY),
        Arm("sum", SUMMED_UP, control="a sum over the mean length at first"),
    ),
    compare=("mean", "sum"),
    measure=exact_shortness(),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: replies get longer than under the sum",
    profiles={
        "quick": Profile((0, 1), "30000 decoded", 1),
        "full": Profile(tuple(range(8)), "30000 decoded", 2),
    },
    checks=(
        Check("most replies are right: their share in the first step", right_at_first(), "mean", least=0.5),
        Check("groups that hold right and wrong replies: their share over the run", mixed(), "mean", least=0.3),
    ),
    world=tables,
    pilot=(0.2493, 0.2585, 0.2799),  # strop claim run mind-length --profile pilot
    pitfalls="Near to arithmetic: the first expected step of the mean shortens in proportion to p(1-p)(2p-1), exactly, that of the sum by "
    "nothing (tests). What is open is what is left of it over a whole run, in which pass rates rise to 1 and batches are small.",
)


def slopes() -> str:
    """How fast the expected length moves along the expected first update, exactly."""
    from strop.lab.stopping import chooses_first, length_slope, stops_after

    lines = [
        "| right | stops after it answered: mean | sum | mean, it cannot tell | chooses its length first: mean |",
        "|---|---|---|---|---|",
    ]
    for right in (0.3, 0.5, 0.7):
        after, first = stops_after(right, STOP), chooses_first(right, STOP)
        found = [
            length_slope(BY_REPLY, after),
            length_slope(SUMMED_UP, after),
            length_slope(BY_REPLY, after, tells=False),
            length_slope(BY_REPLY, first),
        ]
        lines.append(f"| {right:.0%} | {' | '.join(f'{slope:+.5f}' if abs(slope) > 1e-12 else '0' for slope in found)} |")
    return "\n".join(lines)


# On chains.

MOST = 96
"""Tokens of the longest reply: four attempts."""
TOKENS_AT_FIRST = 45
"""Of a reply of the base."""


@part(gives="curve")
def shortness(trace: Trace) -> Curve:
    """-log of the mean tokens of a held-out reply: a difference of 0.105 is a tenth fewer."""
    return [(spent, -math.log(length)) for spent, length in held_out(trace, name="length")]


@part(gives="number")
def uncut(trace: Trace) -> float:
    """The share of replies that were not cut, over the whole run: a cut one is wrong, and so a price for length."""
    return fmean(r.stop != "length" for groups, _ in trace.steps() for group in groups for r in group.rollouts)


@part(gives="number")
def turns_at_first(trace: Trace) -> float:
    """Turns of a held-out reply, before training."""
    return fmean(len(turns(text) or ()) for one in trace.replies[0] for text in one["texts"])


REINFORCE = MIND_GRPO.but(sampler=Independent(n=8, max_tokens=MOST), update=AdamW(minibatch=8), tasks=16)
SUMMED = REINFORCE.but(
    "mind-grpo-sum",
    idea=("signals.policy.reduce",),
    signals={"policy": REINFORCE.signals["policy"].but(reduce=means("group", "rollout", over("token", TOKENS_AT_FIRST)))},
)
FLAT = Program(
    "mind-flat", (Stage("flat", IMITATE, steps(60), task="attempts:style=flat", pace=10.0), Stage("reinforce", REINFORCE, rest()))
)
SHARED: dict[str, Any] = {
    "regime": "on chains worked one to three times, at equal decoded positions, from a base some of whose attempts skip an operation",
    "method": "mind",
    "recipe": Recipe(task="attempts", steps=1000, lr=2e-4, checkpoint_every=1000),
    "base": Recipe(method=IMITATE, task="attempts", tasks=64, steps=150, lr=3e-3, max_tokens=MOST, eval_tasks=0, checkpoint_every=150),
    "arms": (
        Arm("mean", REINFORCE),
        Arm("sum", SUMMED, control="a sum over the mean length at first: all tokens of a batch alike, whatever reply they are of"),
        Arm("flat", FLAT, control="the same attempts in one thought with one answer, taught first; then the same mean"),
    ),
    "compare": ("mean", "sum"),
    "checks": (
        Check("groups that hold right and wrong replies: their share over the run", mixed(), "mean", least=0.3),
        Check("most replies are right, so the mean shortens: their share in the first step", right_at_first(), "mean", least=0.5),
        Check("no cap shortens: share of replies that were not cut", uncut(), "mean", least=0.99),
        Check("there is something to leave out: turns of a held-out reply before training", turns_at_first(), "mean", least=1.5),
    ),
    "held_out": HeldOut(tasks=400, samples=4, at=(0.0, 1.0), max_tokens=MOST, replies=True),
    "profiles": {
        "quick": Profile((0,), "60000 decoded", 3, arms=("mean", "sum")),
        "full": Profile((0, 1, 2, 3), "240000 decoded", 10, arms=("mean", "sum")),
        "extended": Profile((0, 1, 2, 3), "240000 decoded", 16),
    },
    "pitfalls": "Later attempts are right more often, so at first both arms learn to make more of them. Equal decoded positions are more "
    "steps for the arm whose replies are shorter. The time to a first answer is the format's gain and not counted.",
}

TOKENS = Claim(
    "mind-tokens",
    mechanism="A mean over each reply's own tokens, instead of their sum over a constant,",
    consequence="lowers the tokens of a held-out reply by a tenth or more (0.105 in logarithms)",
    measure=shortness(),
    threshold=0.105,
    refuted_if="the interval of the paired difference of logarithms lies below 0.105",
    **SHARED,
)

ACCURACY = Claim(
    "mind-accuracy",
    mechanism="A mean over each reply's own tokens, instead of their sum over a constant,",
    consequence="keeps held-out accuracy within 0.02",
    measure=held_out(name="pass@1"),
    threshold=0.02,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.02, 0.02]",
    **SHARED,
)
