"""Learner: who computes gradients and moves weights. `Run` keeps the order of things and the record of them.

    Local       everything in this process
    Ranks       a driver of several ranks, each with its part of the weights: under torchrun, or as actors of a cluster

A learner of several ranks gives what one gives, within rounding: shares are settled from counts over the whole minibatch, so its
forward passes may be computed anywhere, and their gradients are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from strop.batch import Batch
    from strop.seams.policy import Policy

Key = tuple[int, ...]
Item = TypeVar("Item")


class Look(Protocol):
    """An onlooker of one minibatch."""

    @property
    def want(self) -> frozenset[str]:
        """Tracks it needs besides those the method reads."""
        ...

    def masks(self, masks: Mapping[str, Tensor]) -> None:
        """The decisions that each signal trains."""
        ...

    def see(self, micro: Batch, moving: Mapping[str, Tensor], at_T: Tensor) -> None:
        """One forward pass: its rows, their tracks, and where its decisions stand in the minibatch."""
        ...


class Learner(Protocol):
    @property
    def policy(self) -> Policy:
        """The weights, whole, as of the last `gather` or `restore`: what an embedded engine draws with and a checkpoint holds."""
        ...

    def evaluate(
        self, batch: Batch, want: frozenset[str], scorer: str = "online", used_T: Tensor | None = None
    ) -> tuple[dict[str, Tensor], int]:
        """These tracks without gradient, under the weights as they stand (`online`) or those it began with (`frozen`), and the positions
        that cost. Decisions of rows without a used one (a trained one) stay NaN."""
        ...

    def backward(self, mini: Batch, fraction: float, key: Key, look: Look | None = None) -> dict[str, float]:
        """The gradient of all signals over one minibatch, kept until `apply`; gives facts for the record."""
        ...

    def clip(self) -> float:
        """Bound the gradient that `backward` left; gives its norm before."""
        ...

    def apply(self, fraction: float) -> None:
        """One optimiser step on what `clip` left in the gradient, which is then forgotten."""
        ...

    def gather(self) -> None:
        """Bring `policy` to the weights as they stand."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors, whole, by `parameter/key`."""
        ...

    def restore(self, directory: Path) -> None:
        """Weights, heads and optimiser of a checkpoint, whoever wrote it. Every rank reads the directory."""
        ...

    def close(self) -> None:
        """Nothing more will be asked: ranks elsewhere may go."""
        ...


class Peers(Protocol):
    """The ranks that compute a minibatch together, as one of them sees them. Everything here is asked of all of them at once."""

    def mine(self, items: Sequence[Item], costs: Sequence[int]) -> list[Item | None]:
        """This rank's share of the forward passes. All ranks get equally many, for each pass is a meeting: None is an empty one."""
        ...

    def backward(self, loss: Tensor, moving: Mapping[str, Tensor]) -> None:
        """The gradient of the sum of all ranks' losses. `moving` are the tracks of the pass, all of which every rank differentiates."""
        ...

    def sum(self, x: Tensor) -> Tensor: ...

    def max(self, x: Tensor) -> Tensor: ...

    def whole(self, part: Tensor) -> Tensor:
        """A weight, its gradient or its moment, from the parts that the ranks hold."""
        ...

    def put(self, whole: Tensor, part: Tensor) -> None:
        """This rank's part of a whole tensor, into the one it holds."""
        ...


class Alone:
    """One rank: it has all passes and whole weights."""

    def mine(self, items: Sequence[Item], costs: Sequence[int]) -> list[Item | None]:
        return list(items)

    def backward(self, loss: Tensor, moving: Mapping[str, Tensor]) -> None:
        if loss.requires_grad:
            loss.backward()  # pyright: ignore[reportUnknownMemberType]

    def sum(self, x: Tensor) -> Tensor:
        return x

    def max(self, x: Tensor) -> Tensor:
        return x

    def whole(self, part: Tensor) -> Tensor:
        return part

    def put(self, whole: Tensor, part: Tensor) -> None:
        with torch.no_grad():
            part.copy_(whole)


ALONE = Alone()
