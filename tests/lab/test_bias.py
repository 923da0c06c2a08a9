"""What the estimators are, exactly. Every number here comes through the code that trains."""

import dataclasses
import math

import pytest
import torch

from strop.batch import pack
from strop.lab import bias
from strop.lab.bias import Estimator, Unsuitable, examine, expect, separable
from strop.lab.combinations import COMBINATIONS, find
from strop.lab.tabular import TabularPolicy
from strop.lab.targets import expected_reward
from strop.lab.world import Language, World
from strop.learning import backward, settle
from strop.records import Author, Group, Rollout, Row, Segment, Task
from strop.seams.gate import DropFlat, decide
from strop.seams.objective import entropy_bonus
from strop.seams.reduction import means, sum_over
from strop.seams.signal import Signal, random_share

WORLDS = {"2x4": World.random(2, 4), "3x3": World.random(3, 3, seed=1)}
BOTH = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
BONUS = COMBINATIONS["loo-sum"].but("bonus", signals={"entropy": Signal(entropy_bonus(), means("group", "rollout", "token"), weight=0.3)})


def bandit(*rewards: float, logits: tuple[float, ...] | None = None) -> World:
    """Sequences of one decision: as many arms as rewards."""
    return World.of(Language(len(rewards), 1), rewards, torch.tensor([logits or (0.0,) * len(rewards)]))


# The exam is about the code that trains.


@pytest.mark.parametrize("name", ["loo-sum", "grpo", "dapo", "gspo", "cispo", "reinforce++", "k3-loss", "bonus"])
@pytest.mark.parametrize("point", ["first", "second"])
def test_the_gradient_of_a_batch_is_what_a_packed_batch_leaves_on_a_table(name, point):
    method = BONUS if name == "bonus" else find(name)
    world = WORLDS["3x3"] if point == "first" else WORLDS["3x3"].moved(0.25)
    ids_HG = torch.randint(0, world.language.count, (3, 4), generator=torch.Generator().manual_seed(3))
    mine_HPV, _ = Estimator(method, world).weigh(ids_HG)

    groups, rewards, fates = [], {}, {}
    for h, ids in enumerate(ids_HG.tolist()):
        members = []
        for g, n in enumerate(ids):
            action = Segment("action", world.language.tokens(n), "0.0", Author("actor", 0), (0.0,) * int(world.language.length_N[n]))
            cut = bool(world.language.cut_N[n])
            members.append(Rollout((Row.of(Segment("prompt", (3,), "0"), action),), f"{h}/{g}", stop="length" if cut else "finished"))
            rewards[f"{h}/{g}"] = world.reward_N[n].item()
        groups.append(Group(Task("0", {}, "lab"), tuple(members), id=str(h)))
        fates |= decide(method.gate, groups[-1], rewards)
    batch = pack(groups, fates, rewards, version=0)
    batch = dataclasses.replace(batch, weight_R=batch.weight_R.double(), facts={k: v.double() for k, v in batch.facts.items()})
    policy = TabularPolicy(1, world.language)

    def logp(logits_PV):
        with torch.no_grad():
            policy.logits.copy_(logits_PV[None])
            return policy.evaluate(batch, frozenset())["logp_T"]

    reference_T, old_T = logp(world.reference_PV), logp(world.old_PV)
    batch = batch.with_(sampled_logp_T=old_T, old_logp_T=old_T, reference_logp_T=reference_T)
    logp(world.now_PV)
    backward(method, settle(method, batch), policy, 8, 0.0, (0,))  # many small passes
    torch.testing.assert_close(mine_HPV.sum(0), -policy.logits.grad[0], rtol=1e-10, atol=1e-12)


def test_whether_groups_act_on_each_other_is_seen():
    def seen(method):
        return separable(Estimator(method.but(sampler=dataclasses.replace(method.sampler, n=4)), WORLDS["2x4"]))

    total = Signal(COMBINATIONS["loo-sum"].signals["policy"].objective, means(sum_over("group"), "rollout", "token"))
    assert seen(find("grpo")) == 1
    assert seen(find("loo-sum").but(signals={"policy": total})) == 0
    for name in ("loo-batch-mean", "whitened-sum", "dapo", "cispo", "reinforce++"):
        assert seen(find(name)) is None, name


