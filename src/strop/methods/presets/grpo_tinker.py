"""GRPO as the Tinker cookbook runs it: centred only, unclipped importance sampling from the sampler, summed.

Read in tinker-cookbook 0.6.1: rl/data_processing.py 24-43 (credit), rl/train.py 545-564 (loss_fn "importance_sampling", one substep, no
KL); the loss itself is the service's: tinker-docs.thinkingmachines.ai/tinker/losses, exp(logp - sampled_logp) * A summed over all tokens.
This is rl/train.py's synchronous default; asynchronous runs and recipes/rl_loop.py default to "stable_reinforce", the service's own.
A sum grows with the batch; Adam divides the scale away, a clip on the gradient's norm would not, so there is none.
Left out: LoRA and its learning rate.
"""

from strop.methods.grpo import GRPO
from strop.seams.credit import group_centered
from strop.seams.objective import importance_to_sampler
from strop.seams.reduction import means, sum_over
from strop.seams.signal import Signal
from strop.seams.update import AdamW

GRPO_TINKER = GRPO.but(
    "grpo@tinker-0.6",
    paper=GRPO.paper,
    idea=("credit", "signals.policy", "update"),
    credit=(group_centered(),),
    signals={"policy": Signal(importance_to_sampler(), reduce=means(sum_over("token")))},
    update=AdamW(lr=1e-6, betas=(0.9, 0.95), clip_norm=None),
)
