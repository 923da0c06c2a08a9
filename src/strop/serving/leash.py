"""leash: programs of others end with whoever started them, however that one ends.

A keeper, one process for all programs, hears of each that begins and ends. When its input ends, since strop did, it kills what is left: the
programs' process groups, and whoever carries the mark that they were started with in his environment, in whatever session he hides. This
file is client and program: run by its path it imports nothing of strop.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

MARK = "STROP_LEASH"
"""The environment variable that every program of ours has, and hands on."""


class Keeper:
    """The process that stays behind; started when first needed, and again in a fork."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def holds(self, pid: int, mark: str) -> None:
        """A program has begun."""
        self._tell(f"+ {pid} {mark}\n")

    def lets_go(self, pid: int, mark: str) -> None:
        """It has ended."""
        self._tell(f"- {pid} {mark}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._owner != os.getpid():  # forked: the process is the parent's
                self._process, self._owner = None, os.getpid()
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    bufsize=0,
                )
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.write(line.encode())

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            if process is not None and self._owner == os.getpid():
                assert process.stdin is not None
                process.stdin.close()
                process.wait()


KEEPER = Keeper()


def ended(pid: int) -> None:
    """The whole group of a program, now."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Processes that carry a mark, where the system tells."""
    found, sought = list[int](), f"{MARK}={mark}".encode()
    for one in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if sought in one.read_bytes().split(b"\0"):
                found.append(int(one.parent.name))
    return found


def swept(mark: str) -> None:
    """Whoever carries a mark, until nobody does: one who is killed may have begun another one just before."""
    for _ in range(100):
        pids = [pid for pid in marked(mark) if pid != os.getpid()]
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def main() -> None:
    held = dict[int, str]()
    for line in sys.stdin:
        what, pid, mark = line.split()
        if what == "+":
            held[int(pid)] = mark
        else:
            held.pop(int(pid), None)
    for pid in held:
        ended(pid)
    for mark in {*held.values()}:
        swept(mark)


if __name__ == "__main__":
    main()
