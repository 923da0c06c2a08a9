"""The program inside the sandbox: imports what is allowed once, then forks a process for every piece of code.

It is run by path, imports nothing of strop, and has four kinds of processes. The first three are ours:

    zygote   imported the modules; makes servers and never sees code
    server   one for all single executions in turn, one for each session; with the cell in users, pids, mounts and a /tmp of its own.
             Reads what a piece prints, keeps its deadlines, says how it ended, and never executes
    mold     a fork of the server made before any code came, locked; makes the processes that execute
    piece    a fork of the mold, or of a piece that was executed and waits. Code runs here and nowhere else

What a piece says of itself comes by a socket of its own: its error, and that it is done. How it was killed, its output and its time are
the server's to say, who knows processes by what the kernel tells of them. The channel to strop is open in the server alone.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import locks
from piece import clone, receive, receive_with, send
from server import FOLDER, INSIDE, Server, own_users

OURS = ("locks", "piece", "server")
NEW_USER, NEW_PID, NEW_NS, NEW_IPC = 0x10000000, 0x20000000, 0x00020000, 0x08000000


def begin_again() -> None:
    """Become who we will be, and start over with the memory laid out alike: `print(object())` is then the same text nearly every time.

    Started by root inside a cell, it becomes a user that owns nothing; starting over also closes its memory to everybody else.
    """
    if len(sys.argv) != 2:
        return
    uid = int(sys.argv[1])
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if hasattr(libc := ctypes.CDLL(None), "personality"):
        libc.personality(libc.personality(0xFFFFFFFF) | 0x0040000)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-1]])


ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def be_first_to_go() -> None:
    """Where memory runs out, the system ends us and what we execute before the run that asked for it."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def give_up(config: dict[str, Any]) -> None:
    """The zygote's own powers. Who became somebody else gets a user namespace of its own, as bubblewrap makes one for all others."""
    if config["uid"]:
        if ctypes.CDLL(None).unshare(NEW_USER) != 0:
            raise OSError("no user namespace of its own")
        own_users(INSIDE, config["uid"], config["uid"])
    if config["walls"]:
        locks.powerless()
        if "c" in config["walls"]:
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # its servers write their own maps; nobody else sees it


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Import what is allowed; the greeting says so, or which module is missing."""
    try:
        be_first_to_go()
        give_up(config)
        sys.path[:] = config["path"]
        for name in OURS:  # these names are the code's to import, if there are such modules
            del sys.modules[name]
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # a fork keeps one
        for name in config["modules"]:
            importlib.import_module(name)
        for name in ONE_THREAD:
            del os.environ[name]
    except ModuleNotFoundError as error:
        return {"missing": error.name or str(error)}
    except BaseException as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    gc.collect()
    gc.freeze()
    return {"ready": True, "landlock": locks.landlock_abi(), "python": sys.version.split()[0], "modules": config["modules"]}


def main() -> None:
    begin_again()
    host = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    config = receive(host)
    if config is None:
        return
    greeting = prepare(config)
    send(host, greeting)
    if "ready" not in greeting:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # servers are nobody's to wait for
    while True:
        word, handles = receive_with(host, 1)
        if not handles:
            return
        walls = {b"b": "cl", b"c": "c", b"l": "l", b"o": ""}[word]
        try:
            pid = clone(NEW_USER | NEW_PID | NEW_NS | NEW_IPC if "c" in walls else 0)
        except OSError:
            pid = -1  # the descriptor is closed below, and strop hears its end
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            host.close()
            be_server(handles[0], config, walls)
        os.close(handles[0])


def be_server(handle: int, config: dict[str, Any], walls: str) -> NoReturn:
    host = socket.socket(fileno=handle)
    try:
        server = Server(host, config, walls, FOLDER if "c" in walls else config["folder"])
        server.start()
        send(host, {"ready": True})
        server.serve()
    except BaseException as error:
        try:
            send(host, {"failed": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(70)
    finally:
        os._exit(70)


if __name__ == "__main__":
    main()
