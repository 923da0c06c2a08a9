"""The first batch, token by token, for whoever looks at the run: what is trained is what the signals select, not what the rows ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from strop.batch import Batch
from strop.records import Group

NAME = "first_batch.json"
SHOWN, PROMPT, LONGEST = 2, 40, 160
"""Rows that are shown, the most tokens at the end of a prompt, and the most tokens of a row."""


def pieces(groups: Sequence[Group], batch: Batch, trained_T: Tensor, tokenizer: Any) -> list[dict[str, Any]]:
    """The first row of the first rollout of the first groups, token by token."""
    rows = {(r.id, i): row for g in groups for r in g.rollouts for i, row in enumerate(r.rows)}
    counts, rollout_W = batch.index.count("token", "row").tolist(), batch.index.rollout_W.tolist()
    group_W, trained = batch.index.up("row", "group").tolist(), trained_T.tolist()
    shown: list[dict[str, Any]] = []
    groups_shown, at = set[int](), 0
    for packed, count, rollout, group in zip(batch.rows, counts, rollout_W, group_W, strict=True):
        if group not in groups_shown and len(shown) < SHOWN:
            groups_shown.add(group)
            on = {p for i, p in enumerate(packed.at) if trained[at + i]}
            kinds = [s.kind for s in rows[batch.units[rollout], 0].segments for _ in s.tokens]
            first = max(0, next((i for i, kind in enumerate(kinds) if kind != "prompt"), 0) - PROMPT)
            last = min(len(packed.tokens), first + LONGEST)
            said = [[tokenizer.decode([packed.tokens[p]]), kinds[p], p in on] for p in range(first, last)]
            shown.append({"rollout": batch.units[rollout], "cut": [first, len(packed.tokens) - last], "tokens": said})
        at += count
    return shown
