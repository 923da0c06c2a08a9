"""program: somebody else's program, run once: started without a shell, given a text, waited for, and ended with all that it began."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

from strop.serving.leash import KEEPER, MARK, ended

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
    with TemporaryFile() as asked, Heard(LONGEST) as out, Heard(TOLD) as errors:
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
        return Ended(None if late else process.returncode, out.last(), " ".join(errors.text().split()))


class Heard:
    """A pipe that is read as it fills; its end is kept."""

    def __init__(self, most: int):
        self.most, self.kept = most, bytearray()
        self.here, self.there = os.pipe()
        os.set_blocking(self.here, False)

    def __enter__(self) -> Heard:
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.here, self._some)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.remove_reader(self.here)
        os.close(self.here)
        os.close(self.there)

    def _some(self) -> int:
        try:
            piece = os.read(self.here, 1 << 16)
        except BlockingIOError:
            return 0
        self.kept += piece
        del self.kept[: -self.most]
        return len(piece)

    def text(self) -> str:
        """What was said by now, or the end of it."""
        for _ in range(1 + (self.most >> 16)):
            if not self._some():
                break
        return self.kept.decode(errors="replace")

    def last(self) -> str:
        """The last line that is one."""
        return next((line for line in reversed(self.text().splitlines()) if line.strip()), "")
