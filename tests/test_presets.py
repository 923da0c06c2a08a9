"""Every method against its oracle, and what the comparison notices."""

import re
from pathlib import Path

import preset_table
import pytest
from oracles import ORACLES
from presets import ESTIMATORS, MUTANTS, SAME, agreement, kills

from strop.methods import ALIASES, method


def test_every_method_has_an_oracle_and_mutants():
    assert set(ORACLES) == set(MUTANTS) == set(ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_method_is_its_formula_written_as_a_loop(name):
    loss, slope = agreement(name)
    assert loss < SAME
    assert slope < SAME


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_mutant_survives_its_oracle(name):
    found = kills(name)
    assert len(found) >= 10
    assert [mistake for mistake, batch in found.items() if batch is None] == []


def test_an_alias_is_the_method_whose_name_it_begins():
    for alias, name in ALIASES.items():
        assert method(alias) is method(name)
        assert name.startswith(alias)


@pytest.mark.slow  # every comparison of the page
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_the_page_of_presets_is_what_the_comparisons_give():
    """Its figures are the machine's rounding: they may differ in size, not in being nothing else."""
    shown = (Path(__file__).parent.parent / "docs" / "presets.md").read_text()
    figure = re.compile(r"(?<=\| )(?:\de-\d\d|0e\+00)(?= \|)")
    assert figure.sub("#", shown).strip() == figure.sub("#", preset_table.page()).strip()
    assert len(figure.findall(shown)) > 2 * len(ESTIMATORS)
    assert all(float(number) < SAME for number in figure.findall(shown))
