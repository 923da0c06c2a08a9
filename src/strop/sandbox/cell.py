"""One bubblewrap around one zygote: what the code can see of this machine, and what it is told of how it was started.

    cell    bubblewrap: users, processes, mounts, network, System V objects and host name of its own; no capability; of the host's
            files only interpreter and libraries, read-only; started by root it becomes a user that owns nothing
    locks   Landlock, seccomp and limits, which the code's process takes on itself (`locks.py`)

What stands here starts a zygote behind the walls that were asked for and speaks with it. Which walls hold is tried in `trial.py`.
"""

from __future__ import annotations

import array
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.sandbox import locks
from strop.sandbox.rules import Rules

HERE = Path(__file__).parent
INSIDE = ("zygote.py", "server.py", "piece.py", "locks.py")
"""The files that run behind the walls, by path: they import each other and nothing of strop."""
ROOM = "/strop"
UID = 64741
"""Whom a zygote that was started by root becomes."""
LONGEST = 1 << 22
"""Bytes of an answer at most."""
WALLS = {"cl": b"b", "c": b"c", "l": b"l", "": b"o"}
"""How a zygote is asked for a server: behind both walls, the cell alone, the locks alone, neither."""


class SandboxError(RuntimeError):
    """The sandbox itself does not stand: nothing was executed, and no code is at fault."""


@dataclass(frozen=True, slots=True)
class Places:
    """What of the host's files the code's interpreter needs."""

    path: tuple[str, ...]
    """Its `sys.path`."""
    read: tuple[str, ...]
    """What may be read: the libraries, and the modules that were asked for."""


def places(modules: tuple[str, ...]) -> Places:
    """The standard library alone; site-packages whole where a module stands there, elsewhere the module's own folder."""
    standard = [sysconfig.get_path("stdlib"), os.path.join(sysconfig.get_path("stdlib"), "lib-dynload")]
    platform = sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})
    standard += [platform, os.path.join(platform, "lib-dynload")]
    read = [*standard[:1], platform, os.path.join(sys.base_prefix, "lib"), *locks.SYSTEM]
    path = [*standard]
    for name in modules:
        spec = None
        with contextlib.suppress(ValueError):
            spec = importlib.util.find_spec(name.partition(".")[0])
        if spec is None:
            raise SandboxError(f"the sandbox is to import {name!r}, which is not installed: pip install it beside strop, or leave it out")
        if spec.origin in (None, "built-in", "frozen") and not spec.submodule_search_locations:
            continue
        place = os.path.abspath(next(iter(spec.submodule_search_locations or [str(spec.origin)])))
        root = os.path.dirname(place)
        if any(root == os.path.abspath(known) for known in standard):
            continue
        path.append(root)
        read.append(root if os.path.basename(root) in ("site-packages", "dist-packages") else place)
    return Places(tuple(dict.fromkeys(path)), tuple(one for one in dict.fromkeys(read) if os.path.exists(one)))


