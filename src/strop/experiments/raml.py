"""RaML (arXiv:2505.19815): how it could be wrong."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.lab import probe
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.methods.raml import RAML
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.gate import Gate, TrainOnly
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.update import AdamW


@part(gives="number")
def mixed(trace: Trace) -> float:
    """Share of groups with right and wrong replies, over the run: those that have a credit."""
    found = [len({scores.get(r, "outcome") for r in group.rollouts}) > 1 for groups, scores in trace.steps() for group in groups]
    return fmean(found)


@part(gives="number")
def trained_of_a_group(trace: Trace) -> float:
    """Replies of a group that were trained, over the run."""
    kept = [sum(fate[0] == "keep" for fate in record["fates"].values()) / len(record["groups"]) for record in trace.records()]
    return fmean(kept)


def arm(name: str, tasks: int, *gate: Gate) -> Method:
    sampler = Independent(n=8, max_tokens=48)
    return RAML.but(name, idea=("gate",), sampler=sampler, marks=(), reward=GRPO.reward, gate=gate, update=AdamW(), tasks=tasks)


SUPPORT = Claim(
    "raml-support",
    mechanism="Training all of eight replies to each of 8 questions, instead of one of eight to each of 64,",
    consequence="raises held-out accuracy",
    regime="on countdown from pico, at equal trained positions and as many replies an update",
    method=RAML.name,
    recipe=Recipe(task="countdown", steps=1000, lr=3e-4, checkpoint_every=1000),
    arms=(
        Arm("eight of 8", arm("raml-eight", 8)),
        Arm("one of 64", arm("raml-one", 64, TrainOnly(1)), control="as many gradients, each from a question of its own", random=True),
        Arm("extremes", arm("raml-extremes", 32, TrainOnly(2, "extremes")), control="the best and the worst of each of 32 questions"),
    ),
    compare=("eight of 8", "one of 64"),
    measure=held_out(name="pass@1"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0",
    profiles={
        "quick": Profile((0,), "50000 trained", 2, arms=("eight of 8", "one of 64")),
        "full": Profile(tuple(range(8)), "150000 trained", 12, arms=("eight of 8", "one of 64")),
        "extended": Profile(tuple(range(8)), "150000 trained", 17),
    },
    checks=(
        Check("there is a credit: share of groups with right and wrong replies", mixed(), "one of 64", least=0.3),
        Check("a whole group is trained: replies of it", trained_of_a_group(), "eight of 8", least=8),
    ),
    held_out=HeldOut(tasks=400, samples=4, at=(0.0, 1.0), max_tokens=48),
    selects=True,
    pilot=(0.0335, -0.0549, -0.0375),
    pitfalls="At equal trained positions one of 64 draws eight times as many replies; what is held equal is the gradient's work. The paper "
    "compares at equal drawn replies, where more trained ones are also more gradients.",
)

ASKED = HeldOut(tasks=200, samples=4, at=(1.0,), max_tokens=64, replies=True)
TASK = "chain"
TAUGHT = SFT.but("sft-chain", idea=())


@cache
def tested() -> list[Task]:
    from strop.evaluate import HELD_OUT_SEED
    from strop.tasks import source

    return [source(TASK).task("test", HELD_OUT_SEED, i) for i in range(ASKED.tasks)]


def _chains(trace: Trace) -> list[probe.Chain]:
    """The held-out replies of the trained policy, probed by its last weights; once a run."""
    if trace.directory not in _PROBED:
        _PROBED[trace.directory] = _probed(trace)
    return _PROBED[trace.directory]


_PROBED: dict[Path, list[probe.Chain]] = {}


def _probed(trace: Trace) -> list[probe.Chain]:
    from strop.engines.embedded import EmbeddedEngine
    from strop.policies.causal import load
    from strop.seams.context import Handle
    from strop.seams.source import answer_of
    from strop.tasks import source

    policy = load(str(trace.checkpoints[max(trace.checkpoints)]))
    handle = Handle(EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos), policy.renderer)
    replies: list[probe.Said] = []
    for task, said in zip(tested(), trace.replies[-1], strict=True):
        for text in said["texts"]:
            if "<think></think>" in text or policy.renderer.plain(text) is None:
                continue
            right = source(TASK).grade(task, text)["outcome"] == 1
            given = answer_of(source(TASK), text) or ""
            replies.append(probe.Said(policy.renderer.prompt(task.prompt), text, str(task.needs["answer"]), right, given))
    return asyncio.run(probe.probed(handle, replies))


@part(gives="curve")
def forecast(trace: Trace) -> Curve:
    """AUROC, for a reply that turns out right, of how likely the right answer is before any answer is written."""
    found = probe.forecasts(_chains(trace))
    return [] if found is None else [(float(trace.spent[-1]), found)]


@part(gives="curve")
def length(trace: Trace) -> Curve:
    """AUROC of a reply's tokens for the same, whichever way they point."""
    found = probe.lengths(_chains(trace))
    return [] if found is None else [(float(trace.spent[-1]), found)]


@part(gives="number")
def wrong(trace: Trace) -> float:
    """Share of the replies that are wrong: without some there is nothing to tell apart."""
    return fmean(not chain.said.right for chain in _chains(trace))


@part(gives="number")
def before(trace: Trace) -> float:
    """Share of a reply's tokens that the last beginning without an answer holds."""
    return fmean(max(at for at, held in zip(c.at, c.held, strict=True) if not held) / c.count for c in _chains(trace))


FORECAST = Claim(
    "raml-forecast",
    mechanism="How likely the right answer is after the last beginning of a reply that holds no answer yet",
    consequence="raises the AUROC for a right reply by 0.1 or more over the reply's length",
    regime="on chains, with the work of a policy that was taught it and still slips",
    method=RAML.name,
    recipe=Recipe(task=TASK, steps=1000, lr=1e-3, checkpoint_every=1000),
    arms=(
        Arm("forecast", TAUGHT, reads=forecast()),
        Arm("length", TAUGHT, control="how long the reply is, of the same runs", reads=length()),
    ),
    compare=("forecast", "length"),
    measure=forecast(),
    threshold=0.1,
    refuted_if="the interval of the paired difference lies below 0.1",
    profiles={
        "quick": Profile((0,), "100000 trained", 1),
        "full": Profile((0, 1, 2, 3), "100000 trained", 2),
    },
    checks=(
        Check("there is something to tell apart: share of wrong replies", wrong(), "forecast", least=0.1),
        Check("it is a forecast: share of the reply before it", before(), "forecast", least=0.1),
    ),
    held_out=ASKED,
    pitfalls="The right answer must be known to ask for it, so this judges replies and chooses none.",
)
