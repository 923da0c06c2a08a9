"""A gate: of each group the best and the worst are trained; the others count in its statistics alone.

strop train --method examples/own/gate.py
"""

from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.records import Fate, Group
from strop.seams.gate import Fates, Seen


@dataclass(frozen=True)
class Extremes:
    """`each` rollouts from either end of a group's rewards are trained."""

    each: int = 2
    refill: int = 0  # rounds of sampling that may replace groups of which nothing is kept

    def __call__(self, group: Group, seen: Seen) -> Fates:
        order = sorted(seen.rewards, key=lambda unit: (seen.rewards[unit], unit))
        return {unit: Fate("context", why="middle") for unit in order[self.each : max(len(order) - self.each, self.each)]}


EXTREMES = GRPO.but("extremes", gate=(Extremes(),))