def bubblewrap(read: tuple[str, ...], executable: str) -> list[str]:
    """The command that makes a cell. A path that is a link on the host is one inside."""
    command = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]
    if os.getuid() == 0:  # the zygote needs these two to become somebody else, which takes them away
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    command += ["--clearenv", "--setenv", "PYTHONHASHSEED", "0", "--hostname", "sandbox", "--new-session"]
    made: set[str] = set()
    seen = [*(each for each in read if not os.path.islink(each))]
    seen += [os.path.realpath(each) for each in read if os.path.islink(each)]
    binds = [(one, one) for one in outermost([*seen, executable])] + [(str(HERE / name), f"{ROOM}/{name}") for name in INSIDE]
    for source, inside in binds:
        for parent in reversed(Path(inside).parents[:-1]):
            if str(parent) not in made:
                made.add(str(parent))
                command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", source, inside]
    for link in (each for each in read if os.path.islink(each)):
        command += ["--symlink", os.readlink(link), link]
    command += ["--proc", "/proc", "--perms", "0755", "--dir", "/dev", "--perms", "0755", "--size", "4096", "--tmpfs", "/tmp"]
    for device in ("null", "zero", "urandom", "random"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*command, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def outermost(paths: list[str]) -> list[str]:
    """Without those that stand below another one."""
    kept: list[str] = []
    for path in sorted(dict.fromkeys(paths), key=lambda each: each.count("/")):
        if not any(path.startswith(f"{above.rstrip('/')}/") for above in kept):
            kept.append(path)
    return kept


class Channel:
    """Messages with a process inside: a length and JSON, within limits. What comes is read as if it were hostile."""

    def __init__(self, end: socket.socket):
        self.end = end

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self.end.settimeout(30.0)
        self.end.sendall(struct.pack(">I", len(data)) + data)

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None where none comes in time or the other side is gone."""
        deadline = time.monotonic() + seconds
        try:
            head = self._exactly(4, deadline)
            size = struct.unpack(">I", head)[0]
            if size > LONGEST:
                return None
            said = json.loads(self._exactly(size, deadline))
        except (OSError, ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None

    def _exactly(self, size: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self.end.settimeout(max(0.001, deadline - time.monotonic()))
            part = self.end.recv(min(65536, size - len(parts)))
            if not part:
                raise OSError("gone")
            parts += part
        return bytes(parts)

    def close(self) -> None:
        self.end.close()


class Cell:
    """A zygote behind the walls `c` (cell) and `l` (locks), and the servers it makes."""

    def __init__(self, rules: Rules, walls: str, *, startup: float = 60.0):
        self.walls = walls
        found = places(rules.modules)
        executable = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        inside = "c" in walls
        self.folder = "/" if inside else tempfile.mkdtemp(prefix="strop-sandbox-")
        script = f"{ROOM}/zygote.py" if inside else str(HERE / "zygote.py")
        command = [*(bubblewrap(found.read, executable) if inside else []), executable, "-s", "-P", "-S", "-B", "-X", "utf8", script]
        uid = UID if inside and os.getuid() == 0 else 0
        command.append(str(uid))
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        try:
            with tempfile.TemporaryFile() as said:
                self.process = self._start(command, theirs, said)
                config = {"rules": rules.to_json(), "modules": list(rules.modules), "path": list(found.path), "read": list(found.read)}
                self.greeting = self._greet({**config, "walls": walls, "uid": uid, "folder": self.folder}, startup, said)
        except BaseException:
            self.close()
            raise

    def _start(self, command: list[str], theirs: socket.socket, said: Any) -> subprocess.Popen[bytes]:
        with theirs:
            try:
                return subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=self.folder,
                    env={"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", os.defpath)}
                    if "c" in self.walls
                    else {"PYTHONHASHSEED": "0"},
                    start_new_session=True,
                )
            except FileNotFoundError as missing:
                raise SandboxError(f"{missing.filename} is not installed") from missing

    def _greet(self, config: dict[str, Any], startup: float, said: Any) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            self.channel.send(config)
        greeting = self.channel.receive(startup)
        if greeting is not None and greeting.get("ready") is True:
            return greeting
        if greeting is not None and "missing" in greeting:
            why = f": this Python stands in {sys.prefix}, and a cell has a /tmp of its own" if sys.prefix.startswith("/tmp/") else ""
            raise SandboxError(f"the sandbox is to import a module that cannot be found inside: {greeting['missing']!r}{why}")
        if greeting is not None:
            raise SandboxError(f"the sandbox cannot be made: {greeting.get('failed')}")
        self.process.kill()
        self.process.wait()
        said.seek(0)
        why = " ".join(said.read()[-400:].decode("utf-8", "replace").split())
        raise SandboxError(f"the sandbox did not start: {why or f'no word within {startup:g} s'}")

    def server(self, walls: str | None = None, waiting: int = 0) -> Channel:
        """A new server, behind this cell's walls or fewer: of a session of which so many states may wait, or of single pieces."""
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            with theirs:
                word = WALLS[self.walls if walls is None else walls]
                handles = array.array("i", [theirs.fileno()])
                self.channel.end.sendmsg([word], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
            channel.send({"waiting": waiting})
            said = channel.receive(30.0)
        except OSError as gone:
            channel.close()
            raise SandboxError("the sandbox is gone") from gone
        if said is None or said.get("ready") is not True:
            channel.close()
            raise SandboxError(f"no server behind the walls {self.walls!r}: {(said or {}).get('failed', 'its process is gone')}")
        return channel

    def close(self) -> None:
        """End the zygote and all that stands behind its walls. A second call does nothing."""
        self.channel.close()
        process: subprocess.Popen[bytes] | None = getattr(self, "process", None)
        if process is not None and process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if "c" not in self.walls:
            shutil.rmtree(self.folder, ignore_errors=True)
