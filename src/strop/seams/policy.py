"""Policy: what is trained or asked. The only one that knows what a decision is and how likely its weights make it.

A language model needs none of one's own: `--model` takes any causal one. A policy is written for a world that is no language model's, and
comes into a run by a claim's `world`, a function of recipe and directory that gives {"policy": …, "source": …, "engine": …}: a policy, a
source for it, and a function of policy and recipe that makes its engine; {"policies": {name: …}} besides, where others are trained with it.
`strop.lab.tabular` has one, a table, with its engine; `examples/two_players.py` hands over two. No command can make such a policy again, so
its runs are gone on with by their claim, or by `strop.run.resume(directory, policy=…)`; others say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from strop.seams.context import Renderer
from strop.seams.head import Head

if TYPE_CHECKING:
    from strop.batch import Batch


class Policy(Protocol):
    @property
    def name(self) -> str:
        """`actor`."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    @property
    def renderer(self) -> Renderer:
        """Text to what it decides, and back."""
        ...

    @property
    def heads(self) -> nn.ModuleDict:
        """Further outputs beside the decision itself, by name."""
        ...

    def add_head(self, head: Head) -> None:
        """Build what a method declares."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name."""
        ...

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        """`logp_T`, `entropy_T` of this batch's decisions and the wanted heads' tracks; differentiable. `certainty_T` is not:
        KL(uniform || policy) over the ids each could be drawn from, at the temperature it was drawn at. A row with `pieces` is one of
        branches: what its tokens see and where they stand is written there (`strop.seams.layout`); a policy that cannot, refuses it."""
        ...

    def frozen(self, name: str) -> Policy:
        """A copy that never changes, without heads."""
        ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """What an engine elsewhere needs to draw as this policy does: the whole model's tensors under the names of its saved files,
        without heads, tied ones once."""
        ...

    def export(self, directory: Path) -> None:
        """The weights, without heads, in files that `restore` reads back."""
        ...

    def restore(self, directory: Path) -> None:
        """What `export` wrote."""
        ...


class InParts(Protocol):
    """What a policy may have besides, where what its decisions are chosen from is too large to be held for all of them."""

    @property
    def at_once(self) -> int:
        """How many decisions' alternatives it holds at one time."""
        ...

    def parts(self, batch: Batch, want: frozenset[str], pieces: Iterable[Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The tracks of `evaluate`, for one piece of the decisions after the other. The loss of each is differentiated before the next is
        asked for, and what its slope needs is held until then and no longer; all slopes go to the parameters' `.grad`."""
        ...


def equip(policy: Policy, heads: Iterable[Head], seed: int) -> None:
    """The heads that a method declares, alike wherever this is done."""
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    for head in heads:
        if head.name not in policy.heads:
            policy.add_head(head)
