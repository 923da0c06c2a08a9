"""Mark: what is read off a finished reply, before anybody grades it.

A mark is a part that reads `text`, the rollout's. There are two kinds, by what it gives:

    format_R    a label: a whole number from 0 on, or None where the reply has none. Parts read it as they read a channel; None is -1
    answer_T    stretches: [(start, stop), …] in characters of the text. They become spans `answer` of what was written, for
                `on=spans("answer")`; how many tokens they hold is read as `answer_length_R`

Marks are read once, right after sampling, and committed with the rollouts: `rollout.keys["labels"]` holds the numbers, segments hold the
spans, so graders and readers have them too. A token that lies in a stretch with one of its characters is inside; an action that went on
under new weights is several segments, and a stretch over their border is a span in each. A mark that raises is our fault: its number is
None, with an incident.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from strop.records import Group, Incident, Rollout, Row, Scores, Segment, Span
from strop.seams.context import Renderer
from strop.seams.part import Part, PartError, part

Stretch = tuple[int, int]
WRITTEN = ("action", "forced", "teacher")
"""Kinds of segments whose text a rollout's text is made of, beside what a world answered."""


@part(gives="format_R")
def opening_tag(
    text: str, *, tags: tuple[str, ...] = (), inside: tuple[str, ...] = (), without: tuple[tuple[str, ...], ...] = ()
) -> int | None:
    """Which of the tags the reply opens with. None where it opens with none, or holds another one further on; those `inside` any reply
    may hold. `without`: what replies of each tag may not hold, since a tag alone promises nothing.

    >>> opening_tag("<long>2+2=4</long><answer>4</answer>", tags=("<answer>", "<long>"), inside=("<answer>",))
    1
    """
    if not tags or "" in tags:
        raise ValueError(f"opening_tag(tags={tags!r}): name the tags that a reply may open with")
    if without and len(without) != len(tags):
        raise ValueError(f"opening_tag(without={without!r}): say of each of the {len(tags)} tags what its replies may not hold")
    opened = max((tag for tag in tags if text.startswith(tag)), key=len, default=None)
    if opened is None or any(tag in text[len(opened) :] for tag in tags if tag not in (opened, *inside)):
        return None
    label = tags.index(opened)
    return None if without and any(word in text for word in without[label]) else label


@part(gives="mode_R")
def sections(text: str, *, modes: tuple[tuple[str, ...], ...] = ()) -> int | None:
    """Which of the modes the reply is written in: it opens with the mode's first head and holds its heads once each, in order, and no
    head of another mode. None where it is written in none.

    >>> sections("2:i4 s5 r6", modes=(("1:", "r"), ("2:", "i", "s", "r")))
    1
    """
    if not modes or any(not heads or "" in heads for heads in modes):
        raise ValueError(f"sections(modes={modes!r}): name the heads of each mode, in order")
    every = sorted({head for heads in modes for head in heads}, key=len, reverse=True)
    found = tuple(re.findall("|".join(map(re.escape, every)), text))
    return next((k for k, heads in enumerate(modes) if found == heads and text.startswith(heads[0])), None)


@part(gives="answer_T")
def between(text: str, *, opens: str = "<answer>", closes: str = "</answer>") -> list[Stretch]:
    """What stands between two tags, each time; an open one that nothing closes reaches to the end."""
    if not opens or not closes:
        raise ValueError(f"between(opens={opens!r}, closes={closes!r}): name two tags")
    found, at = list[Stretch](), text.find(opens)
    while at >= 0:
        start = at + len(opens)
        stop = text.find(closes, start)
        found.append((start, len(text) if stop < 0 else stop))
        at = -1 if stop < 0 else text.find(opens, stop + len(closes))
    return found


@part(gives="piece_T")
def pieces(text: str, *, separator: str = "\n") -> list[Stretch]:
    """What stands between separators and is more than blank."""
    if not separator:
        raise ValueError("pieces(separator=''): name what stands between two pieces")
    found, start = list[Stretch](), 0
    for piece in text.split(separator):
        if piece.strip():
            found.append((start, start + len(piece)))
        start += len(piece) + len(separator)
    return found


def stretches(rollout: Rollout, label: str) -> int:
    """How many it has of a label."""
    numbers = (span.number for row in rollout.rows for segment in row.segments for span in segment.spans if span.label == label)
    return max(numbers, default=-1) + 1


def is_label(mark: Part) -> bool:
    return mark.gives.endswith("_R")


def name_of(mark: Part) -> str:
    """Of its label or its spans."""
    return mark.gives[:-2]


def channel(mark: Part) -> str:
    """Of the number it adds to a rollout's scores."""
    return name_of(mark) if is_label(mark) else f"{name_of(mark)}_length"


def marked(marks: Sequence[Part], groups: list[Group], renderer: Renderer) -> list[Group]:
    """The groups with what these marks say of each rollout, in place of what marks of their names said before."""
    if not marks:
        return groups
    return [replace(group, rollouts=tuple(_marked(marks, r, renderer) for r in group.rollouts)) for group in groups]


def labelled(scores: Scores, groups: Sequence[Group]) -> Scores:
    """The scores, with what marks say of these groups as channels."""
    found = {r.id: r.keys for group in groups for r in group.rollouts if "labels" in r.keys}
    values = {unit: {name: None if v is None else float(v) for name, v in keys["labels"].items()} for unit, keys in found.items()}
    faults = [Incident(unit, name, why) for unit, keys in found.items() for name, why in keys.get("unmarked", {}).items()]
    if not found:
        return scores
    merged = {**scores.values} | {unit: {**scores.values.get(unit, {}), **said} for unit, said in values.items()}
    return replace(scores, values=merged, incidents=tuple(dict.fromkeys((*scores.incidents, *faults))))


