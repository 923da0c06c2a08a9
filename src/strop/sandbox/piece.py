"""What executes code: a process that waits, forks or goes on when its server says so, runs a piece, and says how it went. It runs inside.

Nobody believes it more than that: by then the code may have bent everything here. The channel's functions are what its server uses too.
"""

from __future__ import annotations

import array
import ast
import ctypes
import json
import linecache
import os
import random
import signal
import socket
import struct
import sys
import traceback
import types
from typing import Any, NoReturn

import locks

LONGEST = 1 << 22
"""Bytes of a message at most."""
ERROR = 4000
"""Characters of an error, its end kept."""

# ---------------------------------------------------------------------------------------------- channel


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    channel.sendall(struct.pack(">I", len(data)) + data)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other side is gone."""
    head = exactly(channel, 4)
    if head is None or (size := struct.unpack(">I", head)[0]) > LONGEST:
        return None
    body = exactly(channel, size)
    return None if body is None else json.loads(body)


def exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = b""
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return parts


def send_with(channel: socket.socket, word: bytes, handles: list[int]) -> None:
    channel.sendmsg([word], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))])


def receive_with(channel: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """One byte and the descriptors that came with it; nothing when the other side is gone."""
    word, extra, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4 * most))
    handles = array.array("i")
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            handles.frombytes(data[: len(data) // handles.itemsize * handles.itemsize])
    return word, list(handles)


# ------------------------------------------------------------------------------------------------ fork

CLONE = {"x86_64": 56, "aarch64": 220}
_SYSCALL = ctypes.PyDLL(None, use_errno=True).syscall  # PyDLL holds the interpreter's lock across the call
_SYSCALL.restype, _SYSCALL.argtypes = ctypes.c_long, [ctypes.c_long] * 7


def clone(flags: int) -> int:
    """A fork as the kernel makes it: 0 in the new process.

    Python's own would seed `random` again, and a session's state would not be what its code made it; it also knows no flags.
    There is one thread, so nothing is held in the copy that nobody would let go.
    """
    number = CLONE.get(locks.known())
    if number is None:
        return os.fork()
    pid = _SYSCALL(number, flags | signal.SIGCHLD, 0, 0, 0, 0, 0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


# ------------------------------------------------------------------------------------------------ piece


def close_all_but(*kept: int) -> None:
    low = 0
    for handle in sorted(kept):
        if low < handle:  # Python 3.11 closes everything where nothing is asked
            os.closerange(low, handle)
        low = handle + 1
    os.closerange(low, 1 << 16)


class Piece:
    """A process that executes code, waits, and forks or goes on when its server says so."""

    def __init__(self, control: socket.socket, rules: dict[str, Any], locked: bool):
        self.control, self.rules = control, rules
        self.fork_no_more = locks.prepared(locks.no_forks(locks.known())) if locked else None
        self.module = types.ModuleType("__main__")
        self.module.__dict__["__builtins__"] = __builtins__
        self.number = 0

    def wait(self) -> NoReturn:
        """`f`: a new process goes on; `l`: a new one that makes none itself; `g`: this one goes on."""
        while True:
            word, handles = receive_with(self.control, 2)
            if len(handles) != 2:
                os._exit(0)
            if word == b"g" or clone(locks.FORK) == 0:
                if word == b"l" and self.fork_no_more is not None and not self.fork_no_more():
                    os._exit(71)
                self.take(*handles)
                self.execute()
            else:
                for handle in handles:
                    os.close(handle)

    def take(self, output: int, control: int) -> None:
        """Stand on the descriptors of this piece and on no other."""
        locks.die_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output, control = os.dup2(output, 62), os.dup2(control, 63)
        for standard in (1, 2):
            os.dup2(output, standard)
        os.dup2(control, 3, inheritable=False)
        self.control.detach()
        close_all_but(0, 1, 2, 3)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, 3)

    def execute(self) -> None:
        """Read the code, run it, say how it went: by then the code may have bent all of this, and nobody believes it more than that."""
        control, dumps, pack = self.control, json.dumps, struct.pack
        send(control, {"here": True})
        asked = receive(control)
        if asked is None:
            os._exit(0)
        self.number += 1
        said = run(asked["code"], self.module, f"<piece {self.number}>", self.rules["echo"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        data = dumps(said).encode("utf-8", "replace")
        socket.socket.sendall(control, pack(">I", len(data)) + data)


def fresh(rules: dict[str, Any]) -> None:
    """What a process that executed nothing yet begins with, the same every time."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)  # type: ignore[attr-defined]
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
    for number, name in ((1, "stdout"), (2, "stderr")):  # by lines, so that what is killed has said what it said
        setattr(sys, name, os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False))
    sys.argv = [""]
    sys.setrecursionlimit(rules["recursion"])


def run(code: str, module: types.ModuleType, name: str, echo: bool) -> dict[str, Any]:
    """Execute in the module; the error as Python prints it, without our own frames."""
    sys.modules["__main__"] = module
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    error, ended = "", "finished"
    try:
        whole, last = last_apart(code, name) if echo else (code, None)
        exec(compile(whole, name, "exec"), module.__dict__)
        if last is not None and (value := eval(compile(last, name, "eval"), module.__dict__)) is not None:
            print(repr(value))
    except SystemExit as end:
        ended, error = "exited", f"SystemExit: {end.code}"
    except BaseException as raised:
        ended, error = "raised", told(raised, name)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed or replaced: what was in it is the code's loss
            continue
    return {"ended": ended, "error": error[-ERROR:]}


def last_apart(code: str, name: str) -> tuple[ast.Module, ast.Expression | None]:
    """The code without its last expression, and that, where it ends with one."""
    tree = ast.parse(code, name)
    final = tree.body[-1] if tree.body else None
    if not isinstance(final, ast.Expr):
        return tree, None
    tree.body.pop()
    return tree, ast.Expression(final.value)


def told(raised: BaseException, name: str) -> str:
    """The traceback from the code's own first frame on."""
    place = raised.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    try:
        lines = traceback.format_exception(type(raised), raised.with_traceback(place), place, limit=20)
    except BaseException:
        lines = [type(raised).__name__]
    return "".join(lines).strip()
