"""Check this machine and installation: versions, cores, memory, disk, extras, and how fast the engine decodes.

With --model, that model in its place: how its prompts are written, what ends a reply, memory, speed, and the flags that suit it.

Each line says ok or what to do; the exit code is 1 when something must be done.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from strop import tracking
from strop.cli import answer, say

EXTRAS = {
    "math": ("math_verify",),
    "data": ("datasets", "pyarrow"),
    "gym": ("reasoning_gym",),
    "lora": ("peft",),
    "ray": ("ray",),
    "swarm": ("zenoh", "cryptography"),
    **{name: (name,) for name in tracking.KINDS},
}
SECONDS = 2.0
"""How long the engine's speed is measured."""

Finding = tuple[bool, str]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="PATH", help="try this model instead: a directory, a GGUF file or a hub id; about a minute")
    parser.add_argument("--quick", action="store_true", help="leave out how fast it writes, and with --model, learns")


def run(args: argparse.Namespace) -> int:
    if args.model:
        return try_model(args)
    checks: dict[str, Callable[[], Finding]] = {
        "python": python,
        "torch": lambda: package("torch"),
        "transformers": lambda: package("transformers"),
        "cores": cores,
        "memory": memory,
        "device": device,
        "disk": disk,
        **{f"extra {name}": lambda name=name: extra(name) for name in EXTRAS},
        **({} if args.quick else {"engine": engine}),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, check in checks.items():
        say(f"checking {name}")
        try:
            fine, said = check()
        except Exception as error:
            fine, said = False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        found[name] = {"ok": fine, "says": said}
    return told(args, found)


def try_model(args: argparse.Namespace) -> int:
    import transformers

    from strop.commands.plan import PROCESS, available
    from strop.lab.fitness import findings

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    free, found = available(on_gpu=False), dict[str, dict[str, Any]]()
    for finding in findings(args.model, None if free is None else free - PROCESS, speed=not args.quick):
        found[finding.about] = {"ok": finding.fine, "says": finding.says, "flags": finding.flags}
        say(f"tried: {finding.about}")
    return told(args, found)


def told(args: argparse.Namespace, found: dict[str, dict[str, Any]]) -> int:
    wide = max(map(len, found))
    text = "\n".join(f"{'ok  ' if f['ok'] else 'TODO'} {name:{wide}}  {f['says']}" for name, f in found.items())
    answer(args, {"ok": all(f["ok"] for f in found.values()), "checks": found}, text)
    return 0 if all(f["ok"] for f in found.values()) else 1


def python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return fine, sys.version.split()[0] + ("" if fine else ": strop needs 3.11 or later")


def package(name: str) -> Finding:
    try:
        return True, version(name)
    except PackageNotFoundError:
        return False, f"missing: pip install {name}"


def cores() -> Finding:
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    more = "" if threads <= allowed else f": more threads than cores slow it down; set OMP_NUM_THREADS={allowed}"
    return threads <= allowed, f"{allowed} cores, {threads} threads{more}"


def memory() -> Finding:
    path = Path("/proc/meminfo")
    if not path.exists():
        return True, "unknown on this system"
    free = next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("MemAvailable")) / 2**20
    return free >= 1, f"{free:.1f} GiB free" + ("" if free >= 1 else ": the default run needs 1; lower --token-budget, --slots and --cache")


def device() -> Finding:
    import torch

    return True, torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


def disk() -> Finding:
    """Write, sync and rename a file where runs would go."""
    from strop import durable

    with tempfile.TemporaryDirectory(dir=".", prefix=".strop-doctor-") as place:
        started = time.perf_counter()
        durable.write(Path(place) / "probe", b"0" * 2**20)
        return True, f"wrote and synced 1 MiB here in {(time.perf_counter() - started) * 1000:.0f} ms"


def extra(name: str) -> Finding:
    """An extra is a choice: its absence is not a fault."""
    missing = [module for module in EXTRAS[name] if importlib.util.find_spec(module) is None]
    return True, "present" if not missing else f"not installed; if you want it: pip install 'strop[{name}]'"


def engine() -> Finding:
    import torch

    from strop.engines.embedded import EmbeddedEngine
    from strop.policies.causal import load
    from strop.seams.context import Handle
    from strop.tasks import DEFAULT_TASK, source

    policy = load("pico", device="cuda" if torch.cuda.is_available() else "cpu")
    made = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos)
    handle, tasks = Handle(made, policy.renderer), source(DEFAULT_TASK)
    spent = 0.0

    async def batch(number: int) -> None:
        roots = [await handle.open(tasks.task("train", 0, i).prompt, root=f"{number}/{i}") for i in range(32)]
        await asyncio.gather(*(handle.generate(root, max=64, keep=False) for root in roots for _ in range(8)))

    started, number = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < SECONDS:
        asyncio.run(batch(number))
        number += 1
    speed = made.counters.decoded / spent
    slow = "" if speed > 2000 else ": slow; other work on this machine? the default run expects some 10000 on 2 cores"
    return speed > 2000, f"pico decodes {speed:.0f} tokens a second ({getattr(made, 'path', '')} path, {getattr(made, 'grade', '')}){slow}"