def _marked(marks: Sequence[Part], rollout: Rollout, renderer: Renderer) -> Rollout:
    said, faults = dict[str, int | None](), dict[str, str]()
    for mark in marks:
        name = channel(mark)
        try:
            given = mark.on({"text": rollout.text})
            if is_label(mark):
                said[name] = _label(given)
            else:
                rollout, said[name] = _with_spans(rollout, name_of(mark), _stretches(given, len(rollout.text)), renderer)
        except Exception as error:
            said[name] = None
            faults[name] = str(error) if isinstance(error, PartError) else f"mark {mark.name}: {type(error).__name__}: {error}"
    keys = {**rollout.keys, "labels": rollout.keys.get("labels", {}) | said}
    return replace(rollout, keys={**keys, "unmarked": faults} if faults else keys)


def _label(given: object) -> int:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 0):
        raise ValueError(f"a label is a whole number from 0 on, or None, got {given!r}")
    return -1 if given is None else given


def _stretches(given: object, length: int) -> list[Stretch]:
    if not isinstance(given, list | tuple):
        raise ValueError(f"stretches are a list of (start, stop), got {given!r}")
    found = list[Stretch]()
    for one in cast("Sequence[Any]", given):
        match one:
            case [int(start), int(stop)] if 0 <= start <= stop <= length:
                found.append((start, stop))
            case _:
                raise ValueError(f"a stretch is (start, stop) within a text of {length} characters, got {one!r}")
    return found


def _with_spans(rollout: Rollout, label: str, stretches: Sequence[Stretch], renderer: Renderer) -> tuple[Rollout, int]:
    """The rollout with the stretches as spans, and how many tokens they hold; a token in two of them counts once."""
    found: dict[str, list[Span]] = {}
    held: set[tuple[str, int]] = set()
    for start, run in runs(rollout, renderer) if stretches else ():
        run_text = run.text
        for number, (first, stop) in enumerate(stretches):
            here = (max(first - start, 0), min(stop - start, len(run_text)))
            if here[0] >= here[1]:
                continue
            for segment, low, high in run.cut(*run.holding(*here)):
                found.setdefault(segment, []).append(Span(label, low, high, number))
                held |= {(segment, place) for place in range(low, high)}
    rows = tuple(replace(row, segments=tuple(_spanned(s, label, found.get(s.id, ())) for s in row.segments)) for row in rollout.rows)
    return replace(rollout, rows=rows), len(held)


def _spanned(segment: Segment, label: str, spans: Sequence[Span]) -> Segment:
    kept = tuple(span for span in segment.spans if span.label != label)
    return replace(segment, spans=(*kept, *spans)) if spans or len(kept) < len(segment.spans) else segment


class Run:
    """Segments that were written one behind the other, as one text."""

    def __init__(self, segments: Sequence[Segment], renderer: Renderer):
        self.segments, self.renderer = segments, renderer
        self.tokens = tuple(token for segment in segments for token in segment.tokens)
        self.text = renderer.text(self.tokens)
        self.known: dict[int, int] = {0: 0, len(self.tokens): len(self.text)}

    def covered(self, count: int) -> int:
        """How much of the text its first tokens write; a character that is only begun is not written yet."""
        if count not in self.known:
            begun = self.renderer.text(self.tokens[:count])
            pairs = enumerate(zip(begun, self.text, strict=False))
            self.known[count] = next((at for at, (one, other) in pairs if one != other), min(len(begun), len(self.text)))
        return self.known[count]

    def holding(self, start: int, stop: int) -> tuple[int, int]:
        """From which token to which these characters are written."""
        low, high = (bisect_left(range(len(self.tokens) + 1), place, key=self.covered) for place in (start, stop))
        return low - (self.covered(low) > start), high

    def cut(self, low: int, high: int) -> Iterator[tuple[str, int, int]]:
        """These tokens, segment by segment."""
        start = 0
        for segment in self.segments:
            count = len(segment.tokens)
            if (here := (max(low - start, 0), min(high - start, count)))[0] < here[1]:
                yield segment.id, *here
            start += count


def places_of(segments: Sequence[Segment], renderer: Renderer, at: Sequence[int]) -> list[int]:
    """The token that writes each of these characters, of segments that were written one behind the other."""
    run = Run(segments, renderer)
    return [run.holding(place, len(run.text))[0] for place in at]


def runs(rollout: Rollout, renderer: Renderer) -> Iterator[tuple[int, Run]]:
    """What was written, run by run, and where each begins in the rollout's text. One that does not stand there is left out."""
    at, seen = 0, set[str]()
    for row in rollout.rows:
        for segments in _neighbours(row, seen):
            run = Run(segments, renderer)
            place = rollout.text.find(run.text, at) if run.text else -1
            if place >= 0:
                yield place, run
                at = place + len(run.text)


def _neighbours(row: Row, seen: set[str]) -> Iterator[list[Segment]]:
    """Written segments that stand side by side; what an earlier row held comes once."""
    together: list[Segment] = []
    for segment in row.segments:
        if segment.kind in WRITTEN and segment.id not in seen:
            seen.add(segment.id)
            together.append(segment)
        elif together:
            yield together
            together = []
    if together:
        yield together
