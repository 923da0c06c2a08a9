"""TRL's own trainers on our batches: from tokens and rewards to loss and slopes, through all of their code but the model's.

They run their `_generate_and_score_completions` and `_compute_loss`. Given to them are the rollouts, the rewards, and, where they would ask
a model, the log-probabilities of the moving, the old and the reference policy. Old weights differ from the moving ones, as from the
second update on; replies of an environment are masked; some groups agree on their reward.
"""

from __future__ import annotations

import dataclasses
import random
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from presets import BATCHES, Answer, computed, distance, in_float64, plain
from worlds import World, world_of

from strop import pico
from strop.method import Method
from strop.methods import method
from strop.records import Fate
from strop.seams.credit import group_normalized
from strop.seams.gate import MaskOverlong

ENDS = (4, 5)
"""Tokens that end a rollout: one whose last token is another was cut."""
DEVIATION = group_normalized(eps=1e-4)
"""TRL always divides by its own, so a method that standardises by another is compared with this one in its place."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """A method, and TRL's settings for it."""

    method: Method
    settings: dict[str, Any]
    trainer: str = "GRPOTrainer"
    vllm: bool = False
    """As if another engine had sampled: TRL corrects for the sampler only then."""
    first: bool = False
    """On first updates only, and the slopes only: there a loss may lack a factor of the ratio, which is 1, and keep its slope."""
    remark: str = ""


def _twin(name: str, **settings: Any) -> Rival:
    """With TRL's deviation in place of the method's own."""
    return Rival(method(name).but(credit=(DEVIATION,)), settings, remark="with TRL's deviation")


RIVALS = {
    "grpo@strop-1": _twin("grpo", loss_type="grpo"),
    "grpo@deepseekmath-2402.03300": _twin("grpo@deepseekmath", loss_type="grpo", beta=0.04, use_bias_correction_kl=False),
    "grpo@trl-1.16": Rival(method("grpo@trl"), {}, vllm=True, remark="its defaults"),
    "dr-grpo": Rival(method("dr-grpo"), {"loss_type": "dr_grpo", "scale_rewards": "none", "max_completion_length": 128}),
    "dapo": dataclasses.replace(
        _twin("dapo", loss_type="dapo", epsilon_high=0.28, mask_truncated_completions=True),
        method=method("dapo").but(credit=(DEVIATION,), gate=(MaskOverlong(),)),
        remark="with TRL's deviation; flat groups kept",
    ),
    "rloo": Rival(method("rloo"), {"beta": 0.0}, "RLOOTrainer", first=True, remark="slopes of the first update"),
    "rloo@trl-1.16": Rival(method("rloo@trl"), {}, "RLOOTrainer", remark="its defaults"),
    "gspo": _twin("gspo", loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4),
    "cispo": _twin("cispo", loss_type="cispo", epsilon_high=1.28),
}


def world(name: str, number: int) -> World:
    """Two or three groups of four, all trained, some of one mind; for GRPO, some rollouts hold an environment's reply."""
    rng, turns = random.Random(f"library {number}"), RIVALS[name].trainer == "GRPOTrainer"
    drawn = world_of(number, [[rng.choice(("plain", "turns" if turns else "plain")) for _ in range(4)] for _ in range(rng.randint(2, 3))])
    groups = [
        dataclasses.replace(
            group,
            rollouts=tuple(dataclasses.replace(r, stop="finished" if r.rows[0].tokens[-1] in ENDS else "length") for r in group.rollouts),
        )
        for group in drawn.groups
    ]
    flat, rewards = rng.randrange(4), dict[str, float | None]()
    for g, group in enumerate(groups):
        rewards |= {r.id: 0.625 if g == flat else rng.choice((0.0, 1.0, rng.randrange(9) / 8)) for r in group.rollouts}
    far = 0.0 if RIVALS[name].first else 0.3 if number % 2 else 1.0
    return World(groups, {unit: Fate() for unit in rewards}, rewards, number, far)


