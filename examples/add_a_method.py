"""Weighted REINFORCE (arXiv:2506.01347): wrong answers are pushed away at full weight, right ones pulled nearer at a tenth of it.

Against GRPO only the credit changes. No group is compared; a rollout earns what its own reward says:

    credit = 0.1        where the answer is right
    credit = -1         where it is wrong

The paper calls the two halves positive and negative sample reinforcement and finds that the second alone keeps pass@k for large k.
Left out: nothing. docs/add-a-method.md walks through this file.

    strop explain examples/add_a_method.py         the method, formula by formula
    strop train examples/add_a_method.py           RECIPE
    strop claim run examples/add_a_method.py       the claim below, quick
"""

import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Trace, mean_so_far
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.part import part


@part(gives="credit_R", formula="credit_R = where(reward_R > 0.5, {right}, -1)")
def signed(reward_R: Tensor, *, right: float = 0.1) -> Tensor:
    """A right rollout earns `right`, a wrong one -1; nobody is compared with anybody."""
    return torch.where(reward_R > 0.5, right, -1.0).to(reward_R)


WEIGHTED = GRPO.but("w-reinforce", paper="2506.01347", idea=("credit",), credit=(signed(),))
RECIPE = Recipe(method=WEIGHTED, steps=20, lr=1e-4)


# How it could be wrong.


@part(gives="number")
def both_kinds(trace: Trace) -> float:
    """The rarer of right and wrong among the first step's rollouts, as a share: without both there is nothing to weigh."""
    right = trace.lines[0]["outcome"]
    return min(right, 1 - right)


ENTROPY = Claim(
    "w-reinforce-entropy",
    mechanism="Weighing right answers a tenth of wrong ones",
    consequence="keeps the policy's mean entropy 0.05 nats or more above that of equal weights",
    regime="on 4-step chains with the bundled model, at equal decoded positions",
    method="w-reinforce",
    recipe=Recipe(task="chain", tasks=16, group=8, steps=1000, lr=1e-4),
    arms=(
        Arm("weighted", WEIGHTED),
        Arm("equal", WEIGHTED.but("equal", credit=(signed(right=1.0),)), control="the same credit with both weights 1"),
        Arm("only-wrong", WEIGHTED.but("only-wrong", credit=(signed(right=0.0),)), control="right answers earn nothing"),
    ),
    compare=("weighted", "equal"),
    measure=mean_so_far(name="entropy"),
    threshold=0.05,
    refuted_if="the interval of the paired difference lies below 0.05",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="10000 decoded", minutes=0.5, arms=("weighted", "equal")),
        "full": Profile(seeds=(0, 1, 2, 3, 4), budget="120000 decoded", minutes=10),
    },
    checks=(Check("rollouts of both kinds at the start", both_kinds(), "weighted", least=0.1),),
)
