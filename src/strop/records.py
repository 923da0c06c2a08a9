"""The data that flows: tasks, segments, rows, rollouts, groups, scores.

Records are frozen and plain: they print, compare, hash, and travel through JSON
without loss (`to_json`, `from_json`). Tokens are tuples of ints; log-probabilities
are tuples of the float32 values that were computed, or None where nobody measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

Kind = Literal["prompt", "action", "forced", "observation", "teacher"]
"""prompt: the question, with all that the template puts around it. action: what the policy drew. forced: what a sampler put in the
policy's mouth. observation: what a world answered. teacher: what somebody else wrote."""
Stop = Literal["finished", "stop", "length", "repetition", "turns", "budget", "format", "tool", "error"]
"""Why it ended. finished: an end token, or the world is done. stop: a text that ends a reply. length: the longest reply was reached.
repetition: it repeated itself. turns: no turn was left. budget, format, tool: the policy's own fault, as a world saw it. error: ours, so
the rollout is not graded."""
SegmentId = str

ENDED: frozenset[Stop] = frozenset({"finished", "stop"})
"""The policy itself ended what it wrote: with an end token, or with a text that ends a reply."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields come once: of two of one name nobody could say which is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"it has two fields {twice!r}")
    return found


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
    """What the policy is asked, as text; the chat template is put around it later."""
    needs: Mapping[str, Any]
    """What the grader needs: plain JSON. Never shown to the policy."""
    source: str
    """Name of the source that made it and grades it."""
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Facts about it (difficulty, index); not part of its identity."""
    id: str = ""
    """Made from prompt, needs and source where none is given."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a task's prompt is a text, got {self.prompt!r}")
        if self.id:
            return
        try:
            content = {"prompt": self.prompt, "needs": dict(self.needs), "source": self.source}
            object.__setattr__(self, "id", digest(content)[:16])
        except UnicodeEncodeError as error:
            raise ValueError(f"a task holds {error.object[error.start]!r}, half a character, which no tokenizer reads") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"a task's needs are plain JSON (numbers, texts, lists, dicts), since it is kept with the run: {error}"
            ) from error

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
    """Logits are divided by it; the learner does the same again."""
    top_p: float = 1.0
    """Below 1 only the likeliest ids that hold so much: for evaluation, refused in training."""
    top_k: int = 0
    """Only so many of the likeliest ids, 0 for all: for evaluation, refused in training."""
    allowed: tuple[int, ...] | None = None
    """Only these ids; None allows all."""

    @property
    def whole(self) -> bool:
        """Everything that is allowed can be drawn: what is learned from has to be drawn so."""
        return self.top_p == 1 and not self.top_k and self.temperature > 0

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
    """The engine's name: `actor`."""
    version: int
    """How many updates its weights had seen."""
    sampling: Sampling = Sampling()
    """How it was drawn."""

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.policy, "version": self.version, "sampling": self.sampling.to_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Author:
        return Author(data["policy"], data["version"], Sampling.from_json(data["sampling"]))


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled stretch [start, stop) of one segment's tokens. A sampler sets them in the rows it gives: `replace(segment, spans=…)`."""

    label: str
    """What `on=spans(label)` and a formula's `span("label")` know it by."""
    start: int
    """Its first token, counted from the segment's beginning."""
    stop: int
    """One behind its last."""
    number: int = 0
    """Which of the text's stretches of that label it belongs to: one that went on under new weights is a span in each of its segments."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens with one author. Its id is unique inside its group."""

    kind: Kind
    """prompt, action, forced, observation or teacher."""
    tokens: tuple[int, ...]
    """Ids of the policy's own tokenizer; nobody encodes a text again."""
    id: SegmentId
    """The engine's path of ordinals: rows that hold one segment hold it under one id."""
    author: Author | None = None
    """Who wrote it; None for a prompt, an observation or a gold text."""
    logp: tuple[float, ...] | None = None
    """One per token, of the distribution it was drawn from; None where nobody measured it, never 0."""
    spans: tuple[Span, ...] = ()
    """Labelled stretches of it, which signals may be restricted to."""
    parents: tuple[SegmentId, ...] = ()
    """Segments it follows, where that is not the one before it in its row."""
    tracks: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, "tuple[float, ...]"])
    """Further numbers per token, by name."""

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
            data["spans"] = [[s.label, s.start, s.stop, *([s.number] if s.number else [])] for s in self.spans]
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

    Two turns with an answer of the world in between:

        segments = prompt   + action_1 + observation + action_2
        trained  = . . . .    x x x x    . . . . . .   x x x

    The mask is derived from this; nobody writes one.
    """

    segments: tuple[Segment, ...]
    """In the order of the context. The first is a prompt: nothing before it would give a decision its probability."""
    trains: frozenset[SegmentId]
    """Ids of the segments that receive gradient in this row. A row that repeats a shared prefix may leave it out."""
    layout: Literal["causal", "branches"] = "causal"
    """causal: each segment sees all before it. branches: it sees its ancestors by `parents` alone, and stands behind the longest of them
    (`strop.seams.layout`)."""

    def __post_init__(self) -> None:
        unknown = self.trains.difference(s.id for s in self.segments)
        if unknown:
            raise ValueError(f"a row trains {sorted(unknown)}, which are not among its segments {[s.id for s in self.segments]}")
        if self.layout == "branches":
            before = set[SegmentId]()
            for segment in self.segments:
                if segment.id in before or not before.issuperset(segment.parents):
                    raise ValueError(
                        f"segment {segment.id!r} follows {list(segment.parents)}: in a row of branches every segment comes once, after "
                        f"those that it follows, and before it stand {sorted(before)}"
                    )
                before.add(segment.id)

    @staticmethod
    def of(*segments: Segment) -> Row:
        """A row that trains everything which is not prompt or observation."""
        written = (s.id for s in segments if s.kind not in ("prompt", "observation"))
        return Row(tuple(segments), frozenset(written))

    @property
    def tokens(self) -> tuple[int, ...]:
        """Of all its segments."""
        return tuple(token for segment in self.segments for token in segment.tokens)

    @property
    def actions(self) -> int:
        """How many tokens of it the policy wrote."""
        return sum(len(s.tokens) for s in self.segments if s.kind == "action")

    def to_json(self) -> dict[str, Any]:
        laid = {} if self.layout == "causal" else {"layout": self.layout}
        return {"segments": [s.to_json() for s in self.segments], "trains": sorted(self.trains), **laid}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Row:
        segments = tuple(Segment.from_json(s) for s in data["segments"])
        return Row(segments, frozenset(data["trains"]), data.get("layout", "causal"))


@dataclass(frozen=True, slots=True)
class Rollout:
    """One episode. It has several rows when its context was restarted."""

    rows: tuple[Row, ...]
    """One, or several when its context was restarted."""
    id: str
    """`ctx.place` and its number there: scores, rewards and fates are kept under it."""
    stop: Stop = "finished"
    """Why it ended."""
    keys: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON beside it: `facts` of the world, a dict a turn; `nested`, the sub-groups it belongs to, outermost first; `labels`, what
    the method's marks say of it."""
    provenance: str = ""
    """Where it is from, if the policy did not write it here: gold, another trainer."""
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
    """What was asked."""
    rollouts: tuple[Rollout, ...]
    """The answers that are compared with each other."""
    role: str = "solve"
    """`solve`, or what else was done with the task (`demo`, `foreign`): only `solve` counts in curves, ledger and curriculum."""
    id: str = ""
    """`ctx.place`, the root of its noise, where a sampler made it; else task and role."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", f"{self.task.id}/{self.role}")

    def __hash__(self) -> int:
        return hash(self.id)

    def within(self, place: str) -> Group:
        """The same under ids that say where: those of two steps are alike where a task comes again."""
        rollouts = tuple(replace(r, id=f"{place}/{r.id}") for r in self.rollouts)
        return Group(self.task, rollouts, self.role, f"{place}/{self.id}")

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "role": self.role, "task": self.task.to_json(), "rollouts": [r.to_json() for r in self.rollouts]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Group:
        return Group(Task.from_json(data["task"]), tuple(Rollout.from_json(r) for r in data["rollouts"]), data["role"], data["id"])


@dataclass(frozen=True, slots=True)
class Incident:
    """Our fault, not the policy's: a timeout, a crash, an unreadable judge. The score is None and this says why."""

    unit: str
    """The rollout that has no score."""
    channel: str
    """Which score it lacks."""
    why: str
    """In words."""

    def to_json(self) -> list[str]:
        return [self.unit, self.channel, self.why]


