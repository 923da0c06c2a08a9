"""RaML (arXiv:2505.19815): a group for the statistics, a part of it for the gradient.

    draw     16 replies to a question, and credit from all of them
    train    n of them, drawn by chance; the others are `context`
    loss     mean over the trained tokens of -min(ratio A, clip(ratio) A)

The paper reads a reply as steps of an inner optimisation of the question's answer, and its replies as the support set of that question: the
more of them are trained, the better. A step with n of 16 computes fewer gradients, so its sweep over n says little by itself:
docs/methods/raml.md. `strop lab probe` measures the other half, how the right answer grows likelier along a reply.

The released code averages over the trained tokens of a micro-batch, and divides by zero where it holds none; here the mean is over the
update. Its entropy bonus (0.001) and KL term go on averaging over all 16; both are left out.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.credit import group_normalized
from strop.seams.gate import TrainOnly
from strop.seams.objective import clipped_surrogate
from strop.seams.part import part
from strop.seams.reduction import PER_TOKEN
from strop.seams.sampler import Independent
from strop.seams.signal import Signal

FORM = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)


@part(gives="format_R")
def thought_and_answered(text: str) -> int | None:
    """0 for a reply that is thinking and then an answer, each in its tags, and nothing else."""
    return 0 if FORM.fullmatch(text) else None


@part(gives="reward_R", formula="reward_R = where(format_R >= 0, outcome_R, where(lenient_R > 0, -0.5, -1))")
def formed(outcome_R: Tensor, lenient_R: Tensor, format_R: Tensor) -> Tensor:
    """The verdict on a reply in the required format; out of it a right answer costs 0.5, and a wrong one 1."""
    astray_R = torch.where(lenient_R > 0, outcome_R.new_tensor(-0.5), outcome_R.new_tensor(-1.0))
    return torch.where(format_R >= 0, outcome_R, astray_R)


RAML = GRPO.but(
    "raml",
    paper="2505.19815",
    idea=("gate",),
    sampler=Independent(n=16, max_tokens=128),
    marks=(thought_and_answered,),
    reward=formed,
    gate=(TrainOnly(n=8),),
    credit=(group_normalized(eps=1e-6),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.2), reduce=PER_TOKEN)},
)
