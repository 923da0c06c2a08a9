"""Seeds that reach nothing: two runs of one recipe with different seeds, and the same curve. From files alone, no heavy import."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CURVE = ("reward", "outcome", "length", "entropy", "grad_norm", "loss")
LEAST = 2
"""Steps that two curves must share before they can be called the same."""


def twins(directory: Path, others: Iterable[Path] | None = None) -> list[str]:
    """Runs beside this one (or among `others`) with its recipe, another seed, and its numbers on every common step."""
    mine = _recipe(directory)
    found: list[str] = []
    for place in sorted(others if others is not None else (p.parent for p in directory.resolve().parent.glob("*/recipe.json"))):
        theirs = _recipe(place) if place.resolve() != directory.resolve() else None
        if mine is None or theirs is None or theirs[0] != mine[0] or theirs[1] == mine[1]:
            continue
        pairs = list(zip(_curve(directory), _curve(place), strict=False))
        if len(pairs) >= LEAST and all(a == b for a, b in pairs):
            found.append(str(place))
    return found


def _recipe(directory: Path) -> tuple[dict[str, Any], int] | None:
    """(all of it but the seed, the seed)"""
    try:
        resolved = dict(json.loads((directory / "recipe.json").read_text())["resolved"])
        return resolved, resolved.pop("seed")
    except (OSError, ValueError, KeyError, TypeError):  # a stranger's, broken: it is nobody's twin
        return None


def _curve(directory: Path) -> list[list[Any]]:
    points: list[list[Any]] = []
    path = directory / "metrics.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            known = json.loads(line)
            points.append([known.get(name) for name in CURVE])
        except (ValueError, AttributeError):
            break
    return points
