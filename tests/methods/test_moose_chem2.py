"""The claims' arms differ in what they say: the order of levels, who compares, which side of a pair is the better one."""

import asyncio
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from letters import Letters

from strop.experiments.moose_chem2 import LEVELS, LINES, PAIRS, VOTES, AnyOrder, Coin, tossed
from strop.methods.moose_chem2 import CHEMISTRY, MOOSE_CHEM2, SMALL
from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.recorded import compared_pairs
from strop.tasks import source

TASK = Task("how?", {}, "s")


def at(place, where=None):
    return Ctx(0, Progress(), where or SimpleNamespace(name="s"), {"actor": Handle(None, Letters())}, None, place=place)  # pyright: ignore


def test_any_order_takes_every_level_once_in_an_order_of_each_task():
    orders = {AnyOrder(LINES).ordered(at(f"p{n}")) for n in range(40)}
    assert len(orders) > 20
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(LINES))}


def test_a_coin_says_either_with_half_a_chance_and_as_many_votes_as_are_asked_for():
    said = [vote for n in range(200) for vote in asyncio.run(Coin()(TASK, "a", "b", at(f"p{n}"), votes=5, orders=2, strict=False))]
    assert len(said) == 2000
    assert sum(said) / 2000 == pytest.approx(0.5, abs=0.04)


def test_tossed_pairs_are_those_of_the_search_with_a_side_by_chance():
    prompt = Segment("prompt", (1,), "0")
    keys = {"texts": [str(n) for n in range(41)], "compared": [[0, n, [1.0]] for n in range(1, 41)], "tags": ["", ""]}
    groups = [Group(TASK, (Rollout((Row.of(prompt),), "g/0", keys=keys),), id="g")]
    pairs = compared_pairs(groups, Scores(), random.Random(0), Letters())
    assert {pair.rollouts[1].text for pair in pairs} == {"0"}
    many = [tossed(groups, Scores(), random.Random(seed), Letters()) for seed in range(40)]
    lost = [pair.rollouts[0].text == "0" for made in many for pair in made]
    assert sum(lost) / len(lost) == pytest.approx(0.5, abs=0.08)


def test_every_arm_asks_for_as_many_votes():
    for claim in (LEVELS, VOTES):
        assert len({arm.method.sampler.calls for arm in claim.arms}) == 1
    assert LEVELS.arm("reversed").method.sampler.levels == LINES[::-1]
    assert [len(arm.method.stages) for arm in PAIRS.arms] == [3, 3, 3]


def test_the_program_searches_the_levels_of_its_task():
    assert MOOSE_CHEM2.stages[0].method.sampler.levels == source(SMALL).names
    assert len(CHEMISTRY) == 5


@pytest.mark.parametrize("how", [arm.method.sampler for arm in LEVELS.arms], ids=[arm.name for arm in LEVELS.arms])
def test_an_arm_spends_what_it_has(how):
    where, how = source("landscape"), replace(how, calls=600)
    (group,) = asyncio.run(how(where.task("train", 1, 0), None, at("p", where)))
    spent = sum(map(len, group.rollouts[0].keys["calls"]))
    assert 580 < spent <= 600
