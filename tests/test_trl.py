"""The presets against TRL itself."""

import dataclasses

import pytest
from presets import OTHER, SAME, computed, distance
from trl_trainers import RIVALS, agreement, difference, theirs, world

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
