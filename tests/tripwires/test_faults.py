"""Every tripwire is proven by planting what it watches for, gross and mild, in a real run."""

import pytest

from strop.tripwires import TRIPWIRES

from .faults import BASE, FAULTS, play, row, rows_on_page


def shown(line: str) -> list[str]:
    """Fault, size, what fires, and its level; counts of updates too where a stop makes them certain."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return cells[:5] if cells[3] == "stop" else cells[:4]


def once_each(faults):
    """The first fault of each tripwire for everybody, the others in CI: each is a run of its own. Long ones that nothing sees are left to
    `.ci/full`."""
    seen = set()
    for fault in faults:
        long = fault.recipe.steps > BASE.steps
        marks = [pytest.mark.full] if long and fault.fires is None else [pytest.mark.slow] if long or fault.fires in seen else []
        yield pytest.param(fault, id=fault.name, marks=marks)
        seen.add(fault.fires)


@pytest.mark.parametrize("fault", once_each(FAULTS))
def test_a_planted_fault_fires_its_tripwire_in_time_and_the_page_says_so(fault, tmp_path):
    played = play(fault, tmp_path)
    if fault.fires is None:
        assert played.fired == (), played.message
    else:
        assert played.fired[:1] == (fault.fires,), played.message
        assert played.updates <= fault.within
    assert shown(row(fault, played)) in [shown(line) for line in rows_on_page()], "python -m tests.tripwires.faults writes the page"


def test_the_page_lists_these_faults_and_no_others():
    assert [shown(line)[0] for line in rows_on_page()] == [fault.name for fault in FAULTS]


@pytest.mark.parametrize("tripwire", TRIPWIRES, ids=lambda tripwire: tripwire.name)
def test_every_tripwire_has_a_fault_that_it_sees(tripwire):
    assert [fault for fault in FAULTS if fault.fires == tripwire.name]
