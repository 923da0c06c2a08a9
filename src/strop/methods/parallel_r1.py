"""Parallel-R1 (arXiv:2509.07980): a reply that forks where it opens a block, taught by example, kept alive by a bonus.

    imitate     worked texts, half of them with a block
    easy        right with at least one well-formed block earns 1, all else -1
    hard        the verdict alone, +1 or -1 (`parallel-r1`); or a bonus for right answers with a block in two of every ten steps
                (`parallel-r1-unseen`), and after three fifths of the run the verdict alone: a scaffold

`parallel-r1` shows the learner the line as it reads (`Parallel(rows="seen")`); `parallel-r1-unseen` lays threads beside each other, in what
is imitated too, and has no easy stage. `rows="threads"` is neither: all that is trained was drawn where it stands.

In the release forced tags are trained (`on=actions | forced`), a reply ends with its last block's summary (`Parallel(ends=True)`), and a
right answer with a malformed block earns -1 where the bonus is paid (`tiered(malformed=-1.0)`), of which the paper says nothing.

The bonus is standardised with the rewards: a group whose right answers all fork feels none of it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, share, steps
from strop.seams.branches import Branched, Parallel, blocks
from strop.seams.credit import group_normalized
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.tasks.forks import TAGS


@part(gives="reward_R", formula="reward_R = where(outcome_R > 0 and parallel_R > 0, 1, -1)")
def right_in_parallel(outcome_R: Tensor, parallel_R: Tensor) -> Tensor:
    """1 for a right answer with a block, all blocks well-formed; -1 for any other."""
    return torch.where((outcome_R > 0) & (parallel_R > 0), 1.0, -1.0).to(outcome_R.dtype)


@part(
    gives="reward_R",
    formula="""
        more_R = where(parallel_R > 0, {more}, where(parallel_R < 0, {malformed}, 1))
        earned_R = where(step % {window} >= {window} - {bonus}, more_R, 1)
        reward_R = where(outcome_R > 0, earned_R, -1)
    """,
)
def tiered(
    outcome_R: Tensor, parallel_R: Tensor, step: int, *, window: int = 10, bonus: int = 2, more: float = 1.2, malformed: float = 1.0
) -> Tensor:
    """+1 or -1; in the last `bonus` of every `window` steps `more` for a right answer with a block."""
    right_R = torch.ones_like(outcome_R)
    if step % window >= window - bonus:
        right_R = torch.where(parallel_R > 0, more * right_R, torch.where(parallel_R < 0, malformed * right_R, right_R))
    return torch.where(outcome_R > 0, right_R, -torch.ones_like(outcome_R))


@part(gives="reward_R", formula="reward_R = where(outcome_R > 0, 1, -1)")
def verdict(outcome_R: Tensor) -> Tensor:
    """+1 or -1: the verdict alone."""
    return torch.where(outcome_R > 0, 1.0, -1.0).to(outcome_R.dtype)


SEEN = Parallel(tags=TAGS, max_tokens=96, path_tokens=40)
PARALLEL = GRPO.but(
    "parallel-grpo",
    paper="2509.07980",
    idea=("sampler", "marks", "reward"),
    sampler=SEEN,
    marks=(blocks(tags=TAGS),),
    reward=verdict(),
    credit=(group_normalized(eps=1e-6),),
)
EASY = PARALLEL.but("parallel-easy", paper="2509.07980", idea=("reward",), reward=right_in_parallel())
BONUS = PARALLEL.but("parallel-bonus", paper="2509.07980", idea=("reward",), reward=tiered())

IMITATE = SFT.but("sft-forks", idea=("feed",), feed=Demos(text="worked"))
BESIDE = IMITATE.but("sft-forks-beside", idea=("feed",), feed=Branched(Demos(text="worked"), tags=TAGS))

PARALLEL_R1 = Program(
    "parallel-r1",
    (
        Stage("imitate", IMITATE, steps(120), task="forks", pace=10.0),
        Stage("easy", EASY, share(0.3), task="forks"),
        Stage("hard", PARALLEL, rest(), task="forks:steps=3"),
    ),
    paper="2509.07980",
)

LAID = replace(SEEN, rows="branches")
PARALLEL_R1_UNSEEN = Program(
    "parallel-r1-unseen",
    (
        Stage("imitate", BESIDE, steps(120), task="forks", pace=10.0),
        Stage("scaffold", BONUS.but("parallel-bonus-unseen", idea=("sampler",), sampler=LAID), share(0.6), task="forks:steps=3"),
        Stage("bare", PARALLEL.but("parallel-grpo-unseen", idea=("sampler",), sampler=LAID), rest(), task="forks:steps=3"),
    ),
    paper="2509.07980",
)
