"""The process that feeds one tracker: python -m strop.tracking.mirror KIND RUN

Asks the tracker which steps it has, logs the others from metrics.jsonl, and again at each line on stdin; `end` says that the run is
done, an end of file that it was killed: what it committed is logged all the same. Answers `logged STEP`, `idle` and `failed WHY` on
stdout; what libraries print goes to RUN/track/KIND.log. One mirror of a kind works on a run at a time: a lock says so, and a killed
one leaves none.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from strop.tracking import place, remembered
from strop.tracking.lines import Tracker, about, entries

LOCKED = 30.0
"""Seconds that another mirror of this run and kind, one of a killed life, is given to finish."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
}
"""Unless the user set them: what these libraries send home of their own, and how long they try."""


def follow(run: Path, tracker: Tracker, calls: Iterator[str], tell: Any) -> None:
    there, done = tracker.has(), False
    while True:
        for each in entries(run, next(step for step in count() if step not in there)):
            if each.step not in there:
                tracker.log(each)
                there.add(each.step)
                tell(f"logged {each.step}")
        tell("idle")
        call = next(calls, "")
        if done or not call:
            break
        done = call.strip() == "end"
    tracker.close(done)


def main(kind: str, run: Path) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(place(run, f"{kind}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(QUIET | os.environ)
    os.nice(5)  # the run comes first
    lock = os.open(place(run, f"{kind}.lock"), os.O_WRONLY | os.O_CREAT)
    deadline = time.monotonic() + LOCKED

    def tell(text: str) -> None:
        try:
            print(text, file=answers)
        except BrokenPipeError:  # the run was killed: nobody listens, and the steps are logged all the same
            os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())

    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"another process has logged this run to {kind} for over {LOCKED:g} s") from None
                time.sleep(0.1)
        from strop.tracking.kinds import TRACKERS

        follow(run, TRACKERS[kind](run, remembered(run), about(run)), iter(sys.stdin.readline, ""), tell)
    except Exception as error:
        import traceback

        traceback.print_exc()
        said = (str(error).strip().splitlines() or [""])[0][:200]
        tell(f"failed {type(error).__name__}: {said}".rstrip(": "))
        os._exit(1)  # whatever threads the library left


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
