import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.seams.index import Index
from strop.seams.objective import (
    cispo,
    clipped_surrogate,
    clipped_value,
    cross_entropy,
    drift_from_sampler,
    entropy_bonus,
    importance_sampling,
    importance_to_sampler,
    kl_to,
    kl_with_score,
    policy_gradient,
    probability_bound,
    product_ratio,
    row_ratio,
    sequence_ratio,
)

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
numbers = st.lists(st.tuples(st.floats(-3, -0.01), st.floats(-1, 1), st.floats(-2, 2)), min_size=1, max_size=6)


def tracks(drawn):
    logp_T = torch.tensor([d[0] for d in drawn], dtype=torch.float64, requires_grad=True)
    old_logp_T = logp_T.detach() - torch.tensor([d[1] for d in drawn], dtype=torch.float64)
    return logp_T, old_logp_T, torch.tensor([d[2] for d in drawn], dtype=torch.float64)


def slope(loss, logp_T):
    return torch.autograd.grad(loss.sum(), logp_T)[0]


def at(ratio: float, credit: float, **constants) -> tuple[float, float]:
    """Loss and gradient with respect to logp of one decision."""
    logp_T = torch.tensor([math.log(ratio) - 1], dtype=torch.float64, requires_grad=True)
    loss_T = clipped_surrogate(logp_T, torch.tensor([-1.0]).double(), torch.tensor([credit]).double(), torch.ones(1).double(), **constants)
    return loss_T.item(), slope(loss_T, logp_T).item()


@pytest.mark.parametrize(
    ("ratio", "credit", "loss", "gradient"),
    [
        (1.1, 1.0, -1.1, -1.1),  # inside
        (1.5, 1.0, -1.28, 0.0),  # good and already likelier: clipped
        (0.5, 1.0, -0.5, -0.5),  # good but less likely: not clipped
        (0.5, -1.0, 0.8, 0.0),  # bad and already unlikelier: clipped
        (1.5, -1.0, 1.5, 1.5),  # bad but likelier: not clipped
    ],
)
def test_the_clipped_surrogate_by_hand(ratio, credit, loss, gradient):
    assert at(ratio, credit, clip_low=0.2, clip_high=0.28) == pytest.approx((loss, gradient))


def test_a_dual_clip_bounds_what_a_bad_decision_can_cost():
    assert at(5.0, -2.0, dual_clip=3.0) == pytest.approx((6.0, 0.0))
    assert at(2.0, -2.0, dual_clip=3.0) == pytest.approx((4.0, 4.0))
    assert at(5.0, 2.0, dual_clip=3.0) == at(5.0, 2.0)


@some
@given(numbers)
def test_fresh_rollouts_give_the_reinforce_gradient(drawn):
    logp_T, _, credit_T = tracks(drawn)
    old, one = logp_T.detach(), torch.ones_like(credit_T)
    for loss in (clipped_surrogate, importance_sampling, cispo, clipped_surrogate(dual_clip=3.0)):
        torch.testing.assert_close(slope(loss(logp_T, old, credit_T, one), logp_T), -credit_T)
    torch.testing.assert_close(slope(policy_gradient(logp_T, credit_T, one), logp_T), -credit_T)


@some
@given(numbers)
def test_a_clip_nobody_reaches_is_importance_sampling(drawn):
    logp_T, old, credit_T = tracks(drawn)
    one = torch.ones_like(credit_T)
    wide = clipped_surrogate(logp_T, old, credit_T, one, clip_low=1.0, clip_high=100.0)
    torch.testing.assert_close(wide, importance_sampling(logp_T, old, credit_T, one))


@some
@given(numbers, st.floats(0.1, 4))
def test_every_policy_objective_is_linear_in_the_correction_weight(drawn, weight):
    logp_T, old, credit_T = tracks(drawn)
    one = torch.ones_like(credit_T)
    index = Index.of([[[len(drawn)]]])
    for loss in (clipped_surrogate, importance_sampling, cispo):
        torch.testing.assert_close(loss(logp_T, old, credit_T, weight * one), weight * loss(logp_T, old, credit_T, one))
    torch.testing.assert_close(policy_gradient(logp_T, credit_T, weight * one), weight * policy_gradient(logp_T, credit_T, one))
    for loss in (sequence_ratio, row_ratio):
        torch.testing.assert_close(loss(logp_T, old, credit_T, weight * one, index), weight * loss(logp_T, old, credit_T, one, index))


@some
@given(numbers)
def test_the_clipped_loss_is_never_below_the_unclipped_one(drawn):
    logp_T, old, credit_T = tracks(drawn)
    one = torch.ones_like(credit_T)
    assert (clipped_surrogate(logp_T, old, credit_T, one) >= importance_sampling(logp_T, old, credit_T, one) - 1e-12).all()


@some
@given(numbers)
def test_cispo_keeps_a_gradient_at_every_decision(drawn):
    logp_T, old, credit_T = tracks(drawn)
    got_T = slope(cispo(logp_T, old, credit_T, torch.ones_like(credit_T), clip_high=0.28), logp_T)
    torch.testing.assert_close(got_T, -(logp_T - old).exp().clamp_max(1.28).detach() * credit_T)
    low_T = slope(cispo(logp_T, old, credit_T, torch.ones_like(credit_T), clip_low=0.1, clip_high=0.28), logp_T)
    torch.testing.assert_close(low_T, -(logp_T - old).exp().clamp(0.9, 1.28).detach() * credit_T)


