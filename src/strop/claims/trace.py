"""Trace: what one arm under one seed left behind. Measures and checks are pure functions of it.

A curve is a list of (positions spent, value). Arms are compared at the budget they share, by interpolation, so that an arm
whose last step overshoots gains nothing from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from strop import shape
from strop.recipe import Recipe
from strop.records import Group, Scores, digest
from strop.seams.part import Part, part

Curve = list[tuple[float, float]]
"""(positions spent, value), in the order of steps."""
REPLIES = "replies-{}.json"
"""What was said at an evaluation, beside its means."""
VALUES = "values-{}.json"
"""One value a task, beside the means."""


@dataclass(frozen=True)
class Trace:
    """A run of one arm under one seed, read when something is asked of it."""

    arm: str
    """Its name."""
    seed: int
    """The run's."""
    directory: Path
    """Where it stands."""
    unit: str
    """What its budget counts."""
    about: dict[str, Any]
    """`arm.json`: initial weights, seconds, held-out task ids."""

    @cached_property
    def places(self) -> list[Path]:
        """The directories of its runs: itself, or a program's stages in order."""
        from strop.directory import runs

        return runs(self.directory)

    @cached_property
    def lines(self) -> tuple[dict[str, Any], ...]:
        """Its metrics, a line a step."""
        from strop.directory import read_metrics

        return tuple(read_metrics(self.directory))

    @cached_property
    def spent(self) -> tuple[int, ...]:
        """Positions spent after each step."""
        from strop.bill import spend

        return tuple(spend(line["bill"], self.unit) for line in self.lines)

    @cached_property
    def held_out(self) -> tuple[dict[str, Any], ...]:
        """Evaluations in order: step, spent, and means by name: pass@1 and so on, mean, majority, length, cut, every channel but the
        outcome."""
        return tuple(shape.read(path, shape.LOOK) for path in sorted((self.directory / "eval").glob("[0-9]*.json")))

    @cached_property
    def replies(self) -> tuple[list[dict[str, Any]], ...]:
        """What was said at each evaluation, where the claim keeps it: of each held-out task its `needs` and the `texts` of its replies."""
        places = (self.directory / "eval" / REPLIES.format(f"{said['step']:06d}") for said in self.held_out)
        return tuple(shape.read(place, shape.REPLIES) for place in places)

    @cached_property
    def values(self) -> tuple[dict[str, Any], ...]:
        """One value a task at each evaluation: `tasks`, their ids in order, and `values`, by name (`pass@1`, `length`, every channel); None
        where nothing was graded."""
        places = (self.directory / "eval" / VALUES.format(f"{said['step']:06d}") for said in self.held_out)
        return tuple(shape.read(place, shape.VALUES) for place in places)

    def records(self) -> Iterator[dict[str, Any]]:
        """What was committed, step by step: groups, scores, rewards, fates."""
        from strop.directory import read_commit, recorded_steps

        for place in self.places:
            yield from (record for step in range(recorded_steps(place)) if (record := read_commit(place, step)) is not None)

    @cached_property
    def checkpoints(self) -> dict[int, Path]:
        """Those that were kept, by the number of steps before them."""
        return {int(path.name): path for path in sorted((self.places[-1] / "checkpoints").glob("*")) if path.name.isdigit()}

    def steps(self) -> Iterator[tuple[list[Group], Scores]]:
        """What was sampled and graded, step by step."""
        for record in self.records():
            yield [Group.from_json(g) for g in record["groups"]], Scores.from_json(record["scores"])

    @cached_property
    def state(self) -> dict[str, Any]:
        """Of the parts, as the last step left it."""
        from strop.directory import read_commit, recorded_steps

        last = read_commit(self.places[-1], recorded_steps(self.places[-1]) - 1)
        assert last is not None
        return last["state"]

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """Ids of the tasks that it was given and trained on; what the policy wrote itself is in `wrote`."""
        return frozenset(task["id"] for task, wrote in self._tasks if not wrote)

    @cached_property
    def asked(self) -> frozenset[str]:
        """What it was trained on, by content."""
        return frozenset(question(task["prompt"], task["meta"].get("where", "")) for task, wrote in self._tasks if not wrote)

    @cached_property
    def wrote(self) -> frozenset[str]:
        """What the policy wrote itself and was trained on, by content."""
        return frozenset(question(task["prompt"], task["meta"].get("where", "")) for task, wrote in self._tasks if wrote)

    @cached_property
    def _tasks(self) -> list[tuple[dict[str, Any], bool]]:
        """Each with whether the policy wrote it: only in a role of the method's own, whatever a source notes of its tasks."""
        roles: dict[str, Any] = self.lines[0].get("roles", {}) if self.lines else {}
        groups = (group for record in self.records() for group in record["groups"])
        return [(group["task"], group["role"] in roles and "written" in group["task"]["meta"]) for group in groups]


