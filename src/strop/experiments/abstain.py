"""Confidence targets (arXiv:2509.04664): how it could be wrong."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.methods.abstain import ABSTAIN
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.seams.part import part
from strop.seams.reward import outcome


@part(gives="reward_R", formula="reward_R = outcome_R - (1 - outcome_R - abstained_R) * {target} / (1 - {target})")
def hidden_target(outcome_R: Tensor, abstained_R: Tensor, *, target: float = 0.75) -> Tensor:
    """One penalty for all, which the question does not tell."""
    return outcome_R - (1 - outcome_R - abstained_R) * target / (1 - target)


@part(gives="curve")
def coverage_fall(trace: Trace, *, low: float = 0.0, high: float = 0.9) -> Curve:
    """How much less often it answers held-out questions at the high target than at the low one."""
    return [(e["spent"], at(e, low)["coverage"] - at(e, high)["coverage"]) for e in trace.held_out]


@part(gives="curve")
def mean_score(trace: Trace) -> Curve:
    """The score by the targets' own rule, over all held-out questions; every target counts alike."""
    return [(e["spent"], sum(line["score"] for line in e["targets"]) / len(e["targets"])) for e in trace.held_out]


def at(evaluation: dict[str, Any], target: float) -> dict[str, Any]:
    return next(line for line in evaluation["targets"] if abs(line["target"] - target) < 1e-6)


@part(gives="number")
def thinnest_bin(trace: Trace) -> float:
    """The smallest share of held-out people in a bin of the base's confidence from 0.3 up: without graded knowledge no target matters."""
    from strop.calibration import beliefs, reliability
    from strop.directory import read_about
    from strop.evaluate import HELD_OUT_SEED
    from strop.policies.causal import load
    from strop.tasks import source

    asked = read_about(trace.directory)["recipe"]
    facts = source(asked["task"])
    people = {task.id: task for task in (facts.task("test", HELD_OUT_SEED, i) for i in range(2000))}
    found = beliefs(load(asked["model"]), facts, list(people.values()))
    return min(bin["share"] for bin in reliability(found)[1:])


@part(gives="number")
def base_fall(trace: Trace) -> float:
    """The fall of coverage before any update: a base that overlooks t gives the reward nothing to take hold of."""
    return coverage_fall(trace)[0][1]


@part(gives="number")
def from_constant(trace: Trace) -> float:
    """Standard errors between its score and the nearer of always and never answering, each at the target that tells them apart most."""
    first, last = trace.held_out[0], trace.held_out[-1]
    right = sum(line["coverage"] - line["error"] for line in first["targets"]) / sum(line["coverage"] for line in first["targets"])
    always, never = [], []
    for line in last["targets"]:
        worth = right - (1 - right) * line["target"] / (1 - line["target"])
        always.append(abs(line["score"] - worth) / max(line["score_error"], 1e-9))
        never.append(abs(line["score"]) / max(line["score_error"], 1e-9))
    return min(max(always), max(never))


ARMS = (
    Arm("abstain", ABSTAIN),
    Arm(
        "hidden",
        ABSTAIN.but("abstain-hidden", reward=hidden_target(target=0.75)),
        control="one penalty, that of t = 0.75, whatever the question says",
    ),
    Arm("binary", ABSTAIN.but("abstain-binary", reward=outcome), control="right or not: an abstention earns what an error earns"),
)
SHARED: dict[str, Any] = {
    "regime": "on held-out people of whom a base of 0.8M parameters read up to six unreliable mentions, at equal decoded positions",
    "method": "abstain",
    "recipe": Recipe(task="facts:people=400", tasks=32, group=8, max_tokens=6, lr=3e-4, steps=1000, checkpoint_every=100),
    "base": Recipe(method=SFT, task="mentions:people=400", tasks=32, lr=3e-3, steps=1100, eval_tasks=0, checkpoint_every=100),
    "arms": ARMS,
    "compare": ("abstain", "hidden"),
    "checks": (
        Check("knowledge is graded: people in the thinnest bin of the base's confidence", thinnest_bin(), "abstain", least=0.08),
        Check("the base reads t: its coverage falls a little already", base_fall(), "abstain", least=0.1),
        Check("standard errors from a policy that always or never answers", from_constant(), "abstain", least=2.0),
    ),
    "held_out": HeldOut(tasks=1200, samples=4, at=(0.0, 0.5, 1.0), max_tokens=6),
    "profiles": {
        "quick": Profile(seeds=(0, 1), budget="40000 decoded", minutes=3, arms=("abstain", "hidden")),
        "full": Profile(seeds=(4, 5, 6, 7), budget="70000 decoded", minutes=14),
    },
    "pitfalls": "The hidden arm sees the same questions, with t in them: only its reward does not follow. The base was shown more "
    "abstentions under high targets, whoever was asked about, so its own coverage falls too: what counts is the difference.",
}

COVERAGE = Claim(
    "abstain-coverage",
    mechanism="Paying for errors by the confidence target that the question states, instead of by one that it does not,",
    consequence="raises by 0.3 or more the fall of coverage from t = 0 to t = 0.9",
    measure=coverage_fall(low=0.0, high=0.9),
    threshold=0.3,
    refuted_if="the interval of the paired difference lies below 0.3",
    pilot=(0.8629, 0.8645, 0.9546),  # strop claim run abstain-coverage --profile pilot
    **SHARED,
)

SCORE = Claim(
    "abstain-score",
    mechanism="Paying for errors by the confidence target that the question states, instead of by one that it does not,",
    consequence="raises the mean score over five targets, one of them never trained",
    measure=mean_score(),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: one penalty for all serves the targets' own rules as well",
    **SHARED,
)
