"""A policy whose weights, gradients and moments lie in parts on several ranks (FSDP2), and what those ranks tell each other.

Each rank holds its part of every weight. A forward or backward pass brings a layer's whole weights together, uses them and lets them
go, so every pass is a meeting of all ranks: they make equally many, and one that has no rows left makes an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from strop.batch import Batch

Item = TypeVar("Item")


class Together:
    """The ranks of a mesh, as one of them sees them."""

    def __init__(self, mesh: DeviceMesh):
        self.mesh, self.rank, self.ranks = mesh, mesh.get_rank(), mesh.size()

    def mine(self, items: Sequence[Item], costs: Sequence[int]) -> list[Item | None]:
        """Passes of about one cost are made at one time, for all ranks wait for the longest."""
        order = sorted(range(len(items)), key=lambda i: -costs[i])
        rounds = -(-len(items) // self.ranks)
        places = [turn * self.ranks + self.rank for turn in range(rounds)]
        return [items[order[place]] if place < len(order) else None for place in places]

    def backward(self, loss: Tensor, moving: Mapping[str, Tensor]) -> None:
        """FSDP averages over ranks, and this is a sum. Every rank reaches the same parameters in every pass, else they would not meet;
        entropy reaches those of logp."""
        if not torch.is_grad_enabled():
            return
        reached = torch.stack([track.sum() for name, track in moving.items() if track.requires_grad and name != "entropy_T"]).sum()
        ((loss + 0.0 * reached) * self.ranks).backward()

    def sum(self, x: Tensor) -> Tensor:
        return self._all(x, dist.ReduceOp.SUM)

    def max(self, x: Tensor) -> Tensor:
        return self._all(x, dist.ReduceOp.MAX)

    def _all(self, x: Tensor, operation: Any) -> Tensor:
        total = x.detach().to(self.mesh.device_type).clone()
        dist.all_reduce(total, operation, group=self.mesh.get_group())
        return total.to(x.device)

    def whole(self, part: Tensor) -> Tensor:
        return part.full_tensor() if isinstance(part, DTensor) else part

    def put(self, whole: Tensor, part: Tensor) -> None:
        with torch.no_grad():
            if isinstance(part, DTensor):
                mine = distribute_tensor(whole.to(part.device), part.device_mesh, part.placements, src_data_rank=None)
                part.to_local().copy_(mine.to_local())
            else:
                part.copy_(whole)


class Pass(nn.Module):
    """All that one evaluation runs, model and heads, as one module's forward: FSDP brings weights together around a forward."""

    def __init__(self, policy: Any):
        super().__init__()
        self.model, self.heads = policy.model, policy.heads
        self.of = [policy]  # in a list, since a policy is no module

    def forward(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        return {name: track.clone() for name, track in self.of[0].evaluate(batch, want).items()}  # no views: FSDP hangs hooks on these


class Sharded:
    """A policy in parts. It evaluates, is trained and restored as a whole one; engines and exports need a whole copy."""

    def __init__(self, policy: Any, peers: Together):
        self.name, self.device, self.whole, self.peers = policy.name, policy.device, policy, peers
        policy.splits()  # tries a few tokens, which is done while its weights are whole
        policy.shares = False  # all ranks make as many calls, whatever their rows have in common
        precision = MixedPrecisionPolicy()
        if policy.compute != policy.dtype:  # weights travel in what is computed in; gradients are added in what the weights are
            precision = MixedPrecisionPolicy(param_dtype=policy.compute, reduce_dtype=policy.dtype)
        kinds = set(policy.model._no_split_modules or ())
        for module in [m for m in policy.model.modules() if type(m).__name__ in kinds]:
            fully_shard(module, mesh=peers.mesh, mp_policy=precision)
        self.evaluate = fully_shard(Pass(policy), mesh=peers.mesh, mp_policy=precision, reshard_after_forward=True)

    @property
    def model(self) -> Any:
        return self.whole.model

    @property
    def heads(self) -> nn.ModuleDict:
        return self.whole.heads

    def parameters(self) -> dict[str, nn.Parameter]:
        return self.whole.parameters()

    def take(self, policy: Any) -> None:
        """The weights of a whole policy, into the parts that are here."""
        theirs = policy.parameters()
        for name, part in self.parameters().items():
            self.peers.put(theirs[name].detach(), part)
