"""A recorded run of seconds, on the bundled model: right and wrong answers of many lengths."""

from __future__ import annotations

from pathlib import Path

import torch

from strop import pico
from strop.directory import read_metrics
from strop.loop import Run
from strop.recipe import Recipe
from strop.run import create

torch.set_num_threads(1)

BASE = {"task": "chain", "model": str(pico.path()), "steps": 3, "tasks": 4, "group": 8, "max_tokens": 48, "eval_tasks": 0}
BASE |= {"slots": 32, "checkpoint_every": 2, "lr": 3e-4, "seed": 1}


def record(place: Path, **changes) -> Run:
    run = create(Recipe(**{**BASE, **changes}), place)
    run.train()
    return run


def lines(place: Path) -> list[dict]:
    """What two equal runs share."""
    return [{name: value for name, value in line.items() if name != "t"} for line in read_metrics(place)]
