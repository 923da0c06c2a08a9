"""Bisect: where two runs part, and which part of the method or the machine did it.

Every metrics line carries a digest of each stage of its step: the groups that were committed, the credit they were given
(all tracks that the update takes as settled), the weights and the optimiser's state after it. Everything before the first digest that
differs was equal, so the cause lies in that stage: in what the recipes say of it, or in the machine.

    groups      tasks, tokens, log-probabilities, scores, rewards, fates: the records are compared down to the first token
    credit      correction, credit, reference, heads
    weights     objective, reduction, where it applies, its weight, the update
    optimiser   the update
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

from strop.directory import RunError, read_about, read_metrics
from strop.report.page import read_step

STAGES = ("groups", "credit", "weights", "optimiser")

ENGINE = ("slots", "cache", "device")
GIVEN = ("parts.credit", "parts.correction", "parts.reference", "parts.heads", "parts.reward")
LEARNED = ("parts.signals", "parts.update", "parts.policies", "parts.roles", "token_budget", "steps", "budget", "seed")
MACHINE = ("versions", "threads", "grade")

SUSPECTS = {
    "task": ("seed", "task", "parts.curriculum", "parts.feed", "parts.tasks", "parts.gate"),
    "prompt": ("model", "task", *MACHINE),
    "rollouts": ("parts.sampler", "parts.feed"),
    "tokens": ("seed", "model", "parts.sampler", "parts.environment", *ENGINE, *MACHINE),
    "logp": ("model", "parts.sampler", *ENGINE, *MACHINE),
    "segments": ("parts.sampler", "parts.environment", "parts.feed"),
    "scores": ("task", "parts.graders", "grader_limit", *MACHINE),
    "rewards": ("parts.reward", "parts.roles"),
    "fates": ("parts.gate", "parts.roles", "grader_limit"),
    "credit": (*GIVEN, "replay.foreign", "token_budget", *MACHINE),
    "weights": (*LEARNED, *ENGINE, *MACHINE),
    "optimiser": ("parts.update", "parts.policies", *MACHINE),
}
"""What may have caused a difference, likeliest first: names in the resolved recipe, or of the machine."""


@dataclass(frozen=True)
class Difference:
    """One constant or part that two recipes, or two machines, do not share."""

    where: str
    first: Any
    second: Any

    def text(self) -> str:
        return f"{self.where}: {said(self.first)} against {said(self.second)}"


@dataclass(frozen=True)
class Finding:
    """The first stage that differs, what in it, and what may have caused it, likeliest first."""

    steps: int
    """Steps that both runs have."""
    step: int | None = None
    stage: str = ""
    what: str = ""
    """Inside the stage: task, prompt, rollouts, tokens, logp, scores, rewards, fates; else the stage itself."""
    where: str = ""
    """The group, rollout and token, in words."""
    causes: tuple[Difference, ...] = ()
    also: str = ""

    @property
    def equal(self) -> bool:
        return self.step is None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "causes": [asdict(cause) for cause in self.causes], "equal": self.equal}

    def text(self) -> str:
        if self.step is None:
            return f"all digests are equal over {self.steps} steps" + (f"; {self.also}" if self.also else "")
        before = f"the {self.step} steps before it are equal" if self.step else "it is the first step"
        lines = [f"step {self.step}: {self.stage} differ{'s' if self.stage in ('credit', 'optimiser') else ''} first ({before})"]
        if self.where:
            lines.append(f"  {self.what}: {self.where}")
        if self.causes:
            lines += [f"  {'cause' if not number else 'also '}  {cause.text()}" for number, cause in enumerate(self.causes)]
        else:
            lines.append(
                "  recipes, versions and threads agree in everything that acts there: the cause lies outside the record (the model's "
                "files, a source or part of a recipe file, another machine)"
            )
        return "\n".join(lines)


def bisect(first: Path, second: Path) -> Finding:
    """Where two runs part. Runs of different length are compared over the steps that both have."""
    lines = [read_metrics(place) for place in (first, second)]
    abouts = [read_about(place) for place in (first, second)]
    both = min(len(mine) for mine in lines)
    for step, (a, b) in enumerate(zip(lines[0][:both], lines[1][:both], strict=True)):
        for stage, name in product(STAGES, ("", *a.get("policies", {}))):  # the actor's, then those beside it
            mine, theirs = (line.get("policies", {}).get(name, {}).get("digest", {}) if name else line["digest"] for line in (a, b))
            mine, theirs = mine.get(stage, ""), theirs.get(stage, "")
            if not mine or not theirs or mine == theirs or {len(mine), len(theirs)} == {16, 32}:  # missing, equal, or of two hashes
                continue
            what, where = in_groups(first, second, step) if stage == "groups" else (stage, f"of the policy {name}" if name else "")
            return Finding(both, step, stage, what, where, causes(what, *abouts))
    also = [f"{place} has {len(mine) - both} more" for place, mine in zip((first, second), lines, strict=True) if len(mine) > both]
    if odd := unequal_field(lines[0][:both], lines[1][:both]):
        also.append(odd)
    return Finding(both, also="; ".join(also))


def unequal_field(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> str:
    """A field of the lines that differs although no digest does."""
    for a, b in zip(first, second, strict=True):
        for name in sorted((a.keys() | b.keys()) - {"t", "digest"}):
            if a.get(name) != b.get(name):
                return f"but {name} differs at step {a['step']}: {said(a.get(name))} against {said(b.get(name))}"
    return ""


def in_groups(first: Path, second: Path, step: int) -> tuple[str, str]:
    """(what, where) of the first difference between two committed steps, from the tasks to the fates."""
    records = [read_step(place, step) for place in (first, second)]
    for place, record in zip((first, second), records, strict=True):
        if record is None:
            raise RunError(f"{place} has no readable record of step {step}, so what differs in its groups cannot be named.")
    a, b = cast("list[dict[str, Any]]", records)
    if len(a["groups"]) != len(b["groups"]):
        return "task", f"{len(a['groups'])} groups against {len(b['groups'])}"
    for number, (mine, theirs) in enumerate(zip(a["groups"], b["groups"], strict=True)):
        if mine["task"]["id"] != theirs["task"]["id"]:
            return "task", f"group {number} is {shortened(mine['task']['prompt'])} against {shortened(theirs['task']['prompt'])}"
        if len(mine["rollouts"]) != len(theirs["rollouts"]):
            return "rollouts", f"group {number} ({mine['id']}) has {len(mine['rollouts'])} against {len(theirs['rollouts'])}"
        for one, other in zip(mine["rollouts"], theirs["rollouts"], strict=True):
            if found := in_rollout(one, other):
                return found[0], f"group {number}, rollout {one['id']}{found[1]}"
    for what in ("scores", "rewards", "fates"):
        mine, theirs = a[what].get("values", a[what]) if what == "scores" else a[what], b[what]
        theirs = theirs["values"] if what == "scores" else theirs
        for unit in [*mine, *(u for u in theirs if u not in mine)]:
            if mine.get(unit) != theirs.get(unit):
                return what, f"rollout {unit}: {said(mine.get(unit))} against {said(theirs.get(unit))}"
    return "segments", "the groups' bookkeeping (ids, incidents, reasons)"


def in_rollout(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first segment and token in which two rollouts differ."""
    segments = [[s for row in rollout["rows"] for s in row["segments"]] for rollout in (first, second)]
    for number, (a, b) in enumerate(zip(*segments, strict=False)):
        if a["kind"] != b["kind"]:
            return "segments", f", segment {number}: {a['kind']} against {b['kind']}"
        what = "prompt" if a["kind"] == "prompt" else "tokens"
        if a["tokens"] != b["tokens"]:
            at = apart(a["tokens"], b["tokens"])
            return what, f", segment {number} ({a['kind']}), token {at}: {token(a['tokens'], at)} against {token(b['tokens'], at)}"
        if a.get("logp") != b.get("logp"):
            mine: list[Any] = a.get("logp") or []
            theirs: list[Any] = b.get("logp") or []
            at = apart(mine, theirs)
            return "logp", f", segment {number}, token {at}: {token(mine, at)} against {token(theirs, at)}"
        if a != b:
            return "segments", f", segment {number}: its author, spans or tracks"
    if len(segments[0]) != len(segments[1]):
        return "segments", f": {len(segments[0])} segments against {len(segments[1])}"
    return None if first == second else ("segments", ": how it ended, or its keys")


