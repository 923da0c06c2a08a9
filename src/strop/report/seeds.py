"""Runs of one recipe that differ in their seed: figures held out, what sharpening and form explain of them, and what a step took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import Any

from strop.cli import table
from strop.directory import RunError, read_about, read_metrics, read_result
from strop.recipe import Recipe
from strop.report.curve import HELD_OUT

CURVES = ("reward", "entropy", "length")
PHASES = ("sample", "grade", "learn")
KEPT = ("pass@1", "greedy", "lenient", "mean", "interval", "tasks", "samples")


def facts(runs: Sequence[Path]) -> dict[str, Any]:
    """All that is shown, without a path of this machine."""
    unsaid = {field.name: field.default for field in fields(Recipe)}  # an earlier version had fewer fields
    first: dict[str, Any] | None = None
    seeds: list[dict[str, Any]] = []
    for run in runs:
        asked = {name: value for name, value in {**unsaid, **read_about(run)["recipe"]}.items() if name != "seed"}
        first = asked if first is None else first
        if odd := sorted(name for name in first.keys() | asked.keys() if first.get(name) != asked.get(name)):
            raise RunError(f"{run} and {runs[0]} differ in more than the seed: {', '.join(odd)}. `strop diff` compares methods.")
        seeds.append(of_seed(run))
    if len({seed["seed"] for seed in seeds}) < len(seeds):
        raise RunError("two of these runs have one seed: they say nothing about another one")
    same = {name: seeds[0].pop(name) for name in ("method", "fingerprint", "task", "model", "steps")}
    return {**same, "seeds": [{name: value for name, value in seed.items() if name not in same} for seed in seeds]}


def of_seed(run: Path) -> dict[str, Any]:
    path = run / "result.json"
    if not path.exists():
        raise RunError(f"{run} is not finished (no result.json): `strop train --resume {run}` goes on")
    said, lines = read_result(run), read_metrics(run)
    if "base_at_temperature" not in said or any("pass@1" not in (said.get(name) or {}) for name in ("rise", "before", "after")):
        raise RunError(
            f"{run} has no pass@1 held out, before and after, to compare: it was trained with --eval-tasks 0 or on pairs, or nothing was "
            f"graded. What it has: strop report {run}"
        )
    names = [*KEPT, *(name for name in said["after"] if name.startswith("pass@") and name not in KEPT)]
    clock = {name: fmean(line["t"].get(name, 0.0) for line in lines) for name in PHASES}
    clock["rest"] = fmean(line["t"]["seconds"] for line in lines) - sum(clock.values())
    return {
        **{name: said[name] for name in ("seed", "method", "fingerprint", "task", "steps", "seconds", "rise")},
        "model": Path(said["model"]).name,
        **{side: {name: said[side][name] for name in names if name in said[side]} for side in ("before", "after")},
        "at_temperature": said["base_at_temperature"],
        "step": {name: round(seconds, 2) for name, seconds in clock.items()},
        "memory": said.get("memory"),
        "bill": said["bill"],
        "curves": {name: [line.get(name) for line in lines] for name in CURVES},
    }


def text(found: Mapping[str, Any]) -> str:
    seeds: list[dict[str, Any]] = found["seeds"]
    known = [name for name, value in seeds[0]["after"].items() if name.startswith("pass@") and value is not None]
    many = sorted(known, key=lambda name: int(name[5:]))[1:][-1:]
    head = ["seed", "pass@1 before", "after", "rise", *(f"{name} before, after" for name in ("greedy", *many))]
    rows = [
        [str(s["seed"]), _held(s["before"]), _held(s["after"]), _risen(s), *(_both(s, name) for name in ("greedy", *many))] for s in seeds
    ]
    tests, samples = seeds[0]["after"]["tasks"], seeds[0]["after"]["samples"]
    what = f"{found['method']} ({found['fingerprint']}) on {found['task']}, {found['model']}: {found['steps']} steps"
    lines = [f"{what}; held out: {tests} tasks of {samples} samples", "", table(rows, head)]
    lines += ["", *(_over(name, [s["after"][name] - s["before"][name] for s in seeds]) for name in ("pass@1", "greedy", *many))]
    for s in seeds:
        tried = {name: value for name, value in s["at_temperature"].items() if value is not None}
        best = max(tried, key=lambda name: tried[name])
        loose = [side["lenient"] - side["mean"] for side in (s["before"], s["after"]) if side.get("lenient") is not None]
        form = f"; right but not in form: {loose[0]:.3f} before, {loose[1]:.3f} after" if len(loose) == 2 else ""
        lines.append(f"seed {s['seed']}: the base at its best temperature ({best}) has {tried[best]:.3f} without training{form}")
    phases = [*PHASES, "rest"]
    times = [
        [
            str(s["seed"]),
            round(s["seconds"] / 60, 1),
            *(s["step"][name] for name in phases),
            s["bill"].get("decoded"),
            _gigabytes(s["memory"]),
        ]
        for s in seeds
    ]
    head = ["seed", "minutes", *(f"{name} s/step" for name in phases), "decoded", "peak GB"]
    return "\n".join([*lines, "", table(times, head)])


def _held(side: Mapping[str, Any]) -> str:
    low, high = side["interval"]["pass@1"]
    return f"{side['pass@1']:.3f} [{low:.3f}, {high:.3f}]"


def _risen(seed: Mapping[str, Any]) -> str:
    low, high = seed["rise"]["interval"]
    return f"{seed['rise']['pass@1']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _both(seed: Mapping[str, Any], name: str) -> str:
    return f"{seed['before'][name]:.3f}, {seed['after'][name]:.3f}"


def _gigabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e9, 2)


def _over(name: str, rises: Sequence[float]) -> str:
    """The mean over seeds, and where there are several its t interval."""
    from strop.claims.statistics import interval

    said = f"rise of {name}, mean of the seeds: {fmean(rises):+.3f}"
    try:
        low, high = interval(rises)
    except ModuleNotFoundError as error:
        return f"{said} (no interval: {error})"
    return said if len(rises) < 2 else f"{said}, t interval [{low:+.3f}, {high:+.3f}]"


def picture(found: Mapping[str, Any], target: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(CURVES):
        axes = figure.add_subplot(1, 3, place + 1)
        for s in found["seeds"]:
            values = [float("nan") if v is None else v for v in s["curves"][name]]
            axes.plot(range(1, len(values) + 1), values, linewidth=1.2, label=f"seed {s['seed']}")
            if not place:
                points = [s[side]["pass@1"] for side in ("before", "after")]
                axes.plot([0, len(values)], points, "o", color=HELD_OUT, markersize=4)
        axes.set_title(f"{name} (training)" if place else "reward (training), pass@1 (held out, dots)", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=7)
    figure.savefig(target, dpi=120)
    return target
