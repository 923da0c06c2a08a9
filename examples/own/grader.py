"""Two graders and a reward: how short a reply is, how sure the policy was of it, and both a little beside the verdict.

strop train --method examples/own/grader.py
"""

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.records import Group, Scores
from strop.seams.context import Ctx
from strop.seams.part import part


@part(gives="brief")
async def brief(groups: list[Group], ctx: Ctx, *, most: int = 80) -> Scores:
    """`brief` is 1 up to `most` characters and falls to 0 at twice as many."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return Scores({r.id: {"brief": min(1.0, max(0.0, 2 - len(r.text) / most))} for r in rollouts})


@part(gives="sure")
async def sure(groups: list[Group], ctx: Ctx, *, scorer: str = "online") -> Scores:
    """`sure` is the geometric mean of the probabilities of a rollout's tokens, under the weights of the scorer."""
    batch = ctx.evaluate(groups, scorer, frozenset({"logp_T"}))
    wrote_T = batch.of_kinds(("action",))
    mean_R = batch.index.select(wrote_T).mean(batch.tracks["logp_T"][wrote_T], "token", "rollout")
    return Scores({unit: {"sure": p} for unit, p in zip(batch.units, mean_R.exp().tolist(), strict=True)})


@part(gives="reward_R", formula="reward_R = outcome_R + {share} * (brief_R + sure_R)")
def and_a_little(outcome_R: Tensor, brief_R: Tensor, sure_R: Tensor, *, share: float = 0.1) -> Tensor:
    """The verdict, and a little for what is brief and sure."""
    return outcome_R + share * (brief_R + sure_R)


BRIEF = GRPO.but("brief", graders=(brief(), sure()), reward=and_a_little())
