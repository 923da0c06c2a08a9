"""FlowRL (arXiv:2509.15207): match a whole distribution of answers instead of climbing to the best one.

The target is the reference, tilted by the reward: pi(y|x) = reference(y|x) exp(beta * r) / Z(x). A small head learns log Z, and
trajectory balance squares what is left of the equation:

    gap  = log Z(x) + mean log pi(y|x) - beta * r - mean log reference(y|x)       means over the answer's tokens
    loss = w * gap^2                                                              w = detached pi / pi_old of the whole answer

r is the reward normalised in its group (sample deviation), so the target moves with the policy. On fresh rollouts the slope is that of
a policy gradient with advantage beta * r - log Z - mean log(pi / reference): KL in the reward with a learned baseline. Groups whose
rewards agree still pull towards the reference, where GRPO is silent.

Against GRPO: the objective, the head, the frozen reference, sixteen updates a batch as in the paper's mathematics runs. The paper clips
w to [0.8, 1.2]; its code computes that clip and then leaves w as it is (`low=None, high=None`), a later version caps it at 10 (`low=None,
high=10`). Tokens are averaged in the gap and summed in w, in the paper as in the code. Left out: the head's dropout of 0.1, under
which a loss depends on how a batch is cut, and a loss scale of the code that depends on the number of micro-batches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out_when
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.credit import group_centered, group_normalized, kl_in_outcome, reward_itself
from strop.seams.head import Head
from strop.seams.index import Index
from strop.seams.objective import policy_gradient
from strop.seams.part import Part, part
from strop.seams.reduction import Level, means, sum_over
from strop.seams.signal import Signal, linear
from strop.seams.update import AdamW


def _weight_formula(low: float | None, high: float | None) -> str:
    ratio = "exp(sum(logp_T - old_logp_T, rollout))"
    ratio = ratio if high is None else f"min({ratio}, {{high}})"
    return f"w_R = detach({ratio if low is None else f'max({ratio}, {{low}})'})"


def _gap_formula(length: str) -> str:
    if length not in ("mean", "sum"):
        raise ValueError(f"unknown length {length!r}; use mean (each token counts by the answer's length) or sum")
    return f"{length}(logp_T - reference_logp_T, rollout) - {{beta}} * mean(credit_T, rollout)"


def _balance_formula(*, low: float | None, high: float | None, length: str, **_: float) -> str:
    return f"gap_R = logz_R + {_gap_formula(length)}\n{_weight_formula(low, high)}\nloss_R = mean(weight_T, rollout) * w_R * gap_R ** 2"


@part(grain="rollout", needs=("reference", "clip"), formula=_balance_formula)
def trajectory_balance(
    logp_T: Tensor,
    old_logp_T: Tensor,
    reference_logp_T: Tensor,
    logz_R: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    index: Index,
    *,
    beta: float = 15.0,
    low: float | None = 0.8,
    high: float | None = 1.2,
    length: str = "mean",
) -> Tensor:
    """w * (log Z + log(pi / reference) - beta * credit)^2, one per rollout; zero everywhere exactly at the tilted reference.

    w is the rollout's detached ratio of now to old, kept within `low` and `high`. With `length="sum"` nothing is divided by the
    answer's length, and the fixed point is reference * exp(beta * credit) / Z; with `mean`, longer answers are tilted harder.
    """
    gap_R = logz_R + _gap(logp_T, reference_logp_T, credit_T, index, beta, length)
    return index.mean(weight_T, "token", "rollout") * _weight(logp_T, old_logp_T, index, low, high) * gap_R.square()


def _group_formula(*, low: float | None, high: float | None, length: str, **_: float) -> str:
    return (
        f"gap_R = {_gap_formula(length)}\n{_weight_formula(low, high)}\nlogz_G = -detach(mean(gap_R, group, active(rollout)))\n"
        "loss_G = mean(mean(weight_T, rollout) * w_R * (gap_R + logz_G) ** 2, group, active(rollout))"
    )


@part(grain="group", needs=("group", "reference", "clip"), formula=_group_formula)
def group_balance(
    logp_T: Tensor,
    old_logp_T: Tensor,
    reference_logp_T: Tensor,
    credit_T: Tensor,
    weight_T: Tensor,
    index: Index,
    *,
    beta: float = 15.0,
    low: float | None = 0.8,
    high: float | None = 1.2,
    length: str = "mean",
) -> Tensor:
    """As `trajectory_balance`, but log Z is what the group's own rollouts say of it: their mean gap (VarGrad, arXiv:2010.10436).

    No head has to learn, so the baseline is right from the first update on, up to the noise of a group.
    """
    gap_R = _gap(logp_T, reference_logp_T, credit_T, index, beta, length)
    active_R = index.active("rollout").to(gap_R.dtype)
    count_G = index.sum(active_R, "rollout", "group").clamp_min(1)
    logz_G = -(index.sum(active_R * gap_R, "rollout", "group") / count_G).detach()
    square_R = _weight(logp_T, old_logp_T, index, low, high) * (gap_R + index.spread(logz_G, "group", "rollout")).square()
    return index.sum(active_R * index.mean(weight_T, "token", "rollout") * square_R, "rollout", "group") / count_G


def _gap(logp_T: Tensor, reference_logp_T: Tensor, credit_T: Tensor, index: Index, beta: float, length: str) -> Tensor:
    over = index.mean if length == "mean" else index.sum
    return over(logp_T - reference_logp_T, "token", "rollout") - beta * index.mean(credit_T, "token", "rollout")


def _weight(logp_T: Tensor, old_logp_T: Tensor, index: Index, low: float | None, high: float | None) -> Tensor:
    ratio_R = index.sum(logp_T - old_logp_T, "token", "rollout").exp().detach()
    return ratio_R if low is None and high is None else ratio_R.clamp(low, high)


FLOWRL = GRPO.but(
    "flowrl",
    paper="2509.15207",
    idea=("heads", "signals.policy"),
    heads=(Head("logz", per="prompt", net="mlp"),),
    reference=True,
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(trajectory_balance(), means("rollout"))},
    update=AdamW(lr=1e-6, weight_decay=0.1, minibatch=2),
)


def released(form: str, high: float | None) -> Method:
    """With the weight of a released form, which is never raised."""
    objective = trajectory_balance(low=None, high=high)
    return FLOWRL.but(f"flowrl-{form}", signals={"policy": FLOWRL.signals["policy"].but(objective=objective)})


FORMS = {"paper": FLOWRL, "code": released("code", None), "capped": released("capped", 10.0)}


# How it could be wrong.

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
def end_of(trace: Trace, *, measure: Part) -> float:
    """Where a curve ends."""
    return measure.on({"trace": trace})[-1][1]


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
