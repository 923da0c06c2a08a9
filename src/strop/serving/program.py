"""program: somebody else's program, run once: started without a shell, given a text, waited for, and ended with all that it began."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

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
    """A program from its beginning to its end, in a process group of its own that ends with it."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**environment, MARK: mark}, start_new_session=True
        )
    except OSError as error:
        raise ValueError(f"{argv[0]!r} cannot be started: {error}") from error
    KEEPER.holds(process.pid, mark)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, errors = bytearray(), bytearray()
    pipes = [
        asyncio.ensure_future(_fed(process.stdin, given)),
        asyncio.ensure_future(_kept(process.stdout, out, LONGEST)),
        asyncio.ensure_future(_kept(process.stderr, errors, TOLD)),
    ]
    late = False
    try:
        async with asyncio.timeout(deadline):
            await process.wait()
    except TimeoutError:
        late = True
    finally:
        ended(process.pid)  # with whatever it began and left
        await asyncio.shield(_closed(process, pipes))
        KEEPER.lets_go(process.pid, mark)
    last = next((line for line in reversed(out.decode(errors="replace").splitlines()) if line.strip()), "")
    return Ended(None if late else process.returncode, last, " ".join(errors.decode(errors="replace").split()))


async def _closed(process: asyncio.subprocess.Process, pipes: Sequence[asyncio.Future[None]]) -> None:
    """What was in the pipes is read; one who left the group and holds them open is not waited for."""
    await process.wait()
    await asyncio.wait(pipes, timeout=1.0)
    for one in pipes:
        one.cancel()
    await asyncio.gather(*pipes, return_exceptions=True)
    process._transport.close()  # pyright: ignore[reportAttributeAccessIssue]


async def _fed(to: asyncio.StreamWriter, given: bytes) -> None:
    with suppress(OSError):
        to.write(given)
        await to.drain()
    to.close()


async def _kept(back: asyncio.StreamReader, kept: bytearray, most: int) -> None:
    while piece := await back.read(1 << 16):
        kept += piece
        del kept[:-most]
