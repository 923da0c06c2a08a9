"""The picture of behavioural calibration: coverage and score by confidence target beside the oracle's, and the beliefs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OWN, ORACLE = "#3366aa", "#cc5522"


def write(found: Mapping[str, Any], target: Path) -> Path:
    """From what `strop eval` says of a task that states confidence targets."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    targets = [line["target"] for line in found["targets"]]
    for place, name in enumerate(("coverage", "score")):
        axes = figure.add_subplot(1, 3, place + 1)
        bars = [line["score_error"] for line in found["targets"]] if name == "score" else None
        axes.errorbar(targets, [line[name] for line in found["targets"]], yerr=bars, fmt="o-", color=OWN, label="the policy", markersize=4)
        axes.plot(targets, [line[name] for line in found["oracle"]], "s--", color=ORACLE, label="oracle", markersize=4)
        _dress(axes, name, "confidence target t")
    figure.axes[0].legend(fontsize=8)
    axes = figure.add_subplot(1, 3, 3)
    known = [b for b in found["reliability"] if b["share"]]
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.scatter([b["sure"] for b in known], [b["right"] for b in known], s=[400 * b["share"] for b in known], color=ORACLE, alpha=0.7)
    _dress(axes, "right, by how sure the oracle is", "probability of the likeliest answer")
    figure.savefig(target, dpi=120)
    return target


def _dress(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
