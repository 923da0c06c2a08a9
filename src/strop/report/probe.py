"""The picture of a probe: how likely the right answer is along right and wrong replies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLORS = {"right": "#3366aa", "wrong": "#cc5522"}


def write(found: Mapping[str, Any], target: Path) -> Path:
    """From what `strop lab probe` says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for kind, values in found["curve"].items():
        places = [place / (len(values) - 1) for place in range(len(values))]
        axes.plot(
            places, [float("nan") if v is None else v for v in values], "o-", color=COLORS[kind], markersize=4, label=f"{kind} replies"
        )
    forecast = found["auroc"]["forecast"]
    axes.set_title("the right answer's log-probability" + ("" if forecast is None else f"; AUROC before it {forecast:.2f}"), fontsize=9)
    axes.set_xlabel("share of the reply's thinking", fontsize=8)
    axes.set_ylabel("per token of the answer", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.savefig(target, dpi=120)
    return target