def question(prompt: str, where: str = "") -> str:
    """A question by its content, however it is spelled: a short hash. `where` tells apart what is asked of different worlds."""
    return digest(" ".join(prompt.casefold().split()) + (f" {where}" if where else ""))[:12]


def read(directory: Path, arm: str, seed: int, recipe: Recipe) -> Trace:
    """What an arm's run left in a directory."""
    return Trace(arm, seed, directory, recipe.budget_in_positions[1], shape.read(directory / "arm.json", shape.ARM))


def at(curve: Curve, spent: float) -> float:
    """The curve's value when so much was spent, on the straight line between its neighbours."""
    before = [point for point in curve if point[0] <= spent]
    after = [point for point in curve if point[0] >= spent]
    if not before or not after:
        return before[-1][1] if before else after[0][1]
    (x0, y0), (x1, y1) = before[-1], after[0]
    return y0 if x1 == x0 else y0 + (y1 - y0) * (spent - x0) / (x1 - x0)


@part(gives="number")
def in_step(trace: Trace, *, name: str, step: int) -> float:
    """One number of one metrics line, for checks; step -1 is the last."""
    return float(trace.lines[step][name])


@part(gives="number")
def end_of(trace: Trace, *, measure: Part) -> float:
    """Where a curve ends, for checks."""
    return measure.on({"trace": trace})[-1][1]


# Measures: one curve per trace.


@part(gives="curve")
def step_value(trace: Trace, *, name: str) -> Curve:
    """One number of the metrics lines, step by step."""
    return _known(trace.spent, [line.get(name) for line in trace.lines])


@part(gives="curve")
def mean_so_far(trace: Trace, *, name: str) -> Curve:
    """The mean over all steps so far of one number of the metrics lines: for shares that are a property of the whole run."""
    total, curve = 0.0, Curve()
    for number, (x, y) in enumerate(_known(trace.spent, [line.get(name) for line in trace.lines]), start=1):
        total += y
        curve.append((x, total / number))
    return curve


@part(gives="curve")
def held_out(trace: Trace, *, name: str) -> Curve:
    """A mean over held-out tasks, at each evaluation."""
    return _known([e["spent"] for e in trace.held_out], [e["means"].get(name) for e in trace.held_out])


@part(gives="curve")
def held_out_when(trace: Trace, *, name: str, other: str, reaches: float) -> Curve:
    """One mean over held-out tasks where another first reaches a level, on the line between two evaluations: a comparison at the same
    level however fast an arm gets there. One point, at the last evaluation; none where the level lies outside of what was seen."""
    seen = [(e["means"][other], e["means"][name]) for e in trace.held_out]
    for (x0, y0), (x1, y1) in pairwise(seen):
        if x0 < reaches <= x1:
            return [(float(trace.held_out[-1]["spent"]), y0 + (y1 - y0) * (reaches - x0) / (x1 - x0))]
    return []


def _known(spent: Sequence[float], values: Sequence[float | None]) -> Curve:
    return [(float(x), float(y)) for x, y in zip(spent, values, strict=True) if y is not None]
