"""A feed: asks for more tasks than a step takes, and hands on those whose rollouts are longest.

strop train --method examples/own/feed.py
"""

from collections import Counter
from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.records import Group
from strop.seams.context import Ctx
from strop.seams.feed import Feed, Pick, Rollouts
from strop.seams.sampler import Sampler
from strop.seams.world import World


@dataclass(frozen=True)
class Longest:
    """Of `times` as many tasks those with the longest rollouts; what is left out was decoded and is on the bill."""

    own: Feed = Rollouts()
    times: int = 2

    @property
    def fresh(self) -> bool:
        return self.own.fresh

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = await self.own.take(pick, want * self.times, sampler, world, ctx, seen)
        lengths = {group.id: sum(rollout.length for rollout in group.rollouts) for group in groups}
        longest = sorted(lengths, key=lambda name: (-lengths[name], name))[:want]
        return [group for group in groups if group.id in longest]  # in the order they came


LONGEST = GRPO.but("longest", idea=("feed",), feed=Longest())
