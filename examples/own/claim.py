"""A claim with a measure and a check of its own: what GRPO pays for in length.

strop claim run examples/own/claim.py
"""

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.credit import group_centered
from strop.seams.part import part


@part(gives="curve")
def tokens_per_point(trace: Trace, *, least: float = 0.01) -> Curve:
    """Mean length over mean outcome, step by step: what a right answer costs in tokens."""
    return [(spent, line["length"] / max(line["outcome"], least)) for spent, line in zip(trace.spent, trace.lines, strict=True)]


@part(gives="number")
def of_both_kinds(trace: Trace) -> float:
    """Share of the first step's groups whose rewards differ: where all agree, neither arm learns."""
    return float(trace.lines[0]["spread"])


COST = Claim(
    "cost-of-a-point",
    mechanism="Dividing by the group's spread",
    consequence="makes a right answer a token or more dearer",
    regime="on 4-step chains with the bundled model, at equal decoded positions",
    method="grpo@strop-1",
    recipe=Recipe(task="chain", tasks=16, group=8, steps=1000, lr=1e-4),
    arms=(
        Arm("divided", GRPO),
        Arm("centered", GRPO.but("centered", credit=(group_centered(),)), control="the same without the division"),
    ),
    compare=("divided", "centered"),
    measure=tokens_per_point(),
    threshold=1.0,
    refuted_if="the interval of the paired difference lies below 1",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="10000 decoded", minutes=0.5),
        "full": Profile(seeds=(0, 1, 2, 3), budget="120000 decoded", minutes=8),
    },
    checks=(Check("groups disagree at the start", of_both_kinds(), "divided", least=0.2),),
)
