"""Every example in a docstring runs and prints what it says; a part is looked through to its function."""

import doctest
import importlib
import pkgutil

import pytest

import strop.methods
import strop.seams
import strop.worlds
from strop.seams.part import Part

PACKAGES = (strop.seams, strop.methods, strop.worlds)
MODULES = ["strop.records", "strop.method", "strop.batch", "strop.train"] + [
    found.name for package in PACKAGES for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]


def examples(name: str) -> list[doctest.DocTest]:
    module, finder = importlib.import_module(name), doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(module)
    for word, value in vars(module).items():
        if isinstance(value, Part) and value.fn.__module__ == name:
            found += finder.find(value.fn, f"{name}.{word}", module, globs=vars(module).copy())
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        runner.run(test)
    assert runner.failures == 0


def test_examples_of_parts_are_found():
    assert len(examples("strop.seams.credit")) >= 3
