"""Front: what the driver holds. An engine of the usual protocol; the replicas behind it are Ray actors.

It lives on an event loop of its own, in a thread, so what was asked goes on while the learner computes. Every wait has an
owner (`self`) and a deadline (`Deadlines`). A replica that dies, or whose heartbeat or work stands still, is dropped, its
tasks are asked again of the others, and another one is started in its place.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from strop.aside import Loop
from strop.cluster.replica import Errand, Harvest, Kit, Replica
from strop.cluster.terms import ClusterError, Terms, by_value
from strop.cluster.worlds import Answers, Elsewhere, Worker
from strop.engines import draw, options
from strop.recipe import Recipe
from strop.records import Group, Sampling, Scores, Segment, Stop, Task
from strop.seams.context import Ctx, Ledger
from strop.seams.engine import Counters, EngineLost, Footprint, Node, called
from strop.seams.sampler import Sampler
from strop.seams.world import World

T = TypeVar("T")
SAME = 1e-3
"""Nats a token: replicas that hold the same weights agree within this, whatever machine they stand on. Engines that round more say so."""
LOSSES = 4
"""A task that was lost with so many replicas is given up, and so is a place where so many in a row did not start."""


@dataclass(eq=False)
class Member:
    """A replica as the driver knows it."""

    number: int
    actor: Any
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    counters: dict[str, int] = field(default_factory=dict[str, int])
    """The largest heard of."""
    kits: dict[int, Any] = field(default_factory=dict[int, Any])
    """What it was given that tasks share, and its word that it has it."""
    asked: int = 0
    """What it has not answered yet."""
    heard: float = 0.0
    moved: float = 0.0
    """When its counters or its pulse last changed, or it was asked for the first thing after nothing."""
    pulse: float = 0.0

    def __str__(self) -> str:
        actor = self.actor._actor_id.hex()[:12]  # pyright: ignore[reportPrivateUsage]
        where = f"process {self.facts['pid']} on node {self.facts['node'][:12]} ({self.facts['host']})" if self.facts else "not placed yet"
        return f"replica {self.number} (actor {actor}, {where})"

    def hear(self, counters: dict[str, int], pulse: float = 0.0) -> None:
        self.heard = time.monotonic()
        newer = {name: max(value, self.counters.get(name, 0)) for name, value in counters.items()}
        if newer != self.counters or pulse > self.pulse:
            self.counters, self.pulse, self.moved = newer, max(pulse, self.pulse), time.monotonic()


class _Lost(Exception):
    """Whoever was asked is gone; ask another."""


class Front:
    name = "actor"
    replica = Replica

    def __init__(self, policy: Any, recipe: Recipe, cluster: Terms):
        self.policy, self.recipe, self.cluster = policy, recipe, cluster
        asked, usual = options.read(recipe.engine), cluster.deadlines
        own = getattr(asked, "start", 0.0)
        self.wait = replace(usual, opening=max(usual.opening, own), start=max(usual.start, own))
        """An engine may say of itself how long it takes to start."""
        self._longest = 2 * usual.deliver + getattr(asked, "deadline", 0.0)
        """A delivery to an engine that ends what it has begun before it takes new weights."""
        self.version, self.step = 0, 0
        self.members: list[Member] = []
        self.losses: list[dict[str, Any]] = []
        """Every replica that was lost: which, why, and when another stood in its place."""
        self._gone: Counter[str] = Counter()
        self._kits: list[tuple[Sampler, World | None, Kit]] = []
        self._took: deque[float] = deque(maxlen=64)
        self._graded: dict[str, Scores] = {}
        """The source's verdicts that samplers asked for on a replica, by group, until somebody takes them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: set[int] = set()
        """Where a replica is being started again."""
        self._broken: ClusterError | None = None
        self._changed = asyncio.Event()
        """Set, and replaced, whenever a replica comes or a place is given up."""
        self._closed = False
        self._delivered: tuple[Any, int] | None = None
        held = ray.cluster_resources()
        self._gpus = int(held.get("GPU", 0)) if recipe.device != "cpu" else 0
        rest = (self._gpus or int(held.get("CPU", 1))) - (cluster.ranks or 0)
        self.size = cluster.replicas or max(rest, 1)
        if self.size > 1 and getattr(asked, "url", ""):
            raise ValueError(
                f"engine={recipe.engine!r} is one server, and {self.size} replicas need one each: --replicas 1, or let each start its own "
                "with vllm:python=PYTHON."
            )
        self._loop = Loop("strop-front")
        self.loop = self._loop.loop
        self._threads = torch.get_num_threads()
        self._sources = cluster.source if cluster.source is not None else recipe.task_name()
        self._plain = replace(recipe, method=Recipe.method, lora=Recipe.lora)
        """What replicas are made by: no engine knows the method, and weights come whole, adapters merged."""
        by_value(self._sources)
        try:
            self._loop.wait(self._open(), self.wait.opening + self.wait.deliver)
            self.deliver(0)
            if all(member.facts["remembers"] for member in self.members):
                self.wrote = set[int]()
            if all(member.facts["repeats"] for member in self.members):
                self.noise = self._noise
        except BaseException:
            self.close()
            raise

    # ---- what it says of itself

    @property
    def own(self) -> bool:
        return all(member.facts["own"] for member in self.members)

    @property
    def grade(self) -> str:
        return "exact" if all(member.facts["grade"] == "exact" for member in self.members) else "statistical"

    @property
    def limit(self) -> int:
        return self.members[0].facts["limit"] if self.members else 1 << 31

    @property
    def limits(self) -> Mapping[str, float]:
        return self.members[0].facts["limits"] if self.members else {}

    @property
    def counters(self) -> Counters:
        """Of all replicas that live and of all that are gone, as far as they were heard."""
        total = Counter(self._gone)
        for member in self.members:
            total.update(member.counters)
        return Counters(**total)

    # ---- what the run calls

    def begin(self, step: int) -> None:
        self.step = step
        if hasattr(self, "wrote"):
            self.wrote.clear()

    def deliver(self, version: int) -> None:
        self.version = version
        self._loop.wait(self._deliver(version), self._longest)

    def ask(self, sampler: Sampler, task: Task, world: World | None, ctx: Ctx, *, step: int | None = None) -> Future[list[Group]]:
        ledger = Ledger({k: v for k, v in ctx.ledger.trials.items() if k == task.id}, {})
        if ledger.trials:
            ledger = Ledger(ledger.trials, {task.id: ctx.ledger.successes.get(task.id, 0.0)})
        errand = Errand(self._kit(sampler, world), task, ctx.place, ctx.seed, self.step if step is None else step, ctx.progress, ledger)
        return asyncio.run_coroutine_threadsafe(self._grow(errand), self.loop)

    def graded(self, groups: Sequence[Group]) -> dict[str, Scores]:
        """What samplers had the source say of these groups, each told once."""
        return {group.id: self._graded.pop(group.id) for group in groups if group.id in self._graded}

    def _noise(self, root: str, segment: str, start: int, count: int) -> np.ndarray:
        """What drew an action of this step; the replicas draw by the same address."""
        key = draw.key(self.recipe.seed, self.step, root, tuple(map(int, segment.split("."))))
        return draw.uniforms(np.full(count, key, dtype=np.uint64), np.arange(start, start + count))

    # Node by node: a message for each, for whoever asks for less than a task.

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        return Node(Segment("prompt", tuple(tokens), called((ordinal,))), None, (ordinal,), root, self.version, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        return self._write(node, node.next(), max, stop, sampling)

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        path = node.next()

        async def extended() -> Node:
            return Node(Segment(kind, tuple(tokens), called(path)), node, path, node.root, self.version, length=node.length + len(tokens))

        return extended()

    async def score(self, node: Node) -> tuple[float, ...]:
        """Every replica is asked: they hold the same weights, or it is said which two do not."""
        line = [part.segment for part in node.line()]

        async def all_of_them() -> list[tuple[Member, tuple[float, ...]]]:
            for _ in range(LOSSES):
                await self._member()
                try:
                    return [(m, await self._on(m, lambda m: m.actor.score.remote(line, node.root))) for m in [*self.members]]
                except _Lost:
                    continue
            raise ClusterError(f"replicas were lost {LOSSES} times while they scored the same text: {self.losses[-1]}")

        (first, known), *others = await self._loop.ask(all_of_them())
        for member, said in others:
            gap = max(abs(a - b) for a, b in zip(known, said, strict=True))
            if gap > max(SAME, self.limits.get("stale-weights", 0.0)):
                raise ClusterError(
                    f"{first} and {member} give the same text log-probabilities that are {gap:.2g} apart: one of them holds other weights "
                    f"than version {self.version}. Resume the run: replicas start anew and are given the learner's weights."
                )
        return known

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        """Whoever asks node by node holds nothing here."""
        return nullcontext()

    def close(self) -> None:
        """Actors go, and what was asked of them with them."""
        if self._closed:
            return
        self._closed = True
        for member in [*self.members]:
            ray.kill(member.actor)
        for _, _, kit in self._kits:
            for worker in kit.world.workers if isinstance(kit.world, Elsewhere) else ():
                ray.kill(worker.actor)

        async def leave() -> None:
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self._loop.wait(leave(), self.wait.heartbeat)
        self._loop.close()

    # ---- on the front's own loop

    async def _open(self) -> None:
        """All of them, or none and the reason."""
        await asyncio.gather(*(self._start(number, self.wait.opening) for number in range(self.size)))
        self._background(self._watch())

    def _background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, number: int, seconds: float) -> None:
        """A replica in this place, with the weights as they stand."""
        options: dict[str, Any] = {"num_cpus": 1, "max_concurrency": 4096, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        if self._gpus:
            options["num_gpus"] = 1
        options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": str(self._threads)}}
        member = Member(number, ray.remote(self.replica).options(**options).remote())
        try:
            member.facts = await asyncio.wait_for(member.actor.start.remote(self._plain, self._threads, self._sources), seconds)
            while self._delivered is not None and member.facts.get("version") != self._delivered[1]:
                held, version = self._delivered
                member.facts["version"] = await asyncio.wait_for(member.actor.deliver.remote(held, version), self.wait.deliver)
        except (TimeoutError, RayError) as error:
            ray.kill(member.actor)
            cause = getattr(error, "cause", None)
            if isinstance(cause, ValueError | ImportError | OSError):  # no such model, an engine that is not installed: no node helps
                raise ClusterError(f"{member} cannot start: {cause}") from error
            within = f"within {seconds:g} s" if isinstance(error, TimeoutError) else f"({_first_line(error)})"
            room = {name: count for name, count in ray.available_resources().items() if name in ("CPU", "GPU")}
            raise ClusterError(
                f"{member} did not start {within}; resources left: {room or 'none'}. Ask for fewer --replicas, or add nodes to the cluster."
            ) from error
        member.moved = member.heard = time.monotonic()
        self.members = sorted([*self.members, member], key=lambda m: m.number)
        self._wake()

    async def _again(self, number: int, loss: dict[str, Any]) -> None:
        """Another replica in the place of one that was lost; a few attempts, then the place stays empty."""
        self._places.add(number)
        for _ in range(LOSSES):
            try:
                await self._start(number, self.wait.start)
                loss["replaced"] = time.time()
                print(f"replica {number} is there again, {loss['replaced'] - loss['at']:.1f} s later.", file=sys.stderr, flush=True)
                break
            except ClusterError as error:
                self._broken = error
                print(error, file=sys.stderr, flush=True)
                await asyncio.sleep(1)
        self._places.discard(number)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _member(self) -> Member:
        """The least busy one; waits for one to start where none lives, or says why there is none."""
        until = time.monotonic() + self.wait.start
        while not self.members:
            left = until - time.monotonic()
            if left <= 0 or not self._places:
                last = "; ".join(f"{one['replica']} {one['why']}; {one['heard']}" for one in self.losses[-LOSSES:])
                raise ClusterError(
                    f"no replica is alive, and none started within {self.wait.start:g} s. Lost: {last}."
                    + (f" The last attempt: {self._broken}" if self._broken else "")
                )
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue
        return min(self.members, key=lambda m: (m.asked, m.number))

    def _lose(self, member: Member, why: str) -> None:
        """Once for each: drop it, remember why, start another in its place."""
        if member not in self.members or self._closed:
            return
        self.members.remove(member)
        self._gone.update(member.counters)
        ray.kill(member.actor)
        since = f"last heard of {time.monotonic() - member.heard:.1f} s ago, due every {self.wait.heartbeat:g} s"
        self.losses.append({"replica": str(member), "why": why, "heard": since, "at": time.time()})
        none = "" if self.members else f" No other is left: the run waits for one to start, {self.wait.start:g} s at most."
        print(f"{member} {why}; {since}. What it was asked for is asked again.{none}", file=sys.stderr, flush=True)
        self._background(self._again(member.number, self.losses[-1]))

    async def _watch(self) -> None:
        """Heartbeats: who does not answer, or was asked and computes nothing, is lost."""

        async def beat(member: Member) -> None:
            try:
                member.hear(*await asyncio.wait_for(member.actor.heartbeat.remote(), self.wait.heartbeat))
            except TimeoutError:
                return self._lose(member, f"did not answer its heartbeat within {self.wait.heartbeat:g} s")
            except RayError as error:
                return self._lose(member, _gone(error) or f"failed ({_first_line(error)})")
            if member.asked and time.monotonic() - member.moved > self.wait.stall:
                self._lose(member, f"was asked for {member.asked} things and computed nothing for {self.wait.stall:g} s")

        while True:
            await asyncio.gather(*(beat(member) for member in [*self.members]))
            await asyncio.sleep(min(2.0, self.wait.heartbeat / 4))

    async def _on(self, member: Member, ask: Callable[[Member], Any]) -> Any:
        """Something small of one replica: its answer, its counters noted."""
        try:
            answer, counters = await asyncio.wait_for(ask(member), self.wait.stall)
        except TimeoutError as error:
            self._lose(member, f"did not answer within {self.wait.stall:g} s")
            raise _Lost from error
        except RayError as error:
            if (why := _gone(error)) is None:
                raise getattr(error, "cause", None) or error from None
            self._lose(member, why)
            raise _Lost from error
        member.hear(counters)
        return answer

    async def _deliver(self, version: int) -> None:
        weights = {name: _bytes(tensor) for name, tensor in self.policy.weights()}
        self._delivered = (await asyncio.to_thread(ray.put, weights), version)
        await asyncio.gather(*(self._deliver_to(member) for member in [*self.members]))

    async def _deliver_to(self, member: Member) -> None:
        assert self._delivered is not None
        held, version = self._delivered
        answer = asyncio.ensure_future(member.actor.deliver.remote(held, version))
        try:
            while not (await asyncio.wait([answer], timeout=self.wait.deliver))[0]:
                if member not in self.members:  # whoever watches it has said why
                    return
                if not member.asked:
                    return self._lose(member, f"did not take weights of version {version} within {self.wait.deliver:g} s")
            member.facts["version"] = answer.result()
        except RayError as error:
            if (why := _gone(error)) is None:
                raise getattr(error, "cause", None) or error from None
            self._lose(member, f"{why}, while weights of version {version} were delivered")
        finally:
            answer.cancel()

    async def _grow(self, errand: Errand) -> list[Group]:
        """Asked of one replica; again where it was lost; of a second one where the first takes long. The first answer counts: all are
        the same."""
        began, lost = time.monotonic(), 0
        running: dict[asyncio.Task[Harvest], Member] = {}
        try:
            while True:
                if not running:
                    member = await self._member()
                    running[self._send(member, errand)] = member
                done, _ = await asyncio.wait(running, timeout=self._patience(began), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    member = running.pop(task)
                    error = task.exception()
                    if error is None:
                        harvest = task.result()
                        if harvest.wrote:
                            self.wrote |= harvest.wrote
                        self._took.append(time.monotonic() - began)
                        self._graded |= harvest.graded
                        return harvest.groups
                    if (why := _gone(error)) is None:
                        raise getattr(error, "cause", None) or error
                    self._lose(member, why)
                    lost += 1
                    if lost == LOSSES:
                        raise ClusterError(
                            f"task {errand.place} was lost with {lost} replicas; the last was {member}: {_first_line(error)}"
                        )
                if not done and (idle := [m for m in self.members if not m.asked]):
                    running[self._send(idle[0], errand)] = idle[0]
        finally:
            for task in running:
                task.cancel()

    def _patience(self, began: float) -> float:
        """Seconds until this task counts as slow."""
        usual = statistics.median(self._took) if self._took else 0.0
        return max(began + max(self.wait.patience, 3 * usual) - time.monotonic(), 0.5)

    def _send(self, member: Member, errand: Errand) -> asyncio.Task[Harvest]:
        if not member.asked:
            member.moved = time.monotonic()
        member.asked += 1
        return self.loop.create_task(self._errand(member, errand))

    async def _errand(self, member: Member, errand: Errand) -> Harvest:
        answer = None
        try:
            if errand.kit not in member.kits:
                member.kits[errand.kit] = member.actor.equip.remote(errand.kit, self._kits[errand.kit][2])
            await member.kits[errand.kit]
            answer = member.actor.grow.remote(errand)
            harvest: Harvest = await answer
        except asyncio.CancelledError:
            if answer is not None:
                ray.cancel(answer)
            raise
        finally:
            member.asked -= 1
        member.hear(harvest.counters)
        return harvest

    async def _write(self, node: Node, path: tuple[int, ...], most: int, stop: tuple[str, ...], sampling: Sampling) -> Node:
        line = [part.segment for part in node.line()]

        async def written() -> tuple[Segment, Stop | None]:
            for _ in range(LOSSES):
                try:
                    return await self._on(
                        await self._member(),
                        lambda m: m.actor.write.remote(line, node.root, path[-1], self.step, most, stop, sampling),
                    )
                except _Lost:
                    continue
            raise ClusterError(f"one request was lost with {LOSSES} replicas: {self.losses[-1]}")

        segment, why = await self._loop.ask(written())
        return Node(segment, node, path, node.root, self.version, why, node.length + len(segment.tokens))

    def _kit(self, sampler: Sampler, world: World | None) -> int:
        """The number of what these tasks share. Records that never change: the same one is the same object."""
        for number, (known, around, _) in enumerate(self._kits):
            if known is sampler and around is world:
                return number
        by_value(sampler, world)
        there = world if world is None else self._worlds(world)
        self._kits.append((sampler, world, Kit(sampler, there, self._sources)))
        return len(self._kits) - 1

    def _worlds(self, world: World) -> Elsewhere:
        """Workers that answer for it, one beside each replica unless it was said how many."""
        if names := [*getattr(world, "asks", ())]:
            raise ValueError(f"{type(world).__name__} asks the policy {names[0]!r}, and the workers that answer for a world have none")
        workers: list[Worker] = []
        for number in range(self.cluster.workers or self.size):
            beside = self.members[number % len(self.members)].facts["node"]
            place = NodeAffinitySchedulingStrategy(beside, soft=True)
            options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 256, "max_restarts": -1, "scheduling_strategy": place}
            actor: Any = ray.remote(Answers).options(**options).remote(world)
            workers.append(Worker(actor, f"world worker {number} (actor {actor._actor_id.hex()[:12]}, placed on node {beside[:12]})"))
        ray.get([worker.actor.ready.remote() for worker in workers], timeout=self.wait.opening)
        shown = {"tools": getattr(world, "tools", ()), "told": getattr(world, "documents", None), "shows": hasattr(world, "show")}
        return Elsewhere(tuple(workers), self.wait.reply, self.cluster.deadlines.start, **shown)


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of any type as plain bytes, which the object store hands out without a copy."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()


def _gone(error: BaseException) -> str | None:
    """Why whoever raised this is of no use any more; None for an error of what was asked, which another one would make too."""
    if isinstance(error, RayActorError):
        return f"died ({_first_line(error)})"
    cause = getattr(error, "cause", None)
    return f"lost its engine ({' '.join(str(cause).split())[:600]})" if isinstance(cause, EngineLost) else None


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
