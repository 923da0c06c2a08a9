"""faulty: a world whose tools fail now and then, as tools of the real web do, and always alike: faults are drawn by the seat's keys.

    Faulty(Graphs(), lost=0.15, stale=0.05, wrong=0.03)

    lost     no answer: the episode ends as our fault (`stop="error"`), unless somebody asks again (`managed.py`)
    stale    what was answered to the action before, again
    wrong    the answer with another letter or digit in one place

An action that calls has one fault at most, and so has each further try of it, which is drawn anew. What is done in the world is done also
where the answer is stale or wrong, and nothing tells the policy of it: `facts["counts"]` do, and the metrics line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from strop.records import Task
from strop.seams.context import Handle, keyed
from strop.seams.world import Reply, Said, Seat, World, replied
from strop.worlds.around import Around, counted

KINDS = (digits, ascii_lowercase, ascii_uppercase)


@dataclass(frozen=True)
class Faulty(Around):
    """Around a world, of all actions that call these shares."""

    world: World
    """Whose answers."""
    lost: float = 0.0
    stale: float = 0.0
    wrong: float = 0.0
    salt: str = ""
    """Two that stand in for each other fail apart where their salts differ."""

    def __post_init__(self) -> None:
        if min(self.lost, self.stale, self.wrong) < 0 or self.lost + self.stale + self.wrong > 1:
            raise ValueError(f"Faulty(lost={self.lost}, stale={self.stale}, wrong={self.wrong}): shares, of at most 1 together")

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`tried` counts the actions that called, and `told` is the last true answer to one."""
        return {"inside": self.world.start(task, seat), "key": seat.own, "tried": 0, "told": ""}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if not said.calls:
            inside, reply = await replied(self.world, state["inside"], said, ask)
            return {**state, "inside": inside}, reply
        state = {**state, "tried": state["tried"] + 1}
        rng = keyed(state["key"], f"fault{self.salt}", state["tried"])
        drawn = rng.random()
        if drawn < self.lost:
            return state, Reply("", done=True, stop="error", facts={"error": "a tool was lost, as it was drawn", "counts": {"lost": 1}})
        inside, reply = await replied(self.world, state["inside"], said, ask)
        before, state = state["told"], {**state, "inside": inside, "told": reply.observation}
        if reply.done or drawn >= self.lost + self.stale + self.wrong:
            return state, reply
        name = "stale" if drawn < self.lost + self.stale else "wrong"
        told = (before or reply.observation) if name == "stale" else spoilt(reply.observation, rng)
        if told == reply.observation:  # nothing was answered before, or there is nothing to get wrong
            return state, reply
        return state, counted(replace(reply, observation=told), {name: 1})


def spoilt(text: str, rng: Random) -> str:
    """One letter or digit of it is another of its kind.

    >>> spoilt("km", Random(0)), spoilt("-", Random(0))
    ('kz', '-')
    """
    places = [place for place, letter in enumerate(text) if any(letter in kind for kind in KINDS)]
    if not places:
        return text
    place = rng.choice(places)
    kind = next(kind for kind in KINDS if text[place] in kind)
    return text[:place] + rng.choice([letter for letter in kind if letter != text[place]]) + text[place + 1 :]
