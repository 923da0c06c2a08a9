"""RLOO as TRL runs it: the KL is in the outcome before the baseline, the rollout's whole ratio is clipped.

Read in TRL 1.16.0: trainer/rloo_trainer.py 1664-1690 (KL 0.05 per rollout, leave-one-out), 1822-1833 (objective), rloo_config.py.
Against `rloo`: KL, and the product of the ratios instead of -logp; on the first update the gradients agree, from the second on TRL's is
clipped. By default there is one update per batch.
"""

from strop.methods.rloo import RLOO
from strop.seams.credit import kl_in_outcome, leave_one_out
from strop.seams.objective import product_ratio
from strop.seams.reduction import means
from strop.seams.signal import Signal, linear
from strop.seams.update import AdamW

RLOO_TRL = RLOO.but(
    "rloo@trl-1.16",
    paper=RLOO.paper,
    idea=("credit", "signals.policy", "update"),
    reference=True,
    credit=(kl_in_outcome(coefficient=0.05), leave_one_out()),
    signals={"policy": Signal(product_ratio(clip_low=0.2, clip_high=0.2), reduce=means("rollout"))},
    update=AdamW(lr=1e-6, schedule=linear(start=1.0, end=0.0)),
)
