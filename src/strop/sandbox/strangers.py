"""A cell for a program of somebody else's: it sees the system and itself, a folder of its own that is gone with it, and nothing else.

bubblewrap makes it: processes, host name and System V objects of its own, no capability, no network unless it is asked for, of the host's
files what is named here, read-only. It ends with whoever started it. Other than the cell for a model's code (`cell.py`) it takes whatever
program there is, so nothing of the kernel is locked inside: these walls are for programs that one has chosen and does not trust with more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from strop.sandbox.cell import SandboxError, outermost
from strop.sandbox.locks import SYSTEM

SEEN = (*SYSTEM, "/usr/bin", "/bin", "/sbin", "/usr/sbin", "/usr/local", "/usr/share", "/etc/alternatives", "/etc/ssl", "/etc/localtime")
"""What every program may read."""
NET = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
ROOM = "/room"
"""Its folder, and its home."""


def needs(program: Path) -> list[str]:
    """What a program cannot do without: its own folder, or the environment that it was installed to, with the Python of that."""
    found = list[str]()
    for path in dict.fromkeys((program, program.resolve())):
        home = path.parent.parent if path.parent.name in ("bin", ".bin") else path.parent
        while home.name.startswith(("@", ".bin")) or "node_modules" in home.parent.parts:  # a package of npm's, and all it stands among
            home = home.parent
        found.append(str(home))
        if (made := home / "pyvenv.cfg").is_file():
            python = next((line.partition("=")[2].strip() for line in made.read_text().splitlines() if line.startswith("home")), "")
            found += [str(Path(python).parent), str(Path(python).resolve().parent)] if python else []
            found += [str(Path(os.path.realpath(home / "bin" / "python")).parent.parent)]
    return [one for one in dict.fromkeys(found) if one not in ("/", "/usr")]


def enclosed(
    argv: Sequence[str], *, read: Sequence[str] = (), folder: str = "", network: bool = False, secrets: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The command that runs a program so, and the environment that it gets. Arguments that name files are shown to it. `folder` is copied
    to its own, which is empty without; `secrets` name what it may see of this environment: nobody else can read it off a command line."""
    if shutil.which("bwrap") is None:
        raise SandboxError("no cell for it: bubblewrap is not installed (apt install bubblewrap). With walls='open' it runs as you do.")
    program = located(argv[0])
    words = [os.path.abspath(word) if os.path.isfile(word) else word for word in argv[1:]]
    given = [*needs(program), *(word for word in words if os.path.isfile(word)), *map(os.path.abspath, read)]
    if missing := next((one for one in given if not os.path.exists(one)), ""):
        raise SandboxError(f"it is to read {missing!r}, which is not there")
    seen = [one for one in (*SEEN, *(NET if network else ())) if os.path.exists(one)]
    command = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    command += [] if network else ["--unshare-net"]
    command += ["--cap-drop", "ALL"] if os.getuid() == 0 else ["--unshare-user", "--cap-drop", "ALL"]
    command += ["--hostname", "cell", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", ROOM]
    links = [one for one in seen if os.path.islink(one)]
    for path in outermost([*(one for one in seen if one not in links), *(os.path.realpath(one) for one in links), *given]):
        command += ["--ro-bind", path, path]
    for link in links:
        command += ["--symlink", os.readlink(link), link]
    path = os.pathsep.join(dict.fromkeys((str(program.parent), "/usr/local/bin", "/usr/bin", "/bin")))
    environment = {"HOME": ROOM, "LANG": "C.UTF-8", "PATH": path} | {name: os.environ[name] for name in secrets if name in os.environ}
    command += ["--chdir", ROOM]
    if folder:
        if not os.path.isdir(folder):
            raise SandboxError(f"its folder {folder!r} is not there")
        command += ["--ro-bind", os.path.abspath(folder), "/given", "--", "/bin/sh", "-c", 'cp -r /given/. . && exec "$0" "$@"']
        return [*command, str(program), *words], environment
    return [*command, "--", str(program), *words], environment


def located(name: str) -> Path:
    """Where a program stands."""
    if (found := shutil.which(name)) is None:
        raise SandboxError(f"{name!r} cannot be started: there is no such program")
    return Path(os.path.abspath(found))
