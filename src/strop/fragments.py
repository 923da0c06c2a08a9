"""Fragments: what a set of examples can teach at most, by what it shows to act alike (the coverage principle, arXiv:2505.20278).

A fragment is what stands at some places of an input, its context what stands at the others. Two fragments of the same places are alike at k
where at least k contexts were seen with both and the output was the same each time; so are those that a chain of such pairs joins. An
input is k-covered where exchanging alike fragments leads from it to an input that was seen.

Inputs are rows of whole numbers from 0, each with one output; `numbered` makes them of texts. Pure functions of arrays: what takes long is
a sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Places = tuple[int, ...]
Pair = tuple[str, str]
"""A question and its answer."""

WIDEST = 6
"""Places of an input: it has 2^6 - 2 kinds of fragments."""
MOST = 50_000_000
"""Pairs of fragments that stand in one context, over all contexts, and are held at a time."""
UPTO = 20
"""The largest k that is looked for."""
KEYS = ("places", "size")


@dataclass(frozen=True)
class Seen:
    """The examples, each input once."""

    inputs: Numbers
    """[N, width]"""
    outputs: Numbers
    """[N]"""
    base: int
    """Above every token, also of what will be asked."""

    @staticmethod
    def of(inputs: Any, outputs: Any, *, base: int = 0) -> Seen:
        """Refuses an input with two outputs: what is no function has no coverage."""
        rows, said = _table(inputs), np.asarray(outputs, dtype=np.int64)
        if len(rows) != len(said) or not len(rows):
            raise ValueError(f"{len(rows)} inputs and {len(said)} outputs: coverage is by examples, at least one, with an output each")
        base, width = max(base, int(rows.max()) + 1), rows.shape[1]
        if base**width >= 1 << 40:
            raise ValueError(f"{width} places of {base} tokens give more inputs than are told apart here: number those that occur from 0")
        _, first, which = np.unique(_code(rows, range(width), base), return_index=True, return_inverse=True)
        if (wrong := np.flatnonzero(said != said[first][which])).size:
            row, one, other = rows[wrong[0]].tolist(), said[first][which][wrong[0]], said[wrong[0]]
            raise ValueError(f"the input {row} has two outputs, {one} and {other}: only what a function says of its inputs has a coverage")
        first = np.sort(first)
        return Seen(rows[first], said[first], base)

    @property
    def kinds(self) -> tuple[Places, ...]:
        """Of fragments: every choice of places that leaves a context."""
        places = range(self.inputs.shape[1])
        return tuple(chosen for size in places[1:] for chosen in combinations(places, size))


@dataclass(frozen=True)
class Alike:
    """Pairs of fragments of one kind that shared contexts and never contradicted each other."""

    places: Places
    fragments: Numbers
    """One number for each that was seen, sorted."""
    one: Numbers
    """Of each pair, as its place in `fragments`."""
    other: Numbers
    times: Numbers
    """Contexts in which the pair agreed."""

    def named(self, k: int) -> Numbers:
        """For each fragment the smallest one that is alike at k."""
        enough = self.times >= k
        return self.fragments[united(len(self.fragments), self.one[enough], self.other[enough])]


def alike(seen: Seen, places: Places) -> Alike:
    """What the examples say of fragments at these places. Looks for pairs where they agree, and only of those for contradictions."""
    _, context = np.unique(_code(seen.inputs, _others(places, seen.inputs.shape[1]), seen.base), return_inverse=True)
    fragments, fragment = np.unique(_code(seen.inputs, places, seen.base), return_inverse=True)
    _, said = np.unique(seen.outputs, return_inverse=True)
    agree = context * (said.max() + 1) + said
    order = np.lexsort((fragment, agree))
    first, second = _pairs(agree[order])
    pair, times = np.unique(fragment[order][first] * len(fragments) + fragment[order][second], return_counts=True)
    one, other = pair // len(fragments), pair % len(fragments)
    spared = _shared(one, other, fragment, context) == times
    return Alike(places, fragments, one[spared], other[spared], times[spared])


def united(size: int, one: Numbers, other: Numbers) -> Numbers:
    """Union-find over arrays: for each of `size` things the smallest that a chain of these pairs leads to.

    >>> united(5, np.array([4, 1]), np.array([2, 2])).tolist()
    [0, 1, 1, 3, 1]
    """
    root = np.arange(size)
    while True:
        a, b = root[one], root[other]
        if not (apart := a != b).any():
            return root
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(up := root[root], root):
            root = up


def covered(seen: Seen, asked: Any, k: int, *, found: Sequence[Alike] | None = None, key: str = "places", labels: Any = None) -> Flags:
    """Which of the inputs asked for are k-covered by what was seen. On the way exchanges may lead over others that are asked for.

    `found` is what `alike` gave for the kinds of fragments that are looked at; without it all are. Where alike fragments were seen with
    two outputs in one context (a chain may join what contradicts itself), that context says nothing of other inputs.

    The released forms: `key="size"` tells kinds apart by how many places they have alone, which takes fragments of different places for
    each other, and `labels`, the true outputs of what is asked, lets exchanges lead between inputs of one output alone.
    """
    if key not in KEYS:
        raise ValueError(f"key={key!r}: kinds of fragments are told apart by their 'places', or, as was released, by their 'size' alone")
    if k < 1:
        raise ValueError(f"k={k}: what is alike was seen in one context at least")
    rows, known = _table(asked, seen.inputs.shape[1]), len(seen.inputs)
    if rows.size and rows.max() >= seen.base:
        raise ValueError(f"an input that is asked for holds token {rows.max()}, above all that were declared: Seen.of(…, base=…)")
    nodes = np.concatenate([seen.inputs, rows])
    found = [alike(seen, places) for places in seen.kinds] if found is None else found
    bucket = np.concatenate([_standing(one, nodes, k, seen.base, _tag(one, key)) for one in found])
    if labels is not None:
        said, which = np.unique(np.concatenate([seen.outputs, np.asarray(labels, dtype=np.int64)]), return_inverse=True)
        bucket = bucket * len(said) + np.tile(which, len(found))
    _, bucket = np.unique(bucket, return_inverse=True)
    node = np.tile(np.arange(len(nodes)), len(found))
    if labels is None:
        clear = _clear(bucket.reshape(len(found), -1)[:, :known], int(bucket.max()) + 1, seen.outputs)[bucket]
        node, bucket = node[clear], bucket[clear]
    # all that was seen is covered, so it is one node, the first
    root = united(len(nodes) + int(bucket.max(initial=0)) + 1, np.where(node < known, 0, node), len(nodes) + bucket)
    return root[known : len(nodes)] == 0


def largest(
    seen: Seen, asked: Any, upto: int = UPTO, *, found: Sequence[Alike] | None = None, key: str = "places", labels: Any = None
) -> Numbers:
    """For each input the largest k at which it is covered; 0 where it is at none."""
    found = [alike(seen, places) for places in seen.kinds] if found is None else found
    best = np.zeros(len(asked), np.int64)
    for k in range(1, min(upto, max((int(one.times.max(initial=0)) for one in found), default=0)) + 1):
        best[covered(seen, asked, k, found=found, key=key, labels=labels)] = k
    return best


def often(seen: Seen, asked: Any, places: Places) -> Numbers:
    """How many examples hold what each input has at these places."""
    held = np.sort(_code(seen.inputs, places, seen.base))
    wanted = _code(_table(asked, seen.inputs.shape[1]), places, seen.base)
    return np.searchsorted(held, wanted, side="right") - np.searchsorted(held, wanted, side="left")


def numbered(train: Sequence[Pair], asked: Sequence[Pair]) -> tuple[Seen, Numbers, Numbers, int]:
    """(examples, questions asked, their answers, tokens), as numbers. Refuses one question with two answers, and lengths that differ."""
    answered = dict[str, str]()
    for question, answer in train:
        if answered.setdefault(question, answer) != answer:
            raise ValueError(f"{question!r} is answered by {answered[question]!r} and by {answer!r}: only a function has a coverage")
    texts = [words(question) for question in (*answered, *(question for question, _ in asked))]
    if len(lengths := {len(text) for text in texts}) > 1:
        raise ValueError(
            f"questions have {min(lengths)} to {max(lengths)} tokens: fragments are compared place by place, so all are as long"
        )
    name = {token: number for number, token in enumerate(dict.fromkeys(token for text in texts for token in text))}
    says = {answer: number for number, answer in enumerate(dict.fromkeys([*answered.values(), *(answer for _, answer in asked)]))}
    rows = np.array([[name[token] for token in text] for text in texts], dtype=np.int64)
    seen = Seen.of(rows[: len(answered)], [says[answer] for answer in answered.values()], base=len(name))
    return seen, rows[len(answered) :], np.array([says[answer] for _, answer in asked], dtype=np.int64), len(name)


def words(text: str) -> list[str]:
    """
    >>> words("abc"), words("a bc")
    (['a', 'b', 'c'], ['a', 'bc'])
    """
    said = text.split()
    return said if len(said) > 1 else list(text.strip())


def _table(inputs: Any, width: int | None = None) -> Numbers:
    rows = np.asarray(inputs, dtype=np.int64)
    rows = rows.reshape(0, width or 2) if not rows.size else rows
    if rows.ndim != 2 or not 2 <= rows.shape[1] <= WIDEST or rows.shape[1] != (width or rows.shape[1]):
        raise ValueError(f"inputs are rows of {width or f'2 to {WIDEST}'} tokens, all as long, got an array of shape {list(rows.shape)}")
    if rows.min(initial=0) < 0:
        raise ValueError(f"tokens are whole numbers from 0, got {rows.min()}")
    return rows


def _code(rows: Numbers, places: Sequence[int], base: int) -> Numbers:
    """One number for what stands at these places."""
    code = np.zeros(len(rows), np.int64)
    for place in places:
        code = code * base + rows[:, place]
    return code


def _others(places: Places, width: int) -> Places:
    return tuple(place for place in range(width) if place not in places)


def _pairs(group: Numbers) -> tuple[Numbers, Numbers]:
    """Every two places of sorted numbers that hold the same one."""
    place = np.arange(len(group))
    first, offset = _spread(np.searchsorted(group, group, side="right") - place - 1)
    return first, first + 1 + offset


def _shared(one: Numbers, other: Numbers, fragment: Numbers, context: Numbers) -> Numbers:
    """In how many contexts both fragments of each pair were seen: those of the rarer one are looked up with the other."""
    size = np.bincount(fragment)
    one, other = np.where(size[one] <= size[other], one, other), np.where(size[one] <= size[other], other, one)
    order = np.lexsort((context, fragment))
    begin, there = np.cumsum(size) - size, (fragment * (context.max() + 1) + context)[order]
    pair, offset = _spread(size[one])
    wanted = other[pair] * (context.max() + 1) + context[order][begin[one][pair] + offset]
    met = there[np.minimum(np.searchsorted(there, wanted), len(there) - 1)] == wanted
    return np.bincount(pair[met], minlength=len(one))


def _spread(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Each number's place so often as it says, and which time it is: of [2, 0, 1], [0, 0, 2] and [0, 1, 0]."""
    if (total := int(counts.sum())) > MOST:
        raise ValueError(f"{total:,} pairs of fragments share a context, and {MOST:,} are held at a time: fewer examples, or more tokens")
    return np.repeat(np.arange(len(counts)), counts), np.arange(total) - np.repeat(counts.cumsum() - counts, counts)


def _tag(one: Alike, key: str) -> int:
    """What tells kinds of fragments apart: each place is a bit; or how many there are."""
    return sum(1 << place for place in one.places) if key == "places" else len(one.places)


def _standing(one: Alike, nodes: Numbers, k: int, base: int, tag: int) -> Numbers:
    """One number for what each input is but for alike fragments: the kind, the fragment's name at k, the context."""
    width = nodes.shape[1]
    fragment, context = _code(nodes, one.places, base), _code(nodes, _others(one.places, width), base)
    at = np.minimum(np.searchsorted(one.fragments, fragment), len(one.fragments) - 1)
    fragment = np.where(one.fragments[at] == fragment, one.named(k)[at], fragment)
    return tag * base**width + fragment * base ** (width - len(one.places)) + context


def _clear(taught: Numbers, size: int, outputs: Numbers) -> Flags:
    """Of each bucket whether what was seen in it has one output, or nothing was."""
    low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, np.iinfo(np.int64).min)
    for row in taught:
        np.minimum.at(low, row, outputs)
        np.maximum.at(high, row, outputs)
    return low >= high
