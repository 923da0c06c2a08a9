"""GRPO as published (DeepSeekMath, arXiv:2402.03300): with its KL to the reference, one update per batch.

Against strop's own: the KL penalty is there (k3, 0.04) and each batch is used for a single update, so the clip is never felt.
Read in arXiv:2402.03300: section 4.1.2, equations 3 and 4; section 4.2 for beta 0.04, lr 1e-6 and the single update.
The paper gives neither the clip range nor the kind of deviation: 0.2 and the one that divides by G are ours. Left out: the reference is
replaced by the policy after each round, and batches of 1024.
"""

from strop.methods.grpo import GRPO
from strop.seams.objective import kl_to
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO_DEEPSEEKMATH = GRPO.but(
    "grpo@deepseekmath-2402.03300",
    paper=GRPO.paper,
    idea=("signals.kl", "update"),
    reference=True,
    signals={"kl": Signal(kl_to(estimator="k3"), reduce=GRPO.signals["policy"].reduce, weight=0.04)},
    update=AdamW(lr=1e-6),
)
