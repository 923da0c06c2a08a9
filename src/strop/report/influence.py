"""The picture of influence: what an example of each class does for each target, and what halves were foretold against what came."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLORS = ("#3366aa", "#cc5522", "#338855", "#885599")


def write(found: Mapping[str, Any], target: Path) -> Path:
    """From what `strop lab influence` says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(found["right"])
    held = found.get("lds", {}).get("targets", {})
    figure = Figure(figsize=(5 + 3.2 * len(held), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    bars, *others = figure.subplots(1, 1 + len(held), squeeze=False, width_ratios=[5, *[3.2] * len(held)])[0]
    wide = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        of = found["classes"][kind]
        at = [place + (number - (len(kinds) - 1) / 2) * wide for place in range(len(of))]
        means, errors = [one["mean"] for one in of.values()], [one["error"] or 0.0 for one in of.values()]
        bars.bar(at, means, wide, yerr=errors, color=COLORS[number % len(COLORS)], label=f"for {kind}", error_kw={"linewidth": 0.8})
        bars.set_xticks(range(len(of)), list(of), rotation=30, ha="right")
    bars.axhline(0, color="#999999", linewidth=0.8)
    _dress(bars, "influence of an example", "")
    if kinds:
        bars.legend(fontsize=8)
    for axes, (kind, one) in zip(others, held.items(), strict=True):
        axes.scatter(one["foretold"], one["came"], s=14, alpha=0.7, color=COLORS[kinds.index(kind) % len(COLORS)])
        _dress(axes, f"halves, for {kind}: {one['score']['EK-FAC'] or 0:.2f}", "foretold")
    figure.savefig(target, dpi=120)
    return target


def _dress(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
