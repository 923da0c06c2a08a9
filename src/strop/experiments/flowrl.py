"""FlowRL (arXiv:2509.15207): how it could be wrong."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, end_of, held_out_when
from strop.method import Method
from strop.methods.flowrl import FLOWRL, group_balance, trajectory_balance
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.credit import group_centered, group_normalized, kl_in_outcome, reward_itself
from strop.seams.head import Head
from strop.seams.objective import policy_gradient
from strop.seams.part import Part, part
from strop.seams.reduction import Level, means, sum_over
from strop.seams.signal import Signal, linear
from strop.seams.update import AdamW

TILT = 6.0
"""beta of the tables: the modes hold 84 % of the tilted reference, 1.3 % of the reference itself."""


@cache
def modes() -> Any:
    from strop.lab.tabular import Modes

    return Modes(tasks=1, vocab=9, length=4)


def tables(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """One task over words of up to four of eight letters, three balls of them right; every letter and the end equally likely at first."""
    from strop.lab.tabular import TabularPolicy, engine

    return {"policy": TabularPolicy(1, modes().language, spread=0.0), "source": modes(), "engine": engine}


def tilted_and_reached(checkpoint: Path) -> tuple[Tensor, Tensor]:
    """Exact log-probabilities of all words: the reference tilted by exp(beta * reward), and a checkpoint's."""
    from safetensors.torch import load_file

    logits_PV = load_file(checkpoint / "table.safetensors")["logits"][0]
    reference_N = modes().language.logp_N(torch.zeros_like(logits_PV))
    return (reference_N + TILT * modes().reward_SN[0]).log_softmax(0), modes().language.logp_N(logits_PV)


@part(gives="curve")
def log_kl(trace: Trace) -> Curve:
    """log of KL(policy || tilted reference), by enumeration, at the checkpoints that were kept."""
    curve = Curve()
    for step, checkpoint in trace.checkpoints.items():
        tilted_N, reached_N = tilted_and_reached(checkpoint)
        curve.append((float(trace.spent[step - 1]), float((reached_N.exp() * (reached_N - tilted_N)).sum().log())))
    return curve


@part(gives="number")
def covered(trace: Trace) -> float:
    """Modes that hold at least half of what they hold in the tilted reference, at the end."""
    tilted_N, reached_N = tilted_and_reached(trace.checkpoints[max(trace.checkpoints)])
    return float(sum(bool(reached_N[ball].exp().sum() >= tilted_N[ball].exp().sum() / 2) for ball in modes().balls(0)))


@part(gives="number")
def head_moved(trace: Trace, *, name: str) -> float:
    """The furthest that the head's mean got from where it was at the first update."""
    seen = [line["heads"][name] for line in trace.lines]
    return max(abs(value - seen[0]) for value in seen)


def on_tables(name: str, credit: tuple[Part, ...], objective: Part, *levels: str | Level, weight: float = 1.0, **changes: Any) -> Method:
    """One update a batch, slopes of one size for all arms, a step that falls to nothing."""
    update = AdamW(lr=0.1, eps=1e-4, clip_norm=None, schedule=linear())
    return GRPO.but(name, credit=credit, signals={"policy": Signal(objective, means(*levels), weight=weight)}, update=update, **changes)


