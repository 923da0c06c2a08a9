"""A sampler: one opening for all rollouts of a task, and from there each goes its own way.

strop train --method examples/own/sampler.py
"""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from strop.methods.grpo import GRPO
from strop.records import ENDED, Group, Rollout, Task
from strop.seams.context import Ctx, Footprint
from strop.seams.world import World


@dataclass(frozen=True)
class Opening:
    """`n` rollouts of at most `max_tokens`, the first `shared` of which are the same."""

    n: int = 8
    max_tokens: int = 128
    shared: int = 8
    own_context: ClassVar[bool] = True  # rows are the engine's own nodes, so that tripwires may compare

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + self.shared, requests=self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        opening = await actor.generate(root, max=self.shared)
        rest = max(self.max_tokens - self.shared, 1)
        ends = [opening] * self.n  # nothing follows an opening that ended
        if opening.stop not in ENDED:
            ends = await asyncio.gather(*(actor.generate(opening, max=rest, keep=False) for _ in range(self.n)))
        texts = ["".join(actor.text(node) for node in end.line()[1:]) for end in ends]
        rollouts = [
            Rollout((end.row(),), f"{ctx.place}/{i}", stop=end.stop or "finished", text=text)
            for i, (end, text) in enumerate(zip(ends, texts, strict=True))
        ]
        return [Group(task, tuple(rollouts), id=ctx.place)]


OPENING = GRPO.but("opening", idea=("sampler",), sampler=Opening())
