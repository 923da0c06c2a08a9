"""What watches: it has pieces executed one after another, never executes, and answers to strop for how they ended. It runs inside."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

import locks
from piece import ERROR, Piece, clone, fresh, receive, send, send_with

REPORT = 1 << 17
"""Bytes that a piece may say of itself."""
STARTS = 5.0
"""Seconds until a process that is asked for is there."""
TICK = 0.05
"""Seconds between two looks at a piece's processor time."""
STRANGER, ALIVE = -1, -2
"""Of a process that is to be buried: no child of ours; not dead though it hung up."""
NOTHING = {"error": "", "out": "", "seconds": 0.0, "cpu": 0.0, "spent": False}
BENT = "killed: it bent the channel of its own report"
FOLDER = "/tmp"
INSIDE = 1000
"""The user and group that code sees itself as."""


def mount(kind: str, where: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), where.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"{where} cannot be mounted: {os.strerror(ctypes.get_errno())}")


def own_users(inside: int, uid: int, gid: int) -> None:
    """In a new user namespace: the user and group we were, under one number."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


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

    def close(self) -> None:
        self.control.close()
        os.close(self.output)


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
        self.spare: Watched | None = None
        """Forked ahead for the next single piece."""
        self.last: Watched | None = None
        self.stale = False
        """Single pieces left files: the next one would find them, so there is no next one here."""
        self.next = 1
        self.read = config["read"]

    def start(self) -> None:
        """Go where it will live, give up what it needs no more, and make the mold, which is number 0."""
        waiting = (receive(self.host) or {})["waiting"]
        self.single, self.processes = not waiting, waiting + 4 if waiting else 3  # itself, the mold, who executes, and one to come or go
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
        if self.single:
            self.tidy()

    def be_mold(self, control: socket.socket) -> NoReturn:
        try:
            locks.die_with_parent()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self.limit()
            fresh(self.rules)
            piece = Piece(control, self.rules, "l" in self.walls)
            gc.collect()
            gc.freeze()
            if "l" in self.walls:
                writes = "c" in self.walls
                held = locks.landlock([*self.read, "/dev/urandom", self.folder], ["/dev/null", *[self.folder] * writes])
                if held < locks.landlock_abi() or not locks.seccomp(locks.program(locks.known(), forks=True, writes=writes)):
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
            if self.single and self.walls:
                self.tidy()

    def tidy(self) -> None:
        """Between two single pieces, when nobody waits: bury the last one, see what it left, and have the next process ready."""
        if self.last is not None:
            self.bury(self.last.pid)
            self.last.close()
        self.last = None
        self.stale = "c" in self.walls and bool(os.listdir(self.folder))
        if self.spare is None and not self.stale:
            self.spare = self.ready(self.waiting[0], b"l")

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
        after, keep = asked["after"], asked["keep"] and not self.single
        known = self.waiting.get(after)
        if self.stale:
            return {**NOTHING, "ended": "stale"}
        if known is None and (after or self.walls):
            return {**NOTHING, "ended": "gone"}
        self.reap()
        here = after != 0 and not self.forks  # goes on in the process that waits
        watched, self.spare = self.spare, None
        watched = watched or self.ready(known, b"g" if here else b"f" if keep and self.forks else b"l")
        if watched is None or not self.hand(watched, asked["code"]):
            self.drop(after)
            return {**NOTHING, "ended": "gone"}
        self.watch(watched)
        seconds = time.monotonic() - watched.began
        if here:
            self.waiting.pop(after).control.close()
        return {**self.close(watched, keep), "seconds": seconds, "spent": self.forks and not self.single and bool(os.listdir(self.folder))}

    @property
    def forks(self) -> bool:
        """Whether a piece that waits is forked: among pids of its own."""
        return "c" in self.walls

    def ready(self, known: Waiting | None, word: bytes) -> Watched | None:
        """A process that stands on descriptors of its own and waits for code; None where nobody makes one."""
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair()
        os.set_blocking(reading, False)
        watched = Watched(ours, reading, time.monotonic())
        try:
            if known is None:
                watched.pid = self.fork_here(writing, theirs)
            else:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                send_with(known.control, word, [writing, theirs.fileno()])
                if word == b"g":
                    watched.pid, watched.cpu_before = known.pid, cpu_of(known.pid)
            ours.setblocking(False)
            return watched
        except OSError:
            os.close(reading)
            ours.close()
            return None
        finally:
            os.close(writing)
            theirs.close()

    def hand(self, watched: Watched, code: str) -> bool:
        """Give a process its code, which fits into its socket; from here on its time runs."""
        data = json.dumps({"code": code}).encode()
        watched.began = time.monotonic()
        try:
            return watched.control.send(struct.pack(">I", len(data)) + data) == 4 + len(data)
        except OSError:
            watched.close()
            return False

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
            os.close(watched.output)
            return {**message, "out": out, "id": number, "cpu": cpu_of(watched.pid) - watched.cpu_before}
        cpu = cpu_of(watched.pid) - watched.cpu_before if watched.pid else 0.0
        if message is not None and not watched.killed and self.single and self.walls:
            self.last = watched  # is buried when the answer is out
            return {**message, "out": out, "cpu": cpu}
        watched.control.close()
        ends = watched.gone and not watched.killed and message is None
        status, used = self.bury(watched.pid, ends) if watched.pid else (STRANGER, 0.0)
        while ends and not watched.killed and self.read_output(watched):
            pass
        watched.close()
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
