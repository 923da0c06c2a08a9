"""The contract of a part, looked at before step 0: on random ragged batches, twice, in another order, against what it prints.

    of_method   its parts, and what they are together      of_source   tasks, splits, grading
    of_file     everything that a file defines             of_claim    its measures, arms and held-out tasks

strop's own parts pass the same exams in its tests. Each gives findings, one a promise that is kept or broken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
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


def guarded(about: str, work: Callable[[], Any], thing: Any) -> Any:
    """What the work gives; what it raises comes back as a finding with the line in the user's file."""
    try:
        return work()
    except Broken:
        raise
    except Exception as error:
        file, _ = own.stands(getattr(thing, "fn", thing if isinstance(thing, type) else type(thing)))
        line = own.line_of(error, file) if file else 0
        where = f", line {line}" if line else ""
        raise Broken(Finding(about, f"raises {type(error).__name__}: {error}{where}", fine=False)) from error


def generators() -> tuple[Any, ...]:
    """The state of every generator that is not the run's."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 # pyright: ignore


def of_file(file: Path) -> Iterator[Finding]:
    """Everything that a file of the user's own defines."""
    from strop.check.claims import of_claim
    from strop.check.growing import of_behaviour
    from strop.check.parts import of_method
    from strop.check.sources import of_source
    from strop.claims.claim import Claim
    from strop.method import Method
    from strop.recipe import Recipe

    values = [value for value in own.defined(own.loaded(file)).values()]
    methods = [value for value in values if isinstance(value, Method)]
    methods += [value.method for value in values if isinstance(value, Recipe) and isinstance(value.method, Method)]
    for method in dict.fromkeys(methods):
        yield from of_method(method)
        yield from of_behaviour(method)
    for value in values:
        if callable(getattr(value, "task", None)) and callable(getattr(value, "grade", None)):
            yield from of_source(value() if isinstance(value, type) else value)
    for claim in (value for value in values if isinstance(value, Claim)):
        yield from of_claim(claim)
