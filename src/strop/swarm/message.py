"""The message: one graded group as UTF-8 JSON. Every bound is checked before the JSON is parsed, or on the parsed value before it is used.

    {"schema": 1, "step": 7,
     "task": {"family": "chain:steps=5", "version": 1, "seed": 3, "index": 41, "key": "9f86d081884c7d65"},
     "rollouts": [{"text": "<think>…</answer>", "ended": true, "outcome": 1.0}, …]}

The task is named, never sent: neither a prompt nor an answer key is taken from anybody. `key` is the task's id, the hash of its content,
which the receiver compares with that of the task it made itself. Completions are text, since vocabularies differ; `ended` says that the
end-of-turn token followed, which text cannot show and which has to be trained. `outcome` is the sender's own verdict, to be checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from strop.records import canonical, digest

SCHEMA = 1
BYTES = 256 * 1024
"""Of a whole message; a longer one is not looked at."""
DEPTH = 4
"""Brackets inside brackets."""
ROLLOUTS = (2, 64)
TEXT = 32768
"""Characters of one completion."""
FAMILY = 200
WHOLE = 2**63 - 1

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.S)
"""A string, closed or not, or a bracket: one pass over the bytes, whatever they are."""
UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\ufffd-\uffff]")
"""Control characters, halves of pairs, private use, and what stands for bytes that were no text."""
KEY = re.compile(r"[0-9a-f]{16}")


class Rejected(ValueError):
    """A foreign group that is not used. `why` is one of `exchange.REASONS`."""

    def __init__(self, why: str, detail: str = ""):
        super().__init__(f"{why}: {detail}" if detail else why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Address:
    """A task without its content."""

    family: str
    version: int
    seed: int
    index: int
    key: str


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    ended: bool
    outcome: float


@dataclass(frozen=True, slots=True)
class Shared:
    task: Address
    rollouts: tuple[Completion, ...]
    step: int = 0
    """Of the sender, when it drew them."""

    @property
    def content(self) -> str:
        """A hash of what would be learned from, however it was written down and in whatever order."""
        return digest([self.task.key, *sorted([c.text, c.ended] for c in self.rollouts)])


def write(shared: Shared) -> bytes:
    task = {name: getattr(shared.task, name) for name in Address.__slots__}
    rollouts = [{"text": c.text, "ended": c.ended, "outcome": c.outcome} for c in shared.rollouts]
    return canonical({"schema": SCHEMA, "step": shared.step, "task": task, "rollouts": rollouts}).encode()


def read(data: bytes) -> Shared:
    """The group in a message, or the reason why it is none."""
    if len(data) > BYTES:
        raise Rejected("oversized", f"{len(data)} bytes")
    if depth(data) > DEPTH:
        raise Rejected("malformed", f"more than {DEPTH} brackets deep")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except ValueError as error:
        raise Rejected("malformed", str(error)[:80]) from error
    fields = _fields(value, {"schema": int, "step": int, "task": dict, "rollouts": list})
    if fields["schema"] != SCHEMA:
        raise Rejected("wrong version", f"schema {fields['schema']}")
    named = _fields(fields["task"], {"family": str, "version": int, "seed": int, "index": int, "key": str})
    if len(named["family"]) > FAMILY or not KEY.fullmatch(named["key"]):
        raise Rejected("malformed", "family or key")
    members = cast("list[Any]", fields["rollouts"])
    if not ROLLOUTS[0] <= len(members) <= ROLLOUTS[1]:
        raise Rejected("malformed", f"{len(members)} rollouts")
    return Shared(Address(**named), tuple(_completion(member) for member in members), fields["step"])


def depth(data: bytes) -> int:
    """How deep brackets stand inside brackets, strings left out.

    >>> depth(b'[{"[[[": 1}]')
    2
    """
    now = most = 0
    for found in TOKEN.finditer(data):
        now += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        most = max(most, now)
    return most


def readable(text: str) -> bool:
    return len(text) <= TEXT and UNREADABLE.search(text) is None


def _completion(value: Any) -> Completion:
    fields = _fields(value, {"text": str, "ended": bool, "outcome": float})
    if not 0 <= fields["outcome"] <= 1:
        raise Rejected("malformed", "an outcome outside [0, 1]")
    if len(fields["text"]) > TEXT:
        raise Rejected("malformed", f"a text of more than {TEXT} characters")
    if not readable(fields["text"]) or not (fields["text"] or fields["ended"]):
        raise Rejected("garbage", "a text that nobody can read")
    return Completion(fields["text"], fields["ended"], float(fields["outcome"]))


def _fields(value: Any, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Exactly these fields of these types; whole numbers in [0, 2**63)."""
    if not isinstance(value, dict):
        raise Rejected("malformed", "not the fields of the schema")
    found = cast("dict[str, Any]", value)
    if found.keys() != kinds.keys():
        raise Rejected("malformed", "not the fields of the schema")
    for name, kind in kinds.items():
        given = found[name]
        fits = isinstance(given, kind) and (kind is bool or not isinstance(given, bool))
        if not fits and not (kind is float and type(given) is int):
            raise Rejected("malformed", f"{name} is no {kind.__name__}")
        if kind is int and not 0 <= given <= WHOLE:
            raise Rejected("malformed", f"{name} is out of range")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field comes twice")
    return dict(pairs)


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number")
