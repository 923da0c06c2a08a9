"""Tasks: procedural sources by name, and adapters for other people's data.

>>> source("chain:steps=5").task("train", seed=0, index=0).source
'chain'
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from strop.seams.part import nearest
from strop.seams.source import Source

DEFAULT_TASK = "chain"

SOURCES: dict[str, str] = {
    "chain": "strop.tasks.chain:Chain",
    "countdown": "strop.tasks.countdown:Countdown",
    "facts": "strop.tasks.facts:Facts",
    "mentions": "strop.tasks.mentions:Mentions",
    "path": "strop.tasks.path:Path",
    "skewed": "strop.tasks.skewed:Skewed",
}
"""Procedural sources: where each is defined. Imported when asked for."""

ADAPTERS: dict[str, str] = {
    "rg": "rg:NAME, a data set of reasoning-gym",
    "jsonl": "jsonl:PATH, one task a line",
    "parquet": "parquet:PATH, one task a row",
    "hf": "hf:NAME, a data set of the Hugging Face hub",
    "pool": "pool:SIZE:SOURCE+SOURCE, a finite pool of other sources' tasks",
}
"""Sources over other people's data, or over other sources, and how each is written."""


def maker(name: str) -> Callable[..., Source]:
    module, _, attribute = SOURCES[name].partition(":")
    return cast("Callable[..., Source]", getattr(import_module(module), attribute))


def source(text: str) -> Source:
    """The source that a text names: `chain`, `chain:steps=5`, `countdown:numbers=4,highest=30`, `rg:NAME`, `jsonl:PATH`."""
    name, _, rest = text.strip().partition(":")
    if name in ADAPTERS:
        if not rest:
            raise ValueError(f"source {name!r} needs more: {ADAPTERS[name]}")
        if name == "pool":  # by its place, as above: its members are sources by name again
            return cast(Source, import_module("strop.tasks.pool").pool(rest))
        from strop.tasks import adapters

        return adapters.adapter(name, rest)
    if name not in SOURCES:
        raise ValueError(f"no task source {name!r}. {nearest(name, [*SOURCES, *ADAPTERS])}")
    make = maker(name)
    return make(**arguments(name, make, rest))


def arguments(name: str, make: Any, text: str) -> dict[str, int | float]:
    """`steps=5,share=0.5` as keyword arguments for a source; ranges are the source's own matter."""
    known = [knob for knob, f in make.__dataclass_fields__.items() if f.init]
    read: dict[str, int | float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        knob, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(f"{name}: a knob is written KNOB=VALUE, got {part!r}; it has {', '.join(known)}")
        if knob not in known:
            raise ValueError(f"{name} has no knob {knob!r}. {nearest(knob, known)}")
        if knob in read:
            raise ValueError(f"{name}: {knob} is given twice")
        read[knob] = number(name, knob, value)
    return read


def number(name: str, knob: str, text: str) -> int | float:
    short = text[:40]
    for kind in (int, float):
        try:
            value = kind(short)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    raise ValueError(f"{name}: {knob} is a number, got {short!r}")
