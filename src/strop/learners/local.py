"""The learner of one process: policy, reference and optimiser are here. It is also what each of several ranks is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strop import learning
from strop.batch import Batch
from strop.method import Method
from strop.recipe import Recipe
from strop.seams.learner import ALONE, Key, Look, Peers
from strop.seams.update import Update


class Local:
    """`peers` are the ranks it computes together with; alone, it has everything. `reference` is given where the policy is cut already,
    `update` where it is not the method's own."""

    def __init__(
        self, policy: Any, method: Method, recipe: Recipe, peers: Peers = ALONE, reference: Any = None, update: Update | None = None
    ):
        self.policy, self.method, self.peers, self.budget = policy, method, peers, recipe.token_budget
        self.reference = reference if reference is not None or not method.reference else policy.frozen("reference")
        self.named: dict[str, torch.nn.Parameter] = policy.parameters()
        self.update = u = update or method.update
        steps = {f"heads.{head.name}.": head.step for head in method.heads}
        scale = {name: next((s for head, s in steps.items() if name.startswith(head)), 1.0) for name in self.named}
        self.optimiser = torch.optim.AdamW(
            [{"params": [p for name, p in self.named.items() if scale[name] == s], "scale": s} for s in sorted(set(scale.values()))],
            lr=u.lr,
            betas=u.betas,
            eps=u.eps,
            weight_decay=u.weight_decay,
            fused=True,
        )

    def evaluate(
        self, batch: Batch, want: frozenset[str], scorer: str = "online", used_T: Tensor | None = None
    ) -> tuple[dict[str, Tensor], int]:
        policy = self.policy if scorer == "online" else self.reference
        return learning.evaluated(policy, batch, want, self.budget, used_T, self.peers)

    def backward(self, mini: Batch, fraction: float, key: Key, look: Look | None = None) -> dict[str, float]:
        return learning.backward(self.method, mini, self.policy, self.budget, fraction, key, look, self.peers)

    def clip(self) -> float:
        limit = self.update.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(list(self.named.values()), limit if limit is not None else float("inf"))
        return self.peers.whole(norm).item()

    def apply(self, fraction: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.update.lr * group["scale"] * float(self.update.schedule.on({"fraction": fraction}))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def gather(self) -> None:
        """The policy's weights are the ones that move."""

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": self.peers.whole(value)
            for name, parameter in self.named.items()
            for key, value in self.optimiser.state.get(parameter, {}).items()
        }

    def restore(self, directory: Path) -> None:
        recall(self.policy, directory)
        self.remember(tensors(directory, "optimiser"))

    def remember(self, saved: Mapping[str, Tensor]) -> None:
        """The optimiser as it was: whole tensors by `parameter/key`, of which this rank keeps its part."""
        for name, parameter in self.named.items():
            mine = {key.rsplit("/", 1)[1]: value for key, value in saved.items() if key.rsplit("/", 1)[0] == name}
            if mine:
                self.optimiser.state[parameter] = {key: self._part(value, parameter) for key, value in mine.items()}

    def _part(self, value: Tensor, parameter: Tensor) -> Tensor:
        """A moment has its parameter's shape and is cut as it is; a count of steps is everybody's."""
        if value.shape != parameter.shape:
            return value
        part = torch.zeros_like(parameter, dtype=value.dtype)
        self.peers.put(value, part)
        return part

    def close(self) -> None:
        """Nobody else waits."""


def recall(policy: Any, directory: Path) -> None:
    """A checkpoint's weights and heads, into a policy that is whole."""
    policy.restore(directory)
    if policy.heads:
        policy.heads.load_state_dict(tensors(directory, "heads"))


def tensors(directory: Path, name: str) -> dict[str, Tensor]:
    """Those of a checkpoint that are no model's: `heads` or `optimiser`."""
    from safetensors.torch import load_file

    return load_file(directory / f"{name}.safetensors")
