"""Infra (arXiv:2505.19949): more of what influence says helps, at as many tokens: hard mathematics, easy code.

    class     domain and difficulty of a task
    shares    even, but in mathematics the easy tasks' share goes to the hardest ones, in code the hardest ones' to the easy
    loss      mean over tokens of -logp

The paper asks which demonstrations raise the likelihood of right solutions (`strop lab influence`), finds that hard mathematics helps
both domains and easy code helps code most, and flips the difficulty of its mix so. It keeps the number of examples; hard ones are longer,
so here the tokens are kept equal (`equal="tasks"` is the paper's). `chain` stands for mathematics, `stacks` for code.

Left out: whatever the paper does with spans and tokens, which it only looks at.
"""

from strop.methods.sft import SFT
from strop.seams.curriculum import Mixed

LEVELS = {"chain": (2, 4, 5, 6), "stacks": (1, 2, 3, 4)}
"""Operations of an easy, a middle, a hard and a hardest task of each domain."""


def mixed(math: tuple[float, ...], code: tuple[float, ...]) -> Mixed:
    """Shares of the levels in each domain, from easy to hardest."""
    each = zip(LEVELS.items(), (math, code), strict=True)
    shares = {f"{name} {steps}": share for (name, levels), own in each for steps, share in zip(levels, own, strict=True)}
    return Mixed(shares, by=("source", "steps"))


INFRA = SFT.but("infra", paper="2505.19949", idea=("curriculum",), curriculum=mixed(math=(0, 1, 1, 2), code=(2, 1, 1, 0)))
