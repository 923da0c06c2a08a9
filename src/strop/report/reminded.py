"""What a run's memory holds, for its page: how it grew, and which cases were read most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strop.directory import good_checkpoints, remembered

MOST, WIDE = 12, 160
"""Cases that are shown; characters of each text."""


class Kept(NamedTuple):
    """A case, and what became of the tasks that were shown it."""

    number: int
    asked: str
    wrote: str
    right: bool
    read: int
    solved: float


def grown(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Curves over the steps: cases held, the share of right ones among those that were read, and the reader's loss."""
    told = [(float(line["step"]), line["memory"]) for line in lines if "memory" in line]
    return {
        "cases": [(step, float(one["cases"])) for step, one in told if "cases" in one],
        "right ones among those read": [(step, one["read_right"] / one["read"]) for step, one in told if one.get("read")],
        "the reader's loss": [
            (step, float(one["learned"]["loss"])) for step, one in told if one.get("learned", {}).get("loss") is not None
        ],
    }


def most_read(directory: Path) -> list[Kept]:
    """Of the last checkpoint's bank, the cases that were read most; nothing where its memory is no bank."""
    good = good_checkpoints(directory)
    if not good or not (good[-1] / "memory.json").exists():
        return []
    said, _ = remembered(good[-1])
    if not {"cases", "rows"} <= said.keys():
        return []
    became = defaultdict[int, list[float]](list)
    for _, shown, value, _ in said["rows"]:
        became[shown].append(value)
    cases = {case[0]: case for case in said["cases"]}
    chosen = sorted((n for n in became if n in cases), key=lambda n: (-len(became[n]), n))[:MOST]
    return [
        Kept(n, cases[n][2][:WIDE], cases[n][3][:WIDE], cases[n][4] >= 0.5, len(became[n]), sum(became[n]) / len(became[n])) for n in chosen
    ]
