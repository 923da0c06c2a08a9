"""One learner in several processes: ranks that each hold a part of the weights, and a driver that asks all of them at once.

    driver   Ranks: a learner to the run. It sends commands, and holds a whole copy of the weights for engine and checkpoints
    rank     Rank: policy and optimiser in parts. Commands are its methods; arguments and answers are records and tensors

How a command travels is the caller's: `strop.learners.torchrun` broadcasts it from rank 0, which is a rank itself; a driver of
actors calls the same methods on them. A command is a meeting: all ranks get it, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from strop import learning
from strop.batch import Batch
from strop.learners.fsdp import Sharded, Together
from strop.learners.local import Local, recall, tensors
from strop.method import Method
from strop.policies.adapters import Before
from strop.policies.causal import of
from strop.recipe import Recipe
from strop.seams.learner import Key, Look
from strop.seams.policy import equip


class Rank:
    """Its weights are the recipe's model, so nobody sends them; torch.distributed is up before it is made."""

    def __init__(self, recipe: Recipe, method: Method, mesh: DeviceMesh):
        self.recipe, self.method, self.peers = recipe, method, Together(mesh)
        self.device = f"cuda:{torch.cuda.current_device()}" if mesh.device_type == "cuda" else mesh.device_type
        whole = self._whole()
        frozen = whole.frozen("reference") if method.reference else None
        policy = Sharded(whole, self.peers)
        if isinstance(frozen, Before):
            reference = Before(policy, frozen.name)
        else:
            reference = Sharded(frozen, self.peers) if frozen is not None else None
        self.learner = Local(policy, method, recipe, self.peers, reference)

    def _whole(self) -> Any:
        policy = of(self.recipe, self.device)
        equip(policy, self.method.heads, self.recipe.seed)
        return policy

    def evaluate(self, batch: Batch, want: frozenset[str], scorer: str, used_T: Tensor | None) -> tuple[dict[str, Tensor], int]:
        return self.learner.evaluate(batch, want, scorer, used_T)

    def backward(self, mini: Batch, fraction: float, key: Key, want: frozenset[str]) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Facts, and where an onlooker wants some: the moving tracks of the whole minibatch."""
        noted = Noted(mini, want)
        facts = self.learner.backward(mini, fraction, key, noted)
        return facts, {name: learning.gathered(track, noted.seen_T, self.peers) for name, track in sorted(noted.tracks.items())}

    def clip(self) -> float:
        return self.learner.clip()

    def apply(self, fraction: float) -> None:
        self.learner.apply(fraction)

    def weights(self) -> dict[str, Tensor]:
        """All that is trained, whole."""
        return {name: self.peers.whole(part.detach()) for name, part in self.learner.named.items()}

    def state(self) -> dict[str, Tensor]:
        return self.learner.state()

    def restore(self, directory: Path) -> None:
        whole = self._whole()
        recall(whole, directory)
        self.learner.policy.take(whole)
        self.learner.remember(tensors(directory, "optimiser"))


class Noted:
    """Looks on for somebody elsewhere: keeps the tracks that are wanted."""

    def __init__(self, mini: Batch, want: frozenset[str]):
        self.want = want
        size = mini.index.size("token")
        self.seen_T = torch.zeros(size, dtype=torch.bool)
        names = {"logp_T", *want} if want else set[str]()
        self.tracks = {name: torch.full((size,), float("nan"), dtype=torch.float64) for name in names}

    def masks(self, masks: Mapping[str, Tensor]) -> None:
        """The driver counts them itself."""

    def see(self, micro: Batch, moving: Mapping[str, Tensor], at_T: Tensor) -> None:
        self.seen_T[at_T] = True
        for name, track in self.tracks.items():
            track[at_T] = moving[name].detach().double()


class Call(Protocol):
    def __call__(self, command: str, *arguments: Any) -> Any:
        """Runs a method of every rank on the same arguments; gives the first rank's answer."""
        ...


class Ranks:
    """The learner as a run sees it. `policy` is a whole copy here, refreshed by `gather`."""

    def __init__(self, policy: Any, method: Method, recipe: Recipe, call: Call):
        self.policy, self.method, self.budget, self.call = policy, method, recipe.token_budget, call

    def evaluate(
        self, batch: Batch, want: frozenset[str], scorer: str = "online", used_T: Tensor | None = None
    ) -> tuple[dict[str, Tensor], int]:
        return self.call("evaluate", batch, want, scorer, used_T)

    def backward(self, mini: Batch, fraction: float, key: Key, look: Look | None = None) -> dict[str, float]:
        facts, tracks = self.call("backward", mini, fraction, key, look.want if look is not None else frozenset())
        if look is not None:
            planned = learning.plan(self.method, mini, self.budget, key)
            look.masks(planned.masks)
            for rows in planned.passes if tracks else ():
                at_T = mini.index.rows(torch.tensor(rows))[1]
                look.see(mini.take(rows), {name: track[at_T] for name, track in tracks.items()}, at_T)
        return facts

    def clip(self) -> float:
        return self.call("clip")

    def apply(self, fraction: float) -> None:
        self.call("apply", fraction)

    def gather(self) -> None:
        mine, theirs = self.policy.parameters(), self.call("weights")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(theirs[name])

    def state(self) -> dict[str, Tensor]:
        return self.call("state")

    def restore(self, directory: Path) -> None:
        recall(self.policy, directory)
        self.call("restore", directory)

    def close(self) -> None:
        """Whoever started the ranks ends them."""
