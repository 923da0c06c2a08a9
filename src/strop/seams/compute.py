"""Compute: what the engine draws with, where the learner computes otherwise.

A cheaper sampler is another policy: its log-probabilities are not the learner's, so the learner's are measured and a correction bridges
the two. By an exact count (docs/lab.md) weights per token leave half of the skew that rounding makes, and weights per rollout none of it as
long as none is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("bfloat16",)


@dataclass(frozen=True)
class Exact:
    """The learner's own weights and arithmetic: what is drawn has the learner's log-probability."""


EXACT = Exact()


@dataclass(frozen=True)
class Quantized:
    """A copy of the weights in another number format, rounded anew at each delivery."""

    dtype: str = "bfloat16"
    """bfloat16: half the bytes, and up to four times the products a second where the processor has instructions for it."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"compute={self.dtype!r}: an engine draws in {' or '.join(DTYPES)}. Leave it out to draw as the learner does.")


Compute = Exact | Quantized
