"""Drawing a token: noise that is a function of its address, and the distribution it selects from.

Axes: N rows, V vocabulary. Nothing here depends on which rows stand beside a row, so a
decision is the same whatever the schedule: noise comes from a hash of (seed, step, root,
path, position), sums run along V only, and no step is elementwise over a ragged end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from strop.records import Sampling, canonical

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROWS_AT_ONCE = 1 << 24
"""Entries of [N, V] drawn at one time: the float64 distribution of a large vocabulary is made in pieces."""


def key(seed: int, step: int, root: str, path: Sequence[int]) -> int:
    """64 bits that name one segment's noise."""
    text = canonical([seed, step, root, list(path)])
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


def draw(logits_NV: Tensor, uniform_N: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Token and log-probability per row, by inverting the distribution function at the row's uniform.

    The distribution is summed in float64: in float32 the sum of a large vocabulary is off
    by more than the rare tokens weigh. Temperature 0 takes the largest logit, the first of
    equals, and its log-probability is 0: it was certain.
    """
    rows = max(1, _ROWS_AT_ONCE // logits_NV.shape[-1])
    if logits_NV.shape[0] > rows:
        pieces = [draw(logits_NV[i : i + rows], uniform_N[i : i + rows], sampling) for i in range(0, logits_NV.shape[0], rows)]
        return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])
    logits_NV = shaped(logits_NV, sampling)
    if sampling.temperature == 0:
        token_N = logits_NV.argmax(-1)
        return token_N.cpu().numpy(), np.where(torch.isfinite(logits_NV.amax(-1)).cpu().numpy(), np.float32(0), np.float32(np.nan))
    cdf_NV = logits_NV.softmax(-1).cumsum(-1, dtype=torch.float64)
    target_N1 = torch.from_numpy(uniform_N).to(logits_NV.device)[:, None] * cdf_NV[:, -1:]
    token_N1 = torch.searchsorted(cdf_NV, target_N1, right=True).clamp_(max=logits_NV.shape[-1] - 1)
    logp_N = logits_NV.log_softmax(-1).gather(-1, token_N1)[:, 0]
    return token_N1[:, 0].cpu().numpy(), logp_N.cpu().numpy()


def logp_of(logits_NV: Tensor, token_N: Tensor, sampling: Sampling) -> Tensor:
    """Log-probability of given tokens under `sampling`, for text that exists already."""
    if sampling.temperature == 0:
        shaped_NV = shaped(logits_NV, sampling)
        return torch.where(shaped_NV.argmax(-1) == token_N, 0.0, -torch.inf)
    return shaped(logits_NV, sampling).log_softmax(-1).gather(-1, token_N[:, None])[:, 0]


def _only(logits_NV: Tensor, allowed: tuple[int, ...]) -> Tensor:
    inside_V = torch.zeros(logits_NV.shape[-1], dtype=torch.bool, device=logits_NV.device)
    inside_V[list(allowed)] = True
    return logits_NV.masked_fill(~inside_V, -torch.inf)
