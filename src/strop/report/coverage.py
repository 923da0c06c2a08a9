"""The picture of coverage: the share of questions that is covered at each k, and how many are answered rightly by the largest k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COVERED, RIGHT = "#3366aa", "#cc5522"


def write(found: Mapping[str, Any], target: Path) -> Path:
    """From what `strop lab coverage` says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = found["rows"]
    known = [row for row in rows if row["right"] is not None]
    figure = Figure(figsize=(8 if known else 4, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 2 if known else 1, 1)
    axes.plot([row["k"] for row in rows[1:]], [row["covered"] for row in rows[1:]], "o-", color=COVERED, markersize=4)
    _dress(axes, f"share of {found['asked']:,} questions that {found['examples']:,} examples cover", "contexts in common, k")
    if known:
        axes = figure.add_subplot(1, 2, 2)
        bars = [(row["right"] * (1 - row["right"]) / row["questions"]) ** 0.5 for row in known]
        axes.errorbar(
            [row["k"] for row in known], [row["right"] for row in known], yerr=bars, fmt="s", color=RIGHT, markersize=5, capsize=3
        )
        _dress(axes, "share answered rightly", "largest k at which a question is covered")
    figure.savefig(target, dpi=120)
    return target


def _dress(axes: Any, title: str, below: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
