"""managed: tools that fail made bearable: asked again, kept, asked of another source, not too fast and not for ever.

    Managed(world, retries=2, deadline=30.0)                        any world whose tools may be lost
    Managed(world, cache=("get", "search"), backup=another)         these tools only read

    cache       the same call of a tool that only reads is answered as before in its episode, until a tool that is not named is called: that
                one may have changed what they answer. Faults, and what a tool refused, are not kept;
                what also answers is told to the world
    rate        so many actions a second are sent at most, by all episodes of this process together
    deadline    seconds for an answer; a later one is lost
    retries     what was lost is asked again so often, of the state that it left
    backup      another world of the same tasks, asked where everything was lost and all that is called only reads

What the backup says is told once and not kept: when the first source answers again, that stands, and where the two disagree it is counted.
A wrong answer is no loss, and nobody can tell: it is kept like any other. What is lost for good is our fault, as it was (`stop="error"`).
Everything that is done is counted in `facts["counts"]` and on the metrics line: cached, retried, late, backed, disagreed.

A cache that episodes share would let one's answers depend on who came first; this one is part of the state, so what is killed or asked
again is the same.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.part import written
from strop.seams.world import Call, Reply, Said, Seat, World, replied
from strop.worlds.around import Around, counted, uncounted


@dataclass(frozen=True)
class Managed(Around):
    """Around a world whose tools may be lost."""

    world: World
    """Whose tools."""
    retries: int = 2
    """Further tries of what was lost."""
    cache: tuple[str, ...] = ()
    """Names of tools that only read."""
    backup: World | None = None
    """Who is asked in its place, from its own beginning."""
    rate: float = 0.0
    """Actions a second; 0: any number."""
    deadline: float = 0.0
    """Seconds for an answer; 0: as long as it takes."""
    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.retries < 0 or min(self.rate, self.deadline) < 0:
            raise ValueError(f"Managed(retries={self.retries}, rate={self.rate}, deadline={self.deadline}): nothing below 0")
        if isinstance(self.cache, str) or not all(isinstance(name, str) for name in self.cache):  # pyright: ignore
            raise ValueError(f"Managed(cache={self.cache!r}): the names of tools that only read, each a text: ('get',)")
        if self.backup is not None and not self.cache:
            raise ValueError("Managed(backup=…) stands in for tools that only read, and cache=(…) names none of them")
        if (other := self.backup) is not None and (
            getattr(other, "asks", ()) or hasattr(other, "within") or getattr(other, "repeats", "exact") != "exact"
        ):
            raise ValueError(
                f"Managed(backup={type(other).__name__}(…)) asks policies, executes what it is told or may answer otherwise: whoever only "
                "reads in another's place does none of these"
            )

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`kept` are answers by what was called, `second` what the backup said."""
        backup = None if self.backup is None else self.backup.start(task, seat)
        return {"inside": self.world.start(task, seat), "kept": {}, "backup": backup, "second": {}}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        key = self._read(said) if said.calls and "<answer>" not in said.text else ""
        if key and (kept := state["kept"].get(key)) is not None:
            return state, kept
        inside, reply, counts = state["inside"], Reply(""), Counter[str]()
        for attempt in range(1 + self.retries):
            counts["retried"] += attempt > 0
            await self._turn()
            inside, reply = await self._asked(inside, said, ask)
            counts.update(reply.facts.get("counts", {}))
            if reply.stop != "error":
                break
        state, reply = {**state, "inside": inside}, uncounted(reply)
        if reply.stop == "error" and key and self.backup is not None:
            backup, reply = await replied(self.backup, state["backup"], said, ask)
            counts.update({"backed": 1, **reply.facts.get("counts", {})})
            state, reply = {**state, "backup": backup, "second": {**state["second"], key: reply.observation}}, uncounted(reply)
        elif key and reply.stop != "error":
            counts["disagreed"] += state["second"].get(key, reply.observation) != reply.observation
            if not reply.done and all(called.ok for called in reply.calls):
                state = {**state, "kept": {**state["kept"], key: counted(reply, {"cached": 1})}}
        elif any(isinstance(call, Call) and call.tool not in self.cache for call in said.calls):
            state = {**state, "kept": {}, "second": {}}
        return state, counted(reply, +counts)

    def _read(self, said: Said) -> str:
        """What is called, where all of it only reads."""
        told = list[str]()
        for call in said.calls:
            if not isinstance(call, Call) or call.tool not in self.cache:
                return ""
            told.append(f"{call.tool} {sorted(call.arguments.items())!r}")
        return "\n".join(told)

    async def _asked(self, inside: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
        if not self.deadline:
            return await replied(self.world, inside, said, ask)
        try:
            async with asyncio.timeout(self.deadline):
                return await replied(self.world, inside, said, ask)
        except TimeoutError:
            why = f"no answer within {self.deadline:g} s"
            return inside, Reply("", done=True, stop="error", facts={"error": why, "counts": {"late": 1}})

    async def _turn(self) -> None:
        """Waits until an action may be sent; its place is taken."""
        if not self.rate:
            return
        with _LOCK:
            key, now = written(self), time.monotonic()
            at = max(now, _NEXT.get(key, 0.0))
            _NEXT[key] = at + 1 / self.rate
        await asyncio.sleep(at - now)


_NEXT, _LOCK = dict[str, float](), threading.Lock()
"""When an action may be sent next, by whose."""
