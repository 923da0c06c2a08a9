"""The presets against the source of five libraries: their own functions, where a copy of them lies. Not part of the suite.

    pip download --no-deps verl==0.9.1 openrlhf==0.11.2 tinker-cookbook==0.6.1      unpacked; NeMo-RL 0.7.0 and prime-rl 0.8.0, which
                                                                                    no package index holds, from their repositories
    python tests/peers.py verl openrlhf/openrlhf-0.11.2.data/purelib nemo-rl prime-rl/src tinker-cookbook > docs/peers.txt

Their files name packages (ray, deepspeed, vllm and their like) that the arithmetic does not need; these are stood in for. So the functions
run as they are, but how a library calls them is read, not run. It prints the largest differences over the batches.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from presets import BATCHES, Answer, computed, distance, in_float64
from trl_trainers import Padded, world
from worlds import World

from strop.methods import method


class Absent(MetaPathFinder, Loader):
    """Stands in for the packages and modules named, whatever is asked of them."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        named = any(fullname == name or fullname.startswith(f"{name}.") for name in self.names)
        return ModuleSpec(fullname, self, is_package=True) if named else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        made: Any = MagicMock(name=spec.name)
        made.__path__, made.__spec__ = [], spec
        return made

    def exec_module(self, module: types.ModuleType) -> None: ...


def groups_of(world: World) -> list[int]:
    return [g for g, group in enumerate(world.groups) for _ in group.rollouts]


def rewards_of(world: World) -> list[float]:
    return [float(world.rewards[r.id] or 0.0) for group in world.groups for r in group.rollouts]


def verl(world: World) -> Answer:
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, compute_policy_loss_vanilla

    batch = Padded.of(world)
    rewards = torch.zeros(batch.mask.shape)
    rewards[:, 0] = torch.tensor(rewards_of(world))
    advantages, _ = compute_grpo_outcome_advantage(rewards, batch.mask.double(), np.array(groups_of(world)))
    config = MagicMock(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, global_batch_info={})
    config.get = lambda name, default: default
    loss, _ = compute_policy_loss_vanilla(batch.tracks["old"], batch.tracks["now"], advantages, batch.mask.double(), "token-mean", config)
    return batch.answer(loss)


def openrlhf(world: World) -> Answer:
    from openrlhf.models.loss import PolicyLoss
    from openrlhf.models.utils import compute_approx_kl
    from openrlhf.trainer.ppo_utils import experience_maker

    batch = Padded.of(world)
    maker = object.__new__(experience_maker.RemoteExperienceMaker)
    advantage = SimpleNamespace(estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False)
    args = SimpleNamespace(
        algo=SimpleNamespace(advantage=advantage),
        rollout=SimpleNamespace(n_samples_per_prompt=4),
        reward=SimpleNamespace(clip_range=(-10, 10)),
    )
    maker.strategy, maker.advantage_estimator, maker.kl_ctl = SimpleNamespace(args=args), "group_norm", SimpleNamespace(value=0.01)
    experience_maker.apply_length_penalties = lambda *_: None  # none by default
    made = SimpleNamespace(
        index=list(range(len(batch.tokens))),
        rewards=torch.tensor(rewards_of(world)),
        kl=compute_approx_kl(batch.tracks["old"], batch.tracks["reference"], kl_estimator="k1"),
        action_mask=batch.mask,
        info={},
    )
    maker.compute_advantages_and_returns([made])
    loss, *_ = PolicyLoss()(batch.tracks["now"], batch.tracks["old"], made.advantages, batch.mask)
    return batch.answer(loss)


def nemo_rl(world: World) -> Answer:
    from nemo_rl.algorithms.advantage_estimator import GRPOAdvantageEstimator
    from nemo_rl.algorithms.loss.loss_functions import ClippedPGLossConfig, ClippedPGLossFn

    batch = Padded.of(world)
    estimator = GRPOAdvantageEstimator({"use_leave_one_out_baseline": True, "normalize_rewards": True}, None)
    prompts = torch.tensor(groups_of(world))[:, None]
    advantages = estimator.compute_advantage(prompts, torch.tensor(rewards_of(world)), batch.mask)

    def shifted(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros(len(x), 1), x.double()], dim=1)

    names = {"prev_logprobs": "old", "generation_logprobs": "sampled", "reference_policy_logprobs": "reference"}
    data = {name: shifted(batch.tracks[track]) for name, track in names.items()}
    data |= {"token_mask": shifted(batch.mask), "sample_mask": torch.ones(len(batch.tokens)), "advantages": shifted(advantages)}
    loss, _ = ClippedPGLossFn(ClippedPGLossConfig())(batch.tracks["now"], data, torch.tensor(len(batch.tokens)), batch.mask.sum())
    return batch.answer(loss)


