"""Drawing a token: noise that is a function of its address, and the distribution it selects from.

Axes: N rows, V vocabulary. Nothing here depends on which rows stand beside a row, so a
decision is the same whatever the schedule: noise comes from a hash of (seed, step, root,
path, position), sums run along V only, and no step is elementwise over a ragged end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from strop.records import Sampling, canonical

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BLOCK = 512
"""Tokens whose weights are summed first; the draw looks for its block, then for its token there."""
_ENTRIES = {"cpu": 1 << 19, "cuda": 1 << 27}
"""Entries of [N, V] drawn at one time: on a CPU so many stay in its cache from the first operation to the last."""


def key(seed: int, step: int, root: str, path: Sequence[int], policy: str = "actor") -> int:
    """64 bits that name one segment's noise. Two policies that are asked at one place draw apart."""
    text = canonical([seed, step, root, list(path), *([] if policy == "actor" else [policy])])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms(key_N: np.ndarray, position_N: np.ndarray) -> np.ndarray:
    """One number in [0, 1) per row: the splitmix64 stream of its key at its position.

    52 bits, so that u * total stays below total in float64 and never selects past the end.
    """
    z_N = key_N + (position_N.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    z_N = (z_N ^ (z_N >> np.uint64(30))) * _MIX_A
    z_N = (z_N ^ (z_N >> np.uint64(27))) * _MIX_B
    z_N = z_N ^ (z_N >> np.uint64(31))
    return (z_N >> np.uint64(12)).astype(np.float64) * 2.0**-52


def shaped(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    """Logits of the distribution that `sampling` (temperature above 0) draws from; left-out tokens are -inf.

    In the order of transformers' warpers: allowed ids, temperature, top-k (ties with the
    k-th stay), top-p (the smallest set of top tokens that holds at least that mass).
    """
    logits_NV = logits_NV.float()
    if sampling.allowed is not None:
        logits_NV = _only(logits_NV, sampling.allowed)
    if sampling.temperature not in (0.0, 1.0):
        logits_NV = logits_NV / sampling.temperature
    if 0 < sampling.top_k < logits_NV.shape[-1]:
        least_N1 = logits_NV.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits_NV = logits_NV.masked_fill(logits_NV < least_N1, -torch.inf)
    if sampling.top_p < 1.0:
        sorted_NV, order_NV = logits_NV.sort(dim=-1, descending=True, stable=True)
        mass_NV = sorted_NV.softmax(-1)
        before_NV = mass_NV.cumsum(-1, dtype=torch.float64) - mass_NV
        sorted_NV = sorted_NV.masked_fill(before_NV >= sampling.top_p, -torch.inf)
        logits_NV = torch.empty_like(logits_NV).scatter_(-1, order_NV, sorted_NV)
    return logits_NV


def draw(logits_MV: Tensor, uniform_N: np.ndarray, sampling: Sampling, row_N: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Token and log-probability per draw, by inverting the distribution function at its uniform.

    Draw n is from row `row_N[n]`, by default from row n. Weights are summed in float64: in float32 the sum of a large
    vocabulary is off by more than the rare tokens weigh. They are summed block by block, then inside the block that the
    draw falls into, so nothing of float64 is as large as the vocabulary. Temperature 0 takes the largest logit, the first
    of equals, and its log-probability is 0: it was certain.
    """
    row_N = np.arange(len(uniform_N)) if row_N is None else row_N
    parts = [_draw(logits_MV[rows], uniform_N[at], sampling) for at, rows in _pieces(row_N, logits_MV)]
    token_N, logp_N = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return token_N, logp_N


def _pieces(row_N: np.ndarray, logits_MV: Tensor) -> Iterator[tuple[slice, Tensor | slice]]:
    """Draws that are made at one time, and their rows."""
    most = max(1, _ENTRIES.get(logits_MV.device.type, 1 << 24) // logits_MV.shape[-1])
    for first in range(0, len(row_N), most):
        at = slice(first, first + most)
        rows = row_N[at]
        run = (np.diff(rows) == 1).all()  # a view of the logits is enough
        yield at, slice(rows[0], rows[-1] + 1) if run else torch.from_numpy(rows).to(logits_MV.device)


def _draw(logits_NV: Tensor, uniform_N: np.ndarray, sampling: Sampling) -> tuple[Tensor, Tensor]:
    logits_NV = shaped(logits_NV, sampling)
    if sampling.temperature == 0:
        top_N, token_N = logits_NV.max(-1)
        return token_N, torch.where(top_N.isfinite(), 0.0, torch.nan)
    # softmax goes row by row; operations over all entries at once have ends, whose bits depend on how many rows there are.
    weight_NV = logits_NV.softmax(-1)
    token_N1, total_N1 = _inverted(weight_NV, torch.from_numpy(uniform_N).to(logits_NV.device)[:, None])
    return token_N1[:, 0], (weight_NV.gather(-1, token_N1) / total_N1).log()[:, 0].float()


def _inverted(weight_NV: Tensor, uniform_N1: Tensor) -> tuple[Tensor, Tensor]:
    """The token in whose part of the weights' sum each uniform falls, and the sum."""
    V = weight_NV.shape[-1]
    if V <= 8 * _BLOCK:
        until_NV = weight_NV.cumsum(-1, dtype=torch.float64)
        return torch.searchsorted(until_NV, uniform_N1 * until_NV[:, -1:], right=True).clamp_(max=V - 1), until_NV[:, -1:]
    weight_NBK = (F.pad(weight_NV, (0, -V % _BLOCK)) if V % _BLOCK else weight_NV).unflatten(-1, (-1, _BLOCK))
    until_NB = weight_NBK.sum(-1, dtype=torch.float64).cumsum(-1)
    target_N1 = uniform_N1 * until_NB[:, -1:]
    block_N1 = torch.searchsorted(until_NB, target_N1, right=True).clamp_(max=until_NB.shape[1] - 1)
    before_N1 = torch.where(block_N1 > 0, until_NB.gather(-1, (block_N1 - 1).clamp_min(0)), 0.0)
    inside_NK = weight_NBK[torch.arange(len(block_N1), device=block_N1.device), block_N1[:, 0]].cumsum(-1, dtype=torch.float64)
    # Sums along two ways end a rounding apart: what lies past the last token of its block that weighs anything is that token.
    past_N1 = torch.minimum(target_N1 - before_N1, inside_NK[:, -1:] * (1 - 2.0**-52))
    place_N1 = torch.searchsorted(inside_NK, past_N1, right=True).clamp_(max=_BLOCK - 1)
    return (block_N1 * _BLOCK + place_N1).clamp_(max=V - 1), until_NB[:, -1:]


def logp_of(logits_NV: Tensor, token_N: Tensor, sampling: Sampling) -> Tensor:
    """Log-probability of given tokens under `sampling`, for text that exists already."""
    parts: list[Tensor] = []
    for at, rows in _pieces(np.arange(len(token_N)), logits_NV):
        shaped_NV, token_N1 = shaped(logits_NV[rows], sampling), token_N[at, None]
        if sampling.temperature == 0:
            logp_N1 = torch.where(shaped_NV.argmax(-1, keepdim=True) == token_N1, 0.0, -torch.inf)
        else:
            logp_N1 = shaped_NV.log_softmax(-1).gather(-1, token_N1)
        parts.append(logp_N1[:, 0])
    return torch.cat(parts)


def _only(logits_NV: Tensor, allowed: tuple[int, ...]) -> Tensor:
    inside_V = torch.zeros(logits_NV.shape[-1], dtype=torch.bool, device=logits_NV.device)
    inside_V[list(allowed)] = True
    return logits_NV.masked_fill(~inside_V, -torch.inf)
