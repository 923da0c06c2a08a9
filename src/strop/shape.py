"""What stands in the files that strop writes, and reading them back: held to their shape at the door, so that nobody behind it has to ask.

A file that was torn, swapped or edited is named with the place of what is odd in it, before anything is done with it.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast


class Damaged(ValueError):
    """A file of strop's own that holds something else than was written there."""


def read(path: Path, shape: Any) -> Any:
    """What a file of JSON holds (packed, where it ends in .gz), if it has this shape."""
    data = path.read_bytes()
    try:
        found = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data, parse_constant=_refused)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if wrong := odd(found, shape):
        raise Damaged(f"{path} cannot be read: {wrong}")
    return found


def odd(value: Any, shape: Any) -> str:
    """What of a value of JSON is not of this shape, by its place; empty where all is.

        int, float, str, bool, dict, list     one of that kind; a whole number is a float too, truth is no number
        (float, None)                         one of several shapes
        [shape]                               a list of such
        {0: shape, 1: shape}                  a list of so many
        {"name": shape, "other?": shape}      an object with these fields, the second where it has one; others are not looked at
        {str: shape}, {..., "name": shape}    an object of any names; `...: shape` is asked of all the others

    >>> odd({"step": 1, "digest": {"groups": 7}}, {"step": int, "digest": {str: str}})
    'digest.groups is no text: 7'
    """
    return next(_odd(value, shape, ""), "")


WORDS: dict[Any, str] = {
    int: "no whole number",
    float: "no number",
    str: "no text",
    bool: "neither true nor false",
    dict: "no object",
    list: "no list",
    None: "not null",
}


def lines(path: Path, found: Sequence[Any], first: int = 0) -> None:
    """The lines of a run's metrics, which stand in this file from line `first` on, hold what such lines hold."""
    for number, line in enumerate(found, first):
        if wrong := odd(line, LINE):
            raise Damaged(
                f"{path}: line {number + 1} is damaged ({wrong}). Cut it off after line {number}: what follows is computed again."
            )


def _odd(value: Any, shape: Any, at: str) -> Iterator[str]:
    if isinstance(shape, tuple):
        said = [next(_odd(value, one, at), "") for one in cast("tuple[Any, ...]", shape)]
        yield from () if "" in said else said[:1]
    elif isinstance(shape, list):
        (inner,) = cast("list[Any]", shape)
        yield from _odd(value, list, at)
        yield from (wrong for i, one in enumerate(value) for wrong in _odd(one, inner, f"{at}[{i}]"))
    elif not isinstance(shape, dict):
        if not _is(value, shape):
            yield f"{at or 'it'} is {WORDS[shape]}: {json.dumps(value)[:60]}"
    elif 0 in (fields := cast("dict[Any, Any]", shape)):
        yield from _odd(value, list, at)
        if len(value) != len(fields):
            yield f"{at or 'it'} has {len(value)} members and not {len(fields)}"
        yield from (wrong for i, one in enumerate(value) for wrong in _odd(one, fields[i], f"{at}[{i}]"))
    else:
        yield from _odd(value, dict, at)
        known = {name.removesuffix("?"): inner for name, inner in fields.items() if isinstance(name, str)}
        missing = (name for name in fields if isinstance(name, str) and not name.endswith("?") and name not in value)
        yield from (f"{at or 'it'} has no {name!r}" for name in missing)
        rest = fields.get(str, fields.get(...))
        for name, one in value.items():
            if name in known or rest is not None:
                yield from _odd(one, known.get(name, rest), f"{at}.{name}".lstrip("."))


