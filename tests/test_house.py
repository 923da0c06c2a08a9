"""The house stands: `.importlinter` draws its floors, and what a drawing of floors does not show is tested here."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports at run time, late imports included."""
    graph = grimp.build_graph("strop", exclude_type_checking_imports=True)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_floor_imports_what_stands_below_it(monkeypatch):
    monkeypatch.chdir(HERE)
    assert lint_imports(config_filename=".importlinter", no_cache=True) == 0


def test_no_module_imports_itself_around_a_corner(imports):
    assert len(imports) > 150
    assert circle(imports) == []
    assert circle({**imports, "strop.records": {"strop.run"}}), "a circle would be seen"


def test_seams_import_records_and_nothing_above(imports):
    seams = {module: found for module, found in imports.items() if module.startswith("strop.seams.")}
    assert len(seams) > 20
    # whose file a part stands in is no matter of what it computes, and what examples can teach is arithmetic
    ground = ("strop.seams", "strop.records", "strop.own", "strop.fragments")
    outside = {(module, one) for module, found in seams.items() for one in found if not one.startswith(ground)}
    assert outside == set()


def test_no_method_imports_an_experiment(imports):
    named = {module: found for module, found in imports.items() if module.startswith("strop.methods.")}
    assert not [module for module, found in named.items() if any(one.startswith(("strop.experiments", "strop.claims")) for one in found)]
