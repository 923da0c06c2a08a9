"""Counting is right: sequences, chances, targets."""

from itertools import product

import pytest
import torch

from strop.lab.bias import multisets
from strop.lab.targets import expected_reward, gradient_of, reward_minus_kl, tilted
from strop.lab.world import Language, World


@pytest.mark.parametrize(("vocab", "length"), [(2, 1), (2, 4), (3, 3), (5, 2)])
def test_every_sequence_has_one_number_and_one_chance(vocab, length):
    language = Language(vocab, length)
    texts = [language.tokens(n) for n in range(language.count)]
    assert len(set(texts)) == language.count
    assert [language.number(text) for text in texts] == list(range(language.count))
    ends = {
        tuple(t) for n in range(1, length + 1) for t in product(range(vocab), repeat=n) if 0 not in t[:-1] and (t[-1] == 0 or n == length)
    }
    assert set(texts) == ends
    assert World.random(vocab, length).chance_N.sum().item() == pytest.approx(1, abs=1e-12)


def test_the_chance_of_a_sequence_is_the_product_of_its_decisions():
    world = World.random(3, 3)
    logp_PV = world.old_PV.log_softmax(-1)
    # prefix "b" is number 2, prefix "ba" is 2 * 2 + 1 = 5
    by_hand = logp_PV[0, 2] + logp_PV[2, 1] + logp_PV[5, 0]
    torch.testing.assert_close(world.chance_N[world.language.number((2, 1, 0))].log(), by_hand)


def test_multisets_carry_the_chance_of_all_their_orders():
    world = World.random(2, 2)
    ids_MG, chance_M = multisets(world, 3)
    chances = dict.fromkeys(map(tuple, ids_MG.tolist()), 0.0)
    for ordered in product(range(world.language.count), repeat=3):
        chances[tuple(sorted(ordered))] += world.chance_N[list(ordered)].prod().item()
    torch.testing.assert_close(chance_M, torch.tensor(list(chances.values()), dtype=torch.float64))


@pytest.mark.parametrize("name", ["reward", "reward-kl", "tilted"])
def test_a_target_is_the_slope_of_what_it_says(name):
    world, beta, step = World.random(3, 2, seed=1), 0.3, 1e-6
    language = world.language
    reference_N = language.logp_N(world.reference_PV)

    def value(logits_PV):
        logp_N = language.logp_N(logits_PV)
        kl = (logp_N.exp() * (logp_N - reference_N)).sum()
        goal_N = (reference_N + world.reward_N / beta).softmax(0)
        reward = (logp_N.exp() * world.reward_N).sum()
        return {"reward": reward, "reward-kl": reward - beta * kl, "tilted": -(goal_N * (goal_N.log() - logp_N)).sum()}[name]

    found = gradient_of(name, world, beta)
    for at in range(world.now_PV.numel()):
        nudge = torch.zeros_like(world.now_PV)
        nudge.view(-1)[at] = step
        slope = (value(world.now_PV + nudge) - value(world.now_PV - nudge)) / (2 * step)
        torch.testing.assert_close(found.view(-1)[at], slope, rtol=1e-6, atol=1e-8)


def test_the_other_direction_of_the_tilted_kl_is_reward_minus_kl():
    world, beta = World.random(3, 2), 0.3
    goal_N = (world.language.logp_N(world.reference_PV) + world.reward_N / beta).log_softmax(0)
    logits_PV = world.now_PV.clone().requires_grad_()
    logp_N = world.language.logp_N(logits_PV)
    (down_PV,) = torch.autograd.grad((logp_N.exp() * (logp_N - goal_N)).sum(), logits_PV)
    torch.testing.assert_close(-beta * down_PV, reward_minus_kl(world, beta))
    assert not torch.allclose(tilted(world, beta), -down_PV, rtol=0.01)


def test_a_step_up_the_reward_raises_it_and_leaves_the_rollouts_as_they_were():
    world = World.random(3, 2)
    moved = world.moved(0.25)
    assert torch.equal(moved.chance_N, world.chance_N)
    assert (moved.language.logp_N(moved.now_PV).exp() * moved.reward_N).sum() > (world.chance_N * world.reward_N).sum()
    assert world.off == 0 < moved.off < 1
    assert expected_reward(moved).abs().sum() > 0


def test_a_world_too_large_to_count_is_refused():
    with pytest.raises(ValueError, match="more than 10000 sequences"):
        Language(11, 5)
    with pytest.raises(ValueError, match="needs beta above 0"):
        gradient_of("tilted", World.random(2, 2), 0.0)
    with pytest.raises(ValueError, match="Did you mean 'reward'"):
        gradient_of("rewards", World.random(2, 2), 0.0)
