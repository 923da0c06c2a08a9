"""Worlds: an environment that answers from a process of its own, each answer with a deadline.

A state is a value, so an answer that never came is asked again of another worker; the one that owed it is killed and comes
back empty. An environment that hangs twice on the same action is our fault and no score: the rollout ends with the stop
`error`, the reason stands on it, and grading makes an incident of it. Its siblings go on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayActorError

from strop.records import Task
from strop.seams.sampler import Environment, Reply

TRIES, DEATHS = 2, 4
"""Workers that may hang on one action, and workers that may die under it, before it is given up."""


class World:
    """Runs inside an actor."""

    def __init__(self, environment: Environment):
        self.environment = environment

    async def ready(self) -> bool:
        return True

    async def reply(self, task: Task, state: Any, begun: bool, action: str) -> tuple[Any, Reply]:
        if not begun:
            state = self.environment.start(task)
        return await self.environment.reply(state, action)


@dataclass(frozen=True)
class Worker:
    """An actor that answers, and its name for messages."""

    actor: Any
    name: str


@dataclass(frozen=True)
class Elsewhere:
    """An environment whose answers come from workers."""

    workers: tuple[Worker, ...]
    seconds: float
    start_seconds: float
    cold: set[str] = field(default_factory=set[str], compare=False)
    """Workers that were killed from here, and may still be starting again."""
    turn: Any = field(default_factory=count, compare=False)
    """Whose turn it is to be asked."""

    def start(self, task: Task) -> Any:
        """It begins with the first answer, where it is given."""
        return task, None, False

    async def reply(self, state: Any, action: str) -> tuple[Any, Reply]:
        task, inner, begun = state
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
                inner, reply = await asyncio.wait_for(worker.actor.reply.remote(task, inner, begun, action), seconds)
                return (task, inner, True), reply
            except TimeoutError:
                hung += 1
                why = f"{worker.name} did not answer within {seconds:g} s"
                ray.kill(worker.actor, no_restart=False)
            except RayActorError as error:  # perhaps because somebody else's action hung it
                deaths += 1
                why = f"{worker.name} died: {' '.join(str(error).split())[:200]}"
            self.cold.add(worker.name)
        return state, Reply("", done=True, stop="error", facts={"error": why})
