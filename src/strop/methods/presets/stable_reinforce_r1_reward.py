"""StableReinforce as released (github.com/yfzhang114/r1_reward at 3693413): the window for advantages lies around their raw mean.

Read: openrlhf/trainer/ppo_utils/replay_buffer.py, openrlhf/models/loss.py, scripts/train.sh. Against the paper's form: `raw_window` for
three deviations, and k1 against the start, 0.001 per token, in the reward. Left out: a reward of 1 where the checker raises.
"""

from strop.methods.stable_reinforce import STABLE_REINFORCE, raw_window
from strop.seams.credit import kl_in_reward, returns_to_go

STABLE_REINFORCE_R1_REWARD = STABLE_REINFORCE.but(
    "stable-reinforce@r1-reward-3693413",
    paper="2505.02835",
    idea=("credit",),
    credit=(kl_in_reward(coefficient=1e-3), returns_to_go(), raw_window()),
    reference=True,
)
