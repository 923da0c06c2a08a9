"""The exam of a claim: its arms differ, its held-out tasks are not trained on, and what it measures exists on a run of two steps."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop.check.finding import Finding, guarded, held
from strop.check.sources import TASKS
from strop.claims import runner
from strop.claims.claim import Claim

KEPT = "its arms differ, its held-out tasks are apart, and on two steps its measure and its checks have values"
SMALL: dict[str, Any] = {"steps": 2, "tasks": 2, "group": 2, "max_tokens": 24}


def of_claim(claim: Claim) -> Iterator[Finding]:
    about = f"claim {claim.name}"
    return held(about, lambda: (Finding(about, says, fine=False) for says in _exam(about, claim)), KEPT)


def _exam(about: str, claim: Claim) -> Iterator[str]:
    if not math.isfinite(claim.threshold):
        yield f"its threshold is {claim.threshold}: no effect is above or below it"
    arms = [claim.arm(name) for name in claim.compare]
    if arms[0].method.fingerprint == arms[1].method.fingerprint:
        yield f"{arms[0].name} and {arms[1].name} are one method ({arms[0].method.fingerprint}): there is nothing to compare"
        return
    profile = min(claim.profiles, key=lambda name: claim.profiles[name].minutes)
    unit = claim.profiles[profile].budget.partition(" ")[2] or "positions"
    small = replace(
        claim,
        held_out=None if claim.held_out is None else replace(claim.held_out, tasks=2, samples=1, at=(0.0,)),
        profiles={**claim.profiles, profile: replace(claim.profiles[profile], budget=f"1000000000 {unit}")},
        recipe=claim.recipe.but(**(SMALL if claim.world is None else {"steps": 2})),
    )
    with tempfile.TemporaryDirectory() as place:
        for arm in arms:
            trace = guarded(
                f"{about}: arm {arm.name}", lambda arm=arm: runner.run_arm(small, arm, 0, profile, Path(place) / arm.name), claim, None
            )
            known = sorted(name for name, value in trace.lines[-1].items() if isinstance(value, int | float))
            try:
                curve = list(claim.measure.on({"trace": trace}))
                values = [float(y) for _, y in curve]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                said = f"its measure {claim.measure!r} raises {type(error).__name__} {error} on {arm.name}"
                yield f"{said}; a metrics line has {', '.join(known)}"
                return
            if not values or not all(map(math.isfinite, values)):
                if claim.measure.name == "held_out_when":
                    continue  # it has a value only where a level is passed
                yield f"its measure {claim.measure!r} has no value on two steps of {arm.name}; a metrics line has {', '.join(known)}"
                return
            for check in (check for check in claim.checks if check.arm == arm.name):
                try:
                    found = check.value(trace)
                except (KeyError, IndexError, TypeError, ValueError) as error:
                    yield f"its check {check.says!r} raises {type(error).__name__} {error}; a metrics line has {', '.join(known)}"
                    return
                if math.isnan(found):
                    yield f"its check {check.says!r} has no value on two steps of {arm.name}"
    yield from _apart(claim)


def _apart(claim: Claim) -> Iterator[str]:
    if claim.world is not None or claim.held_out is None:
        return
    from strop.tasks import source

    drawn = source(claim.recipe.task_name())
    count = TASKS if drawn.size is None else min(TASKS, drawn.size)
    prompts = [{drawn.task(split, 0, i).prompt for i in range(count)} for split in ("train", "test")]
    if both := sorted(prompts[0] & prompts[1]):
        yield f"{len(both)} of its held-out tasks are trained on too, as {both[0][:60]!r}"
