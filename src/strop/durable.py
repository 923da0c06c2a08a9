"""Writing so that a kill at any instant leaves the old file or the new one, never half of one; and the hash a file is known by."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

_watch: Callable[[str], None] | None = None
"""Called before and after each write, fsync and rename; tests kill the process here."""


def watch(observer: Callable[[str], None] | None) -> None:
    global _watch
    _watch = observer


def point(name: str) -> None:
    if _watch is not None:
        _watch(name)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename: one name holds the old content or the new."""
    beside = path.with_name(path.name + ".part")
    with open(beside, "wb") as file:
        point("write")
        file.write(data[: len(data) // 2])
        file.flush()
        point("torn")
        file.write(data[len(data) // 2 :])
        file.flush()
        point("fsync")
        os.fsync(file.fileno())
    point("rename")
    os.replace(beside, path)
    point("renamed")
    sync_directory(path.parent)


def publish(beside: Path, path: Path) -> None:
    """A finished directory under its final name: every file on disk first, then one rename."""
    for file in sorted(beside.rglob("*")):
        if file.is_file():
            point("fsync")
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    if path.exists():
        shutil.rmtree(path)
    point("rename")
    os.replace(beside, path)
    point("renamed")
    sync_directory(path.parent)


def seal(directory: Path) -> None:
    """Write down the hash of all that stands there."""
    (directory / "hash").write_text(_hash_of_all(directory))


def whole(directory: Path) -> bool:
    """Is everything there that was sealed, as it was?"""
    return (directory / "hash").is_file() and (directory / "hash").read_bytes() == _hash_of_all(directory).encode()


def _hash_of_all(path: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != "hash"):
        total.update(file.relative_to(path).as_posix().encode())
        total.update(file.read_bytes())
    return total.hexdigest()


def cached(name: str) -> Path:
    """Where work is kept that can be done again; nothing but time is lost when it is emptied."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strop" / name


def hash_of(file: Path) -> str:
    """sha256 of a file's bytes, as `sha256sum` prints it; read once while its size and time of change stay as they are."""
    known = file.stat()
    return _hash(file.resolve(), known.st_size, known.st_mtime_ns)


@cache
def _hash(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


class Lock:
    """A directory that this process alone writes to. The system lets go of it when the process ends, however it ends."""

    held: ClassVar[WeakValueDictionary[Path, Lock]] = WeakValueDictionary()
    """In this process: whoever asks again gets the same one."""

    def __init__(self, directory: Path):
        self.handle = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.handle)
            self.handle = -1
            raise

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # by then the module may be gone
        if getattr(self, "handle", -1) >= 0:
            close(self.handle)


def locked(directory: Path) -> Lock:
    """The directory's lock; BlockingIOError where another process has it."""
    place = directory.resolve()
    if (lock := Lock.held.get(place)) is None:
        Lock.held[place] = lock = Lock(place)
    return lock


def append(path: Path, line: str) -> None:
    """A line at the end of a log; a torn last line is cut when the log is read back."""
    with open(path, "ab") as file:
        point("write")
        file.write(line.encode() + b"\n")
        file.flush()
        point("fsync")
        os.fsync(file.fileno())


def lines(path: Path, first: int = 0) -> list[dict[str, Any]]:
    """A log of JSON objects, read back from its line `first` up to where it is torn."""
    read: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines()[first:] if path.exists() else []:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(found, dict):
            break
        read.append(found)
    return read
