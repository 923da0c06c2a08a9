"""Every part and record that strop itself offers, by id: what a saved method may name without anybody's help."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module

import strop.seams
import strop.serving
import strop.worlds
from strop.claims import OWN as OWN_CLAIMS
from strop.methods import METHODS, PROGRAMS
from strop.program import Share, Steps, When
from strop.records import Sampling
from strop.sandbox.rules import Rules
from strop.seams.again import Answered
from strop.seams.gate import Seen
from strop.seams.part import OWN, Part, body, part_id
from strop.seams.window import Past, Turn
from strop.worlds.live import History

Known = Part | type
"""A part, or the frozen dataclass of a record."""

RECORDS = (
    "asked",
    "attacks",
    "judge",
    "rubric",
    "gate",
    "ends",
    "sampler",
    "tree",
    "variants",
    "branches",
    "steps",
    "curriculum",
    "feed",
    "swarm",
    "search",
    "climbs",
    "company",
    "traces",
    "update",
    "compute",
    "reduction",
    "signal",
    "head",
    "recorded",
    "texts",
    "role",
    "mode",
    "turns",
    "episode",
    "window",
    "again",
    "memory",
)
"""Modules whose frozen dataclasses are records of a method, but for what they are shown."""

SHOWN = (Answered, History, Past, Seen, Turn)
"""What parts are shown, or states that they are in: no method holds one."""


@cache
def own() -> dict[str, Known]:
    """strop's parts: everything decorated with @part in `strop.seams` or in a method's or its experiment's file, the records of a method,
    the worlds, and the sampler of somebody else's programs."""
    found: dict[str, Known] = {"Sampling": Sampling, "Rules": Rules, **{kind.__name__: kind for kind in (Steps, Share, When)}}
    seams = [f"strop.seams.{m.name}" for m in pkgutil.iter_modules(strop.seams.__path__)]
    worlds = [f"strop.worlds.{m.name}" for m in pkgutil.iter_modules(strop.worlds.__path__)]
    worlds.append("strop.serving.guest")
    methods = dict.fromkeys(where.partition(":")[0] for where in (*METHODS.values(), *PROGRAMS.values(), *OWN_CLAIMS.values()))
    for module in map(import_module, (*seams, *worlds, *methods)):
        holds_records = module.__name__ in (*worlds, *methods) or module.__name__.rpartition(".")[2] in RECORDS
        for value in vars(module).values():
            record = holds_records and inspect.isclass(value) and dataclasses.is_dataclass(value) and value not in SHOWN
            of_method = isinstance(value, Part) and "trace" not in value.reads  # what reads a trace belongs to a claim
            if (of_method or record) and value.__module__ == module.__name__:
                _add(found, value)
    return dict(sorted(found.items()))


def _add(found: dict[str, Known], value: Known) -> None:
    name = part_id(value)
    if found.get(name, value) is not value:
        raise ValueError(f"two parts of strop are called {name!r}: a saved method could not tell them apart")
    found[name] = value


def with_own(parts: Iterable[Known]) -> dict[str, Known]:
    """strop's, and those a user hands over: by id, and by id and body, since two files may hold parts of one name."""
    given = {part_id(p): p for p in parts}
    return own() | given | {f"{part_id(p)} {body(p)}": p for p in parts if part_id(p).startswith(f"{OWN}.")}
