"""A window: of what was said only the first answer and the last ones stay, once a row is full.

strop train --method examples/own/window.py --task sums
"""

from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.seams.context import Ctx
from strop.seams.engine import Node
from strop.seams.episode import Episodes
from strop.seams.window import Past
from strop.worlds.calculator import Calculator


@dataclass(frozen=True)
class Ends:
    """What stands between is passed over in a row that begins anew."""

    limit: int = 0

    async def next(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, ...]:
        on = await ctx.policies["actor"].extend(node, past.shown)
        if past.fits(on.length):
            return (on,)
        first, last = past.turns[0].reply.observation, past.shown
        again = await past.open(f"{past.opening}\n{first}\n…\n{last}", ctx)
        return (node, again) if past.fits(again.length) else ()  # nothing: there is no room for another action


ENDS = GRPO.but(
    "ends",
    idea=("environment", "sampler"),
    environment=Calculator(),
    sampler=Episodes(n=8, turns=6, max_tokens=16, observation=24, window=Ends(limit=96)),
)
