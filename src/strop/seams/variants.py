"""Variants: a sampler whose policy writes problems for its own right solutions, and solves them too.

Groups come in three roles: `solve`, the task as ever; `write`, problems asked for a right solution that is shown alone; `variant`, the
solutions of each that was written, graded by the answer of the task that its solution was of. What became of a written problem stands in
its rollout: `keys["facts"][0]` holds `problem` (None: nobody could be asked it), `copy` and `solved`, the share of right solutions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from strop.records import Group, Rollout, Sampling, Task
from strop.seams.context import Ctx, Footprint, Renderer
from strop.seams.sampler import Independent
from strop.seams.world import World

WRITE, VARIANT = "write", "variant"

REQUEST = """This solution is right:

{}

Say in a line what it is about, how it argues, and what its problem wants to know. Then write one problem that it answers, with all that is
needed to solve it, between <problem> and </problem>."""


@dataclass(frozen=True)
class Window:
    """Shares of right answers between two ends."""

    low: float
    """The least."""
    high: float
    """The most."""
    strict: bool = False
    """The ends themselves lie outside."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"{self}: a window lies in [0, 1], its low end first")

    def holds(self, rate: float) -> bool:
        return self.low < rate < self.high if self.strict else self.low <= rate <= self.high


@dataclass(frozen=True)
class Variants:
    """Another sampler's rollouts; and of problems in a window, problems written for their right solutions (role `write`), each solved as
    the first was (role `variant`)."""

    solve: Independent = Independent(max_tokens=512)
    """How problems and variants are solved."""
    write: Independent = Independent(max_tokens=512)
    """How many problems are written for a solution, and how long they may be with what is thought before."""
    pick: Window = Window(0.125, 0.5)
    """Of which problems: their share of right solutions."""
    most: int = 8
    """Right solutions of a problem that are written for, the first drawn."""
    ask: str = REQUEST
    """What the writer is asked, {} being the solution."""
    between: tuple[str, str] = ("<problem>", "</problem>")
    """What a written problem stands between."""
    own_context: ClassVar[bool] = True
    """Rows are the engine's own nodes, in the context they were drawn in, and a group's id is the root of its noise."""

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"Variants(most={self.most}): needs at least 1")
        if self.ask.count("{}") != 1 or not all(self.between):
            raise ValueError("Variants: ask holds {} once, where the solution stands, and a problem is written between two texts")
        if self.solve.turns > 1 or self.write.turns > 1 or self.write.sampling != self.solve.sampling:
            raise ValueError("Variants: problems are solved and written in one turn, and drawn alike")

    @property
    def group_size(self) -> int:
        return min(self.solve.n, self.write.n)

    @property
    def sampling(self) -> Sampling:
        return self.solve.sampling

    @property
    def max_tokens(self) -> int:
        """Of a solution."""
        return self.solve.max_tokens

    def sized(self, group: int | None, max_tokens: int | None) -> Variants:
        n = {} if group is None else {"n": group}
        length = {} if max_tokens is None else {"max_tokens": max_tokens}
        return replace(self, solve=replace(self.solve, **n, **length), write=replace(self.write, **n))

    def footprint(self, prompt: int) -> Footprint:
        """The problem, solutions shown to the writer, and what was written. The question to the writer has no more tokens than bytes."""
        asked = self.most * (prompt + len(self.ask.encode()) + self.solve.max_tokens)
        written = self.most * self.write.n
        return Footprint(prompt + asked + written * (prompt + self.write.max_tokens), requests=max(self.solve.n, written * self.solve.n))

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is not None:
            raise ValueError("Variants asks for one reply and has no turns for a world to answer in. Use Episodes.")
        (group,) = await self.solve(task, None, ctx)
        scores = await ctx.grade([group])
        rate = scores.rate(group)
        if rate is None or not self.picks(rate, ctx):
            return [group]
        actor = ctx.policies["actor"]
        room = actor.engine.limit - self.write.max_tokens
        right = [r for r in group.rollouts if scores.get(r, "outcome") == 1 and len(actor.renderer.prompt(self._asks(r))) <= room][
            : self.most
        ]
        found = await asyncio.gather(*(self._written(task, r, ctx.at(f"{ctx.place}/{WRITE}/{i}")) for i, r in enumerate(right)))
        return [group, *(each for groups in found for each in groups)]

    def picks(self, rate: float, ctx: Ctx) -> bool:
        """Whether problems are written for one that was solved so often."""
        return self.pick.holds(rate)

    async def _written(self, task: Task, solution: Rollout, ctx: Ctx) -> list[Group]:
        """Problems for one solution, and the solutions of each."""
        actor = ctx.policies["actor"]
        (written,) = await self.write(replace(task, prompt=self._asks(solution)), None, ctx)
        longest = min(len(actor.renderer.prompt(task.prompt)) + self.write.max_tokens, actor.engine.limit - self.solve.max_tokens)
        problems = [self._problem(r, actor.renderer, longest) for r in written.rollouts]
        solved = await asyncio.gather(*(self._solved(task, p, ctx.at(f"{ctx.place}/{i}")) for i, p in enumerate(problems) if p))
        noted = iter(solved)
        facts = [{"problem": p, "copy": p == task.prompt.strip(), "solved": next(noted)[1] if p else 0.0} for p in problems]
        rollouts = tuple(replace(r, keys={**r.keys, "facts": [fact]}) for r, fact in zip(written.rollouts, facts, strict=True))
        return [replace(written, task=task, rollouts=rollouts, role=WRITE), *(group for group, _ in solved)]

    async def _solved(self, task: Task, problem: str, ctx: Ctx) -> tuple[Group, float | None]:
        """Solutions of a problem that was written, by the answer of the one that it was written for; and the share that is right."""
        variant = Task(problem, task.needs, task.source, {"written": "actor", "for": task.id})
        (group,) = await self.solve(variant, None, ctx)
        return replace(group, role=VARIANT), (await ctx.grade([group])).rate(group)

    def _asks(self, solution: Rollout) -> str:
        return self.ask.replace("{}", solution.text)

    def _problem(self, rollout: Rollout, renderer: Renderer, longest: int) -> str | None:
        """The one problem in a text, where it can be asked: without a special token's name, and not longer than it may be."""
        opening, closing = self.between
        if rollout.text.count(opening) != 1:
            return None
        inside, closed, _ = rollout.text.partition(opening)[2].partition(closing)
        problem = inside.strip()
        fits = closed and problem and renderer.plain(problem) is not None and len(renderer.prompt(problem)) <= longest
        return problem if fits else None
