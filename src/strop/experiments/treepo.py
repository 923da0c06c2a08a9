"""TreePO (arXiv:2508.17445): how it could be wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log
from statistics import fmean
from typing import Any

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.methods.grpo import GRPO
from strop.methods.treepo import TREEPO
from strop.recipe import Recipe
from strop.seams.credit import batch_whiten, group_centered, nested_centered
from strop.seams.gate import DropFlat
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.tree import SegmentTree, least, unique


@part(gives="curve")
def log_cost(trace: Trace) -> Curve:
    """Log of the positions decoded per rollout, all steps so far: a difference of 0.22 is a fifth, of 0.36 three tenths."""
    rollouts, curve = 0, Curve()
    for spent, line in zip(trace.spent, trace.lines, strict=True):
        rollouts += line["rollouts"]
        curve.append((float(spent), log(line["bill"]["decoded"] / rollouts)))
    return curve


@part(gives="curve")
def solved(trace: Trace) -> Curve:
    """Share of the tasks so far that one of their rollouts solved: pass at the width."""
    right, curve = list[bool](), Curve()
    for spent, (groups, scores) in zip(trace.spent, trace.steps(), strict=True):
        right += [any(scores.get(r, "outcome") == 1 for r in group.rollouts) for group in groups]
        curve.append((float(spent), sum(right) / len(right)))
    return curve


@part(gives="number")
def segments_per_leaf(trace: Trace) -> float:
    return fmean(len(r.keys["nested"]) for groups, _ in trace.steps() for group in groups for r in group.rollouts)


@part(gives="number")
def shared_leaves(trace: Trace) -> float:
    """Share of the leaves that share an ancestor below the prompt: for the others credit has one depth."""
    shared: list[bool] = []
    for group in (group for groups, _ in trace.steps() for group in groups):
        under = Counter(r.keys["nested"][0] for r in group.rollouts)
        shared += [under[r.keys["nested"][0]] > 1 for r in group.rollouts]
    return fmean(shared)


def saved(trace: Trace, segment: int, branching: int) -> tuple[int, int, int]:
    """Positions of all leaves, of them what forking saved, and what arithmetic allows it to save for these very lengths."""
    held = saved = possible = 0
    for group in (group for groups, _ in trace.steps() for group in groups):
        lengths = [r.length for r in group.rollouts]
        held += sum(lengths)
        saved += sum(lengths) - unique(group)
        possible += sum(lengths) - least(lengths, segment, branching)
    return held, saved, possible


@part(gives="number")
def share_of_bound(trace: Trace, *, segment: int = 8, branching: int = 2) -> float:
    """What forking saved of the leaves' own lengths, by what arithmetic allows."""
    _, done, possible = saved(trace, segment, branching)
    return done / possible


@part(gives="number")
def arithmetic_bound(trace: Trace, *, segment: int = 8, branching: int = 2) -> float:
    """The largest share of the leaves' positions that forking can save."""
    held, _, possible = saved(trace, segment, branching)
    return possible / held


@part(gives="number")
def difference_of_credits(trace: Trace) -> float:
    """1 - correlation of a leaf's credit over all its depths with that over its group alone; near 0 they are one method."""
    import torch

    from strop.batch import pack

    pairs: list[torch.Tensor] = []
    for groups, scores in trace.steps():
        batch = pack(groups, {}, {r.id: scores.get(r, "outcome") or 0.0 for g in groups for r in g.rollouts}, 0)
        reward_R, nested_RD = batch.facts["reward_R"], batch.facts["nested_RD"]
        pairs.append(torch.stack([nested_centered(reward_R, nested_RD, batch.index), group_centered(reward_R, batch.index)]))
    return 1 - torch.corrcoef(torch.cat(pairs, 1))[0, 1].item()


TREE, ALONE = SegmentTree(width=16, depth=6, segment=8), Independent(n=16, max_tokens=48)
GROWN = Check("paths are long enough to share: segments a leaf", segments_per_leaf(), "treepo", least=4.0)
SHARED_CHECK = Check("leaves share more than the prompt: share of those that do", shared_leaves(), "treepo", least=0.5)


