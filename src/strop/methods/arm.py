"""ARM (arXiv:2505.20258): rare formats of right answers earn more, until the end.

    imitate     worked texts in several formats, each as often
    reinforce   Ada-GRPO: a right answer earns up to G/F, where F of its group's G rollouts chose its format; by a half cosine down to 1

GRPO soon writes every answer in the format that is right a little more often, which is the longest. Here the others live until they are
tried where they suffice. A reply that opens with no tag, or holds another format's, earns nothing and counts as a format of its own.

The bonus is standardised with the rewards: a group whose right answers share one format feels none of it. It ends with the run, so a run
cut short is another method. Left out: the KL penalty of 0.001 and the entropy bonus that the released script leaves on by default.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT_WORKED
from strop.program import Program, Stage, rest, steps
from strop.seams.credit import group_normalized
from strop.seams.index import Index
from strop.seams.mark import opening_tag
from strop.seams.part import part
from strop.tasks.formats import IDLE, TAGS


@part(
    gives="reward_R",
    formula="""
        rare_R = count(rollout, group) / same(format_R, group) - 1
        reward_R = where(format_R >= 0, outcome_R, 0) * (1 + rare_R * (1 + cos(pi * fraction)) / 2)
    """,
)
def rare_formats(outcome_R: Tensor, format_R: Tensor, fraction: float, index: Index) -> Tensor:
    """The verdict, times G/F where F of the group's G rollouts share the format: at the run's start, and 1 at its end.

    Of four right answers one alone in its format:

    >>> rare_formats(torch.ones(4), torch.tensor([0.0, 1.0, 1.0, 1.0]), 0.0, Index.one_group(4))
    tensor([4.0000, 1.3333, 1.3333, 1.3333])
    """
    right_R = torch.where(format_R >= 0, outcome_R, torch.zeros_like(outcome_R))
    size_R = index.spread(index.count("rollout", "group"), "group", "rollout").to(outcome_R.dtype)
    rare_R = size_R / index.same(format_R).to(outcome_R.dtype) - 1
    return right_R * (1 + rare_R * (1 + math.cos(math.pi * fraction)) / 2)


ADA_GRPO = GRPO.but(
    "ada-grpo",
    paper="2505.20258",
    idea=("marks", "reward"),
    marks=(opening_tag(tags=TAGS, inside=("<answer>",), without=((), IDLE, ())),),
    reward=rare_formats(),
    credit=(group_normalized(eps=1e-6),),
)


ARM = Program(
    "arm",
    (
        Stage("imitate", SFT_WORKED, steps(120), task="formats", pace=10.0),
        Stage("reinforce", ADA_GRPO, rest(), task="formats"),
    ),
    paper="2505.20258",
)