def apart(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The first place at which two sequences differ."""
    return next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def token(values: Sequence[Any], at: int) -> str:
    return str(values[at]) if at < len(values) else "none"


def causes(what: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What the two runs' recipes and machines say differently about this stage, in the order of suspicion."""
    sides = [
        {**about["resolved"], **{name: about.get(name) for name in MACHINE}, "replay": about.get("replay", {})} for about in (first, second)
    ]
    found: list[Difference] = []
    for name in SUSPECTS[what]:
        values: list[Any] = [side for side in sides]
        for key in name.split("."):
            values = [value.get(key) for value in values]
        found += differences(*values, where=name.removeprefix("parts."))
    return tuple(found)


def differences(first: Any, second: Any, where: str = "") -> list[Difference]:
    """The leaves in which two descriptions differ; parts that are not the same part differ as a whole."""
    if first == second:
        return []
    if isinstance(first, dict) and isinstance(second, dict):
        a, b = cast("dict[str, Any]", first), cast("dict[str, Any]", second)
        if a.get("part") != b.get("part"):
            return [Difference(where, a, b)]
        found: list[Difference] = []
        for key in sorted(a.keys() | b.keys()):
            path = where if key == "with" else f"{where}.{key}".removeprefix(".")
            found += differences(a.get(key), b.get(key), path)
        return found
    if isinstance(first, list) and isinstance(second, list):
        mine, theirs = cast("list[Any]", first), cast("list[Any]", second)
        if len(mine) == len(theirs):
            return [d for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) for d in differences(a, b, f"{where}[{i}]")]
    return [Difference(where, first, second)]


def said(value: Any) -> str:
    """A value of a recipe in words: parts as calls."""
    if isinstance(value, dict):
        data = cast("dict[str, Any]", value)
        if "part" in data:
            constants = cast("dict[str, Any]", data.get("with", {}))
            return f"{data['part']}({', '.join(f'{name}={said(constant)}' for name, constant in constants.items())})"
        return "{" + ", ".join(f"{name}: {said(one)}" for name, one in data.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(said(one) for one in cast("list[Any]", value)) + "]"
    return "nothing" if value is None else str(value)


def shortened(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[:most] + "…")
