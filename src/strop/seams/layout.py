"""Layout: where the tokens of a row stand and what they see, where threads run beside each other and meet again.

    row        prompt  a          <Path> b </Path>   <Path> c </Path>   d
    follows            prompt     a                  a                  both threads
    sees               prompt     prompt a           prompt a           everything
    positions  0 1 2   3 4        5 6 7 8            5 6 7 8            9 10

A segment follows the one before it, or those that its `parents` name; it sees them and what they see, and stands behind the longest. So a
thread is what it would be alone, and what comes after the threads sees them all. A row of the layout `causal` has one line, and no pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from strop.records import Row


class Piece(NamedTuple):
    """One segment of a row of branches."""

    start: int
    """The place of its first token in the row."""
    stop: int
    """One behind its last."""
    position: int
    """Where its first token stands."""
    behind: int
    """The place of the token that it follows: of several the one that stands furthest, of those the first."""
    sees: tuple[int, ...]
    """Numbers of the pieces before it that it sees."""


def pieces(row: Row) -> tuple[Piece, ...]:
    """Of a row of branches; none where each segment sees all before it."""
    if row.layout == "causal":
        return ()
    found, number, start = list[Piece](), dict[str, int](), 0
    for segment in row.segments:
        follows = [number[id] for id in segment.parents] or [len(found) - 1] * bool(found)
        last = max(follows, key=lambda n: _end(found[n]), default=None)
        sees = sorted({n for follow in follows for n in (*found[follow].sees, follow)})
        position, behind = (0, -1) if last is None else (_end(found[last]), _last(found, last))
        number[segment.id] = len(found)
        found.append(Piece(start, start + len(segment.tokens), position, behind, tuple(sees)))
        start = found[-1].stop
    return tuple(found)


def _end(piece: Piece) -> int:
    """The position behind its last token."""
    return piece.position + piece.stop - piece.start


def _last(found: Sequence[Piece], number: int) -> int:
    """The place of its last token; where it has none, of what it follows."""
    piece = found[number]
    return piece.stop - 1 if piece.stop > piece.start else piece.behind


def positions(found: Sequence[Piece], width: int) -> list[int]:
    """Of `width` places; places behind the row count on, and are read by nobody."""
    at = [piece.position + n for piece in found for n in range(piece.stop - piece.start)]
    return [*at, *range(len(at), width)]


def unseen(found: Sequence[Piece], width: int) -> Tensor:
    """[width, width], True where the place of the column is hidden from that of the row. Without pieces: what comes later."""
    hidden = torch.ones(width, width, dtype=torch.bool).triu(1)
    for piece in found:
        for number, other in enumerate(found):
            if other.start < piece.start and number not in piece.sees:
                hidden[piece.start : piece.stop, other.start : other.stop] = True
    return hidden