# Credit.


@BOTH
@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("name", ["loo-sum", "raw-sum", "rloo"])
def test_leave_one_out_and_no_baseline_are_unbiased(world, group, name):
    assert name != "loo-sum" or find(name).credit == find("rloo").credit
    found = examine(find(name), world, group=group)
    assert found.exact
    assert found.bias < 1e-10


@BOTH
@pytest.mark.parametrize("group", [2, 3, 5])
def test_centring_on_the_groups_own_mean_shrinks_by_exactly_one_in_g(world, group):
    found = examine(find("centered-sum"), world, group=group)
    assert found.scale == pytest.approx((group - 1) / group, abs=1e-10)
    assert found.skew < 1e-10


def test_dividing_by_the_groups_std_by_hand():
    # Three arms, equally likely, earn 0, 0.9 and 1. Two rollouts that differ get credit 1 and -1, however close they were, so
    # E[g] = (2/9) (-1, 0, 1), while the target is (R - mean R) / 3 = (-1.9, 0.8, 1.1) / 9.
    found = examine(find("standardized-sum"), bandit(0.0, 0.9, 1.0), group=2)
    assert found.scale == pytest.approx(6 / 5.46, abs=1e-10)
    assert found.cosine == pytest.approx(3 / math.sqrt(2 * 5.46), abs=1e-10)
    assert found.bias == pytest.approx(math.sqrt(1.46 / 5.46), abs=1e-10)
    assert found.skew == pytest.approx(math.sqrt(1 - 9 / (2 * 5.46)), abs=1e-10)


def test_dividing_by_the_groups_std_turns_the_gradient_where_rewards_are_graded():
    assert examine(find("standardized-sum"), WORLDS["2x4"]).skew == pytest.approx(0.2298, abs=1e-4)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5])
def test_with_rewards_0_and_1_dividing_by_the_std_only_rescales_one_task_by_how_hard_it_is(rate):
    # k of G right: E[g | k] = sqrt(k/G (1 - k/G)) times (mean score of right - of wrong), and the target is p (1 - p) times it.
    group = 4
    found = examine(find("standardized-sum"), bandit(0.0, 1.0, logits=(math.log(1 - rate), math.log(rate))), group=group)
    spread = sum(
        math.comb(group, k) * rate**k * (1 - rate) ** (group - k) * math.sqrt(k / group * (1 - k / group)) for k in range(group + 1)
    )
    assert found.scale == pytest.approx(spread / (rate * (1 - rate)), rel=1e-9)
    assert found.skew < 1e-9
    assert examine(find("standardized-sum"), World.random(3, 3, grades=(0.0, 1.0)), group=3).skew < 1e-9


