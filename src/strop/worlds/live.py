"""live: worlds that are processes. A state is what was said so far; the process that has heard it is a cache.

    Command(("python3", "my_world.py"))     a program that answers each line of JSON with one
    class Mine(Live): def begin(…)          anything else that hears and answers in order

A process waits for whoever goes on. Where several rollouts stand in one state it is the first one's, and the others' is made anew: it is
told everything again, and what it answers is compared. Another answer than before is our fault (`stop="error"`), and so is a process that
is lost twice or does not answer in time; what the policy said is no reason. What does not repeat (`repeats = "no"`) is never told again:
a rollout that would fork it is refused.

A program gets `{"begin": {"prompt": …, "needs": …, "seat": [group, own, turns]}}` and answers `{}`, or `{"show": …}` where the first
message is another than the task's; then `{"said": …, "calls": [{"tool":
…, "arguments": …}, {"broken": why}]}`, and answers what `Reply` has: `{"observation": …, "done": …, "stop": …, "facts": {}, "scores": {},
"calls": [[tool, ok, why]]}`. It is yours, and runs as you. Its input ends when nobody needs it any more.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from strop.records import Task, digest
from strop.seams.context import Handle
from strop.seams.part import written
from strop.seams.world import Broken, Called, Repeats, Reply, Said, Seat, Tool
from strop.shape import odd

T = TypeVar("T")
LONGEST = 1 << 20
"""Bytes of an answer."""


class Lost(Exception):
    """A process is gone, or does not answer."""


class Process(Protocol):
    """One episode of a world, as it stands. It hears one thing after the other."""

    def hear(self, said: Said) -> Reply:
        """Its answer, however long it takes. `Lost` where the process is; any other error is its author's and stops the run."""
        ...

    def close(self) -> None:
        """End it, also while `hear` waits in another thread, which then is `Lost`."""
        ...


def heard(reply: Reply) -> str:
    """An answer's digest."""
    calls = [[call.tool, call.ok, call.why] for call in reply.calls]
    return digest([reply.observation, reply.done, reply.stop, dict(reply.facts), dict(reply.scores), calls])


def plain(said: Said) -> dict[str, Any]:
    """An action as plain data."""
    calls = [{"broken": c.why} if isinstance(c, Broken) else {"tool": c.tool, "arguments": dict(c.arguments)} for c in said.calls]
    return {"said": said.text, "calls": calls}


@dataclass(frozen=True)
class History:
    """A state: where an episode began, what was said in it, and what was answered."""

    task: Task
    seat: Seat
    said: tuple[Said, ...] = ()
    answers: tuple[str, ...] = ()
    """A digest of each."""

    @property
    def key(self) -> str:
        begun = [self.task.id, self.seat.group, self.seat.own, self.seat.turns]
        return digest([*begun, [plain(one) for one in self.said], list(self.answers)])

    def then(self, said: Said, reply: Reply) -> History:
        return History(self.task, self.seat, (*self.said, said), (*self.answers, heard(reply)))


class Live:
    """A world of processes. `begin` makes one; all else is here. Its constants are plain, as those of any part."""

    repeats: Repeats = "checked"
    deadline: float = 60.0
    """Seconds for one answer, and for a beginning."""
    waiting: int = 64
    """Processes that wait at most; the one that has waited longest is ended, and told again if it is needed."""

    def begin(self, task: Task, seat: Seat) -> Process:
        """A process that has heard nothing yet."""
        raise NotImplementedError(f"{type(self).__name__} has no begin(task, seat)")

    def start(self, task: Task, seat: Seat) -> History:
        return History(task, seat)

    async def show(self, state: History) -> str:
        """What its process shows when it begins; empty where that is the task's."""
        return await looked(self, state, lambda process: getattr(process, "first", "")) or ""

    async def reply(self, state: History, said: Said, ask: Mapping[str, Handle]) -> tuple[History, Reply]:
        return await room_of(self).go_on(state, said)


class Otherwise(Exception):
    """A process that was told again answered otherwise."""


