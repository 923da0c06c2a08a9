"""Worlds that answer from processes of their own, each answer with a deadline.

A state is a value, so an answer that never came is asked again of another worker; the one that owed it is killed and comes
back empty. A world that hangs twice on the same action is our fault and no score: the rollout ends with the stop
`error`, the reason stands on it, and grading makes an incident of it. Its siblings go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayActorError

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.world import Reply, Said, Seat, Tool, World, replied, tools_of

TRIES, DEATHS = 2, 4
"""Workers that may hang on one action, and workers that may die under it, before it is given up."""


class Answers:
    """Runs inside an actor."""

    def __init__(self, world: World):
        self.world = world

    async def ready(self) -> bool:
        return True

    async def show(self, task: Task, seat: Seat) -> tuple[Any, str]:
        state = self.world.start(task, seat)
        show: Callable[[Any], Awaitable[str]] | None = getattr(self.world, "show", None)
        return state, task.prompt if show is None else await show(state)

    async def reply(self, task: Task, seat: Seat, state: Any, begun: bool, said: Said) -> tuple[Any, Reply]:
        if not begun:
            state = self.world.start(task, seat)
        return await replied(self.world, state, said, {})


@dataclass(frozen=True)
class Worker:
    """An actor that answers, and its name for messages."""

    actor: Any
    name: str


class Lost(Exception):
    """Nobody answered, and why."""


@dataclass(frozen=True)
class Elsewhere:
    """A world whose answers come from workers."""

    workers: tuple[Worker, ...]
    seconds: float
    start_seconds: float
    tools: Sequence[Tool] | Callable[[Task], Sequence[Tool]] = ()
    """Of the world, or its function of a task, which travels with it."""
    told: Callable[[Task], Sequence[Tool]] | None = None
    """Its `documents`."""
    shows: bool = False
    cold: set[str] = field(default_factory=set[str], compare=False)
    """Workers that were killed from here, and may still be starting again."""
    turn: Any = field(default_factory=count, compare=False)
    """Whose turn it is to be asked."""

    def documents(self, task: Task) -> Sequence[Tool]:
        """What is shown of its tools."""
        return tools_of(self, task) if self.told is None else self.told(task)

    def start(self, task: Task, seat: Seat) -> Any:
        """It begins with the first answer, where it is given."""
        return task, seat, None, False

    async def show(self, state: Any) -> str:
        """The first message: the task's, where the world has none of its own or nobody says it."""
        task, seat, *_ = state
        if not self.shows:
            return task.prompt
        try:
            return (await self._asked(lambda actor: actor.show.remote(task, seat)))[1]
        except Lost:
            return task.prompt  # the first action will be asked about in vain too

    async def reply(self, state: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
        task, seat, inner, begun = state
        try:
            inner, reply = await self._asked(lambda actor: actor.reply.remote(task, seat, inner, begun, said))
        except Lost as lost:
            return state, Reply("", done=True, stop="error", facts={"error": str(lost)})
        return (task, seat, inner, True), reply

    async def _asked(self, call: Callable[[Any], Any]) -> Any:
        why, hung, deaths = "", 0, 0
        while hung < TRIES and deaths < DEATHS:
            worker = self.workers[next(self.turn) % len(self.workers)]
            seconds = self.seconds
            try:
                if worker.name in self.cold:
                    seconds = self.start_seconds
                    await asyncio.wait_for(worker.actor.ready.options(max_task_retries=-1).remote(), seconds)
                    self.cold.discard(worker.name)
                    seconds = self.seconds
                return await asyncio.wait_for(call(worker.actor), seconds)
            except TimeoutError:
                hung += 1
                why = f"{worker.name} did not answer within {seconds:g} s"
                ray.kill(worker.actor, no_restart=False)
            except RayActorError as error:  # perhaps because somebody else's action hung it
                deaths += 1
                why = f"{worker.name} died: {' '.join(str(error).split())[:200]}"
            self.cold.add(worker.name)
        raise Lost(why)
