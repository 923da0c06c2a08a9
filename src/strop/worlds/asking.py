"""asking: the questions that a task lists, one after another, whatever is said.

    *KT bdac   ->   <answer>c</answer>   ->   *KT cabd   ->   <answer>a</answer>   ->   …

A task has them as `needs["asked"]`, the first of them its prompt; behind the last one the episode is over. The sampler that asks one
question again by itself is `AskAgain`; this world is for conversations that somebody else has written (`Demos(text="episode")`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.world import Reply, Said, Seat


@dataclass(frozen=True)
class Asking:
    """It hears what is said, and asks the next one."""

    def start(self, task: Task, seat: Seat) -> list[str]:
        """What is still to be asked."""
        return list(task.needs["asked"][1:])

    async def reply(self, state: list[str], said: Said, ask: Mapping[str, Handle]) -> tuple[list[str], Reply]:
        return (state[1:], Reply(state[0])) if state else (state, Reply("", done=True))
