"""Workers that run third-party scorers on text a model wrote.

    with Pool("math", Limits(wall=5)) as pool:
        pool.score([{"gold": "1/2", "answer": "0.5"}])      # [Outcome(value=1.0, reason='', incident='')]

Kinds: `math` (math-verify), `gym` (reasoning-gym) and `FILE.py:function` (a scorer of your own). A worker is a process
that imported its scorer once; every answer is scored in a fork of it that is locked first and gone afterwards.

What holds for that fork, where an answer is executed by its scorer (several of reasoning-gym's call `eval`):

- Linux on x86_64 or aarch64, by the kernel (`sandbox/locks.py`, which the sandbox's pieces are locked with as well): it opens no file
  for writing, removes, renames or makes none, opens no socket, starts no process or thread, signals nobody, and what a list does not
  allow (seccomp kills it at the attempt); from Landlock on (Linux 5.13) it reads nothing but Python's libraries and the packages that
  its scorer imported; address space, CPU seconds and open files are limited; file size and process count are 0; it has no capability;
  the environment and the working directory are empty. Where user namespaces are allowed, worker and fork also have an empty network
  namespace. A scorer of your own therefore reads its data when its file is loaded, and not at each answer.
- Elsewhere: the same by Python's audit hooks only, which native code can go round, plus the limits the system has; files can be read.
- The wall limit is kept by the worker, which kills the fork, and again by us, who kill the worker.
- It does *not* hold that the answer is apart from its own grader: it shares memory with it, so an answer that is executed can forge
  its own score (never another's). Prefer a grader that does not execute answers where that matters.

A timeout, a crash, a forbidden attempt or a value that is no number in [0, 1] is an incident and the value is None,
never 0. An error which a scorer catches itself, such as an exhausted memory inside sympy, stays the scorer's 0.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCORER = Path(__file__).with_name("scorer.py")
EXTRAS = {"math_verify": "math", "reasoning_gym": "gym"}
"""Module a worker may miss: the extra of strop that brings it."""


class MissingExtra(ModuleNotFoundError):
    """An optional dependency is not installed; the message holds its install line."""


class WorkerError(RuntimeError):
    """The worker itself cannot be started: nothing was scored and nobody's answer is at fault."""


def missing_extra(module: str) -> MissingExtra:
    extra = EXTRAS.get(module)
    way_out = f"pip install 'strop[{extra}]'" if extra else f"install {module!r} beside strop"
    return MissingExtra(f"the scorer needs the module {module!r}, which is not installed: {way_out}", name=module)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may use."""

    wall: float = 5.0
    """Seconds from the start of its process to its value."""
    memory: int = 1 << 30
    """Bytes of address space beyond what the imported scorer has mapped."""
    items: int = 2000
    """Answers after which a worker is replaced by a fresh one."""
    startup: float = 120.0
    """Seconds for importing the scorer, or for making a problem."""

    def __post_init__(self) -> None:
        for name in ("wall", "memory", "items", "startup"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Limits.{name} must be above 0, got {getattr(self, name)}")

    @property
    def cpu(self) -> int:
        """A whole second more than the wall, so that it is the net below the wall and not the limit one meets."""
        return math.ceil(self.wall) + 1

    def to_json(self) -> dict[str, Any]:
        return {"wall": self.wall, "memory": self.memory, "cpu": self.cpu}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer's value, or the incident that kept it from having one."""

    value: Any = None
    reason: str = ""
    """Why the value is not 1, where the scorer says."""
    incident: str = ""


_LIVE: set[Worker] = set()
_ENDING = threading.Event()


