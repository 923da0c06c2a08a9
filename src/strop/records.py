"""The data that flows: tasks, segments, rows, rollouts, groups, scores.

Records are frozen and plain: they print, compare, hash, and travel through JSON
without loss (`to_json`, `from_json`). Tokens are tuples of ints; log-probabilities
are tuples of the float32 values that were computed, or None where nobody measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Kind = Literal["prompt", "action", "forced", "observation", "teacher"]
Stop = Literal["finished", "stop", "length", "repetition", "turns", "budget", "format", "tool", "error"]
SegmentId = str

ENDED: frozenset[Stop] = frozenset({"finished", "stop"})
"""The policy itself ended what it wrote: with an end token, or with a text that ends a reply."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """What JSON can carry: infinity and NaN become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))) else value


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """One problem. Its id is a hash of its content, so the same problem has one name everywhere."""

    prompt: str
    needs: Mapping[str, Any]
    """What the grader needs: plain JSON. Never shown to the policy."""
    source: str
    """Name of the source that made it and grades it."""
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Facts about it (difficulty, index); not part of its identity."""
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            content = {"prompt": self.prompt, "needs": dict(self.needs), "source": self.source}
            object.__setattr__(self, "id", digest(content)[:16])

    def __hash__(self) -> int:
        return hash(self.id)

    def to_json(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "needs": dict(self.needs), "source": self.source, "meta": dict(self.meta), "id": self.id}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Task:
        return Task(**data)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a decision is drawn; part of the distribution, so it travels on the segment. Temperature 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    allowed: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "allowed": None if self.allowed is None else list(self.allowed),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Sampling:
        allowed = data["allowed"]
        return Sampling(data["temperature"], data["top_p"], data["top_k"], None if allowed is None else tuple(allowed))


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a segment: which policy, at which version of its weights, drawn how."""

    policy: str
    version: int
    sampling: Sampling = Sampling()

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.policy, "version": self.version, "sampling": self.sampling.to_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Author:
        return Author(data["policy"], data["version"], Sampling.from_json(data["sampling"]))


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled stretch [start, stop) of one segment's tokens."""

    label: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens with one author. Its id is unique inside its group."""

    kind: Kind
    tokens: tuple[int, ...]
    id: SegmentId
    author: Author | None = None
    logp: tuple[float, ...] | None = None
    """One per token, of the distribution it was drawn from; None where nobody measured it, never 0."""
    spans: tuple[Span, ...] = ()
    parents: tuple[SegmentId, ...] = ()
    tracks: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, "tuple[float, ...]"])

    def __post_init__(self) -> None:
        if self.logp is not None and len(self.logp) != len(self.tokens):
            raise ValueError(f"segment {self.id!r}: {len(self.tokens)} tokens but {len(self.logp)} log-probabilities")
        for span in self.spans:
            if not 0 <= span.start <= span.stop <= len(self.tokens):
                raise ValueError(
                    f"segment {self.id!r}: span {span.label!r} is [{span.start}, {span.stop}), but it has {len(self.tokens)} tokens"
                )
        for name, values in self.tracks.items():
            if len(values) != len(self.tokens):
                raise ValueError(f"segment {self.id!r}: {len(self.tokens)} tokens but {len(values)} values in track {name!r}")

    def __hash__(self) -> int:
        return hash((self.kind, self.tokens, self.id))

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind, "id": self.id, "tokens": list(self.tokens)}
        if self.author is not None:
            data["author"] = self.author.to_json()
        if self.logp is not None:
            data["logp"] = list(self.logp)
        if self.spans:
            data["spans"] = [[s.label, s.start, s.stop] for s in self.spans]
        if self.parents:
            data["parents"] = list(self.parents)
        if self.tracks:
            data["tracks"] = {name: list(values) for name, values in self.tracks.items()}
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Segment:
        logp, author = data.get("logp"), data.get("author")
        return Segment(
            kind=data["kind"],
            tokens=tuple(data["tokens"]),
            id=data["id"],
            author=None if author is None else Author.from_json(author),
            logp=None if logp is None else tuple(logp),
            spans=tuple(Span(*s) for s in data.get("spans", ())),
            parents=tuple(data.get("parents", ())),
            tracks={name: tuple(values) for name, values in data.get("tracks", {}).items()},
        )


@dataclass(frozen=True, slots=True)
class Row:
    """The segments of one context, in order, and which of them it trains.

    Two turns with a reply from the environment in between:

        segments = prompt   + action_1 + observation + action_2
        trained  = . . . .    x x x x    . . . . . .   x x x

    The mask is derived from this; nobody writes one.
    """

    segments: tuple[Segment, ...]
    trains: frozenset[SegmentId]
    """Ids of the segments that receive gradient in this row. A row that repeats a shared prefix may leave it out."""
    layout: Literal["causal"] = "causal"

    def __post_init__(self) -> None:
        unknown = self.trains.difference(s.id for s in self.segments)
        if unknown:
            raise ValueError(f"a row trains {sorted(unknown)}, which are not among its segments {[s.id for s in self.segments]}")

    @staticmethod
    def of(*segments: Segment) -> Row:
        """A row that trains everything which is not prompt or observation."""
        written = (s.id for s in segments if s.kind not in ("prompt", "observation"))
        return Row(tuple(segments), frozenset(written))

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for segment in self.segments for token in segment.tokens)

    @property
    def actions(self) -> int:
        return sum(len(s.tokens) for s in self.segments if s.kind == "action")

    def to_json(self) -> dict[str, Any]:
        return {"segments": [s.to_json() for s in self.segments], "trains": sorted(self.trains)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Row:
        return Row(tuple(Segment.from_json(s) for s in data["segments"]), frozenset(data["trains"]))


@dataclass(frozen=True, slots=True)
class Rollout:
    """One episode. It has several rows when its context was restarted."""

    rows: tuple[Row, ...]
    id: str
    stop: Stop = "finished"
    keys: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provenance: str = ""
    text: str = ""
    """What the policy wrote, decoded once for graders and readers; never encoded again."""

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def length(self) -> int:
        """Tokens the policy wrote; a segment shared by several rows counts once."""
        own = {s.id: len(s.tokens) for row in self.rows for s in row.segments if s.kind == "action"}
        return sum(own.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "stop": self.stop,
            "keys": dict(self.keys),
            "provenance": self.provenance,
            "text": self.text,
            "rows": [row.to_json() for row in self.rows],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Rollout:
        rows = tuple(Row.from_json(row) for row in data["rows"])
        return Rollout(rows, data["id"], data["stop"], data["keys"], data["provenance"], data["text"])


@dataclass(frozen=True, slots=True)
class Group:
    """A task with its rollouts. One task may give several groups with different roles."""

    task: Task
    rollouts: tuple[Rollout, ...]
    role: str = "solve"
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", f"{self.task.id}/{self.role}")

    def __hash__(self) -> int:
        return hash(self.id)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "role": self.role, "task": self.task.to_json(), "rollouts": [r.to_json() for r in self.rollouts]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Group:
        return Group(Task.from_json(data["task"]), tuple(Rollout.from_json(r) for r in data["rollouts"]), data["role"], data["id"])


@dataclass(frozen=True, slots=True)
class Incident:
    """Our fault, not the policy's: a timeout, a crash, an unreadable judge. The score is None and this says why."""

    unit: str
    channel: str
    why: str

    def to_json(self) -> list[str]:
        return [self.unit, self.channel, self.why]


