"""Two marks and a reward: how a reply begins, its answer, and a little less for an answer of many words.

strop train --method examples/own/mark.py
"""

import torch
from torch import Tensor

from strop.methods.grpo import GRPO
from strop.seams.mark import between
from strop.seams.part import part


@part(gives="begins_R")
def begins(text: str, *, thought: str = "<think>") -> int | None:
    """0 for a thought, 1 for an answer at once, none for an empty reply."""
    return None if not text.strip() else int(not text.startswith(thought) or text.startswith(thought + "</"))


@part(gives="reward_R", formula="reward_R = where(begins_R == 0, outcome_R, outcome_R - {price} * answer_length_R)")
def thought_or_brief(outcome_R: Tensor, begins_R: Tensor, answer_length_R: Tensor, *, price: float = 0.01) -> Tensor:
    """The verdict; where nothing was thought, less for each token of the answer."""
    return torch.where(begins_R == 0, outcome_R, outcome_R - price * answer_length_R)


THOUGHTFUL = GRPO.but("thoughtful", marks=(begins(), between()), reward=thought_or_brief())
