"""wiki: what an entity is linked to, one card a call. A stand-in for the web: small, whole, and the same whenever it is asked.

    >get c   ->   cm kd      the card of c, and one that nobody asked for          <answer>7</answer>   ->   done

A task brings its cards: a letter leads to another one, and the last of a chain to a digit. What stands beside the asked card is noise:
other letters with links that lead nowhere in particular. An error costs a turn, as a call does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from strop.records import Task
from strop.seams.context import Ctx, Handle, keyed
from strop.seams.engine import Node
from strop.seams.window import Past
from strop.seams.world import Broken, Call, Called, Reply, Said, Seat, Tool

GET = Tool(
    "get",
    "The card of a letter: what it leads to.",
    {"properties": {"key": {"type": "string", "minLength": 1, "maxLength": 1}}, "required": ["key"], "additionalProperties": False},
)


@dataclass(frozen=True)
class Wiki:
    """`noise` cards that nobody asked for stand behind each one that was."""

    noise: int = 1

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (GET,)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`at` is where the chain stands for one who follows it."""
        return {"cards": task.needs["cards"], "at": task.needs["start"], "key": seat.own, "calls": 0}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        if not said.calls:
            return state, Reply("no call")
        told, became = list[str](), list[Called]()
        for call in said.calls:
            state = {**state, "calls": state["calls"] + 1}
            if isinstance(call, Broken):
                told.append(f"error: {call.why}")
                became.append(Called("", False, call.why))
                continue
            key = call.arguments["key"]
            found = state["cards"].get(key)
            told.append(" ".join((f"{key}{found}" if found else f"no {key}", *self._beside(state, key))))
            became.append(Called(call.tool, found is not None, "" if found else "no such card"))
            if key == state["at"] and found:
                state["at"] = found
        return state, Reply("\n".join(told), calls=tuple(became))

    def _beside(self, state: dict[str, Any], key: str) -> list[str]:
        rng, cards = keyed(state["key"], "noise", state["calls"]), state["cards"]
        others = [name for name in sorted(cards) if name != key]
        return [f"{name}{cards[name]}" for name in rng.sample(others, min(self.noise, len(others)))]

    def expert(self, state: dict[str, Any]) -> str | Call:
        """Follows the chain."""
        return f"<answer>{state['at']}</answer>" if state["at"].isdigit() else Call("get", {"key": state["at"]})


@dataclass(frozen=True)
class Extract:
    """A summariser that is no model: of the cards that were called each with the chance `keep`, in order, and with the chance `extra` one
    more that nobody called behind each. It knows what was answered and nothing else, so it cannot say where a chain ends."""

    keep: float = 0.9
    """Of a card that was called."""
    extra: float = 0.1
    """Of one that stood beside it, behind a card."""
    others: bool = False
    """The cards of another episode, made up: what a summary says that tells nothing."""

    async def __call__(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, str] | None:
        rng, said = keyed(ctx.seed, past.place, len(past.turns), "summary"), dict[str, str]()
        shown = [line.split() for turn in past.turns for line in turn.reply.observation.split("\n")]
        for called, *beside in shown:
            if len(called) != 2 or called in ("no", "error:"):
                continue
            if rng.random() < self.keep:
                said[called] = called
            if beside and rng.random() < self.extra:
                said[beside[0]] = beside[0]
        if self.others:
            names = rng.sample(ascii_lowercase, 2 * len(said)) if 2 * len(said) <= 26 else list(ascii_lowercase)
            return node, " ".join(a + b for a, b in zip(names[::2], names[1::2], strict=False))
        return node, " ".join(said)