class Room:
    """The processes of one world. What a process does runs in a thread of its own, which nobody waits for longer than the deadline."""

    def __init__(self, world: Live):
        self.world = world
        self.processes: OrderedDict[str, Process] = OrderedDict()
        """Those that wait, by their state."""
        self.gone_on: OrderedDict[str, None] = OrderedDict()
        """States of what does not repeat, of which the process is somewhere else now."""
        self.begun = self.told = 0
        """Processes that were made, and things that were said to one again."""

    def over(self, state: History) -> None:
        """Nobody goes on from this state: its process is ended."""
        if (process := self.processes.pop(state.key, None)) is not None:
            process.close()

    async def go_on(self, state: History, said: Said) -> tuple[History, Reply]:
        why, once = "", self.world.repeats == "no"
        process = self.processes.pop(state.key, None)
        for _ in range(2):
            try:
                process = process or await self._made(state)
                reply = await self._heard(process, said)
            except Otherwise as error:
                return state, _ours(str(error))
            except Lost as error:
                why, process = str(error), None
                if once:
                    break
                continue
            longer = state.then(said, reply)
            if once:
                self._left(state.key)
            self._waits(None if reply.done else longer.key, process)
            return longer, reply
        return state, _ours(f"its process was lost{'' if once else ' twice'}: {why}")

    async def looked(self, state: History, look: Callable[[Any], T]) -> T | None:
        """What a process in this state shows beside its answers; nothing where it is lost twice."""
        for _ in range(2):
            with suppress(Lost, Otherwise):
                process = self.processes.pop(state.key, None) or await self._made(state)
                try:
                    shown = await self._within("look", lambda: look(process))  # noqa: B023
                except BaseException:
                    process.close()
                    raise
                self._waits(state.key, process)
                return shown
        return None

    async def _made(self, state: History) -> Process:
        """A process in this state: begun, and told everything again."""
        if state.said and self.world.repeats == "no":
            if state.key in self.gone_on:
                raise ValueError(f"{type(self.world).__name__} does not repeat, and a rollout that forks would need it twice in one state")
            raise Lost("it is gone, and what does not repeat is not told again")
        process = await self._within("beginning", lambda: self.world.begin(state.task, state.seat))
        self.begun += 1
        for number, (said, answer) in enumerate(zip(state.said, state.answers, strict=True), 1):
            self.told += 1
            reply = await self._heard(process, said)
            if heard(reply) != answer:
                process.close()
                raise Otherwise(f"it was told again and answered turn {number} otherwise: {reply.observation[:80]!r}")
        return process

    async def _heard(self, process: Process, said: Said) -> Reply:
        """Its answer; who was cut short in it is of no use to anybody."""
        try:
            return await self._within("answer", lambda: process.hear(said))
        except BaseException:
            process.close()
            raise

    async def _within(self, what: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                value, error = work(), None
            except BaseException as failed:
                value, error = None, failed
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:  # the loop is gone
                late(value)

        def settle(value: Any, error: BaseException | None) -> None:
            if found.done():
                late(value)
            elif error is not None:
                found.set_exception(error)
            else:
                found.set_result(value)

        threading.Thread(target=run, daemon=True).start()
        try:
            async with asyncio.timeout(self.world.deadline):
                return await found
        except TimeoutError:
            raise Lost(f"no {what} within {self.world.deadline:g} s") from None

    def _left(self, key: str) -> None:
        self.gone_on[key] = None
        while len(self.gone_on) > 1 << 16:
            self.gone_on.popitem(last=False)

    def _waits(self, key: str | None, process: Process) -> None:
        """For whoever goes on from this state; nobody does where it is over."""
        over = [process] if key is None else [self.processes.pop(key)] if key in self.processes else []
        if key is not None:
            self.processes[key] = process
        while len(self.processes) > self.world.waiting:
            over.append(self.processes.popitem(last=False)[1])
        for one in over:
            one.close()

    def close(self) -> None:
        while self.processes:
            self.processes.popitem()[1].close()


async def looked(world: Live, state: History, look: Callable[[Any], T]) -> T | None:
    """What a process of a world shows in a state, for its `show`: it hears nothing. Nothing where it is lost twice."""
    return await room_of(world).looked(state, look)


def late(value: Any) -> None:
    """A process that was begun when nobody waited for it any more."""
    if hasattr(value, "close"):
        value.close()


def _ours(why: str) -> Reply:
    return Reply("", done=True, stop="error", facts={"error": why})


_ROOMS: dict[str, Room] = {}


def room_of(world: Live) -> Room:
    """One of a process for the same world."""
    key = f"{type(world).__module__}:{written(world)}"
    if key not in _ROOMS:
        _ROOMS[key] = Room(world)
    return _ROOMS[key]


@atexit.register
def _leave() -> None:
    for room in _ROOMS.values():
        room.close()


# ------------------------------------------------------------------------------------------- a program


@dataclass(frozen=True)
class Command(Live):
    """A program of yours, one process an episode."""

    argv: tuple[str, ...] = ()
    """The program and its arguments; no shell reads them."""
    tools: tuple[Tool, ...] = ()
    """What may be called in it."""
    repeats: Repeats = "checked"
    """exact, checked, or no: whether it may be told again."""
    deadline: float = 60.0
    """Seconds for one answer."""
    waiting: int = 64
    """Processes that wait at most."""

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not all(isinstance(one, str) for one in self.argv):  # pyright: ignore
            raise ValueError(f"Command(argv={self.argv!r}): the program and its arguments, each a text: ('python3', 'my_world.py')")
        if not self.deadline > 0 or self.waiting < 1:
            raise ValueError(f"Command(deadline={self.deadline}, waiting={self.waiting}): above 0, and at least 1")

    def begin(self, task: Task, seat: Seat) -> Piped:
        if not self.argv:
            raise ValueError("Command() names no program: Command(('python3', 'my_world.py'))")
        return begun(self.argv, task, seat)


def begun(argv: Sequence[str], task: Task, seat: Seat) -> Piped:
    """A program that was told of its episode."""
    process = Piped(argv)
    try:
        answer = process.ask({"begin": {"prompt": task.prompt, "needs": task.needs, "seat": [seat.group, seat.own, seat.turns]}})
        if wrong := odd(answer, {"show?": str}):
            raise ValueError(f"{process.name} begins with what is no beginning: {wrong}")
        process.first = answer.get("show", "")
    except BaseException:
        process.close()
        raise
    return process


ANSWER = {
    "observation": str,
    "done?": bool,
    "stop?": str,
    "facts?": {str: (int, float, str, bool, dict, list, None)},
    "scores?": {str: float},
    "calls?": [{0: str, 1: bool, 2: str}],
}


class Piped:
    """A program that is spoken to in lines of JSON."""

    def __init__(self, argv: Sequence[str]):
        try:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise ValueError(f"{argv[0]!r} cannot be started: {error}") from error
        self.name, self.hearing, self.closed = argv[0], False, False
        self.first = ""

    def ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        to, back = self.process.stdin, self.process.stdout
        assert to is not None
        assert back is not None
        self.hearing = True
        try:
            to.write(json.dumps(what).encode() + b"\n")
            to.flush()
            line = back.readline(LONGEST + 1)
        except (OSError, ValueError) as error:
            raise Lost(f"{self.name} cannot be spoken to: {error}") from error
        finally:
            self.hearing = False
            if self.closed:
                back.close()
        if not line.endswith(b"\n"):
            ended = f"{self.name} answered with more than {LONGEST} bytes" if len(line) > LONGEST else f"{self.name} ended"
            raise Lost(ended)
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.name} answers {line[:80]!r}, which is no JSON: {error}") from error
        if not isinstance(said, dict):
            raise ValueError(f"{self.name} answers {line[:80]!r}, and an answer is an object")
        return cast("dict[str, Any]", said)

    def hear(self, said: Said) -> Reply:
        answer = self.ask(plain(said))
        if wrong := odd(answer, ANSWER):
            raise ValueError(f"{self.name} answers what is no answer: {wrong}")
        calls = tuple(Called(*one) for one in answer.pop("calls", ()))
        return Reply(**{name: answer[name] for name in ("observation", "done", "stop", "facts", "scores") if name in answer}, calls=calls)

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, None if self.hearing else self.process.stdout):  # who reads it closes it
            with suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
