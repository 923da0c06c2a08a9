"""Replica: one actor with a copy of the policy, an engine, and the tasks that grow beside it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from strop import engines, grading
from strop.policies.causal import of
from strop.recipe import Recipe
from strop.records import Group, Sampling, Scores, Segment, Stop, Task
from strop.seams.context import Ctx, Handle, Ledger, Progress
from strop.seams.engine import Node
from strop.seams.sampler import Sampler, grown
from strop.seams.source import Source
from strop.seams.world import World
from strop.tasks import source as named_source
from strop.tasks.shots import show


@dataclass(frozen=True)
class Kit:
    """What many tasks have in common; sent once to each replica."""

    sampler: Sampler
    world: World | None
    source: str | Source


@dataclass(frozen=True)
class Errand:
    """One task to grow."""

    kit: int
    task: Task
    place: str
    seed: int
    step: int
    """Keys the noise."""
    progress: Progress
    ledger: Ledger
    """Of this task alone."""


@dataclass(frozen=True)
class Harvest:
    """What an errand brought, and where the replica stands with it."""

    groups: list[Group]
    counters: dict[str, int]
    wrote: frozenset[int]
    """Contexts that actions ended since the last harvest (of engines that remember them)."""
    graded: dict[str, Scores] = field(default_factory=dict[str, Scores])
    """The source's verdicts that the sampler asked for, by group: nobody asks for them again."""


class Replica:
    """Runs inside an actor whose event loop is shared by all of its tasks."""

    async def start(self, recipe: Recipe, threads: int, source: str | Source) -> dict[str, Any]:
        """Not the constructor: Ray tells what a method raised, and of a constructor only that it failed."""
        torch.set_num_threads(threads)
        self.policy = of(recipe)
        self.sources: dict[str, Source] = {}
        show(self.policy.renderer, self._source(source), recipe.shots)
        self.engine = engines.build(self.policy, recipe)
        self.handle = Handle(self.engine, self.policy.renderer)
        self.step: int | None = None
        self.sent: set[int] = set()
        self.kits: dict[int, Kit] = {}
        self.cuts: bool = getattr(self.engine, "cuts", False)
        self.busy = 0
        """What was asked for and has begun."""
        self.gate = asyncio.Event()
        """Open while more may begin."""
        self.gate.set()
        return self.facts()

    def facts(self) -> dict[str, Any]:
        """Who this is, and what its engine says of itself."""
        import ray

        engine: Any = self.engine
        node = ray.get_runtime_context().get_node_id()
        about = {"node": node, "host": socket.gethostname(), "pid": os.getpid(), "threads": torch.get_num_threads()}
        about |= {"grade": getattr(engine, "grade", "unknown"), "own": engine.own, "limits": dict(engine.limits), "limit": engine.limit}
        return about | {"remembers": hasattr(engine, "wrote"), "repeats": hasattr(engine, "noise")}

    async def heartbeat(self) -> tuple[dict[str, int], float]:
        """What was counted, and a number that moves while an engine computes whose counters move only now and then. An engine that has
        ended says so here, whether it was asked for something or not."""
        pulse = getattr(self.engine, "pulse", None)
        return self.engine.counters.to_json(), 0.0 if pulse is None else await pulse()

    async def deliver(self, weights: Mapping[str, np.ndarray], version: int) -> int:
        """Another policy's tensors, as bytes, into this one's; the engine hears of it.

        An engine that cuts takes them at once: what it was writing ends as a segment, and the rest is written by the new weights. For
        another, what has begun ends under the version it began with, and what comes meanwhile waits.
        """
        if not self.cuts:
            await self._emptied()
        try:
            return await self._delivered(weights, version)
        finally:
            self.gate.set()

    async def _emptied(self) -> None:
        self.gate.clear()
        while self.busy:
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def _between_deliveries(self) -> AsyncIterator[None]:
        await self.gate.wait()
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def _delivered(self, weights: Mapping[str, np.ndarray], version: int) -> int:
        mine = dict(self.policy.weights())
        if mine.keys() != weights.keys():
            raise ValueError(f"weights of another model were delivered: {sorted(mine.keys() ^ weights.keys())[:4]} are on one side only")
        with torch.no_grad():
            for name, tensor in mine.items():
                given = torch.from_numpy(np.array(weights[name])).view(tensor.dtype).view(tensor.shape)
                tensor.copy_(given)
        if self.cuts:
            self.engine.deliver(version)
        else:
            await asyncio.to_thread(self.engine.deliver, version)
        return self.engine.version

    async def equip(self, number: int, kit: Kit) -> None:
        self.kits[number] = kit

    async def grow(self, errand: Errand) -> Harvest:
        async with self._between_deliveries():
            return await self._grown(errand)

    async def _grown(self, errand: Errand) -> Harvest:
        self._at(errand.step)
        kit = self.kits[errand.kit]
        source = self._source(kit.source)

        graded: dict[str, Scores] = {}

        async def grade(groups: list[Group]) -> Scores:
            scores = await grading.grade(source, groups)
            graded.update({group.id: scores.of([group]) for group in groups})
            return scores

        ctx = Ctx(errand.seed, errand.progress, source, {"actor": self.handle}, grade, errand.ledger, errand.place)
        groups = await grown(kit.sampler, errand.task, kit.world, ctx)
        wrote = frozenset(getattr(self.engine, "wrote", ())) - self.sent
        self.sent |= wrote
        given = {group.id for group in groups}
        return Harvest(groups, self.engine.counters.to_json(), wrote, {unit: said for unit, said in graded.items() if unit in given})

    async def write(
        self, line: Sequence[Segment], root: str, ordinal: int, step: int, most: int, stop: tuple[str, ...], sampling: Sampling
    ) -> tuple[tuple[Segment, Stop | None], dict[str, int]]:
        """One action under a line of segments."""
        async with self._between_deliveries():
            self._at(step)
            node = self._node(line, root)
            node.children[0] = ordinal
            written = await self.engine.generate(node, max=most, stop=stop, sampling=sampling, keep=False)
            return (written.segment, written.stop), self.engine.counters.to_json()

    async def score(self, line: Sequence[Segment], root: str) -> tuple[tuple[float, ...], dict[str, int]]:
        async with self._between_deliveries():
            return await self.engine.score(self._node(line, root)), self.engine.counters.to_json()

    def _at(self, step: int) -> None:
        if self.step != step:
            self.step = step
            self.engine.begin(step)
            self.sent.clear()

    def _node(self, line: Sequence[Segment], root: str) -> Node:
        node: Node | None = None
        for segment in line:
            before = node.length if node is not None else 0
            path = tuple(map(int, segment.id.split(".")))
            node = Node(segment, node, path, root, self.engine.version, length=before + len(segment.tokens))
        assert node is not None
        return node

    def _source(self, source: str | Source) -> Source:
        if not isinstance(source, str):
            return source
        if source not in self.sources:
            self.sources[source] = named_source(source)
        return self.sources[source]
