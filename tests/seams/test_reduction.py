import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.seams.index import Index
from strop.seams.reduction import PER_SEQUENCE, PER_TOKEN, means, over, power_of, sum_over

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
counts = st.lists(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3)
NESTED = [
    ("group", "rollout", "row", "token"),
    ("group", "rollout", "token"),
    ("rollout", "token"),
    ("group", "token"),
    ("token",),
    ("group", "rollout"),
    ("row",),
]


# group 0 holds rollouts of 1 and 3 decisions, group 1 one rollout of 2
INDEX = Index.of([[[1], [3]], [[2]]])


@pytest.mark.parametrize(
    ("reduction", "shares"),
    [
        (PER_TOKEN, [1 / 6] * 6),
        (PER_SEQUENCE, [1 / 3, 1 / 9, 1 / 9, 1 / 9, 1 / 6, 1 / 6]),
        (means("group", "rollout", "token"), [1 / 4, 1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 4]),
        (means("group", "token"), [1 / 8] * 4 + [1 / 4] * 2),
        (means(sum_over("token")), [1.0] * 6),
        (means("group", "rollout", over("token", 10)), [1 / 40] * 4 + [1 / 20] * 2),
        (means("rollout", power_of("token", 0.5)), [1 / 3] + [1 / (3 * 3**0.5)] * 3 + [1 / (3 * 2**0.5)] * 2),
        (means("group", "rollout"), [1 / 4, 1 / 4, 1 / 2]),
        (means("row"), [1 / 3] * 3),
    ],
    ids=lambda value: value.words() if hasattr(value, "words") else "",
)
def test_shares_by_hand(reduction, shares):
    torch.testing.assert_close(reduction.shares(INDEX), torch.tensor(shares, dtype=torch.float64))


def test_what_holds_nothing_does_not_count():
    # of two groups one is empty; of its two rollouts in the other one is empty: one rollout is left
    index = Index.of([[[0], [2]], [[0]]])
    assert means("group", "rollout", "token").shares(index).tolist() == [0.5, 0.5]
    assert means("group", "rollout").shares(index).tolist() == [0.0, 1.0, 0.0]


@some
@given(counts, st.sampled_from(NESTED))
def test_shares_of_a_mean_sum_to_one(sizes, levels):
    index = Index.of(sizes)
    shares = means(*levels).shares(index)
    assert shares.sum().item() == pytest.approx(1.0 if index.size("token") else 0.0)
    assert (shares >= 0).all()


@some
@given(counts)
def test_a_nested_mean_is_the_mean_of_means(sizes):
    index = Index.of(sizes)
    x_T = torch.arange(index.size("token"), dtype=torch.float64).square()
    wanted = []
    for g in range(index.groups):
        rollouts = [r for r in range(index.size("rollout")) if index.group_R[r] == g]
        inside = [x_T[index.up("token", "rollout") == r] for r in rollouts]
        known = [x.mean().item() for x in inside if len(x)]
        if known:
            wanted.append(sum(known) / len(known))
    got = (means("group", "rollout", "token").shares(index) * x_T).sum().item()
    assert got == pytest.approx(sum(wanted) / len(wanted) if wanted else 0.0)


@some
@given(counts, st.sampled_from(["group", "rollout", "row", "token"]))
def test_power_one_is_the_mean_and_power_zero_the_sum(sizes, level):
    index = Index.of(sizes)
    assert torch.equal(means(power_of(level, 1.0)).shares(index), means(level).shares(index))
    assert torch.equal(means(power_of(level, 0.0)).shares(index), means(sum_over(level)).shares(index))


@some
@given(counts)
def test_shares_are_a_function_of_the_structure_and_not_of_the_order_of_rows(sizes):
    index = Index.of(sizes)
    back = list(reversed(range(index.size("row"))))
    part, at_T = index.rows(torch.tensor(back))
    for levels in (("group", "rollout", "row", "token"), ("token",)):
        assert torch.equal(means(*levels).shares(part), means(*levels).shares(index)[at_T])


@pytest.mark.parametrize("levels", [(), ("token", "rollout"), ("rollout", "rollout"), ("batch",), ("tokens",)])
def test_levels_in_no_sensible_order_are_refused(levels):
    with pytest.raises(ValueError, match="from the outermost to the finest"):
        means(*levels)


def test_the_formula_reads_as_the_paper_writes_it():
    assert means("group", "rollout", over("token", 128)).words() == "mean over groups of mean over rollouts of 1/128 sum over tokens"
    assert means(sum_over("rollout"), power_of("token", 0.5)).words() == "sum over rollouts of sum over tokens / count^0.5"
