import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.seams.index import LEVELS, Index

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
counts = st.lists(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3)

# group 0: a rollout of rows with 2 and 0 decisions, one of a row with 1; group 1: one with rows of 3 and 1
SIZES = [[[2, 0], [1]], [[3, 1]]]


def test_every_level_points_to_its_parent_by_hand():
    index = Index.of(SIZES)
    assert index.row_T.tolist() == [0, 0, 2, 3, 3, 3, 4]
    assert index.rollout_W.tolist() == [0, 0, 1, 2, 2]
    assert index.group_R.tolist() == [0, 0, 1]
    assert index.up("token", "group").tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert index.up("row", "batch").tolist() == [0] * 5
    assert [index.size(level) for level in LEVELS] == [7, 5, 3, 2, 1]


def test_statistics_by_hand():
    index = Index.of(SIZES)
    x_T = torch.tensor([1.0, 3.0, 5.0, 1.0, 2.0, 3.0, 10.0])
    assert index.sum(x_T, "token", "rollout").tolist() == [4.0, 5.0, 16.0]
    assert index.mean(x_T, "token", "row").tolist() == [2.0, 0.0, 5.0, 2.0, 10.0]
    assert index.max(x_T, "token", "row").tolist() == [3.0, -float("inf"), 5.0, 3.0, 10.0]
    assert index.count("token", "group").tolist() == [3, 4]
    assert index.active("row").tolist() == [True, False, True, True, True]
    assert index.last().tolist() == [False, True, True, False, False, False, True]
    assert index.spread(torch.tensor([7.0, 8.0]), "group", "rollout").tolist() == [7.0, 7.0, 8.0]


def test_a_coarse_unit_has_no_finer_parent():
    with pytest.raises(ValueError, match="token is finer than row"):
        Index.of(SIZES).up("row", "token")


def test_no_decisions_at_all_is_an_index_too():
    empty = Index.of([])
    assert [empty.size(level) for level in LEVELS] == [0, 0, 0, 0, 1]
    assert empty.last().tolist() == []
    assert Index.of([[[0]]]).last().tolist() == []


@some
@given(counts)
def test_summing_in_two_steps_is_summing_in_one(sizes):
    index = Index.of(sizes)
    x_T = torch.arange(index.size("token"), dtype=torch.float64) + 1
    for middle in ("row", "rollout", "group"):
        there = index.sum(index.sum(x_T, "token", middle), middle, "batch")
        assert torch.equal(there, index.sum(x_T, "token", "batch"))


@some
@given(counts)
def test_a_mean_spread_back_and_averaged_is_itself(sizes):
    index = Index.of(sizes)
    x_R = torch.arange(index.size("rollout"), dtype=torch.float64).square()
    mean_G = index.mean(x_R, "rollout", "group")
    torch.testing.assert_close(index.mean(index.spread(mean_G, "group", "rollout"), "rollout", "group"), mean_G)


@some
@given(counts, st.randoms(use_true_random=False))
def test_taking_rows_in_any_order_keeps_each_decision_with_its_owner(sizes, rng):
    index = Index.of(sizes)
    rows = list(range(index.size("row")))
    rng.shuffle(rows)
    rows = rows[: rng.randint(0, len(rows))]
    part, at_T = index.rows(torch.tensor(rows, dtype=torch.long))
    assert at_T.tolist() == [t for row in rows for t in range(index.size("token")) if index.row_T[t] == row]
    for level in ("rollout", "group"):
        assert torch.equal(part.up("token", level), index.up("token", level)[at_T])


@some
@given(counts, st.randoms(use_true_random=False))
def test_leaving_decisions_out_renumbers_nothing(sizes, rng):
    index = Index.of(sizes)
    keep_T = torch.tensor([rng.random() < 0.5 for _ in range(index.size("token"))], dtype=torch.bool)
    part = index.select(keep_T)
    for level in ("row", "rollout", "group"):
        assert torch.equal(part.up("token", level), index.up("token", level)[keep_T])
        assert part.size(level) == index.size(level)
