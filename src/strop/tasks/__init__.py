"""Tasks: procedural sources by name, and adapters for other people's data.

>>> source("chain:steps=5").task("train", seed=0, index=0).source
'chain'
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from strop import own
from strop.records import digest
from strop.seams.part import body, describe, nearest, part_id
from strop.seams.source import Source

DEFAULT_TASK = "chain"

SOURCES: dict[str, str] = {
    "bargain": "strop.tasks.bargain:Bargain",
    "attempts": "strop.tasks.attempts:Attempts",
    "chain": "strop.tasks.chain:Chain",
    "clinic": "strop.tasks.clinic:ClinicTasks",
    "clues": "strop.tasks.clues:Clues",
    "countdown": "strop.tasks.countdown:Countdown",
    "database": "strop.tasks.database:Domains",
    "dossier": "strop.tasks.dossier:Dossiers",
    "graphs": "strop.tasks.graphs:Graphs",
    "drill": "strop.tasks.duel:Drill",
    "duel": "strop.tasks.duel:Duel",
    "equations": "strop.tasks.equations:Equations",
    "errands": "strop.tasks.plans:Errands",
    "facts": "strop.tasks.facts:Facts",
    "formats": "strop.tasks.formats:Formats",
    "forks": "strop.tasks.forks:Forks",
    "goals": "strop.tasks.duel:Goals",
    "habits": "strop.tasks.habits:Habits",
    "landscape": "strop.tasks.landscape:Landscapes",
    "mentions": "strop.tasks.mentions:Mentions",
    "nontree": "strop.tasks.twohop:NonTree",
    "pages": "strop.tasks.pages:Pages",
    "path": "strop.tasks.path:Path",
    "plans": "strop.tasks.plans:Plans",
    "proofs": "strop.tasks.proofs:Proofs",
    "repair": "strop.tasks.repair:Repairs",
    "scenes": "strop.tasks.scenes:Scenes",
    "screens": "strop.tasks.screens:Goals",
    "servers": "strop.tasks.servers:Wishes",
    "skewed": "strop.tasks.skewed:Skewed",
    "slips": "strop.tasks.slips:Slips",
    "stream": "strop.tasks.stream:Stream",
    "stacks": "strop.tasks.stacks:Stacks",
    "stories": "strop.tasks.stories:Stories",
    "sums": "strop.tasks.sums:Sums",
    "twohop": "strop.tasks.twohop:TwoHop",
    "verdict": "strop.tasks.verdict:Verdict",
    "walks": "strop.tasks.walks:Walks",
    "wiki": "strop.tasks.wiki:Wiki",
}
"""Procedural sources: where each is defined. Imported when asked for."""

ADAPTERS: dict[str, str] = {
    "rg": "rg:NAME, a data set of reasoning-gym",
    "jsonl": "jsonl:PATH, one task a line",
    "parquet": "parquet:PATH, one task a row",
    "hf": "hf:NAME, a data set of the Hugging Face hub",
    "gym": "gym:ID, an environment of Gymnasium's; gym:ID,prompt=TEXT",
    "miniwob": "miniwob:PAGE, a page of MiniWoB++, or miniwob:all",
    "openenv": "openenv:URL, an environment that an OpenEnv server has; openenv:URL,shows=FIELD,says=FIELD,prompt=TEXT",
    "pool": "pool:SIZE:SOURCE+SOURCE, a finite pool of other sources' tasks",
}
"""Sources over other people's data, or over other sources, and how each is written."""


def maker(name: str) -> Callable[..., Source]:
    module, _, attribute = SOURCES[name].partition(":")
    return cast("Callable[..., Source]", getattr(import_module(module), attribute))


def source(text: str) -> Source:
    """The source that a text names: `chain`, `chain:steps=5`, `rg:NAME`, `jsonl:PATH`, `FILE.py`, `FILE.py:NAME:steps=5`."""
    if (where := place_of(text)) is not None:
        return of_file(where)
    name, _, rest = text.strip().partition(":")
    if name in ADAPTERS:
        if not rest:
            raise ValueError(f"source {name!r} needs more: {ADAPTERS[name]}")
        if name == "pool":  # by its place, as above: its members are sources by name again
            return cast(Source, import_module("strop.tasks.pool").pool(rest))
        if name in ("gym", "openenv"):
            return cast(Source, import_module("strop.tasks.outside").outside(name, rest))
        from strop.tasks import adapters

        return adapters.adapter(name, rest)
    if name not in SOURCES:
        raise ValueError(f"no task source {name!r}. {nearest(name, [*SOURCES, *ADAPTERS])} {own.near(name)}")
    make = maker(name)
    return make(**arguments(name, make, rest))


def place_of(text: str) -> own.Place | None:
    """Where the source of the user's own stands that a text names; None where it names one of strop's."""
    return None if text.strip().partition(":")[0] in (*SOURCES, *ADAPTERS) else own.place(text)


def of_file(where: own.Place) -> Source:
    """A source, or the class of one, that stands at a place; of a file alone its SOURCE, or the only one that it defines."""
    found = own.one(where, "task source", is_source, ("SOURCE",))
    called = where.name or own.name_of(where, found)
    if inspect.isclass(found):
        if where.rest and not hasattr(found, "__dataclass_fields__"):
            raise ValueError(f"{called} takes no knobs: only the fields of a dataclass are knobs, got {where.rest!r}")
        found = found(**arguments(called, found, where.rest)) if where.rest else found()
    elif where.rest:
        raise ValueError(f"{called} is a source already made, so it takes no knobs, got {where.rest!r}. Name its class instead.")
    if lacks := [name for name in ("name", "size", "gold") if not hasattr(found, name)]:
        raise ValueError(f"{where.file}: the source {called} has no {' and no '.join(f'{name} ({LACKS[name]})' for name in lacks)}")
    return cast(Source, found)


LACKS = {
    "name": "a word for it",
    "size": "how many tasks there are to train on, None for an unlimited stream",
    "gold": "gold(task): a text that scores 1, or None where none can be written",
}


def is_source(value: Any) -> bool:
    """Whether it gives tasks and grades them: a source, or the class of one."""
    return all(callable(getattr(value, name, None)) for name in ("task", "grade"))


def identity(text: str) -> str:
    """A source as a recipe's fingerprint reads it: its text, or what it is where its text is a place, wherever that lies."""
    if (where := place_of(text)) is None:
        return text
    made = of_file(where)
    try:
        said = describe(made)
    except ValueError:  # no record, or one that holds what no words describe: then its class
        said = {"part": part_id(type(made)), "body": body(type(made))}
    return f"{part_id(type(made))} {digest(said)[:12]}"


def arguments(name: str, make: Any, text: str) -> dict[str, int | float | str]:
    """`steps=5,share=0.5,operator=blur` as keyword arguments for a source: numbers, and a word where its default is one. Ranges are the
    source's own matter."""
    known = [knob for knob, f in make.__dataclass_fields__.items() if f.init]
    read: dict[str, int | float | str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        knob, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(f"{name}: a knob is written KNOB=VALUE, got {part!r}; it has {', '.join(known)}")
        if knob not in known:
            raise ValueError(f"{name} has no knob {knob!r}. {nearest(knob, known)}")
        if knob in read:
            raise ValueError(f"{name}: {knob} is given twice")
        read[knob] = value if isinstance(make.__dataclass_fields__[knob].default, str) else number(name, knob, value)
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
