"""What a tracker is given of a run: the numbers of each committed metrics line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from strop import durable, shape


@dataclass(frozen=True)
class Entry:
    """What is logged of one step: every number on its metrics line, `bill/decoded` for what is inside."""

    step: int
    at: float
    """When, in seconds since 1970."""
    values: Mapping[str, float]


class Tracker(Protocol):
    def has(self) -> set[int]:
        """The steps that are there, whoever logged them."""
        ...

    def log(self, entry: Entry) -> None: ...

    def close(self, done: bool) -> None:
        """Returns when everything is where it stays. `done`: the run came to its end."""
        ...


def numbers(line: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float) and isfinite(value):
            yield before + name, float(value)


def entry(line: Mapping[str, Any]) -> Entry:
    at = line.get("t", {}).get("at", 0.0)
    values = dict(numbers({name: value for name, value in line.items() if name != "step"}))
    return Entry(line["step"], at, {**values, "warnings": float(len(line.get("warnings", {})))})


def entries(run: Path, first: int = 0) -> Iterator[Entry]:
    """Of every whole line from a step on, and, once the run is done, of its held-out figures, at the step after the last."""
    lines = durable.lines(path := run / "metrics.jsonl", first)
    shape.lines(path, lines, first)
    yield from map(entry, lines)
    if not (run / "result.json").exists():
        return
    result = shape.read(run / "result.json", shape.RESULT)
    if result.get("steps") == first + len(lines):
        figures = {name: result[name] for name in ("before", "after", "rise") if result.get(name)}
        if held := dict(numbers({"held_out": figures})):
            yield Entry(result["steps"], (run / "result.json").stat().st_mtime, held)


def about(run: Path) -> dict[str, Any]:
    """What the tracker shows beside the curves: the recipe, flat, with the method's name and the fingerprints."""
    said = shape.read(run / "recipe.json", shape.ABOUT)
    flat = {name: value for name, value in said["recipe"].items() if value not in (None, "")}
    flat |= {"method": said["resolved"]["method"], "fingerprint": said["fingerprint"]["method"], "recipe": said["fingerprint"]["recipe"]}
    return {**flat, **{f"version/{name}": value for name, value in said["versions"].items()}}
