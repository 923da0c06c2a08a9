"""Every method against its oracle, and what the comparison notices."""

import pytest
from oracles import ORACLES
from presets import MUTANTS, SAME, agreement, kills

from strop.methods import ALIASES, METHODS, method


def test_every_method_has_an_oracle_and_mutants():
    assert set(ORACLES) == set(MUTANTS) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_formula_written_as_a_loop(name):
    loss, slope = agreement(name)
    assert loss < SAME
    assert slope < SAME


@pytest.mark.parametrize("name", METHODS)
def test_no_mutant_survives_its_oracle(name):
    found = kills(name)
    assert len(found) >= 10
    assert [mistake for mistake, batch in found.items() if batch is None] == []


def test_an_alias_is_the_method_whose_name_it_begins():
    for alias, name in ALIASES.items():
        assert method(alias) is method(name)
        assert name.startswith(alias)
