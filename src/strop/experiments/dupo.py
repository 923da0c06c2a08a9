"""DUPO (arXiv:2509.13305): how it could be wrong."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace, end_of, mean_so_far
from strop.method import Method
from strop.methods.dupo import DUPO
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.credit import group_centered
from strop.seams.gate import DropFlat
from strop.seams.objective import clipped_surrogate
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal
from strop.seams.update import AdamW


@cache
def hard() -> Any:
    from strop.lab.tabular import Table

    return Table(tasks=64, vocab=5, length=3, share=0.08)


def tables(recipe: Recipe, directory: Path) -> dict[str, Any]:
    """64 tasks in each of which 8 of a hundred words of up to three letters are right: at first most groups of eight agree."""
    from strop.lab.tabular import TabularPolicy, engine

    return {"policy": TabularPolicy(hard().tasks, hard().language, seed=recipe.seed), "source": hard(), "engine": engine}


@part(gives="curve")
def pass_rate(trace: Trace) -> Curve:
    """The exact pass rate, by enumeration, at the checkpoints that were kept."""
    from strop.lab.tabular import TabularPolicy

    policy, curve = TabularPolicy(hard().tasks, hard().language), Curve()
    for step, checkpoint in trace.checkpoints.items():
        policy.restore(checkpoint)
        rates = policy.rates(hard())
        curve.append((float(trace.spent[step - 1]), sum(rates) / len(rates)))
    return curve


@part(gives="number")
def flat(trace: Trace) -> float:
    """Share of sampled groups whose rewards agree, over the whole run."""
    return 1 - sum(line["spread"] for line in trace.lines) / len(trace.lines)


def on_tables(name: str, *gate: Any, minibatch: int | None = None, pieces: int | None = None) -> Method:
    """Slopes that keep their size: an optimiser that divides by it would hide how much a group weighs."""
    made = AdamW(lr=30.0, eps=1.0, clip_norm=None, minibatch=minibatch, pieces=pieces)
    loss = Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), means("token"))
    return GRPO.but(name, gate=gate, credit=(group_centered(),), signals={"policy": loss}, update=made)


TIE = Claim(
    "dupo-tie",
    mechanism="Filling a step with copies of the groups that differ",
    consequence="reaches the same exact pass rate as leaving the others out and making as many updates, within 0.01",
    regime="on 64 tables, at equal rollouts",
    method=DUPO.name,
    recipe=Recipe(task="table", model="table", tasks=32, group=8, max_tokens=3, steps=10_000, checkpoint_every=10),
    arms=(
        Arm("dupo", on_tables("dupo-table", *DUPO.gate, minibatch=8)),
        Arm(
            "drop",
            on_tables("drop-table", DropFlat(of="outcome"), pieces=4),
            control="nothing is copied: what is left, in as many updates",
        ),
        Arm("keep", on_tables("keep-table", minibatch=8), control="groups that agree stay in the denominator"),
        Arm("fewer", on_tables("fewer-table", DropFlat(of="outcome"), minibatch=8), control="nothing is copied, and fewer updates follow"),
        Arm("refill", on_tables("refill-table", DropFlat(refill=2, of="outcome"), minibatch=8), control="further sampling, on the bill"),
    ),
    compare=("dupo", "drop"),
    measure=pass_rate(),
    threshold=0.01,
    tie=True,
    refuted_if="the interval of the paired difference lies outside of [-0.01, 0.01]",
    profiles={
        "quick": Profile((0, 1), "20000 decoded", 1, arms=("dupo", "drop")),
        "full": Profile(tuple(range(8)), "50000 decoded", 7),
    },
    checks=(
        Check("groups agree: their share of those sampled", flat(), "dupo", least=0.3),
        Check("their places are filled: copies a step", end_of(measure=mean_so_far(name="copies")), "dupo", least=5),
        Check("as many updates are made without copies", end_of(measure=mean_so_far(name="updates")), "drop", least=3.8),
    ),
    world=tables,
)
