"""Which inputs a training set covers: strop's arrays beside the released algorithm, all pairs of fragments in a plain loop.

    python benchmarks/coverage.py              n = 50 tokens, N = 10,000 examples, 2,000 inputs asked for, k = 3
    python benchmarks/coverage.py --tokens 16 --train 500 --asked 500

Both answer for the same inputs, in the released form (labels in the buckets, kinds told apart by their size), and are held to each other.
The released form depends on which fragment stands for its class; here as there it is the smallest.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from itertools import combinations

import numpy as np

from strop.fragments import Seen, covered, largest
from strop.tasks.twohop import ALPHABET, TwoHop, drawn

Input = tuple[int, ...]


def released(train: list[tuple[Input, int]], asked: list[tuple[Input, int]], k: int, *, slip: bool = True) -> list[bool]:
    """Which of `asked` are in one component with something of `train`, as the paper's code finds it."""
    width = len(train[0][0])
    buckets: dict[object, list[int]] = defaultdict(list)
    nodes = [*train, *asked]
    for places in (chosen for size in range(1, width) for chosen in combinations(range(width), size)):
        others = [place for place in range(width) if place not in places]
        behaviour: dict[Input, dict[Input, int]] = defaultdict(dict)
        for x, y in train:
            behaviour[tuple(x[p] for p in places)][tuple(x[p] for p in others)] = y
        parent = {fragment: fragment for fragment in behaviour}
        for one, other in combinations(sorted(behaviour), 2):
            mine, its = behaviour[one], behaviour[other]
            if len(its) < len(mine):
                mine, its = its, mine
            evidence = 0
            for context, y in mine.items():
                if context in its:
                    if its[context] != y:
                        evidence = -1
                        break
                    evidence += 1
            if evidence >= k:
                join(parent, one, other)
        for number, (x, y) in enumerate(nodes):
            fragment = tuple(x[p] for p in places)
            name = top(parent, fragment) if fragment in parent else fragment
            buckets[(len(places) if slip else places), name, tuple(x[p] for p in others), y].append(number)
    parents = {number: number for number in range(len(nodes))}
    for members in buckets.values():
        for member in members[1:]:
            join(parents, members[0], member)
    seen = {top(parents, number) for number in range(len(train))}
    return [top(parents, len(train) + number) in seen for number in range(len(asked))]


def top(parent: dict, one):
    while parent[one] != one:
        parent[one] = parent[parent[one]]
        one = parent[one]
    return one


def join(parent: dict, one, other) -> None:
    a, b = top(parent, one), top(parent, other)
    parent[max(a, b)] = min(a, b)


def numbers(source: TwoHop, asked: int) -> tuple[list[tuple[Input, int]], list[tuple[Input, int]]]:
    """Both splits of a source, so many of its held-out inputs."""
    both = drawn(source)
    train, test = ([(x[:3], x[4]) for x in both[split]] for split in ("train", "test"))
    return train, test[:asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=len(ALPHABET))
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=2000)
    parser.add_argument("--k", type=int, default=3)
    args = parser.parse_args()
    train, asked = numbers(TwoHop(tokens=args.tokens, train=args.train), args.asked)
    x, y, wanted, labels = (
        np.array(side) for side in ([a for a, _ in train], [b for _, b in train], [a for a, _ in asked], [b for _, b in asked])
    )
    began = time.perf_counter()
    ours = covered(Seen.of(x, y, base=args.tokens), wanted, args.k, key="size", labels=labels)
    once = time.perf_counter() - began
    began = time.perf_counter()
    every = largest(Seen.of(x, y, base=args.tokens), wanted)
    sweep = time.perf_counter() - began
    began = time.perf_counter()
    theirs = released(train, asked, args.k)
    loop = time.perf_counter() - began
    assert ours.tolist() == theirs, "the two disagree"
    print(f"n = {args.tokens}, N = {len(train):,}, {len(asked):,} asked for, {ours.mean():.0%} of them covered at k = {args.k}")
    print(f"released, all pairs, one k      {loop:8.2f} s")
    print(f"strop, one k                    {once:8.2f} s    {loop / once:.0f} times faster")
    print(f"strop, all k from 1 to {every.max():<2}       {sweep:8.2f} s")


if __name__ == "__main__":
    main()
