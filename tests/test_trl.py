"""The presets against TRL itself."""

import pytest
from presets import OTHER, SAME
from trl_trainers import RIVALS, agreement, difference

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
