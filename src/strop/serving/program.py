"""program: somebody else's program: started without a shell, given a text, waited for, and ended with all that it began.

ran(…)             one that is started for one rollout
Standing(…)        some that stay, and play one rollout after the other: a line in, a line of JSON out
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from weakref import WeakKeyDictionary

from strop.serving.leash import KEEPER, MARK, ended, swept

LONGEST = 1 << 20
"""Bytes of its output that are kept, from the end."""
TOLD = 400
"""Bytes of its errors that are shown."""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int | None
    """Its own, or None where it was ended at its deadline."""
    out: str
    """The last line of its output."""
    errors: str
    """The end of what it said of errors."""


def own(environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """An environment for somebody else's program: not where our Python finds its packages, and none of our keys."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "STROP_REMOTE_KEY")
    kept = {name: value for name, value in environment.items() if name not in ours and not name.startswith("OPENAI_")}
    here = ",".join(filter(None, (kept.get("NO_PROXY"), "127.0.0.1")))
    return {**kept, "NO_PROXY": here, "no_proxy": here, **more}


async def ran(argv: Sequence[str], given: bytes, deadline: float, mark: str, environment: Mapping[str, str]) -> Ended:
    """A program from its beginning to its end, in a process group of its own that ends with it. What it began elsewhere may hold its pipes
    open for ever: nobody waits for those."""
    out, errors = Heard(LONGEST), Heard(TOLD)
    with TemporaryFile() as asked, closing(out), closing(errors), out.listening(), errors.listening():
        asked.write(given)
        asked.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asked, stdout=out.there, stderr=errors.there, env={**environment, MARK: mark}, start_new_session=True
            )
        except OSError as error:
            raise ValueError(f"{argv[0]!r} cannot be started: {error}") from error
        KEEPER.holds(process.pid, mark)
        late = False
        try:
            async with asyncio.timeout(deadline):
                await process.wait()
        except TimeoutError:
            late = True
        finally:
            ended(process.pid)  # with whatever it began and left
            await asyncio.shield(process.wait())
            KEEPER.lets_go(process.pid, mark)
        return Ended(None if late else process.returncode, out.last(), errors.said())


class Heard:
    """A pipe that is read as it fills; its end is kept."""

    def __init__(self, most: int):
        self.most, self.kept, self.news = most, bytearray(), asyncio.Event()
        self.here, self.there = os.pipe()
        os.set_blocking(self.here, False)

    @contextmanager
    def listening(self) -> Iterator[Heard]:
        """From here on, in this event loop; what was said before is forgotten."""
        while self._some():
            pass
        self.kept.clear()
        self.news, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self.here, self._some)
        try:
            yield self
        finally:
            loop.remove_reader(self.here)

    def close(self) -> None:
        os.close(self.here)
        os.close(self.there)

    async def more(self, seconds: float) -> None:
        """Wait for something new, but not for long."""
        self.news.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.news.wait(), seconds)

    def _some(self) -> int:
        try:
            piece = os.read(self.here, 1 << 16)
        except BlockingIOError:
            return 0
        self.kept += piece
        del self.kept[: -self.most]
        self.news.set()
        return len(piece)

    def said(self) -> str:
        """All of it on one line, or its end."""
        return " ".join(self._text().split())

    def last(self) -> str:
        """The last line that is one."""
        return next((line for line in reversed(self._text().splitlines()) if line.strip()), "")

    def answer(self) -> str | None:
        """The first whole line that is an object of JSON."""
        return next((line for line in self._text().splitlines(keepends=True) if line.endswith("\n") and line.startswith("{")), None)

    def _text(self) -> str:
        for _ in range(1 + (self.most >> 16)):
            if not self._some():
                break
        return self.kept.decode(errors="replace")


class Standing:
    """Programs that stay from rollout to rollout and from step to step; whoever is late or wrong is ended, and another one begun."""

    def __init__(self, argv: Sequence[str], most: int):
        self.argv, self.most, self.mark = argv, most, secrets.token_hex(16)
        self.idle = list[Stood]()
        self._rooms = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]()
        atexit.register(self.close)

    async def play(self, given: bytes, deadline: float) -> Ended:
        """What one of them answers to a line."""
        room = self._rooms.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.most))
        async with room:
            one = self.idle.pop() if self.idle else Stood(self.argv, self.mark)
            try:
                found = await one.play(given, deadline)
            except BaseException:
                one.close()
                raise
            if found.code == 0:
                self.idle.append(one)
            else:
                one.close()
            return found

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()
        swept(self.mark)


class Stood:
    """One of them."""

    def __init__(self, argv: Sequence[str], mark: str):
        self.out, self.errors, self.mark = Heard(LONGEST), Heard(TOLD), mark
        try:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=self.out.there,
                stderr=self.errors.there,
                env={**own(os.environ), MARK: mark},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise ValueError(f"{argv[0]!r} cannot be started: {error}") from error
        KEEPER.holds(self.process.pid, mark)

    async def play(self, given: bytes, deadline: float) -> Ended:
        to = self.process.stdin
        assert to is not None
        with self.out.listening() as out, self.errors.listening() as errors:
            try:
                async with asyncio.timeout(deadline):
                    with suppress(OSError):  # it is gone: its end says so
                        await asyncio.get_running_loop().run_in_executor(None, to.write, given)
                    while (line := out.answer()) is None and self.process.poll() is None:
                        await out.more(1.0)  # one that is gone says nothing more
            except TimeoutError:
                return Ended(None, "", errors.said())
            line = line or out.answer()
            code = 0 if line is not None else self.process.poll()
            return Ended(1 if code is None else code, line or "", errors.said())

    def close(self) -> None:
        ended(self.process.pid)
        self.process.wait()
        KEEPER.lets_go(self.process.pid, self.mark)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.out.close()
        self.errors.close()
