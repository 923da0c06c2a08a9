"""The whole algorithm as a plain loop on a page: GRPO with nothing but torch and the bundled model.

    python examples/plain_loop.py

Three updates are made twice: by `strop train`'s own step, which samples and grades, and here, from the same groups.
The weights agree within 1e-6. (Both count in float64: Adam divides a gradient by its own size, so in float32 a weight whose
gradient is nothing but rounding takes a full step one way or the other.) Read this file to see what the method is; read
`strop/train.py` to see it take any method.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import torch

from strop import train
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Group
from strop.run import create

STEPS, LR, CLIP, MINIBATCH = 3, 3e-4, 0.2, 4


def plain_update(model: torch.nn.Module, optimiser: torch.optim.Optimizer, groups: list[Group], reward: dict[str, float]) -> None:
    """One batch of groups: standardise rewards inside each group, then clipped policy-gradient steps over minibatches."""
    for start in range(0, len(groups), MINIBATCH):
        part = groups[start : start + MINIBATCH]
        optimiser.zero_grad()
        for group in part:
            rewards = torch.tensor([reward[r.id] for r in group.rollouts], dtype=torch.float64)
            advantages = (rewards - rewards.mean()) / rewards.std(correction=0).clamp_min(1e-4)
            for rollout, advantage in zip(group.rollouts, advantages, strict=True):
                prompt, action = rollout.rows[0].segments
                ids = torch.tensor([[*prompt.tokens, *action.tokens]])
                logits = model(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1]
                logp = logits.log_softmax(-1)[torch.arange(len(action.tokens)), ids[0, len(prompt.tokens) :]]
                ratio = (logp - torch.tensor(action.logp, dtype=torch.float64)).exp()
                gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
                loss = -gain.mean() / len(group.rollouts) / len(part)
                loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def main() -> None:
    from dataclasses import replace

    from strop.methods.grpo import GRPO
    from strop.seams.update import AdamW

    method = GRPO.but(update=AdamW(lr=LR, minibatch=MINIBATCH), sampler=replace(GRPO.sampler, max_tokens=64))
    recipe = Recipe(method=method, steps=STEPS, tasks=8, eval_tasks=0, lr=LR)
    run = create(recipe, Path(tempfile.mkdtemp()) / "run", policy=load("pico", dtype=torch.float64))

    model = load("pico", dtype=torch.float64).model
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    for step in range(STEPS):
        line = asyncio.run(train.step(run))
        groups, reward = committed(run.commit_path(step))
        plain_update(model, optimiser, groups, reward)
        mine = dict(model.named_parameters())
        gap = max((p.detach() - mine[name].detach()).abs().max().item() for name, p in run.policy.model.named_parameters())
        print(f"step {step}  reward {line['reward']:.3f}  largest difference between the two sets of weights {gap:.1e}")
        assert gap < 1e-6, "the plain loop and the engine disagree"


def committed(path: Path) -> tuple[list[Group], dict[str, float]]:
    import gzip
    import json

    record = json.loads(gzip.decompress(path.read_bytes()))
    return [Group.from_json(g) for g in record["groups"]], record["rewards"]


if __name__ == "__main__":
    main()