def test_whitening_two_groups_of_one_is_standardising_one_group_of_two():
    world = WORLDS["2x4"]
    one_token = World.of(Language(4, 1), (0.0, 0.2, 0.9, 1.0), torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    whitened = examine(find("whitened-sum"), one_token, group=1, groups=2)
    divided = examine(find("standardized-sum"), one_token, group=2)
    assert (whitened.groups, whitened.exact, divided.groups) == (2, True, 1)
    assert whitened.scale == pytest.approx(divided.scale, abs=1e-6)  # their floors under the spread differ
    assert whitened.skew == pytest.approx(divided.skew, abs=1e-6)
    assert examine(find("whitened-sum"), world, group=2).skew > 0.1


# Reduction.


@BOTH
def test_the_mean_over_a_rollouts_tokens_climbs_reward_per_token_and_so_prefers_short_right_answers(world):
    language = world.language
    logits_PV = world.now_PV.clone().requires_grad_()
    logp_N = language.logp_N(logits_PV)
    mean = (world.chance_N * world.reward_N).sum()
    (climbed_PV,) = torch.autograd.grad((logp_N.exp() * (world.reward_N - mean) / language.length_N).sum(), logits_PV)
    torch.testing.assert_close(expect(find("loo-rollout-mean"), world, group=3).mean_PV, climbed_PV, rtol=1e-10, atol=1e-12)

    # two right answers, equally likely: "." of one token and "a." of two
    even = World.of(
        Language(3, 2), (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0), torch.tensor([[0.0, 0.7, 0.1], [0.0, -50.0, -50.0], [0.0, 0.0, 0.0]])
    )
    even = dataclasses.replace(even, old_PV=even.old_PV - torch.tensor([[0.0, 0.7, 0.0], [0, 0, 0], [0, 0, 0]]))
    even = dataclasses.replace(even, now_PV=even.old_PV)
    first = expect(find("loo-sum"), even).mean_PV[0]
    short = expect(find("loo-rollout-mean"), even).mean_PV[0]
    assert first[0].item() == pytest.approx(first[1].item(), rel=1e-9)
    assert short[0] > 1.2 * short[1]


@BOTH
def test_a_constant_in_place_of_the_length_only_rescales(world):
    found = examine(find("loo-constant"), world)
    assert (found.scale, found.skew) == (pytest.approx(1 / 128, rel=1e-9), pytest.approx(0, abs=1e-10))


def test_one_mean_over_the_tokens_of_the_batch_is_biased_too_through_the_length_of_the_others():
    found = examine(find("loo-batch-mean"), WORLDS["2x4"], group=2)
    assert (found.groups, found.exact) == (2, True)
    assert found.skew > 0.01


# KL.


@BOTH
def test_kl_charged_in_the_reward_gives_the_gradient_of_reward_minus_kl(world):
    found = examine(find("k1-in-reward"), world, group=2)
    assert (found.target, found.beta) == ("reward-kl", 0.1)
    assert found.bias < 1e-10


def test_over_one_decision_k2_as_a_loss_gives_kls_gradient_and_k1_and_k3_do_not():
    world = World.random(4, 1)
    bias = {name: examine(find(name), world, group=2).bias for name in ("k1-loss", "k2-loss", "k3-loss")}
    assert bias["k2-loss"] < 1e-10
    other_way = expected_reward(world) + 0.1 * (world.reference_PV.softmax(-1) - world.now_PV.softmax(-1))  # -KL(reference || policy)
    torch.testing.assert_close(expect(find("k3-loss"), world, group=2).mean_PV, other_way)
    assert bias["k3-loss"] > 1e-3
    assert bias["k1-loss"] > 1e-3
    nothing = examine(find("k1-loss"), world, group=2, target="reward", beta=0.1)
    assert nothing.bias < 1e-10  # the mean of a score is zero: as a loss, k1 moves nothing but noise


@BOTH
def test_over_several_decisions_k2_as_a_loss_leaves_out_what_a_decision_does_to_the_later_ones(world):
    language = world.language
    visits_P = torch.zeros(language.prefixes, dtype=torch.float64)
    chance_K = torch.repeat_interleave(world.chance_N, language.length_N)
    visits_P.index_add_(0, language.edge_K // language.vocab, chance_K)
    logits_PV = world.now_PV.clone().requires_grad_()
    logp_PV = logits_PV.log_softmax(-1)
    kl_P = (logp_PV.exp() * (logp_PV - world.reference_PV.log_softmax(-1))).sum(-1)
    (kl_PV,) = torch.autograd.grad((visits_P * kl_P).sum(), logits_PV)  # how often each prefix is met stays as it is
    torch.testing.assert_close(expect(find("k2-loss"), world, group=2).mean_PV, expected_reward(world) - 0.1 * kl_PV)
    assert examine(find("k2-loss"), world, group=2).bias > 1e-3


# The second update.


def test_over_one_decision_importance_sampling_stays_unbiased_and_clipping_does_not():
    world = World.random(4, 1).moved(0.5)
    assert world.off > 0
    assert examine(find("loo-importance"), world, point="second").bias < 1e-10
    assert examine(find("loo-clipped"), world, point="second").bias > 0.05


@BOTH
def test_over_several_decisions_token_ratios_leave_a_bias_far_below_that_of_clipping(world):
    moved = world.moved(0.5)
    ratios = examine(find("loo-importance"), moved, point="second")
    clipped = examine(find("loo-clipped"), moved, point="second")
    assert 1e-3 < ratios.bias < 0.3 * clipped.bias


@BOTH
def test_before_the_first_step_no_clip_is_felt(world):
    plain, clipped = (expect(find(name), world, group=3) for name in ("loo-sum", "loo-clipped"))
    torch.testing.assert_close(plain.mean_PV, clipped.mean_PV, rtol=1e-12, atol=1e-14)
    assert plain.trace == pytest.approx(clipped.trace, rel=1e-12)


# Spread, samples, gates.


def test_the_spread_is_that_of_the_drawn_gradients_and_a_baseline_lowers_it():
    world, group = WORLDS["2x4"], 2
    estimator = Estimator(find("loo-sum").but(sampler=dataclasses.replace(find("loo-sum").sampler, n=group)), world)
    chance = {n: p for n, p in enumerate(world.chance_N.tolist())}
    drawn = [(p * q, estimator.weigh(torch.tensor([[a, b]]))[0][0]) for a, p in chance.items() for b, q in chance.items()]
    mean = sum(p * g for p, g in drawn)
    trace = sum(p * (g - mean).square().sum().item() for p, g in drawn)
    assert expect(find("loo-sum"), world, group=group).trace == pytest.approx(trace, rel=1e-10)
    assert expect(find("loo-sum"), world, group=8).trace < expect(find("raw-sum"), world, group=8).trace


@pytest.mark.parametrize("name", [pytest.param("whitened-sum", marks=pytest.mark.slow), "grpo"])
def test_a_sample_says_so_and_its_interval_covers_what_counting_gives(name, monkeypatch):
    world = WORLDS["2x4"]
    counted = examine(find(name), world, group=2)
    monkeypatch.setattr(bias, "MULTISETS", 1)
    samples = [examine(find(name), world, group=2, calls=0, drawn=2000, seed=seed) for seed in range(5)]
    assert counted.exact
    assert not any(s.exact for s in samples)
    assert all(s.within < 0.8 for s in samples)
    assert sum(abs(s.bias - counted.bias) <= s.within for s in samples) >= 4


def test_a_random_share_of_the_decisions_cannot_be_counted():
    every = find("loo-sum").signals["policy"]
    total = every.but(reduce=means(sum_over("group"), sum_over("rollout"), sum_over("token")))
    half = find("loo-sum").but(signals={"policy": total.but(on=random_share(0.5))})
    found = examine(half, WORLDS["2x4"], drawn=5000, groups=1)
    assert not found.exact
    assert found.scale == pytest.approx(0.5 * 4, abs=found.within)  # a sum over four rollouts


def test_dropping_flat_groups_divides_by_the_chance_of_spread():
    world, group = WORLDS["2x4"], 3
    chance = {r: world.chance_N[world.reward_N == r].sum().item() for r in (0.0, 0.5, 1.0)}
    spread = 1 - sum(p**group for p in chance.values())
    whole = expect(find("loo-sum"), world, group=group)
    kept = expect(find("loo-sum").but(gate=(DropFlat(refill=2),)), world, group=group)
    torch.testing.assert_close(kept.mean_PV, whole.mean_PV / spread, rtol=1e-10, atol=1e-12)


def test_what_a_table_cannot_stand_for_is_refused_in_words():
    world = WORLDS["2x4"]
    with pytest.raises(Unsuitable, match="it has a head"):
        examine(find("ppo"), world)
    with pytest.raises(Unsuitable, match="one update per batch"):
        examine(find("rloo"), world.moved(0.1), point="second")
    turns = find("rloo").but(sampler=dataclasses.replace(find("rloo").sampler, turns=2))
    with pytest.raises(Unsuitable, match="several turns"):
        examine(turns, world)
    warm = find("rloo").but(
        sampler=dataclasses.replace(find("rloo").sampler, sampling=dataclasses.replace(find("rloo").sampler.sampling, temperature=0.7))
    )
    with pytest.raises(Unsuitable, match="temperature 1"):
        examine(warm, world)
    flat = World.of(world.language, (1.0,) * world.language.count, world.old_PV)
    with pytest.raises(Unsuitable, match="nothing to train"):
        expect(find("loo-sum").but(gate=(DropFlat(),)), flat)
