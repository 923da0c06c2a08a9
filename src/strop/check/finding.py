"""What an exam finds, and how it looks without breaking off."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strop import own
from strop.seams.part import PartError


@dataclass(frozen=True)
class Finding:
    about: str
    """The part, its file and line."""
    says: str
    fine: bool | None = True
    """None: nothing is wrong, and a reader should know it."""

    def __str__(self) -> str:
        return f"{self.about}: {self.says}"


DEADLINE = 20.0
"""Seconds that one answer of a part may take while it is looked at."""


class Broken(PartError):
    """A part did not answer; what it raised is in the finding."""

    def __init__(self, finding: Finding):
        super().__init__(str(finding))
        self.finding = finding


def called(seam: str, thing: Any) -> str:
    """A part or record as a reader finds it: seam, name, file and line."""
    fn = getattr(thing, "fn", thing if isinstance(thing, type) or not hasattr(thing, "__dict__") else type(thing))
    name = getattr(fn, "__name__", type(thing).__name__)
    file, line = own.stands(fn)
    return f"{seam} {name}" + (f" ({file.name}, line {line})" if file else "")


def guarded(about: str, work: Callable[[], Any], thing: Any, seconds: float | None = DEADLINE) -> Any:
    """What the work gives; what it raises comes back as a finding with the line in the user's file, and so does that it never answers.

    It works in a thread, which ends with the process where it hangs; with `seconds` None it has all the time it takes.
    """
    given: list[Any] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            given.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, daemon=True, name="strop-check")
    thread.start()
    thread.join(seconds)
    if given:
        return given[0]
    if not raised:
        raise Broken(Finding(about, f"did not answer within {seconds:g} s", fine=False))
    error = raised[0]
    if isinstance(error, Broken | KeyboardInterrupt):
        raise error
    file, _ = own.stands(getattr(thing, "fn", thing if isinstance(thing, type) else type(thing)))
    line = own.line_of(error, file) if file else 0
    where = f", line {line}" if line else ""
    raise Broken(Finding(about, f"raises {type(error).__name__}: {error}{where}", fine=False)) from error


def held(about: str, exam: Callable[[], Iterator[Finding]], kept: str) -> Iterator[Finding]:
    """The findings of an exam; one that finds no fault, and breaks nowhere, says what was kept."""
    faults = 0
    try:
        for finding in exam():
            faults += finding.fine is False
            yield finding
    except Broken as broken:
        faults += 1
        yield broken.finding
    if not faults:
        yield Finding(about, kept)


def generators() -> tuple[Any, ...]:
    """The state of every generator that is not the run's."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 # pyright: ignore
