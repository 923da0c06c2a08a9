"""Role: what else is done with a task than solving it. Its groups have a reward and gates of their own, and count in no curve."""

from __future__ import annotations

from dataclasses import dataclass

from strop.seams.gate import Gate, WholeGate
from strop.seams.part import Part, added, part
from strop.seams.reward import outcome


@dataclass(frozen=True)
class Role:
    """How groups of one role are rewarded and kept; `solve` is the method's own."""

    reward: Part = outcome
    """From their channels to one number per rollout."""
    gate: tuple[Gate | WholeGate, ...] = ()
    """Which of them count; those that see a whole step see these groups alone."""
    policy: str = added("actor")
    """Whom they train: the actor, or one of the method's `policies` that is `Trained`."""


@part(gives="reward_R", formula="reward_R = chosen_R")
def preferred(chosen_R: object) -> object:
    """1 for the better text of a pair, 0 for the other."""
    return chosen_R


PAIRED = Role(reward=preferred)
"""Of pairs, where a method says nothing else."""