def test_the_sequence_ratio_is_the_geometric_mean_by_hand():
    # one rollout of two rows: ratios 2 and 1/2 in the first, 4 in the second
    logp_T = torch.tensor([2.0, 0.5, 4.0], dtype=torch.float64).log().requires_grad_()
    old, credit_T, one = torch.zeros(3).double(), torch.full((3,), -1.0).double(), torch.ones(3).double()
    index = Index.of([[[2, 1]]])
    torch.testing.assert_close(sequence_ratio(logp_T, old, credit_T, one, index), torch.tensor([4 ** (1 / 3)]).double())
    torch.testing.assert_close(row_ratio(logp_T, old, credit_T, one, index), torch.tensor([1.0, 4.0]).double())


def test_a_sequence_is_clipped_as_a_whole():
    logp_T = torch.tensor([0.5, -0.1, 0.01, -0.01], dtype=torch.float64, requires_grad=True)
    old, one, index = torch.zeros(4).double(), torch.ones(4).double(), Index.of([[[2], [2]]])
    got_T = slope(sequence_ratio(logp_T, old, torch.ones(4).double(), one, index), logp_T)
    assert got_T.tolist() == [0.0, 0.0, -0.5, -0.5]


def test_the_penalty_and_the_supervised_losses_by_hand():
    assert kl_to(torch.tensor([-1.0]), torch.tensor([-1.0])).tolist() == [0.0]
    assert kl_to(torch.tensor([-1.0]), torch.tensor([-3.0]), estimator="k2").tolist() == [2.0]
    assert cross_entropy(torch.tensor([-2.5])).tolist() == [2.5]
    assert entropy_bonus(torch.tensor([0.7])).tolist() == [pytest.approx(-0.7)]


@pytest.mark.parametrize(
    ("value", "old", "target", "loss"),
    [
        (1.0, 0.9, 2.0, 0.5),  # within the clip: half the squared error
        (2.0, 0.0, 2.0, 1.62),  # far from the old value: judged as if it had moved by 0.2 only, (2 - 0.2)^2 / 2
        (-1.0, 0.0, 2.0, 4.5),  # away from the target: the larger of the two
    ],
)
def test_the_value_loss_by_hand(value, old, target, loss):
    got_T = clipped_value(torch.tensor([value]), torch.tensor([old]), torch.tensor([target]), clip=0.2)
    assert got_T.item() == pytest.approx(loss)
    assert clipped_value(torch.tensor([value]), torch.tensor([old]), torch.tensor([target]), clip=None).item() == pytest.approx(
        (value - target) ** 2 / 2
    )


def test_the_kl_with_its_score_term_has_the_gradient_of_the_kl_and_k3_alone_has_another():
    """Exact over three outcomes: both estimates weighed by the policy they are drawn from."""
    logits = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.5, 0.2, 0.4], dtype=torch.float64).log_softmax(0)

    def slope(loss):
        return torch.autograd.grad(loss, logits)[0]

    logp = logits.log_softmax(0)
    exact = slope((logp.exp() * (logp - reference)).sum())
    drawn = logits.log_softmax(0)
    torch.testing.assert_close(slope((drawn.detach().exp() * kl_with_score(drawn, reference)).sum()), exact)
    alone = logits.log_softmax(0)
    assert (slope((alone.detach().exp() * kl_to(alone, reference)).sum()) - exact).abs().max() > 0.1


def test_beyond_its_limit_the_kl_has_no_gradient():
    logp_T = torch.tensor([-1.0, -9.0], requires_grad=True)
    loss_T = kl_with_score(logp_T, torch.tensor([-1.5, -1.0]), limit=10.0)
    loss_T.sum().backward()
    assert loss_T[1] == 10.0
    assert logp_T.grad is not None
    assert logp_T.grad[1] == 0 != logp_T.grad[0]


def test_a_bound_on_the_probability_by_hand():
    # probabilities 0.5 -> 0.8 (too far up for A > 0), 0.5 -> 0.2 (too far down for A < 0), 0.01 -> 0.05 (five times, yet near)
    logp_T = torch.tensor([0.8, 0.2, 0.05, 0.8, 0.2]).log()
    sampled_T = torch.tensor([0.5, 0.5, 0.01, 0.5, 0.5]).log()
    got_T = probability_bound(logp_T, sampled_T, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]))
    torch.testing.assert_close(got_T, torch.tensor([0.0, 0.0, -5.0, 1.6, -0.4]))


def test_the_product_of_two_ratios_is_clipped_as_one():
    index, old_T = Index.of([[[2], [1]]]), torch.zeros(3)
    logp_T = torch.tensor([1.1, 1.15, 0.5]).log()  # 1.1 * 1.15 = 1.265 > 1.2
    got_R = product_ratio(logp_T, old_T, torch.tensor([1.0, 1.0, 2.0]), torch.ones(3), index)
    torch.testing.assert_close(got_R, torch.tensor([-1.2, -1.0]))


def test_drift_and_importance_are_measured_from_the_sampler():
    logp_T, sampled_T = torch.tensor([0.6]).log(), torch.tensor([0.3]).log()
    torch.testing.assert_close(importance_to_sampler(logp_T, sampled_T, torch.tensor([3.0])), torch.tensor([-6.0]))
    torch.testing.assert_close(drift_from_sampler(logp_T, sampled_T), torch.tensor([math.log(2) ** 2]))
