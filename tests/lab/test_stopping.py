"""What a mean over each rollout's own tokens does to the expected length, exactly: by enumeration of all groups, and by hand."""

import pytest
import torch

from strop.lab.stopping import Repeats, chooses_first, expected_lengths, length_slope, stops_after
from strop.methods.grpo import GRPO
from strop.methods.mind import MIND_GRPO
from strop.seams.reduction import means, over, sum_over

STOP = 0.4


def aimed(name, *levels):
    return GRPO.but(name, signals={"policy": GRPO.signals["policy"].but(reduce=means(*levels))})


SUMS = [aimed("over-a-constant", "group", "rollout", over("token", 3)), aimed("summed", "group", "rollout", sum_over("token"))]


def by_hand(right):
    """Two rollouts, lengths 2 and 3: E[A | right] is the chance that the sibling is wrong, 1 - p, and E[A | wrong] is -p. Behind either
    answer the two logits move by p (1 - p) s (1 - s) (1/2 - 1/3), up after a right one and down after a wrong one, and the expected
    length by s (1 - s) times how often one gets there, p or 1 - p, for each of them."""
    moved = right * (1 - right) * STOP * (1 - STOP) * (1 / 2 - 1 / 3)
    return -2 * moved * STOP * (1 - STOP) * (right - (1 - right))


@pytest.mark.parametrize("right", [0.2, 0.5, 0.7])
def test_where_stopping_follows_the_answer_the_mean_shortens_above_a_half_and_lengthens_below(right):
    slope = length_slope(GRPO, stops_after(right, STOP))
    assert slope == pytest.approx(by_hand(right), abs=1e-12)
    assert (slope < -1e-4, abs(slope) < 1e-12, slope > 1e-4) == (right > 0.5, right == 0.5, right < 0.5)


@pytest.mark.parametrize("right", [0.2, 0.7])
def test_where_the_length_is_chosen_first_it_stays(right):
    assert abs(length_slope(GRPO, chooses_first(right, STOP))) < 1e-12


@pytest.mark.parametrize("right", [0.2, 0.7])
def test_where_the_policy_cannot_tell_right_from_wrong_it_stays_too(right):
    assert abs(length_slope(GRPO, stops_after(right, STOP), tells=False)) < 1e-12


@pytest.mark.parametrize("method", SUMS, ids=lambda m: m.name)
def test_under_a_sum_the_length_stays_either_way(method):
    for world in (stops_after(0.2, STOP), stops_after(0.7, STOP), chooses_first(0.7, STOP)):
        assert abs(length_slope(method, world)) < 1e-12


def test_mind_is_reduced_by_the_mean_that_shortens():
    assert MIND_GRPO.signals["policy"].reduce == GRPO.signals["policy"].reduce == means("group", "rollout", "token")


def test_the_worlds_are_what_they_say():
    for world in (stops_after(0.7, STOP), chooses_first(0.7, STOP)):
        chance_N = world.chance_N
        assert float(chance_N.sum()) == pytest.approx(1)
        assert float((chance_N * world.reward_N).sum()) == pytest.approx(0.7)
        length_N = world.language.length_N.double()
        together = float((chance_N * world.reward_N * length_N).sum())
        assert together == pytest.approx(0.7 * float((chance_N * length_N).sum())), "how long a reply gets says nothing of its answer"


def test_a_table_of_such_tasks_is_right_as_often_as_it_is_told_and_as_long():
    source = Repeats(tasks=2)
    policy = source.policy([0.6, 0.8], 0.5)
    assert policy.rates(source) == pytest.approx([0.6, 0.8])
    with torch.no_grad():
        lengths_S = expected_lengths(source.language, policy.logits)
    assert lengths_S.tolist() == pytest.approx([2 * 0.5 + 3 * 0.25 + 4 * 0.25] * 2)
    assert source.grade(source.task("train", 0, 0), "acc")["outcome"] == 1
    assert source.grade(source.task("train", 0, 0), "bca")["outcome"] == 0