SCALAR = (Head("logz", per="prompt", step=2.0),)
RAW: dict[str, Any] = {"beta": TILT, "low": None, "high": None, "length": "sum"}
HALF = 1 / (2 * TILT)
"""With it the slope of the squared gap is the policy gradient's."""
CLIMB = (policy_gradient(), "rollout", sum_over("token"))
TIE = Claim(
    "flowrl-tie",
    mechanism="Trajectory balance with a learned log Z",
    consequence="reaches the same exact KL to the tilted reference as a policy gradient with KL in the reward, within a factor of 2",
    regime="on a table of 4681 words with three modes, with the raw reward and no length normalisation, at equal decoded positions",
    method="flowrl",
    recipe=Recipe(task="modes", model="table", tasks=1, group=256, max_tokens=4, steps=2000, checkpoint_every=100),
    arms=(
        Arm(
            "flowrl",
            on_tables("flowrl-raw", (reward_itself(),), trajectory_balance(**RAW), "rollout", weight=HALF, reference=True, heads=SCALAR),
        ),
        Arm(
            "kl",
            on_tables("kl-in-reward", (kl_in_outcome(coefficient=1 / TILT), group_centered()), *CLIMB, reference=True),
            control="the same optimum by a policy gradient without std, no head",
        ),
        Arm(
            "group",
            on_tables("flowrl-group", (reward_itself(),), group_balance(**RAW), "group", weight=HALF, reference=True),
            control="log Z from the group itself instead of learned",
        ),
        Arm("grpo", on_tables("no-kl", (group_centered(),), *CLIMB), control="no reference: its optimum is another distribution"),
    ),
    compare=("flowrl", "kl"),
    measure=log_kl(),
    threshold=0.693,  # log 2
    tie=True,
    refuted_if="the interval of the paired difference of log KL lies outside of [-log 2, log 2]",
    profiles={"quick": Profile((0, 1), "100000 decoded", 2), "full": Profile(tuple(range(10)), "400000 decoded", 14)},
    checks=(
        Check("the head moved: |log Z| from where it began", head_moved(name="logz"), "flowrl", least=0.3),
        Check("every mode is covered: those that hold half of their share or more", covered(), "flowrl", least=3),
        Check("without KL it ends elsewhere: log KL", end_of(measure=log_kl()), "grpo", least=0.0),
    ),
    world=tables,
    pilot=(0.1505, -0.2473, -0.5504),  # strop claim run flowrl-tie --profile pilot
)


@part(gives="number")
def near(trace: Trace) -> float:
    """Share of rollouts whose raw weight, now / old over the whole answer, lies in [1/2, 2], over all updates."""
    return 1 - sum(line["far"] for line in trace.lines) / len(trace.lines)


@part(gives="number")
def at_first(trace: Trace, *, name: str) -> float:
    """A mean over held-out tasks before training."""
    return trace.held_out[0]["means"][name]


def on_countdown(name: str, credit: tuple[Part, ...], **changes: Any) -> Method:
    return GRPO.but(name, credit=credit, update=FOUR, **changes)


FOUR = AdamW(minibatch=4)
"""All arms alike: four updates a batch, so that weights and clips are felt."""
DIVERSITY = Claim(
    "flowrl-diversity",
    mechanism="Trajectory balance at the paper's beta, instead of climbing on the same normalised reward,",
    consequence="raises the number of different right answers per task, read where held-out accuracy first reaches 0.22,",
    regime="on countdown tasks of two or more solutions with pico, 16 samples of each held-out task, at one learning rate",
    method="flowrl",
    recipe=Recipe(task="countdown:solutions=2", tasks=16, group=8, max_tokens=64, steps=1000, lr=1e-4, checkpoint_every=10),
    arms=(
        Arm("flowrl", FLOWRL.but("flowrl-four", update=FOUR)),
        Arm("grpo", on_countdown("grpo-four", (group_normalized(eps=1e-6),)), control="no reference: the expected reward alone"),
        Arm(
            "kl",
            on_countdown("grpo-kl", (kl_in_outcome(coefficient=0.01), group_normalized(eps=1e-6)), reference=True),
            control="KL in the reward, divided by the group's std with it: no distribution is matched",
        ),
        Arm(
            "kl-centred",
            on_countdown("grpo-kl-centred", (kl_in_outcome(coefficient=0.01), group_centered()), reference=True),
            control="the same without std",
        ),
    ),
    compare=("flowrl", "grpo"),
    measure=held_out_when(name="distinct", other="mean", reaches=0.22),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: at the same accuracy FlowRL's answers are fewer",
    held_out=HeldOut(tasks=200, samples=16, at=(0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0), max_tokens=64),
    profiles={
        "quick": Profile((0, 1), "40000 decoded", 3, arms=("flowrl", "grpo")),
        "full": Profile((0, 1, 2, 3), "300000 decoded", 15, arms=("flowrl", "grpo", "kl")),
        "extended": Profile((0, 1, 2, 3, 4), "600000 decoded", 75),
    },
    checks=(
        Check("the weight is no clamp: rollouts whose raw weight lies in [1/2, 2]", near(), "flowrl", least=0.9),
        Check("the head moved: |log Z| from where it began", head_moved(name="logz"), "flowrl", least=0.05),
        Check("the start has several solutions: distinct right answers per task", at_first(name="distinct"), "flowrl", least=0.5),
    ),
    pitfalls="Distinct answers grow with accuracy, so they are read at one accuracy. Operands in another order and brackets that change "
    "nothing are one answer. The KL arm shows whether matching a distribution adds anything to a penalty: if it does as well, it does not.",
)
