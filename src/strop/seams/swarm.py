"""Swarm: a feed that trains on other trainers' groups beside its own (SAPO, arXiv:2509.08721).

What travels is text and where its task comes from; what arrives was rebuilt, tokenised and graded here before this feed sees it
(`strop.swarm`). A foreign group has the role `foreign` and its completions are teacher segments: text of another author, whose
log-probability nobody here measured. So a signal has to say `on=actions | teacher` to learn from it, `old_logp` is a pass of the
learner, its ratio begins at 1, and no correction bridges from whoever wrote it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import ClassVar

from strop.records import Group
from strop.seams.context import Ctx
from strop.seams.exchange import Offer
from strop.seams.feed import Feed, Pick, Rollouts
from strop.seams.part import nearest
from strop.seams.sampler import Sampler
from strop.seams.world import World


def uniform(offers: Sequence[Offer], n: int, rng: random.Random) -> list[Offer]:
    """n at random among the groups whose rewards differ: the paper's selection. A group that agrees has no advantage to learn from."""
    useful = [offer for offer in offers if offer.informative]
    return [useful[at] for at in sorted(rng.sample(range(len(useful)), min(n, len(useful))))]


def top(offers: Sequence[Offer], n: int, rng: random.Random) -> list[Offer]:
    """The n with the highest summed score, flat or not: the released code's selection (genrl 0.1.4), with its defect.

    It means to leave out groups that score nothing. But the place where it cuts is that of the first group with a score in order of
    *arrival*, and what it cuts is the list sorted by score: so it leaves out as many of the lowest as happened to arrive before. When
    nothing scores it takes nothing. A group that is all right comes first, and has nothing to teach.
    """
    totals = [fsum(offer.outcomes) for offer in offers]
    first = next((at for at, total in enumerate(totals) if total), None)
    if first is None or not n:
        return []
    order = sorted(range(len(offers)), key=lambda at: (totals[at], offers[at].group.id))
    return [offers[at] for at in order[first:][-n:]]


SELECT = {"uniform": uniform, "top": top}


@dataclass(frozen=True)
class Swarm:
    """Its own feed's groups and, once a step, up to `foreign` of those that other trainers shared, role `foreign`.

    Only foreign groups are filtered, which favours sharing; `gate=(DropFlat(),)` treats the own ones alike. With nobody there it
    gives its own groups alone.
    """

    own: Feed = Rollouts()
    foreign: int = 4
    """J: beside the method's `tasks` own ones, I."""
    select: str = "uniform"
    """`uniform` among those whose rewards differ, or `top` by summed score as the released code does."""
    keep: int = 4
    """Steps of ours that a group waits to be drawn."""
    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.select not in SELECT:
            raise ValueError(f"Swarm(select={self.select!r}): no such selection. {nearest(self.select, SELECT)}")
        if self.foreign < 0 or self.keep < 1:
            raise ValueError(f"Swarm(foreign={self.foreign}, keep={self.keep}): needs foreign of at least 0 and keep of at least 1")

    @property
    def fresh(self) -> bool:
        """Of what the policy's own actions are; a foreign group holds none."""
        return self.own.fresh

    @property
    def ahead(self) -> int:
        return int(getattr(self.own, "ahead", 0))

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = await self.own.take(pick, want, sampler, world, ctx, seen)
        if ctx.exchange is None or seen["swarm"]:
            return groups
        seen["swarm"] += 1
        offers = await ctx.exchange.offered(ctx, sampler, self.keep)
        drawn = SELECT[self.select](offers, self.foreign, ctx.rng("swarm"))
        flat = [offer for offer in offers if not offer.informative] if self.select == "uniform" else []
        ctx.exchange.settle(drawn, flat)
        return groups + [offer.group for offer in drawn]
