"""Parallel-R1 (arXiv:2509.07980): how it could be wrong."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Trace, end_of, held_out
from strop.methods.parallel_r1 import IMITATE, PARALLEL, SEEN, tiered
from strop.recipe import Recipe
from strop.seams.grader import chance
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.update import AdamW
from strop.tasks.forks import PATH, TAGS


@part(
    gives="reward_R",
    formula="""
        right_R = outcome_R > 0
        share_R = sum(right_R and parallel_R > 0, group) / max(sum(right_R, group), 1)
        earned_R = where(step % {window} >= {window} - {bonus} and chance_R < share_R, {more}, 1)
        reward_R = where(right_R, earned_R, -1)
    """,
)
def dealt(
    outcome_R: Tensor, parallel_R: Tensor, chance_R: Tensor, index: Index, step: int, *, window: int = 10, bonus: int = 2, more: float = 1.2
) -> Tensor:
    """`tiered`, with the bonus dealt by chance: to so large a share of a group's right answers as have a block, whichever they are."""
    right_R = outcome_R > 0
    due_G = index.sum((right_R & (parallel_R > 0)).to(outcome_R.dtype), "rollout", "group")
    share_G = due_G / index.sum(right_R.to(outcome_R.dtype), "rollout", "group").clamp_min(1)
    lucky_R = (chance_R < index.spread(share_G, "group", "rollout")) & (step % window >= window - bonus)
    return torch.where(right_R, torch.where(lucky_R, more, 1.0), -1.0).to(outcome_R.dtype)


@part(gives="number")
def mixed(trace: Trace, *, window: int = 10, bonus: int = 2) -> float:
    """Of the groups with right answers in steps that pay the bonus, the share in which some have a block and some have none."""
    found = list[bool]()
    for line, (groups, scores) in zip(trace.lines, trace.steps(), strict=True):
        for group in groups if line["step"] % window >= window - bonus else ():
            right = [(scores.get(r, "parallel") or 0.0) > 0 for r in group.rollouts if scores.get(r, "outcome") == 1]
            found += [len(set(right)) > 1] if right else []
    return fmean(found)


@part(gives="number")
def paths_differ(trace: Trace) -> float:
    """Of all blocks, the share whose paths are not one text."""
    found = [len(set(PATH.findall(block))) > 1 for block in blocks_of(trace)]
    return fmean(found) if found else 0.0


def blocks_of(trace: Trace) -> list[str]:
    return [
        piece.partition(TAGS.block[1])[0]
        for groups, scores in trace.steps()
        for g in groups
        for r in g.rollouts
        if (scores.get(r, "parallel") or 0.0) > 0
        for piece in r.text.split(TAGS.block[0])[1:]
    ]


SAMPLED = PARALLEL.but(
    "parallel-threads",
    idea=("sampler",),
    sampler=replace(SEEN, rows="threads", max_tokens=72, path_tokens=26),
    update=AdamW(minibatch=8),
    tasks=16,
)

SHARE = Claim(
    "parallel-r1-share",
    mechanism="A bonus for right answers with a block, in two of every ten steps,",
    consequence="keeps the share of replies that fork higher by 0.1 or more than the same bonus for right answers picked by chance",
    regime="on chains with a gap, at equal decoded positions, from a base that was taught to fork in half of its replies",
    method="parallel-r1",
    recipe=Recipe(task="forks", steps=1000, lr=5e-5, checkpoint_every=1000),
    base=Recipe(method=IMITATE, task="forks", tasks=64, steps=160, lr=3e-3, max_tokens=72, eval_tasks=0, checkpoint_every=160),
    arms=(
        Arm("bonus", SAMPLED.but("parallel-threads-bonus", idea=("reward",), reward=tiered())),
        Arm(
            "dealt",
            SAMPLED.but("parallel-threads-dealt", idea=("reward", "graders"), reward=dealt(), graders=(chance(),)),
            control="the same bonus in the same steps, for as large a share of the right answers of each group, picked by chance",
        ),
        Arm("verdict", SAMPLED, control="no bonus"),
    ),
    compare=("bonus", "dealt"),
    measure=held_out(name="forked"),
    threshold=0.1,
    refuted_if="the interval of the paired difference lies below 0.1",
    held_out=HeldOut(tasks=200, samples=4, at=(0.0, 1.0), max_tokens=72, sampler=SAMPLED.sampler),
    profiles={
        "quick": Profile((0,), "80000 decoded", 3, arms=("bonus", "dealt")),
        "full": Profile((0, 1, 2, 3), "400000 decoded", 12, arms=("bonus", "dealt")),
        "extended": Profile((0, 1, 2, 3), "400000 decoded", 17),
    },
    checks=(
        Check(
            "the bonus is felt: of the groups it is paid in, those whose right answers do not all fork or all not",
            mixed(),
            "bonus",
            least=0.2,
        ),
        Check("paths are tries of their own: blocks whose paths differ", paths_differ(), "bonus", least=0.5),
        Check("replies are right: held-out accuracy at the end", end_of(measure=held_out(name="pass@1")), "bonus", least=0.4),
    ),
)
