"""Dr. GRPO (arXiv:2503.20783): GRPO without its two divisions.

Against GRPO: credit is centred but not divided by the group's spread, and the loss divides by a constant (the
largest length) instead of each rollout's own. Both divisions weigh rollouts by their difficulty or length.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import group_centered
from strop.seams.reduction import means, over

DR_GRPO = GRPO.but(
    "dr-grpo",
    paper="2503.20783",
    idea=("credit", "signals.policy.reduce"),
    credit=(group_centered(),),
    signals={"policy": GRPO.signals["policy"].but(reduce=means("group", "rollout", over("token", 128)))},
)
