"""Replay: a run whose rollouts come from another run's record instead of an engine.

The same recipe gives the same weights, bit for bit on CPU. Another method learns from the identical rollouts, from the
same starting weights: what differs then is the method and nothing that was drawn. From its second step on it is another
learner than the one that drew them, so its own log-probabilities are measured, and a method that corrects for nothing is
given truncated importance weights, which its name and fingerprint say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.directory import Recording, RunError, check_data, check_method, drew_itself, read_recipe, recorded_steps
from strop.method import Method
from strop.recipe import Recipe
from strop.records import Group
from strop.run import past
from strop.seams.mark import channel
from strop.seams.part import describe
from strop.sense import channels_read


@dataclass(frozen=True)
class Plan:
    """What will be replayed, and what a reader must know about it."""

    recipe: Recipe
    recording: Recording
    notes: tuple[str, ...] = ()
    past: tuple[tuple[int, Recipe], ...] = ()


def plan(origin: Path, method: str | Method | None = None, own: Method | None = None) -> Plan:
    """A run's recipe on its own record, with its own method or another; refused where the record is not what the method learns from.

    `own`: the run's method, where no name of strop's gives it (`saved.brought`).
    """
    about, recipe = read_recipe(origin, own)
    check_data(origin, about)
    steps = recorded_steps(origin)
    if not steps:
        raise RunError(f"{origin} has committed no step yet, so there is nothing to replay.")
    foreign = bool(about.get("replay", {}).get("foreign"))
    notes = [] if steps >= recipe.steps else [f"the recording ends after {steps} of {recipe.steps} steps; so does its replay"]
    if method is None:
        check_method(origin, about, recipe.resolved() if drew_itself(about) else recipe.resolved().off_policy())
        return Plan(recipe, Recording(origin, steps, foreign), tuple(notes), past(about, recipe))
    other = recipe.but(method=method).paced()
    recording = Recording(origin, steps, foreign=True)
    return Plan(other, recording, (*notes, *fit(recipe.resolved(), other.resolved(), origin)))


def fit(recorded: Method, method: Method, origin: Path) -> list[str]:
    """What the record lacks for this method: notes where that changes what is learned from, an error where it is another experiment."""
    name = method.name
    for seam, what in (("sampler", "rollouts"), ("environment", "turns"), ("feed", "groups")):
        theirs, mine = getattr(recorded, seam), getattr(method, seam)
        if describe(theirs) != describe(mine):
            raise RunError(
                f"method {name!r} has a {seam} of its own, {mine!r}, and the {what} in {origin} come from {theirs!r}: they are not what "
                f"{name!r} would have learned from. Train it (strop train --method {name}), or give it that {seam} in a recipe file."
            )
    if (recorded.trained or method.trained) and describe(recorded.policies) != describe(method.policies):
        raise RunError(
            f"method {name!r} trains {_whom(method)}, and the rollouts in {origin} train {_whom(recorded)}. Train it: strop train --method "
            f"{name}."
        )
    first = read_groups(origin, 0)
    channels = {channel for values in first["scores"]["values"].values() for channel in values}
    channels -= {grader.gives for grader in method.graders if grader not in recorded.graders}
    channels |= {channel(mark) for mark in method.marks}  # read off the recorded replies
    missing = sorted(channels_read(method) - channels)
    if missing:
        raise RunError(
            f"method {name!r} reads {missing[0]}_R, and {origin} recorded only the channels {', '.join(sorted(channels))}. "
            "Grading is recorded with the rollouts, so this method needs a run of its own."
        )
    drawn = [s for group in first["groups"] for r in Group.from_json(group).rollouts for row in r.rows for s in row.segments]
    if any(s.kind == "action" and s.logp is None for s in drawn):
        raise RunError(
            f"{origin} holds actions without the log-probability they were drawn with: no correction to another learner can be made."
        )
    notes: list[str] = []
    if method.off_policy() != method:
        notes.append(
            f"{name} has no correction for rollouts that another learner drew; it gets {method.off_policy().correction!r} "
            f"and is called {method.off_policy().name}"
        )
    if method.refills:
        notes.append(f"{name} would sample again for groups that its gate drops; nothing is drawn in a replay, so such steps are smaller")
    if recorded.refills:
        notes.append(f"the gate of {recorded.name} sampled again for groups it dropped, so steps hold more groups than were asked for")
    if describe(method.curriculum) != describe(recorded.curriculum):
        notes.append(f"{name} would have picked other tasks ({method.curriculum!r}); the tasks are those of {recorded.curriculum!r}")
    if method.tasks != recorded.tasks:
        notes.append(f"{name} asks for {method.tasks} tasks a step; the recording holds {recorded.tasks}")
    return notes


def _whom(method: Method) -> str:
    return " and ".join(("the actor", *method.trained))


def read_groups(origin: Path, step: int) -> Mapping[str, Any]:
    from strop.report.page import read_step

    record = read_step(origin, step)
    if record is None:
        raise RunError(f"{origin} has no readable record of step {step}.")
    return record
