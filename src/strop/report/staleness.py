"""Which groups came too late to be learned from: discarded and kept, by difficulty and by length.

Sampling ahead discards what took long. If that is the hard tasks or the long replies, the run learns from easier and shorter ones than
it asked for, and these two tables show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Seen = tuple[float, float | None, bool]
"""Mean length of a group, its pass rate, and whether it was kept."""


def seen(lines: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """The groups of a run that samples ahead, from its metrics lines."""
    found: list[Seen] = []
    for line in lines:
        found += [(length, rate, True) for length, rate in line.get("taken", ())]
        found += [(one["length"], one["rate"], False) for one in line.get("stale", ())]
    return found


def tables(groups: Sequence[Seen]) -> dict[str, dict[str, dict[str, int]]]:
    """{by: {class: {discarded, kept}}}. Lengths in thirds of all groups, pass rates in four classes."""
    lengths = sorted(length for length, _, _ in groups)
    edges = [lengths[len(lengths) * i // 3] for i in (1, 2)] if lengths else [0.0, 0.0]
    made: dict[str, dict[str, dict[str, int]]] = {"pass rate": {}, "length": {}}
    for name in ("never right", "up to half", "above half", "always right", "not graded"):
        made["pass rate"][name] = {"discarded": 0, "kept": 0}
    for name in (f"below {edges[0]:.0f}", f"{edges[0]:.0f} to {edges[1]:.0f}", f"from {edges[1]:.0f}"):
        made["length"][name] = {"discarded": 0, "kept": 0}
    for length, rate, kept in groups:
        third = list(made["length"])[sum(length >= edge for edge in edges)]
        for by, name in (("pass rate", difficulty(rate)), ("length", third)):
            made[by][name]["kept" if kept else "discarded"] += 1
    return made


def difficulty(rate: float | None) -> str:
    if rate is None:
        return "not graded"
    return "never right" if rate <= 0 else "always right" if rate >= 1 else "up to half" if rate <= 0.5 else "above half"


def text(groups: Sequence[Seen]) -> str:
    late = sum(not kept for _, _, kept in groups)
    if not late:
        return f"sampled ahead: {len(groups)} groups, none too old"
    lines = [f"sampled ahead: {late} of {len(groups)} groups were too old and discarded"]
    for by, classes in tables(groups).items():
        said = ", ".join(f"{name}: {n['discarded']} of {n['discarded'] + n['kept']}" for name, n in classes.items() if sum(n.values()))
        lines.append(f"  by {by}: {said}")
    return "\n".join(lines)
