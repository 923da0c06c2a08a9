"""Update: how one trained policy moves. Optimiser, epochs, minibatches, clipping, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strop.seams.part import Part, added
from strop.seams.signal import constant


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay. `minibatch` counts groups per optimiser step; without it the whole batch is one."""

    lr: float = 1e-6
    """Learning rate, times the schedule's factor; a recipe's `lr` goes before it."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of both moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """Decoupled from the gradient."""
    epochs: int = 1
    """Passes over a batch; from the second on, groups come in the run's random order."""
    minibatch: int | None = None
    """Groups per optimiser step; None takes the whole batch at once."""
    clip_norm: float | None = 1.0
    """The gradient's largest norm; None bounds nothing."""
    schedule: Part = constant
    """A part that reads `fraction` and gives a factor."""
    pieces: int | None = added(None)
    """So many optimiser steps per epoch, whatever the gates left, each on about as many groups."""

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise ValueError(f"AdamW(lr={self.lr}): a learning rate is at least 0")
        if self.epochs < 1:
            raise ValueError(f"AdamW(epochs={self.epochs}): needs at least 1")
        if self.minibatch is not None and self.minibatch < 1:
            raise ValueError(f"AdamW(minibatch={self.minibatch}): a minibatch holds at least 1 group")
        if self.pieces is not None and (self.pieces < 1 or self.minibatch is not None):
            raise ValueError(f"AdamW(pieces={self.pieces}, minibatch={self.minibatch}): at least 1 piece, and one of the two")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"AdamW(clip_norm={self.clip_norm}): needs a positive norm, or None")

    def cuts(self, groups: int) -> list[int]:
        """How many of this many groups each optimiser step of an epoch takes.

        >>> AdamW(minibatch=4).cuts(10), AdamW(pieces=4).cuts(10), AdamW().cuts(10)
        ([4, 4, 2], [2, 3, 2, 3], [10])
        """
        if self.pieces is not None:
            count = max(min(self.pieces, groups), 1)
            return [groups * (i + 1) // count - groups * i // count for i in range(count)]
        size = self.minibatch or max(groups, 1)
        return [min(size, groups - start) for start in range(0, groups, size)] or [0]

    def updates(self, groups: int) -> int:
        """Optimiser steps per batch of this many groups."""
        return self.epochs * len(self.cuts(groups))


@dataclass(frozen=True)
class Still:
    """No update: a step samples, grades and commits, and moves no weight. A stage that makes data for the stages after it."""

    lr: ClassVar[float] = 0.0
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    eps: ClassVar[float] = 1e-8
    weight_decay: ClassVar[float] = 0.0
    epochs: ClassVar[int] = 0
    minibatch: ClassVar[int | None] = None
    clip_norm: ClassVar[float | None] = None
    schedule: ClassVar[Part] = constant
    pieces: ClassVar[int | None] = None

    def cuts(self, groups: int) -> list[int]:
        """All of them at once, were they learned from."""
        return [groups]

    def updates(self, groups: int) -> int:
        """None."""
        return 0


Update = AdamW | Still
