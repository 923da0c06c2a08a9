"""around: what a world that stands around another one has of it. `managed.py` and `faulty.py` are such.

Its state is a dict with the other's under `inside`. Whatever else the other has, its tools, what it shows, its expert, is this one's too.
What it does beside answering it counts: `facts["counts"]` of a turn, which stand summed as `world` on the metrics line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from strop.seams.world import Reply, World

BESIDE = ("tools", "documents", "asks", "seats", "repeats", "stands", "took", "waiting")
OF_STATE = ("show", "expert")


class Around:
    """A world around `world`, a field of its own."""

    world: World

    def __getattr__(self, name: str) -> Any:
        if name in BESIDE:
            return getattr(self.world, name)
        if name in OF_STATE:
            of = getattr(self.world, name)
            return lambda state: of(state["inside"])
        if name == "within":
            behind = self.world.within  # pyright: ignore[reportAttributeAccessIssue]
            return lambda weakest: replace(self, world=behind(weakest))  # pyright: ignore
        if name == "seating":
            there = self.world.seating  # pyright: ignore[reportAttributeAccessIssue]
            return lambda names: replace(self, world=there(names))  # pyright: ignore
        raise AttributeError(name)


def counted(reply: Reply, counts: Mapping[str, int]) -> Reply:
    """An answer that says also how often what was done for it."""
    if not counts:
        return reply
    there = dict(reply.facts.get("counts", {}))
    return replace(reply, facts={**reply.facts, "counts": there | {name: there.get(name, 0) + much for name, much in counts.items()}})


def uncounted(reply: Reply) -> Reply:
    """An answer without what was done for it."""
    return replace(reply, facts={name: fact for name, fact in reply.facts.items() if name != "counts"})
