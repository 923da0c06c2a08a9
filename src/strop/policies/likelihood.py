"""How likely each decision was: logits over all ids in, a few numbers per decision out.

Where the vocabulary is real, logits are the largest thing there is (a thousand decisions of 262,144 ids are 1 GiB), so nothing of their
size is made beside them. A few rows at a time, small enough for the processor's cache, they are overwritten by what the slope needs:

    e = exp(z - max z)    logp = z[chosen] - max z - log sum e    entropy = log sum e - sum e (z - max z) / sum e
    dlogp/dz = onehot(chosen) - p    dentropy/dz = -p (log p + entropy)    p = e / sum e

Axes: C decisions, V ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strop.records import Sampling

CACHED = 2**20
"""Logits that are worked on at one time on a CPU: they stay in its cache until all is read from them."""


@dataclass(frozen=True)
class Draws:
    """How decisions were drawn: the learner applies the same temperature and allowed ids."""

    number_C: Tensor
    """Which of the samplings drew it."""
    temperature_C: Tensor | None
    """None where all are 1."""
    allowed: Mapping[int, Tensor]
    """Ids, of the samplings that allow some only."""

    @staticmethod
    def of(samplings: Sequence[Sampling], number_C: Tensor) -> Draws:
        device = number_C.device
        plain = all(s.temperature == 1 for s in samplings)
        temperature_C = None if plain else torch.tensor([s.temperature for s in samplings], dtype=torch.float64, device=device)[number_C]
        allowed = {n: torch.tensor(sorted(s.allowed), device=device) for n, s in enumerate(samplings) if s.allowed is not None}
        return Draws(number_C, temperature_C, allowed)

    def at(self, piece: Tensor | slice) -> Draws:
        return Draws(self.number_C[piece], None if self.temperature_C is None else self.temperature_C[piece], self.allowed)

    def apply_(self, logits: Tensor) -> Tensor:
        """To these decisions' logits, in place."""
        if self.temperature_C is not None:
            logits.div_(self.temperature_C.to(logits.dtype)[:, None])
        for number, ids in self.allowed.items():
            barred = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device).index_fill_(0, ids, False)
            logits.masked_fill_((self.number_C == number)[:, None] & barred, torch.finfo(logits.dtype).min)
        return logits

    def cooled(self, slope_C: Tensor) -> Tensor:
        """A slope in the logits that were drawn from, as one in the model's."""
        return slope_C if self.temperature_C is None else slope_C / self.temperature_C.to(slope_C.dtype)

    def free(self, target_C: Tensor) -> Tensor:
        """Whether the chosen id was one of those allowed, so that its logit moved anything."""
        free_C = torch.ones_like(target_C, dtype=torch.bool)
        for number, ids in self.allowed.items():
            free_C &= (self.number_C != number) | torch.isin(target_C, ids)
        return free_C


def likelihood(logits: Tensor, target_C: Tensor, draws: Draws, want: frozenset[str], *, once: bool = False) -> dict[str, Tensor]:
    """`logp_T`, and `entropy_T` and the looks that are wanted. The logits are overwritten. `once`: their slope will be asked for once,
    and may overwrite them again."""
    names = ("logp_T", *(name for name in ("entropy_T", *LOOKS) if name in want))
    return dict(zip(names, Likelihood.apply(logits, target_C, draws, names, once), strict=True))  # pyright: ignore[reportArgumentType]


class Likelihood(torch.autograd.Function):
    """In every piece of rows: draws applied, the maximum taken off, exp. What is read is read on the way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target_C: Tensor, draws: Draws, names: tuple[str, ...], once: bool) -> tuple[Tensor, ...]:
        found = {name: logits.new_empty(len(logits)) for name in names}
        total_C = logits.new_empty(len(logits))
        for rows in _pieces(logits):
            z, target = draws.at(rows).apply_(logits[rows]), target_C[rows]
            z.sub_(z.amax(-1, keepdim=True))
            chosen = z.gather(-1, target[:, None])[:, 0]
            seen = {name: look(z) for name, look in BEFORE.items() if name in names}
            if "entropy_T" in names:
                e = z.exp()
                weighed = z.clamp_min_(torch.finfo(z.dtype).min).mul_(e).sum(-1)
                z.copy_(e)
            else:
                e, weighed = z.exp_(), None
            total = total_C[rows] = e.sum(-1)
            log = total.log()
            found["logp_T"][rows] = chosen - log
            if weighed is not None:
                found["entropy_T"][rows] = log - weighed / total
            for name, value in seen.items():
                found[name][rows] = log + value
            for name, look in AFTER.items():
                if name in names:
                    found[name][rows] = look(e, target) / total
        ctx.draws, ctx.names, ctx.once = draws, names, once
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(found[name] for name in LOOKS if name in names))
        ctx.save_for_backward(logits, target_C, total_C, found.get("entropy_T"))
        return tuple(found.values())

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        e_CV, target_C, total_C, entropy_C = ctx.saved_tensors
        slope = dict(zip(ctx.names, slopes, strict=True))
        pull_C, bend_C = (None if (s := slope.get(name)) is None else ctx.draws.cooled(s) for name in ("logp_T", "entropy_T"))
        pull_C, free_C = torch.zeros_like(total_C) if pull_C is None else pull_C, ctx.draws.free(target_C)
        slope_CV = e_CV if ctx.once else torch.empty_like(e_CV)
        for rows in _pieces(e_CV):
            e, total, pull = e_CV[rows], total_C[rows], pull_C[rows]
            bow = None
            if bend_C is not None:
                bow = torch.xlogy(e, e).add_(e * (entropy_C[rows] - total.log())[:, None]).mul_((bend_C[rows] / total)[:, None])
            out = torch.mul(e, -(pull / total)[:, None], out=slope_CV[rows])
            out.scatter_add_(-1, target_C[rows, None], (pull * free_C[rows])[:, None])
            if bow is not None:
                out.sub_(bow)
        return slope_CV, None, None, None, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    most = len(logits) if logits.device.type != "cpu" else max(CACHED // logits.shape[-1], 1)
    return (slice(start, start + most) for start in range(0, len(logits), max(most, 1)))


def _certainty(z: Tensor) -> Tensor:
    """KL(uniform || policy) over the ids that could be drawn, log sum exp(z) - mean(z) - log(their number): how far from not knowing."""
    open_CV = z > torch.finfo(z.dtype).min / 2
    count = open_CV.sum(-1)
    return -torch.where(open_CV, z, 0.0).sum(-1) / count - count.log()


def _below(e: Tensor, target: Tensor) -> Tensor:
    """Of the tokens numbered before each target: where its draw begins."""
    before = torch.arange(e.shape[-1], device=e.device) < target[:, None]
    return torch.where(before, e, 0.0).sum(-1)


BEFORE = {"certainty_T": _certainty}
"""Looks at logits whose maximum is 0; what they give is counted from log sum e."""
AFTER = {"below_T": _below}
"""Looks at exp of them; what they give is divided by sum e."""
LOOKS = (*BEFORE, *AFTER)
"""Tracks without gradient that are computed only when asked for."""