def prime_rl(world: World) -> Answer:
    from prime_rl.orchestrator.algo.grpo import GRPOAlgorithm
    from prime_rl.trainer.rl.loss import compute_loss, default_loss_fn

    batch, algorithm = Padded.of(world), object.__new__(GRPOAlgorithm)
    algorithm.length_penalty = None
    advantages: list[float] = []
    for group in world.groups:
        rollouts = [SimpleNamespace(reward=world.rewards[r.id], assign_advantages=advantages.append) for r in group.rollouts]
        asyncio.run(algorithm.score_group(rollouts))
    sent = [row for row, advantage in enumerate(advantages) if advantage != 0.0]  # its filter, by default after the batch is made
    config = SimpleNamespace(dppo_mask_low=0.2, dppo_mask_high=0.2, adv_tau=1.0, kl_tau=1e-3)
    loss, _ = compute_loss(
        trainer_logprobs=[batch.tracks["now"][row] for row in sent] or [batch.tracks["now"][0] * 0],
        inference_logprobs=[batch.tracks["sampled"][row] for row in sent],
        ref_logprobs=None,
        advantages=[torch.full(batch.mask[row].shape, advantages[row]) for row in sent],
        loss_mask=[batch.mask[row] for row in sent],
        rl_weights=None,
        ce_weights=None,
        ref_kl_weights=None,
        rl_loss_fn=lambda inputs: default_loss_fn(inputs, config),
        rl_scale=max(int(batch.mask[sent].sum()), 1),
        ce_scale=1,
        ref_kl_scale=1,
    )
    return batch.answer(loss)


def tinker(world: World) -> Answer:
    """The loss is the service's, as its documents give it; the rest is the cookbook's."""
    from tinker_cookbook.rl.data_processing import compute_advantages

    batch = Padded.of(world)
    totals = [[float(world.rewards[r.id] or 0.0) for r in group.rollouts] for group in world.groups]
    advantages = torch.cat(compute_advantages([SimpleNamespace(get_total_rewards=lambda own=own: own) for own in totals]))
    ratio = torch.exp(batch.tracks["now"] - batch.tracks["sampled"])
    return batch.answer(-(ratio * advantages[:, None] * batch.mask).sum())


PEERS: dict[str, Callable[[World], Answer]] = {
    "grpo@verl-0.9": verl,
    "grpo@openrlhf-0.11": openrlhf,
    "grpo@nemo-rl-0.7": nemo_rl,
    "grpo@prime-rl-0.8": prime_rl,
    "grpo@tinker-0.6": tinker,
}

ABSENT = """
    aiohttp beartype blobfile chz codetiming deepspeed fastapi flash_attn hydra jaxtyping msgspec omegaconf orjson pydantic_config
    pylatexenc pynvml ray renderers requests tensordict termcolor tinker torchdata uvicorn verifiers vllm wandb zmq
    nemo_rl.models nemo_rl.utils nemo_rl.data nemo_rl.distributed nemo_rl.algorithms.x_token
    prime_rl.configs prime_rl.utils prime_rl.orchestrator.types prime_rl.transport
"""
"""Packages that the libraries' files name and that the arithmetic does not need."""


def main(folders: list[str]) -> None:
    sys.path[:0] = folders
    sys.meta_path.insert(0, Absent(ABSENT.split()))
    torch.Tensor.float = torch.Tensor.double  # some of them compute in float32 on purpose, which would hide a difference
    for name, peer in PEERS.items():
        worst = (0.0, 0.0)
        for number in range(BATCHES):
            here = world("grpo@trl-1.16", number)
            with in_float64():
                said = peer(here)
            loss, slope = distance(computed(method(name), here), said)
            worst = max(worst[0], loss), max(worst[1], slope)
        print(f"{name:20} loss {worst[0]:.0e}   slope {worst[1]:.0e}")


if __name__ == "__main__":
    main(sys.argv[1:])
