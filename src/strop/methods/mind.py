"""MinD (arXiv:2505.19788): think and answer in turns, so that a reply may stop at any; reinforcement then shortens it.

    imitate     a model that makes one attempt after another in one thought
    collect     it answers, and right replies are kept
    turns       their thoughts are cut into units; behind each the model states its answer; these turns are imitated
    reinforce   GRPO, where reward = the verdict on the last answer + 1 where thoughts and answers alternate

Nothing here pays for few turns. What shortens is GRPO's mean over each rollout's own tokens: a short right reply pulls harder at each of
its tokens than a long one, and a short wrong one pushes harder. So replies get shorter where more than half are right and longer where
fewer are, and a sum over tokens (`means("group", "rollout", over("token", k))`) takes the effect away.

Left out: the penalty for several attempts in one turn and a reward for few turns, whose values are not known; learning rates, group size
and the weights of the two rewards, which are not either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strop.methods.cascade import COLLECT
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.seams.asked import Asked
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.recorded import Earlier
from strop.seams.turns import by_markers, turn_count, turns_of


@part(gives="reward_R", formula="reward_R = outcome_R + {form} * where(turns_R > 0, 1, 0)")
def last_answer_and_form(outcome_R: Tensor, turns_R: Tensor, *, form: float = 1.0) -> Tensor:
    """The verdict on the last answer, and `form` for a reply in which thoughts and answers alternate."""
    return outcome_R + form * torch.where(turns_R > 0, torch.ones_like(outcome_R), torch.zeros_like(outcome_R))


MIND_GRPO = GRPO.but(
    "mind-grpo",
    paper="2505.19788",
    idea=("marks", "reward"),
    marks=(turn_count,),
    reward=last_answer_and_form(),
)

IMITATE = SFT.but("sft-attempts", idea=("feed",), feed=Demos(text="worked"))
IN_TURNS = SFT.but(
    "sft-turns",
    idea=("feed", "policies"),
    feed=Earlier("collect", turns_of(segmenter=by_markers(markers=("\n\n",)))),
    policies={"writer": Asked("initial")},
)

MIND = Program(
    "mind",
    (
        Stage("imitate", IMITATE, steps(120), task="attempts:style=flat", pace=10.0),
        Stage("collect", COLLECT, steps(8), task="attempts:style=flat"),
        Stage("turns", IN_TURNS, steps(40), task="attempts", pace=10.0),
        Stage("reinforce", MIND_GRPO, rest(), task="attempts"),
    ),
    paper="2505.19788",
)
