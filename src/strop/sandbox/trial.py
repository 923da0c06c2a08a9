"""Which walls hold on this machine: found by trying to get through them, once a process, never by reading a version.

cell     both. Where the kernel has no Landlock the second is seccomp alone, and files are hidden by the cell alone
locks    one, as in containers without user namespaces or where bubblewrap is not installed; sessions are said again instead of forked
open     none: a deadline and limits, and the code may read and write what you may. Only ever when it was asked for by this name
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

from strop.sandbox import locks
from strop.sandbox.cell import Cell, SandboxError
from strop.sandbox.escapes import ESCAPES, bait
from strop.sandbox.rules import LEVELS, Level, Rules


@dataclass(frozen=True, slots=True)
class Held:
    """What stands between code and this machine."""

    level: Level
    landlock: int
    """The ABI that hides files, 0 without."""
    why: str = ""
    """Why it is not the level above."""

    @property
    def walls(self) -> str:
        return {"cell": "cl", "locks": "l", "open": ""}[self.level]

    @property
    def forks(self) -> bool:
        """Whether a session's processes are forked: among pids of its own."""
        return self.level == "cell"

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "landlock": self.landlock, "why": self.why}


def got_out(cell: Cell, wall: str) -> list[str]:
    """The escapes that a wall should hold, tried behind this one alone; the names of those that it does not."""
    out: list[str] = []
    server = cell.server(wall)
    server.send({"code": "print('here')", "after": 0, "keep": False})
    if (server.receive(30.0) or {}).get("out") != "here\n":  # what executes nothing would hold everything
        server.close()
        raise SandboxError("nothing executes behind it")
    with bait() as baited:
        for escape in (each for each in ESCAPES if each.quick and wall in each.held):
            asked = {"code": baited.code(escape), "after": 0, "keep": False}
            server.send(asked)
            said = server.receive(30.0)
            if said is None or said["ended"] in ("gone", "stale"):  # as where the escape before this one left a file
                server.close()
                server = cell.server(wall)
                server.send(asked)
                said = server.receive(30.0)
            if said is None or said["ended"] == "gone":
                out.append(f"{escape.name} (its server is gone)")
            elif "OUT" in said["out"]:
                out.append(escape.name)
    server.close()
    return out


def _fails(walls: str, wall: str) -> str:
    """Why a wall does not hold alone; nothing where it does. `walls` are the cell's, of which one is tried."""
    try:
        cell = Cell(Rules(wall=10.0), walls)
    except SandboxError as error:
        return str(error)
    try:
        out = got_out(cell, wall)
        return f"it does not hold: {', '.join(out)}" if out else ""
    except SandboxError as error:
        return str(error)
    finally:
        cell.close()


@functools.cache
def tried() -> dict[str, str]:
    """Each wall, and why it does not hold here; nothing where it does."""
    if sys.platform != "linux":
        return {"c": "bubblewrap is Linux's", "l": "Landlock and seccomp are Linux's"}
    if not locks.known():
        return {wall: f"the lists of system calls know x86_64 and aarch64, not {os.uname().machine}" for wall in "cl"}
    cell = _fails("cl", "c") if shutil.which("bwrap") else "bubblewrap is not installed"
    return {"c": cell, "l": _fails("l", "l")}


def held(rules: Rules | None = None) -> Held:
    """The strongest level that holds here; refused where it is weaker than the rules allow."""
    weakest = (rules or Rules()).weakest
    failing, abi = tried(), locks.landlock_abi()
    no_landlock = bool(abi == 0 and locks.known())
    if not failing["c"] and (not failing["l"] or no_landlock):
        return Held("cell", abi, "this kernel has no Landlock: files are hidden by the cell alone" if no_landlock else "")
    if not failing["l"]:
        found = Held("locks", abi, failing["c"])
    else:
        found = Held("open", 0, f"no cell: {failing['c'] or 'it needs the locks'}; no locks: {failing['l']}")
    if LEVELS.index(found.level) > LEVELS.index(weakest):
        raise SandboxError(
            f"code that a model wrote would run at the level {found.level!r}, and {weakest!r} is the weakest that is allowed here. "
            f"Why: {found.why}. Ways out: `apt-get install bubblewrap` on Debian and Ubuntu; a kernel that has Landlock (5.13 or newer, "
            "`lsm=landlock,…`) and seccomp; a container that may make user namespaces; or `--sandbox open`, which runs it as you, with "
            "your files, keys and network in its reach, on a machine that holds nothing of worth."
        )
    return found
