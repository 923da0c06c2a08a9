"""Cascade RL (arXiv:2508.18265): how it could be wrong."""

from __future__ import annotations

from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, held_out
from strop.method import Method
from strop.methods.cascade import COLLECT, MPO, WIDE_GSPO
from strop.methods.rft import RFT
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, share
from strop.recipe import Recipe
from strop.seams.part import part
from strop.seams.recorded import Earlier, correctness_pairs, right_ones
from strop.seams.sampler import Independent
from strop.seams.signal import teacher
from strop.seams.update import AdamW

REINFORCE = WIDE_GSPO.but(sampler=Independent(n=8, max_tokens=32), update=AdamW(minibatch=8), tasks=16)
SAMPLE = COLLECT.but(sampler=Independent(n=8, max_tokens=32))
PREFER = MPO.but("mpo-on-own", idea=("feed",), feed=Earlier("collect", correctness_pairs(most=15)))
IMITATE = RFT.but(
    "rft-on-own",
    idea=("feed",),
    feed=Earlier("collect", right_ones()),
    signals={"teacher": RFT.signals["teacher"].but(on=teacher)},
)


def cascade(name: str, middle: Method) -> Program:
    """A seventh of the budget to sample, a fifth to learn from what was sampled, the rest to reinforce."""
    stages = (Stage("collect", SAMPLE, share(0.15)), Stage("prefer", middle, share(0.2), pace=0.2), Stage("reinforce", REINFORCE, rest()))
    return Program(name, stages)


@part(gives="number")
def learned_pairs(trace: Trace) -> float:
    """Pairs that the middle stage learned from."""
    return sum(line["pairs"]["count"] for line in trace.lines if "pairs" in line)


@part(gives="number")
def margin_grew(trace: Trace) -> float:
    """Nats by which right texts lie above wrong ones in the last third of the middle stage, over where they began."""
    margins = [line["pairs"]["margin"] for line in trace.lines if "pairs" in line]
    return fmean(margins[-max(len(margins) // 3, 1) :])


@part(gives="number")
def spread_at_start(trace: Trace) -> float:
    """Share of groups whose rewards differ, in the first step of the last stage."""
    last = trace.lines[-1]["stage"]
    return next(line["spread"] for line in trace.lines if line["stage"] == last)


ACCURACY = Claim(
    "cascade-accuracy",
    mechanism="Preferring right texts to wrong ones before reinforcement",
    consequence="raises held-out accuracy at the end over imitating the same right texts alone",
    regime="on countdown at equal positions, sampling of the pairs on the bill",
    method="cascade",
    recipe=Recipe(task="countdown", steps=1000, lr=3e-4, checkpoint_every=1000),
    base=Recipe(method=SFT, task="countdown", tasks=64, steps=10, lr=3e-4, max_tokens=32, eval_tasks=0, checkpoint_every=10),
    arms=(
        Arm("cascade", cascade("cascade-countdown", PREFER)),
        Arm("imitate", cascade("imitate-countdown", IMITATE), control="the same right texts, without the wrong ones"),
        Arm("reinforce", REINFORCE, control="no stage before: the whole budget is reinforcement"),
    ),
    compare=("cascade", "imitate"),
    measure=held_out(name="pass@1"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: imitation alone ends higher",
    profiles={
        "quick": Profile((0, 1), "350000", 3, arms=("cascade", "imitate")),
        "full": Profile((0, 1, 2, 3), "450000", 11),
    },
    checks=(
        Check("pairs were learned from", learned_pairs(), "cascade", least=300),
        Check("and their margin grew, in nats", margin_grew(), "cascade", least=0.1),
        Check("reinforcement begins with groups that differ: their share", spread_at_start(), "cascade", least=0.5),
    ),
    pilot=(0.0275, 0.0713, 0.0584),
    held_out=HeldOut(tasks=400, samples=4, at=(0.0, 1.0), max_tokens=32),
    pitfalls="With a clip of 0.2 a ratio that is a geometric mean is almost never clipped: this says nothing of GSPO's clip.",
)
