"""The picture of a run: reward, length and entropy by step, with held-out pass@1 before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HELD_OUT = "#cc5522"


def verdict(lines: Sequence[Mapping[str, Any]]) -> str:
    """The curve that held-out pass@1 can stand beside: the reward where it is the verdict, or nobody gave one; else the verdict."""
    apart = any(line.get("outcome") is not None and line["outcome"] != line.get("reward") for line in lines)
    return "outcome" if apart else "reward"


def write(directory: Path, target: Path) -> Path:
    """A PNG; it needs only what is in the run's directory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from strop.directory import read_metrics, read_result

    lines, result = read_metrics(directory), read_result(directory)
    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [line["step"] + 1 for line in lines]
    for place, name in enumerate((first := verdict(lines), "length", "entropy")):
        axes = figure.add_subplot(1, 3, place + 1)
        values = [line.get(name) for line in lines]
        axes.plot(steps, [float("nan") if v is None else v for v in values], color="#3366aa", linewidth=1.2)
        axes.set_title(f"{name} (training)" if place else f"{first} (training), pass@1 (held out)", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if not place:
            _marks(axes, result, max(steps, default=0))
    figure.savefig(target, dpi=120)
    return target


def _marks(axes: Any, result: dict[str, Any], last: int) -> None:
    for name, at in (("before", 0), ("after", last)):
        side = result.get(name)
        if not side or side.get("pass@1") is None:
            continue
        low, high = side["interval"]["pass@1"]
        value = side["pass@1"]
        bars = [[max(value - low, 0)], [max(high - value, 0)]]
        axes.errorbar([at], [value], yerr=bars, fmt="o", color=HELD_OUT, markersize=5, capsize=3)
        above = (6, -10 if at == 0 else 6)
        axes.annotate(f"{value:.2f}", (at, value), textcoords="offset points", xytext=above, fontsize=8, color=HELD_OUT)
