"""Coverage against its definition, against scipy's components, and against the released algorithm as a plain loop."""

import runpy
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from strop.fragments import Seen, alike, covered, largest, united
from strop.tasks.twohop import NonTree, TwoHop, drawn

BENCH = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "coverage.py"))


def by_definition(train, asked, k, kinds):
    """From the words of the paper, pair by pair: fragments, the classes that chains of them make, and a walk over inputs."""
    width = len(next(iter(train)))
    links = []
    for places in kinds:
        others = [p for p in range(width) if p not in places]

        def cut(x, places=places, others=others):
            return tuple(x[p] for p in places), tuple(x[p] for p in others)

        shared = {}
        for one, other in product(train, repeat=2):
            (a, context), (b, same) = cut(one), cut(other)
            if context == same and a != b:
                shared.setdefault((a, b), []).append(train[one] == train[other])
        friends = {pair for pair, agreed in shared.items() if all(agreed) and len(agreed) >= k}
        clan = {a: {a} for x in [*train, *asked] for a in [cut(x)[0]]}
        for _ in range(len(clan)):
            for a, b in friends:
                clan[a] |= clan[b]
        for x, z in combinations([*train, *asked], 2):
            (a, context), (b, same) = cut(x), cut(z)
            if context == same and (a == b or b in clan[a]):
                said = {train[t] for t in train if cut(t)[1] == context and cut(t)[0] in clan[a]}
                if len(said) < 2:
                    links.append((x, z))
    reached = {*train}
    while more := {b for pair in links for a, b in (pair, pair[::-1]) if a in reached} - reached:
        reached |= more
    return [x in reached for x in asked]


@pytest.mark.parametrize("kind", [TwoHop, NonTree])
def test_it_is_the_definition_at_six_tokens(kind):
    met = set()
    for tables in range(2):
        for count in (25, 40):
            both = drawn(kind(tokens=6, train=count, tables=tables))
            train, asked = {x[:3]: x[4] for x in both["train"]}, [x[:3] for x in both["test"]]
            seen = Seen.of([*train], [*train.values()], base=6)
            for k in (1, 2, 3):
                for kinds in (seen.kinds, ((0, 1),)):
                    found = covered(seen, asked, k, found=[alike(seen, places) for places in kinds]).tolist()
                    assert found == by_definition(train, asked, k, kinds)
                    met |= {*found}
    assert met == {True, False}


def test_union_is_scipys_components():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 100, 1000):
        for count in (0, size // 2, size, 3 * size):
            one, other = rng.integers(0, size, (2, count))
            root = united(size, one, other)
            graph = coo_array((np.ones(count), (one, other)), shape=(size, size))
            amount, label = connected_components(graph, directed=False)
            assert len({*root.tolist()}) == amount == len({*zip(root.tolist(), label.tolist(), strict=True)})
            assert (root <= np.arange(size)).all()
            assert (root[root] == root).all()
    chain = np.arange(5000)
    assert united(5001, chain + 1, chain).max() == 0


@pytest.mark.parametrize("slip", [False, True])
def test_the_released_forms_are_the_released_loop(slip):
    train, asked = BENCH["numbers"](TwoHop(tokens=10, train=150), 300)
    seen, labels = Seen.of([x for x, _ in train], [y for _, y in train], base=10), [y for _, y in asked]
    for k in (1, 2, 3):
        theirs = BENCH["released"](train, asked, k, slip=slip)
        assert covered(seen, [x for x, _ in asked], k, key="size" if slip else "places", labels=labels).tolist() == theirs


def test_sixteen_tokens_and_five_hundred_examples_have_the_shares_that_were_computed_before():
    shares = []
    for tables in range(3):
        both = drawn(TwoHop(tables=tables))
        (x, y), (asked, labels) = (([one[:3] for one in both[split]], [one[4] for one in both[split]]) for split in ("train", "test"))
        best = largest(Seen.of(x, y, base=16), asked, labels=labels)
        shares.append([(best >= k).mean() for k in (1, 2, 3)])
    assert np.mean(shares, 0) == pytest.approx([1.0, 0.49, 0.08], abs=0.06)


def test_fragments_of_different_places_are_no_likeness():
    """0 before 1 2, and 0 between them: one fragment and one rest at other places. As released they are one, though nothing was alike."""
    seen = Seen.of([[0, 1, 2]], [5], base=6)
    assert covered(seen, [[1, 0, 2]], 1, labels=[5]).tolist() == [False]
    assert covered(seen, [[1, 0, 2]], 1, labels=[5], key="size").tolist() == [True]
    assert covered(seen, [[1, 0, 2]], 1, labels=[4], key="size").tolist() == [False]


def test_what_is_no_function_and_what_is_too_much_is_refused():
    with pytest.raises(ValueError, match=r"the input \[0, 1, 2\] has two outputs, 3 and 4"):
        Seen.of([[0, 1, 2], [0, 1, 2]], [3, 4])
    assert len(Seen.of([[0, 1, 2], [0, 1, 2]], [3, 3]).inputs) == 1
    with pytest.raises(ValueError, match="give more inputs than are told apart here"):
        Seen.of([[0, 1, 10**9]], [3])
    with pytest.raises(ValueError, match="rows of 2 to 6 tokens"):
        Seen.of([[1], [2]], [0, 0])
    with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
        Seen.of([[0, 1]], [0, 0])
    seen = Seen.of([[0, 1, 2]], [3])
    with pytest.raises(ValueError, match="holds token 7, above all that were declared"):
        covered(seen, [[0, 1, 7]], 1)
    with pytest.raises(ValueError, match="rows of 3 tokens"):
        covered(seen, [[0, 1]], 1)
    with pytest.raises(ValueError, match="seen in one context at least"):
        covered(seen, [[0, 1, 1]], 0)
    with pytest.raises(ValueError, match="told apart by their 'places'"):
        covered(seen, [[0, 1, 1]], 1, key="kind")
    assert covered(seen, [], 1).tolist() == []
    many = np.stack([np.arange(11_000), np.zeros(11_000, int)], 1)
    with pytest.raises(ValueError, match="60,494,500 pairs of fragments share a context"):
        alike(Seen.of(many, np.zeros(11_000, int)), (0,))
