import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.seams.credit import (
    batch_whiten,
    by_row,
    credit_at_end,
    gae,
    group_centered,
    group_normalized,
    group_standardized,
    kl_estimate,
    kl_in_outcome,
    kl_in_reward,
    leave_one_out,
    returns_to_go,
    reward_itself,
    row_standardized,
    siblings_standardized,
    step_returns,
    steps_standardized,
)
from strop.seams.index import Index

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
rewards = st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0, -2.0]), min_size=1, max_size=5), min_size=1, max_size=4)
counts = st.lists(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3)


def ragged(groups):
    index = Index.of([[[1]] * len(group) for group in groups])
    return torch.tensor([r for group in groups for r in group], dtype=torch.float64), index


def test_one_success_in_four_by_hand():
    # mean 1/4, std sqrt(3)/4, so the winner earns (3/4) / (sqrt(3)/4) = sqrt(3)
    got_R = group_standardized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4))
    torch.testing.assert_close(got_R[0], torch.tensor(3.0).sqrt())
    # divided by G - 1 the variance is (9/16 + 3/16) / 3 = 1/4
    unbiased_R = group_standardized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4), unbiased=True)
    torch.testing.assert_close(unbiased_R, torch.tensor([1.5, -0.5, -0.5, -0.5]))


def test_reward_itself_is_the_reward():
    assert reward_itself(torch.tensor([1.0, -2.0])).tolist() == [1.0, -2.0]


@some
@given(rewards)
def test_group_credit_sums_to_zero_in_every_group(groups):
    reward_R, index = ragged(groups)
    for credit in (group_centered, group_standardized, leave_one_out):
        torch.testing.assert_close(index.sum(credit(reward_R, index), "rollout", "group"), torch.zeros(len(groups), dtype=torch.float64))


@some
@given(rewards, st.floats(-3, 3))
def test_group_credit_ignores_a_constant_added_to_every_reward(groups, shift):
    reward_R, index = ragged(groups)
    for credit in (group_centered, group_standardized, leave_one_out):
        torch.testing.assert_close(credit(reward_R + shift, index), credit(reward_R, index), rtol=1e-9, atol=1e-9)


@some
@given(rewards)
def test_standardised_credit_ignores_the_scale_of_rewards_and_has_unit_spread(groups):
    reward_R, index = ragged(groups)
    credit_R = group_standardized(reward_R, index)
    torch.testing.assert_close(group_standardized(3 * reward_R, index), credit_R)
    spread_G = index.mean(credit_R.square(), "rollout", "group")
    assert all(value == pytest.approx(1.0) or value == pytest.approx(0.0) for value in spread_G.tolist())


@some
@given(rewards)
def test_leave_one_out_is_the_reward_less_the_mean_of_the_siblings(groups):
    reward_R, index = ragged(groups)
    wanted = []
    for group in groups:
        for i, own in enumerate(group):
            others = group[:i] + group[i + 1 :]
            wanted.append(own - sum(others) / len(others) if others else 0.0)
    torch.testing.assert_close(leave_one_out(reward_R, index), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("credit", [group_centered, group_standardized, leave_one_out])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1])
def test_a_group_that_agrees_earns_nothing(credit, reward):
    for size in (1, 2, 3, 7):
        got_R = credit(torch.full((size,), reward), Index.one_group(size))
        assert got_R.abs().max() < 1e-3


