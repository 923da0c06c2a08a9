"""Learner ranks as Ray actors: `strop.learners.rank` in processes that Ray places, commanded by the driver.

The first rank's node is where all of them meet (gloo on CPUs, NCCL on GPUs). A command is given to all of them or none. While it is
done the driver listens for heartbeats: a rank that dies or stands still ends the run within a minute, by name; the weights
are a function of checkpoint and commits, so `--resume` goes on with ranks that are new.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from typing import Any

import ray
import torch
import torch.distributed as dist
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch.distributed.device_mesh import init_device_mesh

from strop.cluster.terms import ClusterError, Deadlines, Terms, by_value
from strop.learners import wire
from strop.learners.rank import Rank, Ranks
from strop.method import Method
from strop.recipe import Recipe

MEETING = timedelta(minutes=10)
"""The longest that one rank waits for another inside a command; the driver is done with a dead one long before."""
BEAT = 2.0
"""Seconds between two looks at the ranks while they compute."""


class Place:
    """Runs inside an actor: one rank, in two threads, of which one answers heartbeats."""

    def __init__(self, number: int, count: int, threads: int):
        self.number, self.count = number, count
        torch.set_num_threads(threads)
        self.rank: Rank | None = None

    def facts(self) -> dict[str, Any]:
        with socket.socket() as one:
            one.bind(("", 0))
            port = one.getsockname()[1]
        node, address = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
        return {"node": node, "host": socket.gethostname(), "pid": os.getpid(), "meet": f"{address}:{port}"}

    def meet(self, address: str, recipe: Recipe, method: Method) -> None:
        cuda = recipe.device != "cpu" and torch.cuda.is_available()
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, init_method=f"tcp://{address}", rank=self.number, world_size=self.count, timeout=MEETING)
        self.rank = Rank(recipe, method, init_device_mesh("cuda" if cuda else "cpu", (self.count,)))

    def heartbeat(self) -> bool:
        return True

    def do(self, data: bytes) -> Any:
        command, arguments = wire.decode(data)
        answer = getattr(self.rank, command)(*arguments)
        return answer if self.number == 0 else None


class Crew:
    """The ranks as the driver knows them."""

    def __init__(self, cluster: Terms, recipe: Recipe, method: Method):
        count = cluster.ranks or 1
        self.wait: Deadlines = cluster.deadlines
        threads = torch.get_num_threads()
        each: dict[str, float] = {"CPU": 1.0}
        if recipe.device != "cpu" and ray.cluster_resources().get("GPU"):
            each["GPU"] = 1.0
        by_value(recipe.method)
        self.group = placement_group([each] * count, strategy="PACK")
        try:
            ray.get(self.group.ready(), timeout=self.wait.start)
        except GetTimeoutError:
            remove_placement_group(self.group)
            raise ClusterError(
                f"{count} learner ranks need {each} each, and the cluster has only {ray.available_resources()} free: they were not placed "
                f"within {self.wait.start:g} s. Ask for fewer --ranks or --replicas, or add nodes."
            ) from None
        self.actors: list[Any] = [
            ray.remote(Place)
            .options(
                num_cpus=1,
                num_gpus=each.get("GPU", 0),
                max_concurrency=2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=number),
                runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
            )
            .remote(number, count, threads)
            for number in range(count)
        ]
        self.facts: list[dict[str, Any]] = ray.get([actor.facts.remote() for actor in self.actors], timeout=self.wait.opening)
        address = self.facts[0]["meet"]
        self._done("meet", [actor.meet.remote(address, recipe, method) for actor in self.actors], self.wait.opening)

    def call(self, command: str, *arguments: Any) -> Any:
        data = ray.put(wire.encode(command, arguments))
        return self._done(command, [actor.do.remote(data) for actor in self.actors], MEETING.total_seconds())

    def _done(self, command: str, answers: list[Any], seconds: float) -> Any:
        """The first rank's answer, when all have done it; whoever dies or stands still meanwhile is named."""
        until, waiting = time.monotonic() + seconds, list(answers)
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=BEAT)
            for answer in ready:
                number = answers.index(answer)
                try:
                    ray.get(answer, timeout=self.wait.heartbeat)
                except RayActorError as error:
                    self._lost(number, command, f"died ({' '.join(str(error).split())[:160]})")
                except Exception:
                    self._listen(command)  # it failed because another one is gone? Then that one is named
                    raise
            if waiting:
                self._listen(command)
                if time.monotonic() > until:
                    self._lost(answers.index(waiting[0]), command, f"did not finish within {seconds:g} s")
        return ray.get(answers[0], timeout=self.wait.deliver)

    def _listen(self, command: str) -> None:
        """Every rank answers a heartbeat in the thread that does not compute."""
        asked = [actor.heartbeat.remote() for actor in self.actors]
        ready, silent = ray.wait(asked, num_returns=len(asked), timeout=self.wait.heartbeat)
        for beat in ready:
            try:
                ray.get(beat, timeout=self.wait.heartbeat)
            except RayActorError as error:
                self._lost(asked.index(beat), command, f"died ({' '.join(str(error).split())[:160]})")
        if silent:
            self._lost(asked.index(silent[0]), command, f"did not answer its heartbeat within {self.wait.heartbeat:g} s")

    def _lost(self, number: int, command: str, why: str) -> None:
        about, actor = self.facts[number], self.actors[number]._actor_id.hex()[:12]
        self.close()
        raise ClusterError(
            f"learner rank {number} (actor {actor}, process {about['pid']} on node {about['node'][:12]} ({about['host']})) {why}, "
            f"while `{command}` was done; heartbeats are due every {self.wait.heartbeat:g} s. The step's groups are committed: go on with "
            "--resume."
        )

    def close(self) -> None:
        """Once or twice."""
        for actor in self.actors:
            ray.kill(actor)
        remove_placement_group(self.group)


def hired(cluster: Terms, policy: Any, method: Method, recipe: Recipe) -> Ranks:
    """A learner whose ranks are actors."""
    cluster.open.append(crew := Crew(cluster, recipe, method))
    return Ranks(policy, method, recipe, crew.call)
