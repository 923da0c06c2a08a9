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

import array
import ast
import ctypes
import gc
import importlib
import json
import linecache
import os
import random
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from dataclasses import dataclass, field
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import locks

sys.path.pop(0)

LONGEST = 1 << 22
"""Bytes of a message at most."""
REPORT = 1 << 17
"""Bytes that a piece may say of itself."""
ERROR = 4000
"""Characters of an error, its end kept."""
STARTS = 5.0
"""Seconds until a process that is asked for is there."""
STRANGER, ALIVE = -1, -2
"""Of a process that is to be buried: no child of ours; not dead though it hung up."""
BENT = "killed: it bent the channel of its own report"
TICK = 0.05
"""Seconds between two looks at a piece's processor time."""
NEW_USER, NEW_PID, NEW_NS, NEW_IPC = 0x10000000, 0x20000000, 0x00020000, 0x08000000
FOLDER = "/tmp"
INSIDE = 1000
"""The user and group that code sees itself as."""

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


# ------------------------------------------------------------------------------------------------ forks

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


def mount(kind: str, where: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), where.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"{where} cannot be mounted: {os.strerror(ctypes.get_errno())}")


def own_users(inside: int, uid: int, gid: int) -> None:
    """In a new user namespace: the user and group we were, under one number."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


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
        self.control, self.rules, self.locked = control, rules, locked
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
                if word == b"l" and self.locked:
                    locks.seccomp(locks.no_forks(locks.known()))
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
        os.dup2(control, 3)
        self.control.detach()
        close_all_but(0, 1, 2, 3)
        self.control = socket.socket(fileno=3)
        os.set_inheritable(3, False)

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
        tree = ast.parse(code, name)
        final = tree.body[-1] if echo and tree.body else None
        last = ast.Expression(final.value) if isinstance(final, ast.Expr) else None
        if last is not None:
            tree.body.pop()
        exec(compile(tree, name, "exec"), module.__dict__)
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


# ----------------------------------------------------------------------------------------------- server


@dataclass
class Waiting:
    pid: int
    control: socket.socket


@dataclass
class Watched:
    """What is known of a piece that runs."""

    control: socket.socket
    output: int
    began: float
    pid: int = 0
    cpu_before: float = 0.0
    said: bytes = b""
    out: bytearray = field(default_factory=bytearray)
    message: dict[str, Any] | None = None
    gone: bool = False
    killed: str = ""


def cpu_of(pid: int) -> float:
    """Processor seconds of a process, by its clock."""
    try:
        return time.clock_gettime(((~pid) << 3) | 2)
    except (OSError, AttributeError):
        return 0.0


class Server:
    """Executes one piece at a time and answers for how it ended."""

    def __init__(self, host: socket.socket, config: dict[str, Any], walls: str, folder: str):
        self.host, self.rules, self.walls, self.folder = host, config["rules"], walls, folder
        self.waiting: dict[int, Waiting] = {}
        self.next = 1
        self.read = config["read"]

    def start(self) -> None:
        """Go where it will live, give up what it needs no more, and make the mold, which is number 0."""
        self.processes = (receive(self.host) or {})["processes"]
        room = locks.mapped()
        if "c" in self.walls:
            own_users(INSIDE, INSIDE, INSIDE)
            size = f"size={self.rules['disk']},nr_inodes={self.rules['files']},mode=700"
            mount("tmpfs", FOLDER, 2 | 4, size)  # no setuid, no devices
            mount("tmpfs", "/proc", 1 | 2 | 4 | 8, "size=4k,nr_inodes=2,mode=555")  # nobody's processes are shown
        os.chdir(self.folder)
        if self.walls:
            locks.powerless()
        self.room = room and room + self.rules["memory"]
        if not self.walls:
            return  # what executes is forked from here
        ours, theirs = socket.socketpair()
        pid = clone(0)
        if pid == 0:
            self.host.close()
            ours.close()
            self.be_mold(theirs)
        theirs.close()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.waiting[0] = Waiting(pid, ours)

    def be_mold(self, control: socket.socket) -> NoReturn:
        try:
            locks.die_with_parent()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self.limit()
            fresh(self.rules)
            piece = Piece(control, self.rules, "l" in self.walls)
            if "l" in self.walls:
                read = [*self.read, "/dev/null", "/dev/urandom", self.folder]
                if locks.landlock(read, [self.folder] if "c" in self.walls else []) < locks.landlock_abi() or not locks.seccomp(
                    locks.program(locks.known(), forks=True, writes="c" in self.walls)
                ):
                    os._exit(71)
            piece.wait()
        finally:
            os._exit(70)

    def limit(self) -> None:
        """A session at one wall goes on in one process, so the net below its processor time holds all of its pieces."""
        more = {"nproc": self.processes} if "c" in self.walls else {}
        locks.limits(
            self.room,
            cpu=int(self.rules["cpu"] + 2) * (1 if "c" in self.walls else 100),
            fsize=self.rules["disk"] // 2 if "c" in self.walls or not self.walls else 0,
            nofile=64,
            **more,
        )

    def serve(self) -> NoReturn:
        while True:
            asked = receive(self.host)
            if asked is None:
                self.end()
            if "drop" in asked:
                self.drop(asked["drop"])
                continue
            send(self.host, self.answer(asked))

    def end(self) -> NoReturn:
        """Take everybody along. Where pids are our own the kernel does it again."""
        for number in list(self.waiting):
            self.drop(number)
        os._exit(0)

    def drop(self, number: int) -> None:
        if (gone := self.waiting.pop(number, None)) is not None:
            gone.control.close()
            self.bury(gone.pid)

    def reap(self) -> None:
        """Those that ended and nobody waits for: what a session's code forked behind our back."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    def bury(self, pid: int, ends: bool = False) -> tuple[int, float]:
        """Kill a process and take its status; one that `ends` has a moment to. STRANGER: it is none of ours; ALIVE: it did not end."""
        try:
            until = time.monotonic() + (0.5 if ends else 0)
            while ends and time.monotonic() < until:
                gone, status, usage = os.wait4(pid, os.WNOHANG)
                if gone:
                    return status, usage.ru_utime + usage.ru_stime
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
        except OSError:
            return STRANGER, 0.0
        return ALIVE if ends else status, usage.ru_utime + usage.ru_stime

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Execute `code` after the piece with this number. `keep`: it waits afterwards, and is told by its own number."""
        after, keep = asked["after"], asked["keep"]
        self.reap()
        known = self.waiting.get(after)
        if known is None and (after or self.walls):
            return {"ended": "gone", "error": "", "out": "", "seconds": 0.0, "cpu": 0.0}
        here = after != 0 and not self.forks  # goes on in the process that waits
        watched = self.begin(known, here, keep, asked["code"])
        if watched is None:
            self.drop(after)
            return {"ended": "gone", "error": "", "out": "", "seconds": 0.0, "cpu": 0.0}
        self.watch(watched)
        seconds = time.monotonic() - watched.began
        if here:
            self.waiting.pop(after).control.close()
        ended = self.close(watched, keep)
        os.close(watched.output)
        return {**ended, "seconds": seconds, **self.spent()}

    @property
    def forks(self) -> bool:
        """Whether a piece that waits is forked: among pids of its own."""
        return "c" in self.walls

    def begin(self, known: Waiting | None, here: bool, keep: bool, code: str) -> Watched | None:
        """Hand a new piece its descriptors and its code; None where nobody takes them."""
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair()
        os.set_blocking(reading, False)
        watched = Watched(ours, reading, time.monotonic())
        try:
            if known is None:
                watched.pid = self.fork_here(writing, theirs)
            else:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                word = b"g" if here else b"f" if keep and self.forks else b"l"
                send_with(known.control, word, [writing, theirs.fileno()])
                if here:
                    watched.pid, watched.cpu_before = known.pid, cpu_of(known.pid)
            ours.setblocking(False)
            data = json.dumps({"code": code}).encode()
            if ours.send(struct.pack(">I", len(data)) + data) != 4 + len(data):
                raise OSError("the code does not fit")
            return watched
        except OSError:
            os.close(reading)
            ours.close()
            return None
        finally:
            os.close(writing)
            theirs.close()

    def fork_here(self, output: int, control: socket.socket) -> int:
        """Without walls, also where there is no Linux: a plain fork of this process."""
        pid = os.fork()
        if pid == 0:
            try:
                self.limit()
                piece = Piece(control, self.rules, False)
                piece.take(output, control.detach())
                fresh(self.rules)
                piece.execute()
                piece.wait()
            finally:
                os._exit(70)
        return pid

    def watch(self, watched: Watched) -> None:
        """Read until it reports, is gone, or went over a limit."""
        poll = select.poll()
        for handle in (watched.control, watched.output):
            poll.register(handle, select.POLLIN)
        poll.register(self.host, 0)  # its end alone
        wall = watched.began + self.rules["wall"]
        while watched.message is None and not watched.gone:
            now = time.monotonic()
            if not watched.pid and now > watched.began + STARTS:
                watched.gone = True
                return
            if watched.pid and (now > wall or cpu_of(watched.pid) - watched.cpu_before > self.rules["cpu"]):
                watched.killed = "time"
                break
            for handle, event in poll.poll(max(1.0, 1000 * min(TICK, wall - now))):
                if handle == self.host.fileno():
                    if event & (select.POLLHUP | select.POLLERR):
                        if watched.pid:
                            self.bury(watched.pid)
                        self.end()
                elif handle == watched.output:
                    if not self.read_output(watched):
                        poll.unregister(watched.output)
                else:
                    self.read_control(watched)
            if watched.killed:
                break
        while not watched.killed and self.read_output(watched):
            pass

    def read_output(self, watched: Watched) -> bool:
        """Take what was printed; False when there is no more now."""
        try:
            part = os.read(watched.output, 65536)
        except BlockingIOError:
            return False
        watched.out += part
        if len(watched.out) > self.rules["output"]:
            watched.killed = "output"
        return bool(part) and not watched.killed

    def read_control(self, watched: Watched) -> None:
        """Take what the piece says, and from the kernel who says it."""
        try:
            part, extra, _, _ = watched.control.recvmsg(65536, socket.CMSG_SPACE(12))
        except BlockingIOError:
            return
        except OSError:
            part, extra = b"", []
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, getattr(socket, "SCM_CREDENTIALS", 2)) and not watched.pid:
                watched.pid = struct.unpack("iII", data[:12])[0]
        watched.said += part
        watched.gone = not part
        if len(watched.said) > REPORT:
            watched.killed = "forbidden"
        while len(watched.said) >= 4 and len(watched.said) - 4 >= (size := struct.unpack(">I", watched.said[:4])[0]):
            body, watched.said = watched.said[4 : 4 + size], watched.said[4 + size :]
            message = report(body)
            if message is None:
                watched.killed = "forbidden"
                return
            if message["ended"]:
                watched.message, watched.gone = message, False
                return

    def close(self, watched: Watched, keep: bool) -> dict[str, Any]:
        """How it ended, said by us; the process is buried, unless it waits for what comes next."""
        out = watched.out[: self.rules["output"]].decode("utf-8", "replace")
        message = watched.message
        if message is not None and not watched.killed and keep and message["ended"] != "exited" and watched.pid:
            number, self.next = self.next, self.next + 1
            self.waiting[number] = Waiting(watched.pid, watched.control)
            watched.control.setblocking(True)
            return {**message, "out": out, "id": number, "cpu": cpu_of(watched.pid) - watched.cpu_before}
        cpu = cpu_of(watched.pid) - watched.cpu_before if watched.pid else 0.0
        watched.control.close()
        ends = watched.gone and not watched.killed and message is None
        status, used = self.bury(watched.pid, ends) if watched.pid else (STRANGER, 0.0)
        while ends and not watched.killed and self.read_output(watched):
            pass
        out = watched.out[: self.rules["output"]].decode("utf-8", "replace")
        told = {"out": out, "cpu": max(cpu, used - watched.cpu_before)}
        if watched.killed:
            return {"ended": watched.killed, "error": self.why(watched.killed), **told}
        if message is not None:
            return {**message, **told}
        if not watched.pid:
            return {"ended": "gone", "error": "", **told}
        return {**self.death(status, told["cpu"]), **told}

    def why(self, ended: str) -> str:
        if ended == "time":
            return f"killed after {self.rules['cpu']:g} s of processor time or {self.rules['wall']:g} s of waiting"
        if ended == "output":
            return f"killed after {self.rules['output']} bytes of output"
        return BENT

    def death(self, status: int, cpu: float) -> dict[str, Any]:
        """What the kernel says of a process that said nothing."""
        if status in (STRANGER, ALIVE):
            return {"ended": "forbidden", "error": BENT}
        if not os.WIFSIGNALED(status):
            code = os.waitstatus_to_exitcode(status)
            return {"ended": "exited", "error": f"the process ended itself with status {code}"}
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return {"ended": "forbidden", "error": "killed at a system call that is forbidden"}
        if number in (signal.SIGKILL, signal.SIGXCPU) and cpu >= self.rules["cpu"]:
            return {"ended": "time", "error": self.why("time")}
        if number == signal.SIGKILL:
            return {"ended": "memory", "error": "killed by the system, which had no memory left"}
        return {"ended": "crashed", "error": f"crashed with {signal.Signals(number).name}"}

    def spent(self) -> dict[str, Any]:
        """Whether a later execution would find what this one left, or has left of ours: then this server is to be replaced."""
        return {"spent": bool(self.walls) and ("c" in self.walls and bool(os.listdir(self.folder)))}


def report(body: bytes) -> dict[str, Any] | None:
    """What a piece says of itself: hostile. None where it is nothing that our own driver would say."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if said == {"here": True}:
        return {"ended": ""}
    if not isinstance(said, dict) or set(said) != {"ended", "error"} or said["ended"] not in ("finished", "raised", "exited"):
        return None
    if not isinstance(said["error"], str) or len(said["error"]) > ERROR:
        return None
    return {"ended": said["ended"], "error": said["error"]}


# ----------------------------------------------------------------------------------------------- zygote


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