STILL: dict[str, Any] = {
    "regime": "on four-step chains whose written answers span five or six segments of 8 tokens, with weights that stand still",
    "method": "treepo",
    "recipe": Recipe(task="chain", tasks=16, lr=0.0, steps=1000, checkpoint_every=1000),
    "base": Recipe(task="chain", tasks=16, group=8, max_tokens=64, steps=12, eval_tasks=0, checkpoint_every=12),
    "arms": (
        Arm("treepo", TREEPO.but("treepo-still", sampler=TREE, gate=(DropFlat(),))),
        Arm(
            "sequential",
            TREEPO.but("sequential-still", sampler=ALONE, credit=(group_centered(), batch_whiten()), gate=(DropFlat(),)),
            control="the same tasks and weights, sixteen replies that know nothing of each other",
        ),
    ),
    "checks": (
        replace(GROWN, least=5.0),
        SHARED_CHECK,
        Check("there is something to save: the bound for these lengths, as a share of them", arithmetic_bound(), "treepo", least=0.2),
        Check("most of what arithmetic allows is saved: share of the bound for these lengths", share_of_bound(), "treepo", least=0.75),
    ),
}
SAVING = Claim(
    "treepo-saving",
    mechanism="Forking sixteen rollouts from shared segments",
    consequence="saves three tenths or more of the positions decoded per rollout (a log ratio of 0.357) against independent sampling",
    compare=("sequential", "treepo"),
    measure=log_cost(),
    threshold=0.357,
    refuted_if="the interval of the paired log ratio lies below 0.357",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="600 prefilled", minutes=2),
        "full": Profile(seeds=(2, 3, 4, 5, 6), budget="2400 prefilled", minutes=12),
    },
    pilot=(0.5576, 0.5565, 0.553),  # strop claim run treepo-saving --profile pilot
    pitfalls="The budget is prefilled positions: both arms read the same prompts, and differ in what they decode for them.",
    **STILL,
)
COVERAGE = Claim(
    "treepo-coverage",
    mechanism="Forking sixteen rollouts from shared segments",
    consequence="keeps the share of tasks that one of them solves (pass@16) no more than three points below independent sampling's",
    compare=("treepo", "sequential"),
    measure=solved(),
    threshold=-0.03,
    refuted_if="the interval of the paired difference lies below -0.03",
    profiles=SAVING.profiles,
    pitfalls=SAVING.pitfalls,
    **STILL,
)

LEARNERS: dict[str, Any] = {
    "regime": "on four-step chains with a base that writes its work in a third of its replies, at equal decoded positions",
    "method": "treepo",
    "recipe": Recipe(task="chain", tasks=8, steps=1000, checkpoint_every=50),
    "arms": (
        Arm("treepo", TREEPO.but("treepo-chain", sampler=TREE, update=GRPO.update, tasks=8)),
        Arm(
            "root-only",
            TREEPO.but("treepo-root-only", sampler=TREE, update=GRPO.update, credit=(group_centered(), batch_whiten())),
            control="the same trees, each leaf against its whole group alone",
        ),
        Arm(
            "sequential",
            TREEPO.but("treepo-sequential", sampler=ALONE, update=GRPO.update, credit=(group_centered(), batch_whiten())),
            control="independent replies, with the same filter, whitening and loss",
        ),
    ),
    "checks": (
        SHARED_CHECK,
        Check("the two credits differ: 1 - their correlation", difference_of_credits(), "treepo", least=0.02),
    ),
    "held_out": HeldOut(tasks=200, samples=4, at=(0.0, 0.5, 1.0), max_tokens=48),
    "profiles": {
        "quick": Profile(seeds=(0, 1), budget="12000 decoded", minutes=3, arms=("treepo", "root-only", "sequential")),
        "full": Profile(seeds=(1, 2, 3, 4, 5), budget="60000 decoded", minutes=15),
    },
}
LEARNING = Claim(
    "treepo-learning",
    mechanism="Growing rollouts as trees and judging each against everyone it shares a beginning with",
    consequence="raises held-out accuracy over independent rollouts",
    compare=("treepo", "sequential"),
    measure=held_out(name="mean"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0",
    **LEARNERS,
)
CREDIT = Claim(
    "treepo-credit",
    mechanism="Judging a leaf against its sub-groups and not against its group alone",
    consequence="raises held-out accuracy",
    compare=("treepo", "root-only"),
    measure=held_out(name="mean"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: the whole group is the better baseline",
    **LEARNERS,
)
