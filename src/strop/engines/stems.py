"""Texts that begin alike, as stems: what they have in common is computed once.

    a b c d e        stem 0 behind nothing: a b c d e
    a b c X Y        stem 1 behind 3 tokens of stem 0: X Y
    a b c X          ends in stem 1
    a b Z            stem 2 behind 2 tokens of stem 0: Z

Where texts part, the longest goes on and the others hang on it, so few stems hang deep. A stem's past is the keys and values of those it
stands behind: `depth` 0 is computed first. What comes out is a function of the texts, whatever their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Stem:
    tokens: Tokens
    """Its own."""
    behind: int
    """The number of the stem that it hangs on; -1 where it begins a text."""
    start: int
    """The place of its first token in the text."""
    depth: int
    """Stems before it."""


def stems(texts: Sequence[Tokens]) -> tuple[list[Stem], list[int]]:
    """All of them, each behind the one it hangs on, and for each text the stem that it ends in."""
    sorted_ = sorted(set(texts))
    alike, found, ends = _alike(sorted_), list[Stem](), dict[Tokens, int]()
    todo = [(0, len(sorted_), 0, -1, 0)] if sorted_ else []
    while todo:
        first, last, start, behind, depth = todo.pop()
        while first < last:  # one stem for each bundle of texts that have a token more in common
            end = next((i for i in range(first + 1, last) if alike[i] <= start), last)
            longest = max(range(first, end), key=lambda i: len(sorted_[i]))
            text, number = sorted_[longest], len(found)
            found.append(Stem(text[start:], behind, start, depth))
            for place, (at, many) in _hanging(alike, first, end, longest):
                begin = next((i for i in range(at, many) if len(sorted_[i]) > place), many)
                ends.update(dict.fromkeys(sorted_[at:begin], number))
                todo.append((begin, many, place, number, depth + 1))
            ends[text] = number
            first = end
    return found, [ends[text] for text in texts]


def _hanging(alike: Sequence[int], first: int, end: int, longest: int) -> list[tuple[int, tuple[int, int]]]:
    """Where on the longest text the others hang, and which: neighbours in their order."""
    found, place, at = list[tuple[int, tuple[int, int]]](), 1 << 62, longest
    for i in range(longest, first, -1):  # backwards: what text i - 1 has in common with the longest
        if alike[i] < place:
            if i < at:
                found.append((place, (i, at)))
            place, at = alike[i], i
    if first < at:
        found.append((place, (first, at)))
    place, at = 1 << 62, longest + 1
    for i in range(longest + 1, end):
        if alike[i] < place:
            if at < i:
                found.append((place, (at, i)))
            place, at = alike[i], i
    if at < end:
        found.append((place, (at, end)))
    return found


def _alike(texts: Sequence[Tokens]) -> list[int]:
    """How many tokens each has in common with the one before it."""
    arrays = [np.array(text, dtype=np.int64) for text in texts]
    found = [0]
    for one, other in pairwise(arrays):
        least = min(len(one), len(other))
        apart = np.flatnonzero(one[:least] != other[:least])
        found.append(int(apart[0]) if len(apart) else least)
    return found


def portions(texts: Sequence[Tokens], most: int) -> list[list[int]]:
    """Numbers of the texts, neighbours in their order, in portions that come to `most` positions of stems, or to one text."""
    order = sorted(range(len(texts)), key=lambda i: texts[i])
    found, held = list[list[int]](), 0
    for i, alike in zip(order, _alike([texts[i] for i in order]), strict=True):
        own = len(texts[i]) - alike
        if not found or held + own > most:
            found.append([])
            own = len(texts[i])
            held = 0
        found[-1].append(i)
        held += own
    return found
