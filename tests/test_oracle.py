"""Published methods against a plain loop over records that shares no code with the batch, the index or the reduction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from worlds import World, worlds

from strop.methods import method
from strop.train import backward, settle

some = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def mean(values):
    return sum(values) / len(values)


def decisions(world: World, rollout):
    """(kind, token before, token) of what is trained, in order."""
    for row in rollout.rows:
        before = None
        for segment in row.segments:
            for token in segment.tokens:
                if segment.kind in ("action", "forced", "teacher") and segment.id in row.trains:
                    yield segment.kind, before, token
                before = token


def members(world: World, group):
    return [r for r in group.rollouts if world.fates[r.id].kind in ("keep", "context")]


def group_credit(name: str, rewards: list[float]) -> list[float]:
    center = mean(rewards)
    if name == "dr-grpo":
        return [r - center for r in rewards]
    if name == "rloo":
        return [r - mean([x for j, x in enumerate(rewards) if j != i]) if len(rewards) > 1 else 0.0 for i, r in enumerate(rewards)]
    spread = max(math.sqrt(mean([(r - center) ** 2 for r in rewards])), 1e-4)
    return [(r - center) / spread for r in rewards]


def clipped(ratio, credit, low, high):
    return -torch.minimum(ratio * credit, ratio.clamp(1 - low, 1 + high) * credit)


def group_loss(name: str, world: World, policy, old):
    """Loss of the methods whose credit is one number per rollout."""
    per_group, every_token = [], []
    for group in world.groups:
        mine = members(world, group)
        per_rollout = []
        for rollout, credit in zip(mine, group_credit(name, [world.rewards[r.id] for r in mine]) if mine else [], strict=True):
            fate = world.fates[rollout.id]
            written = [(b, t) for kind, b, t in decisions(world, rollout) if kind == "action"]
            if fate.kind != "keep" or not written:
                continue
            logs = [(policy.logp(b, t), old.logp(b, t).detach()) for b, t in written]
            if name == "rloo":
                losses = [-new * credit for new, _ in logs]
                per_rollout.append(fate.weight * sum(losses))
            elif name == "gspo":
                ratio = mean([new - was for new, was in logs]).exp()
                per_rollout.append(fate.weight * clipped(ratio, credit, 3e-4, 4e-4))
            else:
                losses = [clipped((new - was).exp(), credit, 0.2, 0.28 if name == "dapo" else 0.2) for new, was in logs]
                every_token += [fate.weight * loss for loss in losses]
                per_rollout.append(fate.weight * (sum(losses) / 128 if name == "dr-grpo" else mean(losses)))
        if per_rollout:
            per_group.append(mean(per_rollout))
    terms = every_token if name == "dapo" else per_group
    return {"policy": mean(terms) if terms else torch.zeros(())}


def ppo_loss(world: World, policy, old, reference):
    found = []  # one line per trained decision: kind, fate weight, before, token, credit, return
    for group in world.groups:
        for rollout in members(world, group):
            if world.fates[rollout.id].kind != "keep":
                continue
            steps = list(decisions(world, rollout))
            values = [old.table[b, -1].item() for _, b, _ in steps]
            credit = 0.0
            for i in reversed(range(len(steps))):
                kind, before, token = steps[i]
                reward = -0.05 * (old.logp(before, token) - reference.logp(before, token)).item() if kind == "action" else 0.0
                if i + 1 == len(steps):
                    reward += world.rewards[rollout.id]
                    following = values[i] if rollout.stop == "length" else 0.0
                else:
                    following = values[i + 1]
                credit = reward + following - values[i] + 0.95 * credit
                found.append((kind, world.fates[rollout.id].weight, before, token, credit, credit + values[i]))
    actions = [f for f in found if f[0] == "action"]
    if not actions:
        return {"policy": torch.zeros(()), "value": torch.zeros(())}
    center = mean([f[4] for f in actions])
    spread = max(math.sqrt(mean([(f[4] - center) ** 2 for f in actions])), 1e-8)
    policy_terms, value_terms = [], []
    for _, weight, before, token, credit, target in actions:
        ratio = (policy.logp(before, token) - old.logp(before, token).detach()).exp()
        policy_terms.append(weight * clipped(ratio, (credit - center) / spread, 0.2, 0.2))
        value, was = policy.table[before, -1], old.table[before, -1].detach()
        near = was + (value - was).clamp(-0.2, 0.2)
        value_terms.append(weight * torch.maximum((value - target) ** 2, (near - target) ** 2) / 2)
    return {"policy": mean(policy_terms), "value": mean(value_terms)}


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "dapo", "gspo", "rloo", "ppo"])
@some
@given(worlds())
def test_a_method_is_its_formula_written_as_a_loop(name, world):
    one, policy = method(name), world.policy
    facts = backward(one, settle(one, world.batch()), policy, 10**6, 0.0, (0,))
    gradient = policy.gradient()
    wanted = ppo_loss(world, policy, world.old, world.reference) if name == "ppo" else group_loss(name, world, policy, world.old)
    total = sum(one.signals[signal].weight * loss for signal, loss in wanted.items())
    if total.requires_grad:
        total.backward()
    for signal, loss in wanted.items():
        assert facts[f"loss/{signal}"] == pytest.approx(loss.item(), rel=1e-10, abs=1e-10)
    torch.testing.assert_close(gradient, policy.gradient(), rtol=1e-9, atol=1e-11)
