"""A world for tests of clusters: it asks once more, with what was said; `hang` makes it answer never."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from strop.methods.grpo import GRPO
from strop.records import Task
from strop.seams.sampler import Independent
from strop.seams.world import Reply, Said, Seat


@dataclass(frozen=True)
class Echo:
    hang: bool = False
    seconds: float = 0.0
    """It thinks this long, without keeping others waiting."""

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        return {"task": task.id, "turn": 0}

    async def reply(self, state: dict[str, Any], said: Said, ask: Any) -> tuple[dict[str, Any], Reply]:
        if self.hang and state["turn"] == 1:
            await asyncio.sleep(10_000)
        await asyncio.sleep(self.seconds)
        turn = state["turn"] + 1
        return {**state, "turn": turn}, Reply(f"{len(said.text)} letters. Again.", done=turn == 2, facts={"turn": turn})


def asking(**constants: Any) -> Any:
    """GRPO in two turns with an echo between them."""
    return GRPO.but(sampler=Independent(n=4, max_tokens=16, turns=2, observation=48), environment=Echo(**constants), tasks=4)
