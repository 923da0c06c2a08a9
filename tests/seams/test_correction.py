import pytest
import torch

from strop.seams.correction import masked, none, truncated, zeroed
from strop.seams.index import Index

INDEX = Index.of([[[2], [2]]])
OLD = torch.tensor([4.0, 0.5, 1.0, 0.25]).log()
SAMPLED = torch.zeros(4)
ALL = torch.ones(4, dtype=torch.bool)


def test_no_correction_is_weight_one_and_no_mask():
    weight_T, mask_T = none(OLD)
    assert weight_T.tolist() == [1.0] * 4
    assert mask_T.tolist() == [True] * 4


def test_truncation_by_hand():
    weight_T, mask_T = truncated(OLD, SAMPLED, ALL, INDEX, cap=2.0)
    torch.testing.assert_close(weight_T, torch.tensor([2.0, 0.5, 1.0, 0.25]))
    assert mask_T.all()
    # of whole rollouts: ratios 4 * 1/2 = 2 and 1 * 1/4
    weight_T, _ = truncated(OLD, SAMPLED, ALL, INDEX, cap=1.5, level="sequence")
    torch.testing.assert_close(weight_T, torch.tensor([1.5, 1.5, 0.25, 0.25]))


def test_masking_by_hand():
    weight_T, mask_T = masked(OLD, SAMPLED, ALL, INDEX, low=0.4, high=2.5)
    assert mask_T.tolist() == [False, True, True, False]
    torch.testing.assert_close(weight_T, torch.tensor([1.0, 0.5, 1.0, 1.0]))
    weight_T, mask_T = masked(OLD, SAMPLED, ALL, INDEX, low=0.4, high=2.5, level="sequence")
    assert mask_T.tolist() == [True, True, False, False]
    torch.testing.assert_close(weight_T[:2], torch.tensor([2.0, 2.0]))


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("correction", [truncated(cap=10.0), masked(low=0.0, high=10.0)])
def test_the_weight_is_the_ratio_where_no_bound_is_reached(correction, level):
    weight_T, mask_T = correction(level=level)(OLD, SAMPLED, ALL, INDEX)
    wanted_T = OLD.exp() if level == "token" else torch.tensor([2.0, 2.0, 0.25, 0.25])
    torch.testing.assert_close(weight_T, wanted_T)
    assert mask_T.all()


@pytest.mark.parametrize("correction", [truncated, masked, truncated(level="sequence"), masked(level="sequence")])
def test_what_nobody_drew_is_left_as_it_is(correction):
    sampled_T = torch.tensor([float("nan"), 0.0, 0.0, 0.0])
    actions_T = torch.tensor([False, True, True, True])
    weight_T, mask_T = correction(OLD, sampled_T, actions_T, INDEX)
    assert weight_T.isfinite().all()
    assert bool(mask_T[0])


@pytest.mark.parametrize("correction", [truncated, masked])
def test_an_unknown_level_is_refused(correction):
    with pytest.raises(ValueError, match="use token or sequence"):
        correction(OLD, SAMPLED, ALL, INDEX, level="row")


def test_what_is_zeroed_still_counts():
    weight_T, mask_T = zeroed(OLD, SAMPLED, ALL, INDEX, cap=1.5)  # ratios of the rollouts: 2 and 1/4
    torch.testing.assert_close(weight_T, torch.tensor([0.0, 0.0, 0.25, 0.25]))
    assert mask_T.all()
