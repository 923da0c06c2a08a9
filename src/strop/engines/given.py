"""How likely texts are that exist: what those of one call have in common is computed once (`stems.py`), and passes hold what all ask.

A stem's arithmetic has the shape of its own length and place, so its bits do not depend on the other calls whose stems are in its pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from strop.engines.stems import Stem, portions, stems
from strop.policies.forward import Runner, ceil_to
from strop.seams.engine import Counters

LOGITS = 1 << 25
"""Logits held at one time."""
HELD = 1 << 30
"""Bytes of keys and values that texts with a beginning in common may hold at one time."""

Text = tuple[tuple[int, ...], int]
"""Tokens, and the place of the first one that is asked about."""


class Passes(Protocol):
    """What an engine gives to compute with."""

    runner: Runner
    vocab: int
    counters: Counters

    def forward(self, rows: list[tuple[Sequence[int], list[Tensor]]], size: int, length: int) -> tuple[Tensor, Tensor]: ...
    def rows_at_once(self, size: int, length: int) -> int: ...
    def to(self, array: np.ndarray) -> Tensor: ...


def likely(engine: Passes, calls: Sequence[Sequence[Text]]) -> list[list[tuple[float, ...]]]:
    """Log-probabilities of what each call asks about."""
    shape = engine.runner.shape
    most = max(1, HELD // (2 * shape.layers * shape.heads * shape.dim * engine.runner.dtype.itemsize))
    found: list[dict[int, tuple[float, ...]]] = [{} for _ in calls]
    together: list[tuple[int, list[int]]] = []
    held = 0
    for number, texts in enumerate(calls):
        for portion in portions([text for text, _ in texts], most):
            size = sum(len(texts[i][0]) for i in portion)
            if together and held + size > most:
                _together(engine, calls, together, found)
                together, held = [], 0
            together.append((number, portion))
            held += size
    _together(engine, calls, together, found)
    return [[one[i] for i in range(len(texts))] for one, texts in zip(found, calls, strict=True)]


def _together(
    engine: Passes, calls: Sequence[Sequence[Text]], parts: Sequence[tuple[int, list[int]]], found: list[dict[int, tuple[float, ...]]]
) -> None:
    work = Work([], [], [])
    for number, portion in parts:
        work.add([calls[number][i] for i in portion])
    work.compute(engine)
    logp = iter(work.logp)
    for number, portion in parts:
        found[number] |= {i: tuple(next(logp).tolist()) for i in portion}


@dataclass
class Work:
    """Stems of several calls, and what is read off them."""

    stems: list[Stem]
    wanted: list[list[tuple[int, int]]]
    """By stem: numbers of texts, and the places of their tokens that are predicted there."""
    texts: list[Text]

    def __post_init__(self) -> None:
        self.logp: list[np.ndarray] = []

    def add(self, texts: Sequence[Text]) -> None:
        """The texts of a call. What follows a text's last token nobody asks, so that is no part of a stem."""
        made, ends = stems([text[:-1] for text, _ in texts])
        base = len(self.stems)
        self.stems += [replace(stem, behind=stem.behind + base) if stem.behind >= 0 else stem for stem in made]
        self.wanted += [[] for _ in made]
        for (text, start), end in zip(texts, ends, strict=True):
            at, stop = base + end, len(text)
            while stop > start:
                first = max(self.stems[at].start + 1, start)
                self.wanted[at] += [(len(self.texts), place) for place in range(first, stop)]
                at, stop = self.stems[at].behind, min(stop, first)
            self.texts.append((text, start))
            self.logp.append(np.zeros(len(text) - start, dtype=np.float32))

    def compute(self, engine: Passes) -> None:
        """Stems that hang equally deep and are equally long in one pass, each behind the keys and values of those it hangs on."""
        past: dict[int, list[Tensor]] = {}
        needed = {stem.behind for stem in self.stems}
        alike: dict[tuple[int, int, int], list[int]] = {}
        for number, stem in enumerate(self.stems):
            short = stem.start and len(stem.tokens) < 32  # one that begins a text fills its cache
            size = ceil_to(len(stem.tokens), 4) if short else bucket(len(stem.tokens))
            alike.setdefault((stem.depth, size, bucket(stem.start + size)), []).append(number)
        for (_, size, length), numbers in sorted(alike.items()):
            most = engine.rows_at_once(size, length)
            for i in range(0, len(numbers), most):
                part = numbers[i : i + most]
                made = [self.stems[n] for n in part]
                before = [_first(past.get(stem.behind, []), stem.start) for stem in made]
                kv, states = engine.forward([(stem.tokens, kvs) for stem, kvs in zip(made, before, strict=True)], size, length)
                engine.counters.scored += sum(len(stem.tokens) for stem in made)
                for row, (n, stem) in enumerate(zip(part, made, strict=True)):
                    if n in needed:
                        past[n] = [*before[row], kv[:, :, row, :, stem.start : stem.start + len(stem.tokens)].clone()]
                self._read(engine, part, states)

    def _read(self, engine: Passes, part: Sequence[int], states: Tensor) -> None:
        """What these states give to the tokens behind them; a state that several ask about goes through the head once."""
        asked = [(row, place - 1 - self.stems[n].start, text, place) for row, n in enumerate(part) for text, place in self.wanted[n]]
        spots = {spot: i for i, spot in enumerate(dict.fromkeys((row, at) for row, at, _, _ in asked))}
        if not spots:
            return
        rows, at = (engine.to(np.array(each)) for each in zip(*spots, strict=True))
        spot_K = np.array([spots[row, at] for row, at, _, _ in asked])
        token_K = np.array([self.texts[text][0][place] for _, _, text, place in asked])
        value_K = np.zeros(len(asked), dtype=np.float32)
        piece = max(1, LOGITS // engine.vocab)
        for first in range(0, len(spots), piece):
            logits = engine.runner.head(states[rows[first : first + piece], at[first : first + piece]]).float()
            here = np.flatnonzero((spot_K >= first) & (spot_K < first + piece))
            row_K = engine.to(spot_K[here] - first)
            value_K[here] = (logits[row_K, engine.to(token_K[here])] - logits.logsumexp(-1)[row_K]).cpu().numpy()
        for value, (_, _, text, place) in zip(value_K, asked, strict=True):
            self.logp[text][place - self.texts[text][1]] = value


def _first(past: Sequence[Tensor], count: int) -> list[Tensor]:
    """Of keys and values in pieces, those of the first so many positions."""
    kept: list[Tensor] = []
    for kv in past:
        kept += [kv[:, :, :, :count]] if count > 0 else []
        count -= kv.shape[3]
    return kept


def bucket(length: int) -> int:
    """Padded length of a pass: multiples of 16, coarser for long texts."""
    return ceil_to(length, 16 if length <= 256 else 64)
