"""A pass over rows that begin alike, with each beginning computed once.

The eight replies to a question share its prompt, and all questions share their worked examples. The body runs level by level: what all
prompts begin with; what each prompt has behind it; what each row has behind its prompt. A level sees the one before through its keys
and values, which are part of the graph, so a beginning's gradient is the sum over all that follow it: the pass is the plain one in fewer
positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from strop.batch import Packed
from strop.policies.forward import cache_name

LEAST = 8
"""Tokens that all prompts have in common, from which they are a level of their own."""
WORTH = 0.5
"""Of the plain pass's positions, the share below which levels are worth their calls."""


@dataclass(frozen=True)
class Level:
    pieces: tuple[tuple[int, ...], ...]
    parent: tuple[int, ...]
    """For each piece, the one that it stands behind in the level before."""


def levels(rows: Sequence[Packed]) -> list[Level] | None:
    """None where a plain pass computes little more."""
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    if not all(prompts):
        return None
    of = {prompt: i for i, prompt in enumerate(prompts)}
    common = min(_alike(prompts), min(map(len, prompts)) - 1) if len(prompts) > 1 else 0
    common = common if common >= LEAST else 0
    made = [Level((prompts[0][:common],), (0,))] if common else []
    made.append(Level(tuple(prompt[common:] for prompt in prompts), (0,) * len(prompts)))
    made.append(Level(tuple(row.tokens[len(row.prompt) :] for row in rows), tuple(of[row.prompt] for row in rows)))
    if not any(made[-1].pieces):
        return None
    positions = sum(len(level.pieces) * max(map(len, level.pieces)) for level in made)
    return made if positions <= WORTH * len(rows) * max(len(row.tokens) for row in rows) else None


def _alike(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all begin with: as many as the least and the greatest of them share."""
    least, most = min(prompts), max(prompts)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False)))


def fits(model: Any, rows: Sequence[Packed]) -> bool:
    """Whether a cache keeps all of these rows: layers with a shorter window forget their beginning."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return window is None or max(len(row.tokens) for row in rows) < window


def run(model: Any, found: Sequence[Level], pad: int) -> tuple[Tensor, Tensor]:
    """States [rows, 1 + T, hidden] of each row from its prompt's last token on, and the mean state [rows, hidden] of its prompt."""
    device, name = model.device, cache_name(model)
    past: dict[str, Any] = {}
    length = torch.zeros(1, dtype=torch.long, device=device)
    seen, total, last = torch.zeros(1, 0, dtype=torch.long, device=device), torch.zeros(1, 1, device=device), torch.empty(0)
    ragged = False
    for level in found:
        parent, width = torch.tensor(level.parent, device=device), max(map(len, level.pieces))
        size = torch.tensor([len(piece) for piece in level.pieces], device=device)
        ids = torch.tensor([[*piece, *[pad] * (width - len(piece))] for piece in level.pieces], device=device)
        inside = (torch.arange(width, device=device) < size[:, None]).long()
        ragged |= any(len(piece) < width for piece in level.pieces)
        seen, length, total = torch.cat([seen[parent], inside], 1), length[parent], total[parent]
        for cache in past.values():
            cache.batch_select_indices(parent)
        out = model.base_model(
            input_ids=ids,
            attention_mask=seen if ragged else None,
            position_ids=length[:, None] + torch.arange(width, device=device),
            use_cache=True,
            **past,
        )
        state, past = out.last_hidden_state, {name: getattr(out, name)}
        if level is found[-1]:
            return torch.cat([last[parent][:, None], state], 1), total / length[:, None]
        total = total + (state * inside[..., None]).sum(1)
        length, last = length + size, state[torch.arange(len(size), device=device), size - 1]
    raise ValueError("a pass needs a level for its rows")
