"""The picture of single against repeated answers: each question's two shares, and the favourite's share turn by turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLORS = {"all": "#3366aa", "labelled": "#cc5522", "others": "#3366aa"}


def write(found: Mapping[str, Any], target: Path) -> Path:
    """From what `strop lab history` says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    each, turns = figure.subplots(1, 2)
    each.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for kind in found["means"]:
        known = [row for row in found["rows"] if row["b"] is not None and (kind == "all" or row["label"] == (kind == "labelled"))]
        each.scatter([r["single"] for r in known], [r["multi"] for r in known], s=14, alpha=0.6, color=COLORS[kind], label=kind)
    _dress(each, "each question's favourite: B is how far it lies below the line", "share alone", "share in conversations")
    for kind, shares in found["by_turn"].items():
        turns.plot(
            range(1, len(shares) + 1),
            [float("nan") if s is None else s for s in shares],
            "o-",
            color=COLORS[kind],
            markersize=4,
            label=kind,
        )
    turns.set_ylim(0, 1)
    _dress(turns, "the favourite's share, turn by turn", "turn", "")
    figure.savefig(target, dpi=120)
    return target


def _dress(axes: Any, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=8)
    axes.set_ylabel(beside, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