def test_whitened_credit_has_zero_mean_and_unit_spread_over_what_is_trained():
    credit_T = torch.tensor([1.0, 2.0, 6.0, 100.0])
    trained_T = torch.tensor([True, True, True, False])
    got_T = batch_whiten(credit_T, trained_T)[:3]
    torch.testing.assert_close(got_T.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(got_T.square().mean(), torch.tensor(1.0))
    scaled_T = batch_whiten(credit_T, trained_T, center=False)[:3]
    torch.testing.assert_close(scaled_T, credit_T[:3] / torch.tensor(14 / 3).sqrt())


def test_whitening_nothing_and_whitening_a_constant_stay_finite():
    credit_T = torch.tensor([2.0, 2.0])
    assert torch.equal(batch_whiten(credit_T, torch.tensor([False, False])), credit_T)
    assert batch_whiten(credit_T, torch.tensor([True, True])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("estimator", "at_log_2"), [("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 0.5 - 1 + math.log(2))])
def test_kl_estimators_by_hand(estimator, at_log_2):
    assert kl_estimate(torch.tensor(2.0).log(), estimator).item() == pytest.approx(at_log_2)
    assert kl_estimate(torch.tensor(0.0), estimator).item() == 0.0


def test_k1_and_k3_average_to_the_kl_under_the_policy():
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    log_ratio = (policy / reference).log()
    kl = (policy * log_ratio).sum()
    for estimator in ("k1", "k3"):
        torch.testing.assert_close((policy * kl_estimate(log_ratio, estimator)).sum(), kl)
    assert (kl_estimate(log_ratio, "k3") >= 0).all()


def test_k2_has_the_gradient_of_the_kl():
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64).log()
    logp = logits.log_softmax(0)
    (true,) = torch.autograd.grad((logp.exp() * (logp - reference)).sum(), logits, retain_graph=True)
    (sampled,) = torch.autograd.grad((logp.exp().detach() * kl_estimate(logp - reference, "k2")).sum(), logits)
    torch.testing.assert_close(sampled, true)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="use k1, k2 or k3"):
        kl_estimate(torch.zeros(1), "k4")


def test_leaving_the_reference_costs_reward():
    old_T, reference_T = torch.tensor([-1.0, -1.0, float("nan")]), torch.tensor([-1.5, -0.5, -1.0])
    for estimator, wanted in {"k1": [-0.05, 1.05, 2.0], "k2": [-0.0125, 0.9875, 2.0]}.items():
        got_T = kl_in_reward(
            torch.tensor([0.0, 1.0, 2.0]), old_T, reference_T, torch.tensor([True, True, False]), coefficient=0.1, estimator=estimator
        )
        torch.testing.assert_close(got_T, torch.tensor(wanted))


def test_returns_to_go_by_hand():
    index = Index.of([[[2], [1, 2]]])
    reward_T = torch.tensor([1.0, 2.0, 4.0, 0.0, 8.0])
    assert returns_to_go(reward_T, index).tolist() == [3.0, 2.0, 12.0, 8.0, 8.0]
    assert returns_to_go(reward_T, index, gamma=0.5).tolist() == [2.0, 2.0, 6.0, 4.0, 8.0]


def plain_gae(reward, value, cut, index, gamma, lam):
    """Backwards over each rollout, one decision at a time."""
    owner, credit = index.up("token", "rollout").tolist(), [0.0] * len(reward)
    for t in reversed(range(len(reward))):
        last = t + 1 == len(reward) or owner[t + 1] != owner[t]
        following = (value[t] if cut[owner[t]] else 0.0) if last else value[t + 1]
        credit[t] = reward[t] + gamma * following - value[t] + (0.0 if last else gamma * lam * credit[t + 1])
    return credit


@some
@given(counts, st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.sampled_from([0.0, 0.95, 1.0]), st.integers(0, 1000))
def test_gae_is_the_plain_loop(sizes, gamma, lam, seed):
    index = Index.of(sizes)
    generator = torch.Generator().manual_seed(seed)
    reward_T, value_T = torch.randn(2, index.size("token"), generator=generator, dtype=torch.float64)
    cut_R = torch.rand(index.size("rollout"), generator=generator) < 0.5
    got = gae(reward_T, value_T, cut_R, index, gamma=gamma, lam=lam)
    wanted = plain_gae(reward_T.tolist(), value_T.tolist(), cut_R.tolist(), index, gamma, lam)
    torch.testing.assert_close(got["credit_T"], torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(got["return_T"], got["credit_T"] + value_T)


def test_a_rollout_that_was_cut_is_worth_what_its_last_value_says():
    index = Index.of([[[2], [2]]])
    value_T = torch.tensor([0.5, 0.25, 0.5, 0.25])
    got_T = gae(torch.zeros(4), value_T, torch.tensor([True, False]), index, gamma=1.0, lam=1.0)["return_T"]
    assert got_T.tolist() == [0.25, 0.25, 0.0, 0.0]


def test_without_a_value_and_undiscounted_gae_is_returns_to_go():
    index, reward_T = Index.of([[[3], [2]]]), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    got = gae(reward_T, torch.zeros(5), torch.tensor([True, False]), index, gamma=1.0, lam=1.0)
    assert torch.equal(got["credit_T"], returns_to_go(reward_T, index))


def test_a_sample_deviation_and_a_constant_by_hand():
    # deviations 3/4 and -1/4, squares sum to 3/4, over 3: std 1/2; with eps 1 the winner earns (3/4) / (3/2)
    got_R = group_normalized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4), eps=1.0)
    torch.testing.assert_close(got_R, torch.tensor([0.5, -1 / 6, -1 / 6, -1 / 6]))


@some
@given(rewards)
def test_siblings_standardized_is_what_the_siblings_alone_say(groups):
    reward_R, index = ragged(groups)
    wanted = []
    for group in groups:
        for at, reward in enumerate(group):
            others = group[:at] + group[at + 1 :]
            own = reward - sum(others) / len(others) if others else 0.0
            wanted.append(own / (statistics.stdev(others) + 1e-6) if len(set(others)) > 1 else own)
    got_R = siblings_standardized(reward_R, index)
    torch.testing.assert_close(got_R, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_siblings_that_agree_on_a_reward_without_exact_digits_divide_nothing():
    got_R = siblings_standardized(torch.tensor([0.5, 0.3, 0.3, 0.3, 0.3, 0.3]), Index.one_group(6))
    torch.testing.assert_close(got_R[0], torch.tensor(0.2))


def test_credit_at_end_and_its_returns_are_the_credit_again():
    index = Index.of([[[2, 1], [3]]])
    credit_R = torch.tensor([0.5, -2.0])
    reward_T = credit_at_end(credit_R, index)
    assert reward_T.tolist() == [0.0, 0.0, 0.5, 0.0, 0.0, -2.0]
    assert returns_to_go(reward_T, index).tolist() == [0.5, 0.5, 0.5, -2.0, -2.0, -2.0]


def test_a_rollout_pays_for_the_log_ratios_of_its_actions_alone():
    index = Index.of([[[3], [1]]])
    old_T, reference_T = torch.tensor([-1.0, -2.0, float("nan"), -1.0]), torch.tensor([-1.5, -1.0, -3.0, -2.0])
    got_R = kl_in_outcome(torch.tensor([1.0, 0.0]), old_T, reference_T, torch.tensor([True, True, False, True]), index, coefficient=0.1)
    torch.testing.assert_close(got_R, torch.tensor([1.0 - 0.1 * (0.5 - 1.0), 0.0 - 0.1 * 1.0]))


def test_a_step_earns_its_score_and_those_of_later_ones():
    # two steps of two decisions each and an answer; a rollout of one step; one without any
    index, none = Index.of([[[5], [2], [1]]]), math.nan
    score_T = torch.tensor([none, 0.5, none, -1.0, none, none, 0.25, none])
    assert step_returns(score_T, index).tolist() == [-0.5, -0.5, -1.0, -1.0, 0.0, 0.25, 0.25, 0.0]
    assert step_returns(score_T, index, gamma=0.5).tolist() == [0.0, 0.0, -1.0, -1.0, 0.0, 0.25, 0.25, 0.0]
    for gamma in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match=r"lies in \(0, 1\]"):
            step_returns(score_T, index, gamma=gamma)


@some
@given(counts, st.sampled_from([0.5, 0.995, 1.0]), st.sampled_from(["row", "rollout"]), st.integers(0, 1000))
def test_credit_of_rows_is_the_plain_loop(sizes, gamma, over, seed):
    index, generator = Index.of(sizes), torch.Generator().manual_seed(seed)
    reward_R = torch.rand(index.size("rollout"), generator=generator, dtype=torch.float64)
    wanted, units = [], iter(reward_R.tolist())
    for group in sizes:
        earned = [[reward * gamma**later for later in reversed(range(len(rollout)))] for rollout, reward in zip(group, units, strict=False)]
        each = [statistics.fmean(rows) for rows in earned if rows] if over == "rollout" else [one for rows in earned for one in rows]
        mean, spread = (statistics.fmean(each), statistics.pstdev(each)) if each else (0.0, 0.0)
        wanted += [(one - mean) / max(spread, 1e-4) for rows in earned for one in rows]
    got_W = row_standardized(by_row(reward_R, index, gamma=gamma), index, over=over)
    torch.testing.assert_close(got_W, torch.tensor(wanted, dtype=torch.float64))


def test_the_baseline_over_rows_counts_a_rollout_by_its_rows():
    index, reward_R = Index.of([[[2], [1, 1, 1], [1, 3]]]), torch.tensor([1.0, 0.0, 1.0])
    got_W = row_standardized(by_row(reward_R, index), index)
    mean = (1 * 1.0 + 3 * 0.0 + 2 * 1.0) / (1 + 3 + 2)
    assert got_W.tolist() == pytest.approx([(r - mean) / 0.5 for r in (1.0, 0.0, 0.0, 0.0, 1.0, 1.0)])
    with pytest.raises(ValueError, match="row or rollout"):
        row_standardized(over="rollouts").on({"reward_W": got_W, "index": index})
    with pytest.raises(ValueError, match=r"lies in \(0, 1\]"):
        by_row(reward_R, index, gamma=0.0)


def plain_step_returns(score, owner, gamma):
    """Of each decision, over the steps that end there or later in its rollout."""
    found = []
    for t in range(len(score)):
        later = [score[s] for s in range(t, len(score)) if owner[s] == owner[t] and not math.isnan(score[s])]
        found.append(sum(gamma**far * one for far, one in enumerate(later)))
    return found


def plain_steps_standardized(score, group, floor):
    found = []
    for one, mine in zip(score, group, strict=True):
        known = [s for s, g in zip(score, group, strict=True) if g == mine and not math.isnan(s)]
        found.append(math.nan if math.isnan(one) else (one - statistics.fmean(known)) / max(statistics.pstdev(known), floor))
    return found


@some
@given(counts, st.sampled_from([0.3, 0.5, 0.9, 1.0]), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 1000))
def test_credit_of_steps_is_the_plain_loop(sizes, gamma, share, seed):
    index, generator = Index.of(sizes), torch.Generator().manual_seed(seed)
    score_T = torch.randn(index.size("token"), generator=generator, dtype=torch.float64)
    score_T[torch.rand(len(score_T), generator=generator) >= share] = math.nan
    score, owner, group = score_T.tolist(), index.up("token", "rollout").tolist(), index.up("token", "group").tolist()
    wanted_T = torch.tensor(plain_step_returns(score, owner, gamma), dtype=torch.float64)
    torch.testing.assert_close(step_returns(score_T, index, gamma=gamma), wanted_T)
    wanted_T = torch.tensor(plain_steps_standardized(score, group, 1e-4), dtype=torch.float64)
    torch.testing.assert_close(steps_standardized(score_T, index), wanted_T, equal_nan=True)
