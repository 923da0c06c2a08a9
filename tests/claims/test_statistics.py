import math
import random
from itertools import product
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from strop.claims.statistics import auroc, corrected, interval, judge, judge_tie, power, smallest_detectable


def test_the_interval_is_that_of_the_paired_t_test():
    arm, control = np.array([0.51, 0.48, 0.55, 0.50]), np.array([0.40, 0.41, 0.43, 0.37])
    low, high = interval(list(arm - control))
    known = stats.ttest_rel(arm, control).confidence_interval(0.95)
    assert (low, high) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize(
    ("differences", "threshold", "word"),
    [
        ([0.30, 0.28, 0.31, 0.29], 0.1, "supported"),
        ([0.02, 0.01, 0.03, 0.02], 0.1, "refuted"),
        ([0.30, -0.10, 0.25, 0.05], 0.1, "inconclusive"),
        ([0.30], 0.1, "inconclusive"),
        ([0.30, 0.29], 0.29, "inconclusive"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(differences, threshold, word):
    assert judge(differences, threshold).verdict == word


def test_a_tie_is_supported_inside_its_margin_and_refuted_outside():
    assert judge_tie([0.01, -0.01, 0.0, 0.01], 0.05).verdict == "supported"
    assert judge_tie([0.31, 0.29, 0.30, 0.32], 0.05).verdict == "refuted"
    assert judge_tie([-0.31, -0.29, -0.30, -0.32], 0.05).verdict == "refuted"
    assert judge_tie([0.1, -0.1, 0.05, 0.0], 0.05).verdict == "inconclusive"


def test_several_claims_share_the_error_of_one():
    assert corrected(1) == 0.95
    assert corrected(5) == pytest.approx(0.99)
    wide, narrow = interval([0.1, 0.2, 0.3], corrected(5)), interval([0.1, 0.2, 0.3])
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("seeds", [4, 6, 10])
def test_the_smallest_detectable_effect_is_found_four_times_in_five(seeds):
    pilot = [0.0, 1.0, 2.0]  # deviation 1
    effect = smallest_detectable(pilot, seeds)
    assert power(effect, 1.0, seeds) == pytest.approx(0.8)
    draws = np.random.default_rng(seeds).normal(effect, 1.0, (4000, seeds))
    found = np.mean([judge(list(row), 0.0).verdict == "supported" for row in draws])
    assert found == pytest.approx(0.8, abs=4 * math.sqrt(0.8 * 0.2 / 4000))


def test_without_a_pilot_nothing_is_detectable():
    assert smallest_detectable([0.1], 4) == math.inf
    assert smallest_detectable([0.1, 0.1, 0.1], 4) == 0.0


def test_auroc_is_the_share_of_pairs_in_order():
    rng = random.Random(0)
    for _ in range(20):
        scores, labels = [rng.randrange(5) for _ in range(12)], [True, False, *(rng.random() < 0.4 for _ in range(10))]
        pairs = [(a, b) for (a, x), (b, y) in product(zip(scores, labels, strict=True), repeat=2) if x and not y]
        assert auroc(scores, labels) == pytest.approx(fmean((a > b) + (a == b) / 2 for a, b in pairs))
    assert auroc([1, 2], [True, False]) + auroc([-1, -2], [True, False]) == 1
    assert auroc([1, 2], [False, False]) is None