@dataclass(frozen=True)
class Scores:
    """{unit id: {channel: value or None}}; a unit is a rollout, a span or a pair. Returned by graders and merged."""

    values: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, "Mapping[str, float | None]"])
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why a unit got the lowest score: no parse, wrong call, over its limit."""
    incidents: tuple[Incident, ...] = ()

    def __or__(self, other: Scores) -> Scores:
        merged = {unit: dict(channels) for unit, channels in self.values.items()}
        for unit, channels in other.values.items():
            mine = merged.setdefault(unit, {})
            for channel, value in channels.items():
                if channel in mine and mine[channel] != value:
                    raise ValueError(
                        f"two graders gave channel {channel!r} of {unit!r}: {mine[channel]} and {value}. Name their channels apart."
                    )
                mine[channel] = value
        return Scores(merged, {**self.reasons, **other.reasons}, (*self.incidents, *other.incidents))

    def get(self, unit: Rollout | str, channel: str) -> float | None:
        return self.values.get(unit if isinstance(unit, str) else unit.id, {}).get(channel)

    def channels(self) -> list[str]:
        return sorted({channel for channels in self.values.values() for channel in channels})

    def rate(self, group: Group, channel: str = "outcome") -> float | None:
        """Mean over the group's rollouts that have the score."""
        known = [v for r in group.rollouts if (v := self.get(r, channel)) is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        return {
            "values": {unit: dict(channels) for unit, channels in self.values.items()},
            "reasons": dict(self.reasons),
            "incidents": [incident.to_json() for incident in self.incidents],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Scores:
        return Scores(data["values"], data["reasons"], tuple(Incident(*i) for i in data["incidents"]))


UNSCORED = Scores()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a rollout: trained, only in its group's statistics, left out, or kept for a later step."""

    kind: Literal["keep", "context", "drop", "carry"] = "keep"
    weight: float = 1.0
    why: str = ""
    times: int = 1
    """How often its group is packed, each copy with numbers of its own."""

    def to_json(self) -> list[Any]:
        return [self.kind, self.weight, self.why, *([self.times] if self.times != 1 else [])]


KEEP = Fate()
