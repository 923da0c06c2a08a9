"""Executes Python that a model wrote: single pieces, and sessions of pieces.

    with Sandbox(Rules(modules=("math",))) as box:
        box.run("print(2 ** 10)").out                     # '1024\\n'
        session, ran = box.go_on(Session(), "x = 40")
        session, ran = box.go_on(session, "print(x + 2)")  # '42\\n'; the older session can be gone on from as well

A session is a value: the code said so far, with the digest of what each piece answered. Processes that have executed it and wait are a
cache: the longest beginning that waits is forked, what is missing is said again, and a piece that then answers otherwise is our fault
(`differs`). A piece that is killed, or ends its process, leaves the session as it was. Safe to use from several threads.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import json
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from strop.sandbox.cell import Cell, Channel, SandboxError
from strop.sandbox.rules import OURS, Ending, Rules
from strop.sandbox.trial import Held, held

CODE = 100_000
"""Characters of a piece's code at most, as JSON writes it: a longer one is refused and not executed."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a piece of code."""

    out: str
    """What it printed, errors' stream included. No control character but line breaks and tabs: others are written as Python writes them."""
    error: str
    """The traceback, or what it was killed for; empty where it finished. The code's own say, and cleaned alike."""
    ended: Ending
    seconds: float = field(default=0.0, compare=False)
    cpu: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        return self.ended == "finished"

    @property
    def ours(self) -> bool:
        """Whether this is our fault and says nothing of the code."""
        return self.ended in OURS

    @property
    def digest(self) -> str:
        """Of what would be the same when it is executed again."""
        return hashlib.sha256("\0".join((self.ended, self.out, self.error)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Session:
    """The code said so far, each piece with its answer's digest: plain data, equal where it was the same."""

    pieces: tuple[tuple[str, str], ...] = ()
    name: str = ""
    """Sessions of different names never meet in one process's descendants; of one name they do where they begin alike."""

    def then(self, code: str, ran: Ran) -> Session:
        return Session((*self.pieces, (code, ran.digest)), self.name)

    def at(self, pieces: int) -> Session:
        """As it stood after so many pieces."""
        return Session(self.pieces[:pieces], self.name)


def plain(text: str) -> str:
    """Without what a terminal would obey, or would show elsewhere than it stands."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def ran_of(reply: dict[str, Any]) -> Ran:
    return Ran(
        plain(str(reply["out"])),
        plain(str(reply["error"])),
        "lost" if reply["ended"] == "gone" else reply["ended"],
        float(reply["seconds"]),
        float(reply["cpu"]),
    )


class Lost(Exception):
    """A server is gone."""


class Ended(Lost):
    """The server is there, and the process of a session that waited in it is not."""


class Server:
    """One server inside, and which of a session's states wait there. For one thread at a time."""

    def __init__(self, channel: Channel, patience: float):
        self.channel, self.patience = channel, patience
        self.states: OrderedDict[tuple[tuple[str, str], ...], int] = OrderedDict()
        self.lock = threading.Lock()
        self.spent = False
        """Something was written to its folder, which all processes here share."""
        self.last: tuple[tuple[str, str], ...] | None = ()
        """The state whose folder this is: where files were written, the only one that is still whole."""

    def execute(self, code: str, after: int = 0, keep: bool = False) -> dict[str, Any]:
        try:
            self.channel.send({"code": code, "after": after, "keep": keep})
        except OSError as gone:
            raise Lost from gone
        reply = self.channel.receive(self.patience)
        if reply is None or reply.get("ended") in (None, "gone", "stale"):
            raise Ended if reply is not None and reply.get("ended") == "gone" and after else Lost
        self.spent = self.spent or bool(reply["spent"])
        return reply

    def drop(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self.channel.send({"drop": number})

    def longest(self, pieces: tuple[tuple[str, str], ...]) -> int:
        """How many of these pieces some process here has executed and no more, files included."""
        if self.spent:
            return len(pieces) if pieces == self.last and pieces in self.states else 0
        return next((many for many in range(len(pieces), 0, -1) if pieces[:many] in self.states), 0)


class Sandbox:
    """One cell, a server for each execution that runs at once, and one for each session whose processes wait."""

    def __init__(self, rules: Rules | None = None, *, at_once: int | None = None, sessions: int = 64, waiting: int = 24):
        self.rules = rules or Rules()
        self.held: Held = held(self.rules)
        self.at_once = at_once or max(1, min(8, os.cpu_count() or 1))
        self.sessions, self.waiting = sessions, waiting
        self._turn = threading.BoundedSemaphore(self.at_once)
        self._lock = threading.Lock()
        self._idle: list[Server] = []
        self._cell: Cell | None = None
        self._trees: OrderedDict[int, tuple[str, Server]] = OrderedDict()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        _LIVE.add(self)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, code: str) -> Ran:
        """One piece in a process of its own, which is gone afterwards."""
        if refused := self._refused(code):
            return refused
        with self._turn:
            for again in (False, True):  # a server that died before this piece came costs it nothing
                server = self._new() if again else self._take()
                try:
                    reply = server.execute(code)
                except Lost:
                    server.channel.close()
                    continue
                except BaseException:
                    server.channel.close()
                    raise
                self._give(server)
                return ran_of(reply)
        return self._lost()

    def go_on(self, session: Session, code: str) -> tuple[Session, Ran]:
        """One piece more. The session grows where its process can go on: the piece finished or raised."""
        if refused := self._refused(code):
            return session, refused
        with self._turn:
            gone: Lost | None = None
            for _ in range(2):
                try:
                    with self._tree(session, again=gone is not None) as server:
                        return self._said(server, session, code)
                except Lost as lost:
                    gone = lost
        if isinstance(gone, Ended):  # twice: what it executed before does that
            return session, Ran("", "the session's process ended while it waited", "crashed")
        return session, self._lost()

    async def arun(self, code: str) -> Ran:
        """`run`, for coroutines: as many at once as the sandbox executes, the others wait without a thread."""
        return await self._soon(lambda: self.run(code))

    async def ago_on(self, session: Session, code: str) -> tuple[Session, Ran]:
        return await self._soon(lambda: self.go_on(session, code))

    async def _soon(self, what: Callable[[], T]) -> T:
        with self._lock:
            self._threads = self._threads or ThreadPoolExecutor(self.at_once, thread_name_prefix="sandbox")
        return await asyncio.get_running_loop().run_in_executor(self._threads, what)

    # ------------------------------------------------------------------------------------ sessions

    def _said(self, server: Server, session: Session, code: str) -> tuple[Session, Ran]:
        """On a server: what the session said and nobody here did yet, then the new piece."""
        known = server.longest(session.pieces)
        if server.spent and not known:
            raise Lost
        after = server.states.get(session.pieces[:known], 0)
        for number in range(known, len(session.pieces)):
            said, digest = session.pieces[number]
            before = session.pieces[:number]
            reply = server.execute(said, after, keep=True)
            ran = ran_of(reply)
            if "id" not in reply or ran.digest != digest:
                answer = (ran.error or ran.out)[:200]
                told = f"piece {number + 1} of this session answered otherwise when it was said again: {ran.ended}, {answer}"
                server.last = None
                if "id" in reply:
                    server.drop(reply["id"])
                self._moved(server, before)
                return session, Ran("", told, "differs", ran.seconds, ran.cpu)
            after = self._waits(server, session.pieces[: number + 1], reply["id"], before)
        reply = server.execute(code, after, keep=True)
        ran = ran_of(reply)
        if "id" not in reply:
            server.last = None
            self._moved(server, session.pieces)
            return session, ran
        longer = session.then(code, ran)
        self._waits(server, longer.pieces, reply["id"], session.pieces)
        return longer, ran

    def _waits(self, server: Server, pieces: tuple[tuple[str, str], ...], number: int, before: tuple[tuple[str, str], ...]) -> int:
        """A process waits in this state. Without a cell it is the one that waited in the state before."""
        self._moved(server, before)
        if pieces in server.states:  # another one came to the same state meanwhile
            server.drop(server.states[pieces])
        server.states[pieces], server.last = number, pieces
        server.states.move_to_end(pieces)
        while len(server.states) > self.waiting:
            server.drop(server.states.popitem(last=False)[1])
        return number

    def _moved(self, server: Server, before: tuple[tuple[str, str], ...]) -> None:
        if not self.held.forks:
            server.states.pop(before, None)

    @contextlib.contextmanager
    def _tree(self, session: Session, again: bool) -> Any:
        """The server where most of this session waits, locked; a new one where nothing does, or where it was lost."""
        with self._lock:
            found: Server | None = None
            if not again:
                mine = [
                    (server.longest(session.pieces), key, server) for key, (name, server) in self._trees.items() if name == session.name
                ]
                most, key, best = max(mine, default=(0, 0, None), key=lambda each: each[:2])
                if most and best is not None:
                    self._trees.move_to_end(key)
                    found = best
        if found is None:
            found = self._new(self.waiting)
            with self._lock:
                self._trees[id(found)] = (session.name, found)
                idle = [key for key, (_, server) in self._trees.items() if server is not found and not server.lock.locked()]
                for key in idle[: max(0, len(self._trees) - self.sessions)]:
                    self._trees.pop(key)[1].channel.close()
        try:
            with found.lock:
                yield found
        except BaseException:  # also an interrupt: an answer that nobody took would be the next question's
            self._forget(found)
            raise
        if not found.states or (found.spent and found.last is None):
            self._forget(found)

    def _forget(self, server: Server) -> None:
        with self._lock:
            self._trees.pop(id(server), None)
        server.channel.close()

    # -------------------------------------------------------------------------------------- servers

    def _new(self, waiting: int = 0) -> Server:
        """A server of this sandbox's cell, which is made when there is none, or when the last one died."""
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._cell is not None:
                with contextlib.suppress(SandboxError):
                    return self._served(self._cell, waiting)
                self._cell.close()
            self._cell = Cell(self.rules, self.held.walls)
            return self._served(self._cell, waiting)

    def _served(self, cell: Cell, waiting: int) -> Server:
        return Server(cell.server(waiting=waiting), self.rules.wall + 60.0)

    def _take(self) -> Server:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new()

    def _give(self, server: Server) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(server)
                return
        server.channel.close()

    def _refused(self, code: str) -> Ran | None:
        return Ran("", f"the code is longer than {CODE} characters", "forbidden") if len(json.dumps(code)) > CODE else None

    def _lost(self) -> Ran:
        return Ran("", "the sandbox lost this piece of code twice", "lost")

    def close(self) -> None:
        """End all that runs inside. A second call does nothing."""
        with self._lock:
            self._closed = True
            for server in (*self._idle, *(each for _, each in self._trees.values())):
                server.channel.close()
            self._idle.clear()
            self._trees.clear()
            if self._cell is not None:
                self._cell.close()
            self._cell = None
        if self._threads is not None:
            self._threads.shutdown(wait=False)


_LIVE: weakref.WeakSet[Sandbox] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    for box in list(_LIVE):
        box.close()
