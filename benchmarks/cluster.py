"""What a cluster costs: replicas against threads, and the driver's own work with engines that only sleep.

    python benchmarks/cluster.py threads      two replicas of one thread against one of two threads
    python benchmarks/cluster.py driver       1, 2, 4 and 8 stand-in engines, which sleep instead of computing
    python benchmarks/cluster.py --json FILE  both

An engine that sleeps writes a group of 8 replies of 100 tokens in 0.8 s, one group after another. With n of them n times as much
would be written if the driver cost nothing. The driver's milliseconds are the processor time of its process, all its threads,
from asking for a task until its groups are records again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets it on a busy machine

import torch

from strop import pico
from strop.cluster import Cluster, connected
from strop.cluster.front import Front
from strop.cluster.replica import Replica
from strop.policies.causal import of
from strop.recipe import Recipe
from strop.records import Author, Group, Sampling, Segment
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.engine import Counters, Node, called
from strop.seams.feed import Rollouts
from strop.seams.source import Source
from strop.tasks import source

SLEEP, TOKENS, REPLIES = 0.8, 100, 8
GROUPS = 12
"""For each stand-in engine."""


class Sleeper:
    """A stand-in for an engine: it computes nothing and takes its time."""

    name, own, cuts, grade, limits, limit = "actor", True, True, "exact", {}, 1 << 20

    def __init__(self) -> None:
        self.version, self.counters, self.room = 0, Counters(), asyncio.Semaphore(REPLIES)

    async def open(self, tokens: Any, *, root: str, ordinal: int = 0) -> Node:
        return Node(Segment("prompt", tuple(tokens), "0"), None, (0,), root, self.version, length=len(tokens))

    def generate(self, node: Node, *, max: int, stop: Any = (), sampling: Sampling = Sampling(), keep: bool = True) -> Any:
        return self._slept(node, node.next(), sampling)

    async def _slept(self, node: Node, path: tuple[int, ...], sampling: Sampling) -> Node:
        async with self.room:
            await asyncio.sleep(SLEEP)
        self.counters.decoded += TOKENS
        segment = Segment("action", (65,) * TOKENS, called(path), Author("actor", self.version, sampling), (-1.0,) * TOKENS)
        return Node(segment, node, path, node.root, self.version, "length", node.length + TOKENS)

    def admit(self, footprint: Any) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def begin(self, step: int) -> None: ...

    def deliver(self, version: int) -> None:
        self.version = version


class Sleeping(Replica):
    async def start(self, recipe: Recipe, threads: int, source: str | Source) -> dict[str, Any]:
        await super().start(recipe, threads, source)
        self.engine: Any = Sleeper()
        self.handle, self.cuts = Handle(self.engine, self.policy.renderer), True
        return self.facts()


class Sleepers(Front):
    replica = Sleeping


def taken(front: Front, recipe: Recipe, step: int, tasks: int) -> list[Group]:
    """The groups of one step, as the step asks for them."""
    from collections import Counter

    given, method = source("chain"), recipe.resolved()
    ctx = Ctx(0, Progress(step, 100), given, {"actor": Handle(front, front.policy.renderer)}, grade=None)  # pyright: ignore[reportArgumentType]
    front.begin(step)
    picked = [given.task("train", 0, step * tasks + i) for i in range(tasks)]
    return asyncio.run(Rollouts().take(lambda n: picked, tasks, method.sampler, None, ctx, Counter()))


def driver(counts: tuple[int, ...] = (1, 2, 4, 8)) -> list[dict[str, Any]]:
    recipe = Recipe(task="chain", model=str(pico.path()), group=REPLIES, max_tokens=TOKENS)
    policy, rows = of(recipe), []
    torch.set_num_threads(1)
    for count in counts:
        with connected(Cluster("local", replicas=count)) as cluster:
            front = Sleepers(policy, recipe, cluster)
            taken(front, recipe, 0, 2 * count)
            began, spent = time.perf_counter(), time.process_time()
            groups = taken(front, recipe, 1, GROUPS * count)
            seconds, own = time.perf_counter() - began, time.process_time() - spent
            front.close()
        tokens = sum(r.length for g in groups for r in g.rollouts)
        row = {"engines": count, "groups": len(groups), "seconds": seconds, "groups_per_second": len(groups) / seconds}
        row |= {"ms_per_group": 1000 * own / len(groups), "ms_per_1000_tokens": 1e6 * own / tokens}
        row["linear"] = row["groups_per_second"] / (count * rows[0]["groups_per_second"]) if rows else 1.0
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def threads(tasks: int = 32, steps: int = 3) -> list[dict[str, Any]]:
    recipe = Recipe(task="chain", model=str(pico.path()), group=16, max_tokens=128)
    policy, rows = of(recipe), []
    for replicas, each in ((1, 2), (2, 1)):
        torch.set_num_threads(each)
        with connected(Cluster("local", replicas=replicas)) as cluster:
            front = cluster.front(policy, recipe)
            taken(front, recipe, 0, tasks)
            began = time.perf_counter()
            groups = [g for step in range(1, 1 + steps) for g in taken(front, recipe, step, tasks)]
            seconds = time.perf_counter() - began
            front.close()
        tokens = sum(r.length for g in groups for r in g.rollouts)
        rows.append({"replicas": replicas, "threads": each, "tokens_per_second": tokens / seconds, "tokens": tokens, "seconds": seconds})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["threads", "driver", []], help="both, if none is named")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    made: dict[str, Any] = {}
    for name in args.what or ("threads", "driver"):
        made[name] = {"threads": threads, "driver": driver}[name]()
    if "threads" in made:
        one, two = made["threads"]
        ratio = two["tokens_per_second"] / one["tokens_per_second"]
        print(f"one replica of two threads   {one['tokens_per_second']:8.0f} tokens/s")
        print(f"two replicas of one thread   {two['tokens_per_second']:8.0f} tokens/s   {ratio:.2f} x")
    if "driver" in made:
        print("sleeping engines  groups/s  linear  driver ms/group  ms/1,000 tokens")
        for r in made["driver"]:
            print(
                f"{r['engines']:16}{r['groups_per_second']:10.2f}{r['linear']:8.2f}{r['ms_per_group']:17.2f}{r['ms_per_1000_tokens']:17.2f}"
            )
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
