"""Trackers: a run's metrics lines, shown where people look at their runs. Several may be asked for at once.

    with beside(run_directory, ["tensorboard", "mlflow"], say) as mirrors:
        …; for said in mirrors.step(): …                       after each metrics line

A tracker is fed by a mirror (`strop.tracking.mirror`), a process of its own that reads metrics.jsonl and logs the steps which the tracker
does not have. So a tracker that hangs, fails or goes away costs the run nothing, and a run that was killed and resumed has each step
there once, wherever the kill fell: what was committed is the truth, and the tracker itself says what it has of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from strop import durable, shape

KINDS = ("tensorboard", "wandb", "trackio", "mlflow")
"""Each the name of a package, and of strop's extra that brings it."""
PATIENCE = 60.0
"""Seconds that a mirror may stand still while there is something to log."""


def asked(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers of `--track a,b --track c`; none for `none`."""
    given = list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))
    for name in given:
        if name not in (*KINDS, "none"):
            raise ValueError(f"--track {name}: there is no such tracker. Choose of {', '.join(KINDS)}, or none.")
        if name != "none" and not installed(name):
            raise ModuleNotFoundError(f"--track {name} needs its package, which is not installed: pip install 'strop[{name}]'")
    if "none" in given and len(given) > 1:
        raise ValueError(f"--track {','.join(given)}: none, or those you name.")
    return tuple(name for name in given if name != "none")


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def place(run: Path, name: str) -> Path:
    """Where mirrors keep what is theirs: who the run is to its trackers, a lock and what a library printed."""
    return run / "track" / name


def remembered(run: Path) -> dict[str, Any]:
    """What an earlier life of the run settled about its trackers."""
    path = place(run, "about.json")
    try:
        return shape.read(path, shape.TRACKED) if path.exists() else {}
    except shape.Damaged as error:
        raise shape.Damaged(
            f"{error}. It says which runs of its trackers this one is: put it back, or delete it and it is another."
        ) from error


def settle(run: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """On disk before a tracker hears of the run: its id there, which trackers it has, and where MLflow's file is."""
    store = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    about = {"id": uuid.uuid4().hex[:12], "mlflow": store} | remembered(run) | {"kinds": list(kinds)}
    place(run, "").mkdir(exist_ok=True)
    durable.write(place(run, "about.json"), json.dumps(about).encode())
    return about


def where(run: Path, kind: str, about: dict[str, Any]) -> str:
    """Where to look, and whether anything leaves this machine."""
    if kind == "tensorboard":
        return f"{run / 'tensorboard'}; look with: tensorboard --logdir {run.parent}"
    if kind == "wandb":
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            return (
                f"offline, in {run / 'wandb'}; nothing is sent. Send it: wandb sync {run / 'wandb'}/offline-run-*; or set WANDB_MODE=online"
            )
        return f"WANDB_MODE={mode}"
    if kind == "trackio":
        remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        return f"sent to {remote.partition('?')[0]}" if remote else "on this machine; look with: trackio show --project strop"
    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        return f"sent to {named.rpartition('@')[2]}"
    return f"{about['mlflow']}; look with: mlflow ui --backend-store-uri {about['mlflow']}"


_ALONE: list[subprocess.Popen[bytes]] = []
"""Mirrors of runs that stopped, which go on by themselves: nobody waits for them, and this process buries those that ended."""


class Mirror:
    """One tracker's process, as the run sees it. Nothing waits here but `wait`."""

    def __init__(self, run: Path, kind: str, patience: float = PATIENCE):
        self.run, self.kind, self.patience = run, kind, patience
        self.logged, self.failure = 0, ""
        self._heard, self._since = b"", 0.0
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "strop.tracking.mirror", kind, str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the run, which then ends its mirrors
        )
        self._pipes = cast(tuple[IO[bytes], IO[bytes]], (self.process.stdin, self.process.stdout))
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)

    def step(self) -> str:
        """There is a line more. Says, once, what went wrong since."""
        if self.failure:
            return ""
        self._tell(b"\n")
        self._look()
        return self._said()

    def end(self, done: bool) -> None:
        """There is none any more: the run is done, or it stopped, and the mirror goes on alone to what was committed."""
        if not self.failure:
            self._tell(b"end\n" if done else b"")
            self._pipes[0].close()
            if not done:
                self._pipes[1].close()
                _ALONE[:] = [one for one in (*_ALONE, self.process) if one.poll() is None]

    def wait(self) -> str:
        """Until it has logged everything, or stood still for too long."""
        if self.failure:
            return ""
        while self.process.poll() is None and not self.failure:
            time.sleep(0.02)
            self._look()
        self._look()
        self._pipes[1].close()
        return self._said()

    def _tell(self, text: bytes) -> None:
        self._since = self._since or time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # one that is far behind misses a call and reads all lines at the next
            self._pipes[0].write(text)

    def _look(self) -> None:
        while not self._pipes[1].closed and (more := self._pipes[1].read(1 << 16)):
            self._heard += more
        *words, self._heard = self._heard.split(b"\n")
        for word in words:
            what, _, rest = word.decode(errors="replace").partition(" ")
            self.logged += what == "logged"
            self._since = 0.0 if what == "idle" else time.monotonic()
            if what == "failed":
                self._stop(rest)
        if not self.failure and (code := self.process.poll()):
            self._stop(f"its process ended with {code}")
        if not self.failure and self._since and self.process.poll() is None and time.monotonic() - self._since > self.patience:
            self._stop(f"no answer for {self.patience:g} s")

    def _stop(self, why: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.failure = why
        for pipe in self._pipes:
            pipe.close()

    def _said(self) -> str:
        if not self.failure:
            return ""
        return f"tracker {self.kind}: {self.failure}. The run does without it; `strop track {self.run} {self.kind}` logs what is missing."


class Mirrors:
    """All trackers of a run."""

    def __init__(self, run: Path, kinds: Sequence[str], patience: float = PATIENCE):
        self.each = [Mirror(run, kind, patience) for kind in kinds]

    def step(self) -> list[str]:
        return [said for mirror in self.each if (said := mirror.step())]

    def end(self, done: bool = True) -> list[str]:
        """Waits only for those of a run that is done."""
        for mirror in self.each:
            mirror.end(done)
        return [said for mirror in self.each if done and (said := mirror.wait())]

    def to_json(self) -> dict[str, Any]:
        return {mirror.kind: {"logged": mirror.logged, "failed": mirror.failure or None} for mirror in self.each}


@contextmanager
def beside(run: Path, kinds: Sequence[str] | None, say: Callable[[str], None], patience: float = PATIENCE) -> Iterator[Mirrors]:
    """The mirrors of a run that goes on inside: these and those of its earlier life; with an empty `kinds`, none any more."""
    earlier = remembered(run).get("kinds", [])
    wanted = [*dict.fromkeys([*earlier, *(kinds or ())])] if kinds != () else []
    mirrors = Mirrors(run, begun(run, wanted, say) if wanted or earlier else [], patience)
    try:
        yield mirrors
    except BaseException:
        mirrors.end(done=False)
        raise
    for said in mirrors.end():
        say(said)


def begun(run: Path, kinds: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Of these trackers, those that can be fed; each is said with its place, or with what it lacks. The run remembers all of them."""
    about = settle(run, kinds)
    for kind in kinds:
        missing = f"its package is not installed here, so nothing is logged: pip install 'strop[{kind}]'"
        say(f"tracker {kind}: {where(run, kind, about) if installed(kind) else missing}")
    return [kind for kind in kinds if installed(kind)]