@cache
def trainer(name: str) -> Any:
    """A real one. Two iterations over a batch, so that it keeps the old log-probabilities."""
    import trl
    from datasets import Dataset

    rival = RIVALS[name]
    make, configure = getattr(trl, rival.trainer), getattr(trl, rival.trainer.replace("Trainer", "Config"))
    place = Path(gettempdir()) / "strop-trl"
    settings = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "num_iterations": 2,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
    }
    made = make(
        model=str(pico.path()),
        reward_funcs=lambda given, **_: given,
        args=configure(output_dir=str(place), gradient_checkpointing=False, **settings, **rival.settings),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 4),
    )
    made.current_gradient_accumulation_steps = 1
    made.use_vllm = rival.vllm
    made._last_loaded_step = made.state.global_step
    made.eos_token_ids = list(ENDS)
    made.model.train()
    return made


@dataclasses.dataclass
class Padded:
    """The batch as libraries hold it: one line per completion, with a mask. What the mask hides is noise."""

    tokens: list[list[int]]
    acts: list[list[int]]
    mask: torch.Tensor
    tracks: dict[str, torch.Tensor]

    @staticmethod
    def of(world: World) -> Padded:
        written = [[s for s in r.rows[0].segments if s.kind != "prompt"] for group in world.groups for r in group.rollouts]
        tokens = [[token for s in segments for token in s.tokens] for segments in written]
        acts = [[int(s.kind == "action") for s in segments for _ in s.tokens] for segments in written]
        mask = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.bool)
        for at, row in enumerate(acts):
            mask[at, : len(row)] = torch.tensor(row, dtype=torch.bool)
        own, noise = [token for group in plain(world) for r in group for token in r["tokens"]], np.random.default_rng(world.seed)
        tracks = {which: torch.tensor(noise.normal(size=mask.shape)) for which in ("now", "old", "reference", "sampled")}
        for which, track in tracks.items():
            track[mask] = torch.tensor([token[which] for token in own])
        tracks["now"].requires_grad_()
        return Padded(tokens, acts, mask, tracks)

    def answer(self, loss: torch.Tensor) -> Answer:
        loss.backward()
        assert self.tracks["now"].grad is not None
        return loss.item(), self.tracks["now"].grad[self.mask].numpy()


def theirs(name: str, world: World) -> Answer:
    """What TRL computes."""
    rollouts = [r for group in world.groups for r in group.rollouts]
    with in_float64():
        batch, one = Padded.of(world), trainer(name)
        drawn = [row[: len(tokens)] for row, tokens in zip(batch.tracks["sampled"].tolist(), batch.tokens, strict=True)]

        def given(model: Any, *_: Any, **__: Any) -> Any:
            which = "now" if torch.is_grad_enabled() else "reference" if model is one.ref_model else "old"
            return batch.tracks[which], torch.zeros(batch.mask.shape), None

        one._get_per_token_logps_and_entropies = given
        prompts = [list(r.rows[0].segments[0].tokens) for r in rollouts]
        one.rollout_func = lambda *_: {"prompt_ids": prompts, "completion_ids": batch.tokens, "logprobs": drawn, "env_mask": batch.acts}
        one._generate_single_turn = lambda *_: batch.tokens  # RLOO's trainer has no rollout_func
        scored = one._generate_and_score_completions([{"prompt": "a", "given": world.rewards[r.id]} for r in rollouts])
        return batch.answer(one._compute_loss(one.model, scored))


@cache
def agreement(name: str) -> tuple[float, float]:
    """The largest difference from TRL over the batches, in loss and in slope."""
    found = [difference(name, RIVALS[name].method, number) for number in range(BATCHES)]
    return max(loss for loss, _ in found), max(slope for _, slope in found)


def difference(name: str, one: Method, number: int) -> tuple[float, float]:
    """Of a method from TRL with the settings of that name, on one batch."""
    here = world(name, number)
    loss, slope = distance(computed(one, here), theirs(name, here))
    return (0.0 if RIVALS[name].first else loss), slope
