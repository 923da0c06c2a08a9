"""An environment of `verifiers` 0.4, as its authors write them: chains of small sums, and a second try where the first was wrong.

It knows nothing of strop. docs/guests.md trains it.
"""

import random
import re
from collections.abc import Iterator

import verifiers.v1 as vf


class SumsConfig(vf.TasksetConfig):
    steps: int = 3
    """Operations of a chain."""


class SumsData(vf.TaskData):
    answer: int


class SumsTask(vf.Task[SumsData, vf.State, vf.TaskConfig]):
    def solved(self, text: str) -> bool:
        found = re.findall(r"<answer>(-?\d+)</answer>", text)
        return bool(found) and int(found[-1]) == self.data.answer


class SumsEnvConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig()


class SumsEnv(vf.Env[SumsEnvConfig]):
    async def run(self, task: SumsTask, agents: vf.Agents) -> None:
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn()
            first = task.solved(segment.last_reply)
            if not first and not segment.terminated:
                segment = await interaction.turn(str(task.data.prompt))
        interaction.trace.record_reward("first", 1.0 if first else 0.0, 0.5)
        interaction.trace.record_reward("solved", 1.0 if task.solved(segment.last_reply) else 0.0, 0.5)


class SumsTaskset(vf.Taskset[SumsTask, SumsConfig]):
    INFINITE = True

    def load(self) -> Iterator[SumsTask]:
        number = 0
        while True:
            rng = random.Random(number)
            value = rng.randint(1, 50)
            text = str(value)
            for _ in range(self.config.steps):
                step = rng.randint(2, 50)
                add = value + step < 99 and (value <= step or rng.random() < 0.5)
                value, text = (value + step, f"{text}+{step}") if add else (value - min(step, value - 1), f"{text}-{min(step, value - 1)}")
            yield SumsTask(SumsData(name=f"sums#{number}", prompt=f"{text}=?", answer=value), self.config.task)
            number += 1


__all__ = ["SumsEnv", "SumsTaskset"]
