"""Reward: channels -> one number per rollout. Pure. A channel nobody could measure is NaN and stays out of the batch.

A channel is read as `<channel>_R`: the source's `outcome_R` and `lenient_R` or what else it grades, and those of the method's graders.
"""

from __future__ import annotations

from torch import Tensor

from strop.seams.part import part


@part(gives="reward_R", formula="reward_R = outcome_R")
def outcome(outcome_R: Tensor) -> Tensor:
    """The verifier's strict verdict."""
    return outcome_R


@part(gives="reward_R", formula="reward_R = (1 - {format_share}) * outcome_R + {format_share} * lenient_R")
def outcome_and_format(outcome_R: Tensor, lenient_R: Tensor, *, format_share: float = 0.1) -> Tensor:
    """Mostly the strict verdict, a little for an answer that is right but not in the asked form."""
    return (1 - format_share) * outcome_R + format_share * lenient_R


@part(
    gives="reward_R",
    formula="reward_R = outcome_R - {weight} * clip((length_R - ({most} - {room})) / {room}, 0, 1)",
)
def soft_overlong(outcome_R: Tensor, length_R: Tensor, *, most: int = 128, room: int = 32, weight: float = 1.0) -> Tensor:
    """The verdict less a penalty that grows over the last `room` tokens before `most`, from 0 to `weight` (DAPO, arXiv:2503.14476)."""
    if not 0 < room <= most:
        raise ValueError(
            f"soft_overlong(most={most}, room={room}): the penalty grows over the last tokens before the most, so 0 < room <= most"
        )
    return outcome_R - weight * ((length_R - (most - room)) / room).clamp(0, 1)


@part(gives="reward_R", formula="reward_R = chance_R")
def by_chance(chance_R: Tensor) -> Tensor:
    """What the grader `chance` drew: a reward that knows nothing."""
    return chance_R
