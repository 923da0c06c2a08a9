"""GRPO as TRL runs it by default: sample deviation, every token the same, sequences far from the sampler zeroed.

Read in TRL 1.16.0: trainer/grpo_trainer.py 2768-2787 (credit: torch.std, eps 1e-4 added), 2660-2698 (correction, with vLLM only: the whole
sequence's ratio, 0 above 3), 3110-3176 (objective, and division by all tokens of the batch, zeroed ones included), grpo_config.py for
the defaults: loss_type "dapo", beta 0, epsilon 0.2, num_iterations 1.
By default TRL makes one update per generated batch, so its clip is never felt. With more (steps_per_generation above
gradient_accumulation_steps) it divides each minibatch by the batch's mean count of tokens, not by the minibatch's own: left out.
A rollout that nobody could grade leaves its group's baseline there too, and its tokens stay in the division; here it is in neither.
"""

from strop.methods.grpo import GRPO
from strop.seams.correction import zeroed
from strop.seams.credit import group_normalized
from strop.seams.reduction import means
from strop.seams.signal import linear
from strop.seams.update import AdamW

GRPO_TRL = GRPO.but(
    "grpo@trl-1.16",
    paper=GRPO.paper,
    idea=("credit", "correction", "signals.policy.reduce", "update"),
    correction=zeroed(cap=3.0, level="sequence"),
    credit=(group_normalized(eps=1e-4),),
    signals={"policy": GRPO.signals["policy"].but(reduce=means("token"))},
    update=AdamW(lr=1e-6, schedule=linear(start=1.0, end=0.0)),
)
