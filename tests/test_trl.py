"""The presets against TRL itself."""

import dataclasses
import random

import numpy as np
import pytest
from presets import OTHER, SAME, computed, distance
from trl_trainers import RIVALS, agreement, difference, theirs, world

from strop.records import Fate
from strop.seams.gate import MaskOverlong
from strop.seams.reduction import means, over

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own


@pytest.mark.parametrize("name", RIVALS)
def test_a_method_is_what_trl_computes_with_these_settings(name):
    loss, slope = agreement(name)
    assert loss < SAME
    assert slope < SAME


@pytest.mark.parametrize("name", sorted(RIVALS.keys() - {"rloo"}))
def test_trl_with_these_settings_is_no_other_method(name):
    for other in RIVALS.keys() - {name}:
        assert any(max(difference(name, RIVALS[other].method, number)) > OTHER for number in range(10)), other


@pytest.mark.slow  # seconds
@pytest.mark.parametrize(("name", "inner"), [("grpo@strop-1", "token"), ("dr-grpo", over("token", 128))])
def test_trl_counts_a_wholly_masked_rollout_and_strop_does_not_unless_its_reduction_says_so(name, inner, monkeypatch):
    rival = RIVALS[name]
    edge = dataclasses.replace(
        rival, method=rival.method.but(gate=(MaskOverlong(),)), settings={**rival.settings, "mask_truncated_completions": True}
    )
    monkeypatch.setitem(RIVALS, f"{name}, cut replies masked", edge)
    apart = 0
    for number in range(12):
        here = world(f"{name}, cut replies masked", number)
        counts = means(over("group", len(here.groups)), over("rollout", 4), inner)
        as_trl = edge.method.but(signals={"policy": edge.method.signals["policy"].but(reduce=counts)})
        said = theirs(f"{name}, cut replies masked", here)
        assert max(distance(computed(as_trl, here), said)) < SAME
        apart += max(distance(computed(edge.method, here), said)) > OTHER
    assert apart, "some batch holds a reply that was cut"


def lost(world, number):
    """The batch with some rollouts that nobody could grade, as each side has it: strop a rollout less, TRL a None; the graded decisions."""
    rng = random.Random(f"ungraded {number}")
    gone = {r.id for group in world.groups for r in group.rollouts if rng.random() < 0.25}
    owners = [r.id for group in world.groups for r in group.rollouts for s in r.rows[0].segments if s.kind == "action" for _ in s.tokens]
    trl = dataclasses.replace(world, rewards={unit: None if unit in gone else value for unit, value in world.rewards.items()})
    fates = {unit: Fate("drop", why="ungraded") if unit in gone else fate for unit, fate in world.fates.items()}
    return dataclasses.replace(trl, fates=fates), trl, np.array([unit not in gone for unit in owners])


@pytest.mark.slow  # seconds
@pytest.mark.parametrize(("name", "inner"), [("grpo@strop-1", "token"), ("dr-grpo", over("token", 128)), ("grpo@trl-1.16", None)])
def test_trl_leaves_a_rollout_that_nobody_graded_out_of_its_groups_baseline_and_in_its_denominators(name, inner):
    method, apart = RIVALS[name].method, 0
    for number in range(12):
        whole = world(name, number)
        here, trl, known_T = lost(whole, number)
        loss, slope_T = theirs(name, trl)
        assert (slope_T[~known_T] == 0).all()
        if inner is None:  # a mean over tokens: TRL divides by those of the ungraded too
            counted, share = method, known_T.mean()
        else:
            counts = means(over("group", len(whole.groups)), over("rollout", 4), inner)
            counted, share = method.but(signals={"policy": method.signals["policy"].but(reduce=counts)}), 1.0
        mine, mine_T = computed(counted, here)
        assert max(distance((mine * share, mine_T * share), (loss, slope_T[known_T]))) < SAME
        apart += max(distance(computed(method, here), (loss, slope_T[known_T]))) > OTHER
    assert apart, "some batch holds a rollout that nobody graded"