SpanScores = tuple[str, tuple[float | None, ...]]
"""A label, and a score for each of its stretches in a rollout's text."""


@dataclass(frozen=True)
class Scores:
    """{rollout id: {channel: value or None}}, and of graders that score spans a value for each. Returned by graders and merged."""

    values: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, "Mapping[str, float | None]"])
    """By rollout and channel. What the policy did wrong is a low score; what we did wrong is None."""
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why a unit got the lowest score: no parse, wrong call, over its limit."""
    incidents: tuple[Incident, ...] = ()
    """Why a value is None."""
    spans: Mapping[str, Mapping[str, SpanScores]] = field(default_factory=dict[str, "Mapping[str, SpanScores]"])
    """By rollout and channel: a label, and of each stretch that has it, in the order of the text, a score or None."""

    def __or__(self, other: Scores) -> Scores:
        values, spans = _merged(self.values, other.values), _merged(self.spans, other.spans)
        return Scores(values, {**self.reasons, **other.reasons}, (*self.incidents, *other.incidents), spans)

    def get(self, unit: Rollout | str, channel: str) -> float | None:
        """One score of a rollout, or of its id; None where nobody gave it."""
        return self.values.get(unit if isinstance(unit, str) else unit.id, {}).get(channel)

    def of(self, groups: Iterable[Group]) -> Scores:
        """Those of these groups' rollouts."""
        units = {r.id for g in groups for r in g.rollouts}
        return Scores(
            {unit: self.values[unit] for unit in (r.id for g in groups for r in g.rollouts) if unit in self.values},
            {unit: why for unit, why in self.reasons.items() if unit in units},
            tuple(incident for incident in self.incidents if incident.unit in units),
            {unit: spans for unit, spans in self.spans.items() if unit in units},
        )

    def channels(self) -> list[str]:
        """Names of all channels, sorted."""
        return sorted({channel for channels in self.values.values() for channel in channels})

    def under(self, names: Mapping[str, str]) -> Scores:
        """Values and spans of these rollouts under other names: `{new: old}`. What nobody scored is left out."""
        values = {new: self.values[old] for new, old in names.items() if old in self.values}
        return Scores(values, spans={new: self.spans[old] for new, old in names.items() if old in self.spans})

    def rate(self, group: Group, channel: str = "outcome") -> float | None:
        """Mean over the group's rollouts that have the score."""
        known = [v for r in group.rollouts if (v := self.get(r, channel)) is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        return {
            "values": {unit: dict(channels) for unit, channels in self.values.items()},
            "reasons": dict(self.reasons),
            "incidents": [incident.to_json() for incident in self.incidents],
            **({"spans": {unit: dict(channels) for unit, channels in self.spans.items()}} if self.spans else {}),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Scores:
        spans = {unit: {name: (label, tuple(said)) for name, (label, said) in c.items()} for unit, c in data.get("spans", {}).items()}
        return Scores(data["values"], data["reasons"], tuple(Incident(*i) for i in data["incidents"]), spans)


V = TypeVar("V")


def _merged(mine: Mapping[str, Mapping[str, V]], others: Mapping[str, Mapping[str, V]]) -> dict[str, dict[str, V]]:
    """By unit and channel; one that both give alike is one."""
    merged = {unit: dict(channels) for unit, channels in mine.items()}
    for unit, channels in others.items():
        here = merged.setdefault(unit, {})
        for channel, value in channels.items():
            if channel in here and here[channel] != value:
                said = f"two graders gave channel {channel!r} of {unit!r}: {here[channel]} and {value}"
                raise ValueError(f"{said}. Name their channels apart.")
            here[channel] = value
    return merged


UNSCORED = Scores()


FATES = ("keep", "context", "drop", "carry")


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a rollout: trained, only in its group's statistics, left out, or kept for a later step."""

    kind: Literal["keep", "context", "drop", "carry"] = "keep"
    """keep: trained. context: only in its group's statistics. drop: gone from both. carry: not built yet, refused."""
    weight: float = 1.0
    """Its losses are multiplied by it."""
    why: str = ""
    """A word for the metrics line, where it is not kept."""
    times: int = 1
    """How often its group is packed, each copy with numbers of its own."""

    def __post_init__(self) -> None:
        if self.kind not in FATES:
            raise ValueError(f"a fate is {', '.join(FATES)}, got {self.kind!r}")
        if not abs(self.weight) < float("inf") or self.times < 0:
            raise ValueError(f"a fate's weight is a finite number and its times at least 0, got {self.weight!r} and {self.times!r}")

    def to_json(self) -> list[Any]:
        return [self.kind, self.weight, self.why, *([self.times] if self.times != 1 else [])]


KEEP = Fate()
"""Of a rollout on which no gate has an opinion."""
