"""A world: after a wrong answer it says whether the right one is higher or lower, and asks again.

strop train --method examples/own/world.py --task chain
"""

import re
from dataclasses import dataclass
from typing import Any

from strop.methods.grpo import GRPO
from strop.records import Task
from strop.seams.sampler import Independent
from strop.seams.world import Reply, Said, Seat


@dataclass(frozen=True)
class Hints:
    """Needs a source whose tasks have a number `answer` among what their grader needs."""

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        return {"answer": task.needs["answer"], "wrong": 0}

    async def reply(self, state: dict[str, Any], said: Said, ask: Any) -> tuple[dict[str, Any], Reply]:
        said = [int(number) for number in re.findall(r"-?\d{1,9}", said.text)[-1:]]
        if said == [state["answer"]]:
            return state, Reply("", done=True, facts={"wrong": state["wrong"]})
        after = {**state, "wrong": state["wrong"] + 1}  # another state: the one that was given may be asked again
        hint = "a number, please" if not said else "higher" if said[0] < state["answer"] else "lower"
        return after, Reply(f"{hint}. again:", facts={"wrong": after["wrong"]})


HINTS = GRPO.but(
    "hints",
    idea=("environment", "sampler"),
    environment=Hints(),
    sampler=Independent(n=8, max_tokens=64, turns=2, observation=48),
)
