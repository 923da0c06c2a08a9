"""GRPO as OpenRLHF runs it: the outcome is normalised in its group, then each token pays its KL in the reward.

Read in OpenRLHF 0.11.2: trainer/ppo_utils/experience_maker.py 273 (credit: std with G - 1, eps 1e-9 added), 205-212 and 284-325 (k1, 0.01,
after the normalisation, summed over what follows), models/loss.py 186-205 (clip 0.2), 11-40 (mean over all tokens of an update),
cli/train_ppo_ray.py for the defaults, of which two are changed: the estimator is "gae" there and "group_norm" here, with several samples.
Left out: limits of 10 on a token's KL and on the normalised outcome, of 20 on log-ratios. Eight updates per batch.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import credit_at_end, group_normalized, kl_in_reward, returns_to_go
from strop.seams.reduction import means
from strop.seams.signal import warmup_cosine
from strop.seams.update import AdamW

GRPO_OPENRLHF = GRPO.but(
    "grpo@openrlhf-0.11",
    paper=GRPO.paper,
    idea=("credit", "signals.policy.reduce", "update"),
    reference=True,
    credit=(group_normalized(eps=1e-9), credit_at_end(), kl_in_reward(coefficient=0.01, estimator="k1"), returns_to_go(gamma=1.0)),
    signals={"policy": GRPO.signals["policy"].but(reduce=means("token"))},
    update=AdamW(lr=1e-6, betas=(0.9, 0.95), minibatch=4, schedule=warmup_cosine(warmup=0.03, floor=0.1)),
)