def _is(value: Any, kind: Any) -> bool:
    if kind is None or value is None:
        return kind is value
    if isinstance(value, bool) and kind is not bool:
        return False
    if isinstance(value, int | float) and kind in (int, float):
        return (isinstance(value, int) and abs(value) < LARGEST) or (kind is float and isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


LARGEST = 1 << 63
"""No count is as large, and no float would hold it."""


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


NUMBER: Any = (float, None)
"""A figure that may be unknown."""
NUMBERS: Any = {str: NUMBER}
TEXTS: Any = {str: str}
FILES: Any = [{"folder": str, "kept": str, "sha256": TEXTS}]
PLAIN: Any = (str, bool, float, None)
ABOUT: Any = {
    "recipe": {str: PLAIN},
    "resolved": {...: (PLAIN, dict), "parts": dict, "method": str, "task": str, "steps": int, "seed": int},
    "method?": dict,
    "asked?": dict,
    "fingerprint": {"method": str, "recipe": str},
    "versions": TEXTS,
    "threads": int,
    "grade": str,
    "own?": bool,
    "policy?": str,
    "files?": FILES,
    "past?": [{"until": int, "steps": int, "budget": (str, None)}],
    "data?": {"files": TEXTS, "rows": int, "train": int, "test": int, "left_out": {str: int}},
    "gguf?": TEXTS,
    "shots?": [{0: str, 1: str}],
    "replay?": {"of": str, "steps": int, "foreign": bool},
    "stage?": {
        "number": int,
        "model": str,
        "reference": str,
        "optimiser": str,
        "stages": TEXTS,
        "policies?": TEXTS,
        "counted?": bool,
        "bill": {str: int},
        "learned": {str: int},
        "ledger": dict,
        "state": dict,
    },
    "tripwires": [{"from_step": int, "limits": NUMBERS, "off": [str], "silent": {str: [str]}}],
}
DONE: Any = {"place": str, "steps": int, "bill": {str: int}, "checkpoint": str, "why": str}
WHOLE: Any = {
    "recipe": {str: PLAIN},
    "resolved": {...: (PLAIN, dict), "task": str},
    "program": dict,
    "fingerprint": {"program": str, "recipe": str},
    "versions": TEXTS,
    "named": bool,
    "files": FILES,
    "done": [DONE],
}
SAMPLING: Any = {"temperature": float, "top_p": float, "top_k": int, "allowed": ([int], None)}
SEGMENT: Any = {
    "kind": str,
    "id": str,
    "tokens": [int],
    "author?": {"policy": str, "version": int, "sampling": SAMPLING},
    "logp?": [float],
    "spans?": [({0: str, 1: int, 2: int}, {0: str, 1: int, 2: int, 3: int})],
    "parents?": [str],
    "tracks?": {str: [NUMBER]},
}
ROLLOUT: Any = {
    "id": str,
    "stop": str,
    "keys": dict,
    "provenance": str,
    "text": str,
    "rows": [{"segments": [SEGMENT], "trains": [str], "layout?": str}],
}
TASK: Any = {"prompt": str, "needs": dict, "source": str, "meta": dict, "id": str}
COMMIT: Any = {
    "step": int,
    "version": int,
    "groups": [{"id": str, "role": str, "task": TASK, "rollouts": [ROLLOUT]}],
    "scores": {"values": {str: NUMBERS}, "reasons": TEXTS, "incidents": [{0: str, 1: str, 2: str}], "spans?": {str: dict}},
    "fates": {str: list},
    "rewards": NUMBERS,
    "state": dict,
    "bill": {str: int},
    "ledger": {"last": {str: list}, "successes": {str: float}, "trials": {str: int}},
    "swarm?": (dict, None),
}
WATCH: Any = {...: NUMBER, "holding?": [str], "canary?": (dict, None), "rates?": (dict, None)}
LINE: Any = {
    ...: NUMBER,
    "step": int,
    "version?": int,
    "fingerprint?": str,
    "bill?": {str: int},
    "digest?": TEXTS,
    "warnings?": TEXTS,
    "watch?": WATCH,
    "labels?": {str: NUMBERS},
    "roles?": {str: NUMBERS},
    "policies?": {str: {...: (float, None, dict)}},
    "stale?": list,
    "taken?": list,
    "swarm?": dict,
    "memory?": {...: (float, None, str, dict)},
    "stage?": str,
    "t?": {str: (float, bool, dict)},
    "tools?": {str: {str: int}},
    "world?": {str: int},
    **{f"{name}?": NUMBERS for name in ("dropped", "loss", "pairs", "running", "heads", "sampler", "age")},
}
HELD: Any = {...: NUMBER, "interval": {str: {0: float, 1: float}}, "tasks": int, "samples?": int, "sampling?": SAMPLING}
RESULT: Any = {
    "method": str,
    "fingerprint": str,
    "task": str,
    "model": str,
    "seed": int,
    "steps": int,
    "seconds": float,
    "bill": {str: int},
    "before": (HELD, None),
    "after": (HELD, None),
    "rise?": ({...: float, "interval": {0: float, 1: float}}, None),
    "base_at_temperature?": NUMBERS,
    "memory?": NUMBER,
}
FIRST_BATCH: Any = [{"rollout": str, "cut": {0: int, 1: int}, "tokens": [{0: str, 1: str, 2: bool}]}]
HELD_OUT: Any = {str: {"values": {str: [NUMBER]}, "samples": int, "sampling": SAMPLING, "seed": int, "ungraded": int}}
TRACKED: Any = {"id": str, "mlflow": str, "kinds": [str]}
ARM: Any = {"initial": str, "seconds": float, "tested": [str], "asked": [str], "code": str}
LOOK: Any = {"step": int, "spent": int, "means": {str: NUMBER}, "targets?": [{str: NUMBER}]}
REPLIES: Any = [{"needs": dict, "texts": [str]}]
VALUES: Any = {"tasks": [str], "values": {str: [NUMBER]}}
RECORD: Any = {
    "claim": str,
    "verdict": str,
    "profile": str,
    "effect": NUMBER,
    "interval": ({0: NUMBER, 1: NUMBER}, None),
    "threshold": float,
    "compare": {0: str, 1: str},
    "seeds": [int],
    "differences": [NUMBER],
    "detectable": {"pilot": [NUMBER], "seeds": int, "smallest": NUMBER},
    "why_void": [str],
    "apart?": [str],
    "absent?": [str],
    "measure": {"part": str},
    "values": {str: NUMBERS},
    "held_out": ({"at": [float]}, None),
    "evaluations": {str: {str: [LOOK]}},
    "checks": [{"says": str, "arm": str, "least": float, "values": NUMBERS}],
    "budget": str,
    "budgets": {str: {str: float}},
    "left_out": [str],
    "fingerprint": str,
    "code": [str],
    "machine": {"processor": str},
}
VERDICT: Any = {
    "line": int,
    "hash": str,
    "scores": [float],
    "answers": [{"shown": [int], "verdicts": [[float]], "said": [str], "unread": int}],
}