class Worker:
    """One server process. `ask` is for one thread at a time."""

    def __init__(self, kind: str, limits: Limits):
        if _ENDING.is_set():
            raise WorkerError("the program is ending: no worker is started any more")
        self.limits, self.served = limits, 0
        self.folder = tempfile.mkdtemp(prefix="strop-worker-")
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", str(SCORER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=self.folder,
            env={"PYTHONHASHSEED": "0"},  # problems come from a seed alone; cleared before the first answer
            start_new_session=True,
        )
        self.buffer = b""
        _LIVE.add(self)
        try:
            self.greeting = self._greet(kind)
        except BaseException:
            self.close()
            raise

    def _greet(self, kind: str) -> dict[str, Any]:
        path = [os.path.abspath(entry) for entry in sys.path if entry and os.path.exists(entry)]
        greeting = self._exchange({"kind": kind, "path": path}, self.limits.startup)
        if greeting is None:
            raise WorkerError(f"the {kind!r} scorer did not start within {self.limits.startup:g} s; raise Limits.startup on a slow machine")
        if "missing" in greeting:
            raise missing_extra(greeting["missing"])
        if "failed" in greeting:
            raise WorkerError(f"the {kind!r} scorer cannot be loaded: {greeting['failed']}")
        return greeting

    def ask(self, item: dict[str, Any]) -> Outcome | None:
        """The item's outcome; None when the worker is lost with it."""
        self.served += 1
        reply = self._exchange({"item": item, "limits": self.limits.to_json()}, self.limits.wall + self.limits.startup)
        if reply is None:
            return None
        return Outcome(reply.get("value"), reply.get("reason", ""), reply.get("incident", ""))

    def close(self) -> None:
        """Kill the worker with all it started and remove its folder. A second call does nothing."""
        try:
            _LIVE.remove(self)
        except KeyError:
            return
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Send a line, receive a line; None when the process is gone or silent for that long."""
        data = json.dumps(message, allow_nan=False).encode() + b"\n"
        try:
            _send(self.process, data)
            line = self._line(time.monotonic() + seconds)
            return None if line is None else json.loads(line)
        except OSError:
            return None  # its pipe is closed
        except ValueError:
            return None  # half a line, or a pipe closed by another thread

    def _line(self, deadline: float) -> bytes | None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    return None
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    return None
                self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    view = memoryview(data)
    while view:
        view = view[os.write(process.stdin.fileno(), view) :]


class Pool:
    """Persistent workers of one kind, started when first needed. Safe to use from several threads."""

    def __init__(self, kind: str, limits: Limits | None = None, size: int | None = None):
        self.kind, self.limits = kind, limits or Limits()
        self.size = size or max(1, min(4, os.cpu_count() or 1))
        self._idle: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        for _ in range(self.size):
            self._idle.put(None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers that are not at work; the others end with the program. The pool starts new ones when it is used again."""
        ended = 0
        with contextlib.suppress(queue.Empty):
            for _ in range(self.size):
                if worker := self._idle.get_nowait():
                    worker.close()
                ended += 1
        for _ in range(ended):
            self._idle.put(None)

    def one(self, item: dict[str, Any]) -> Outcome:
        """One item, in whichever worker is free."""
        worker = self._idle.get()
        try:
            worker = worker or Worker(self.kind, self.limits)
            outcome = worker.ask(item)
            if outcome is None and worker.served > 1 and worker.process.poll() is not None:
                worker.close()  # it may have died before this item came: the item gets one fresh worker
                worker = Worker(self.kind, self.limits)
                outcome = worker.ask(item)
            if outcome is None or worker.served >= self.limits.items:
                worker.close()
                worker = None
        except BaseException:
            if worker is not None:
                worker.close()
            worker = None
            raise
        finally:
            self._idle.put(worker)
        return outcome or Outcome(incident=f"the {self.kind!r} worker was lost while scoring this item; a new one took its place")

    def score(self, items: list[dict[str, Any]]) -> list[Outcome]:
        """One outcome per item, in order. An item that is killed costs its siblings nothing."""
        if len(items) < 2 or self.size == 1:
            return [self.one(item) for item in items]
        done: dict[int, Outcome] = {}
        failed: list[BaseException] = []
        left = iter(list(enumerate(items)))  # a list's iterator hands each item to one thread only

        def work() -> None:
            try:
                for number, item in left:
                    if failed:
                        return
                    done[number] = self.one(item)
            except BaseException as error:
                failed.append(error)

        # daemons: a batch that nobody waits for any more must not hold up the end of the program
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self.size, len(items)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return [done[number] for number in range(len(items))]

    def isolation(self) -> dict[str, bool]:
        """What the kernel of this machine enforces: `seccomp`, `landlock`, `network_namespace`."""
        with contextlib.closing(Worker(self.kind, self.limits)) as worker:
            return {key: bool(worker.greeting[key]) for key in ("seccomp", "landlock", "network_namespace")}


_POOLS: dict[tuple[str, Limits], Pool] = {}
_LOCK = threading.Lock()


def pool(kind: str, limits: Limits | None = None) -> Pool:
    """The process-wide pool of this kind, shared by all sources that use it."""
    key = (kind, limits or Limits())
    with _LOCK:
        if key not in _POOLS:
            _POOLS[key] = Pool(*key)
        return _POOLS[key]


def score(kind: str, items: list[dict[str, Any]], limits: Limits | None = None) -> list[Outcome]:
    """Score a batch in the shared pool of this kind."""
    return pool(kind, limits).score(items)


def close_all() -> None:
    """End the shared workers; they start again when they are needed."""
    with _LOCK:
        for shared in _POOLS.values():
            shared.close()
        _POOLS.clear()


@atexit.register
def _leave() -> None:
    _ENDING.set()
    for worker in list(_LIVE):
        worker.close()
