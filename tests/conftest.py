"""What tests of commands share, what long tests measured, and what each paper takes of a newcomer's patience."""

import gc
from collections import Counter
from pathlib import Path

import pytest

from strop.cli import main

PAPER_SECONDS = 4.0
"""What one paper's default tests (`tests/methods/test_NAME.py`) may take on a quiet machine; longer ones are marked `slow` or `full`."""


@pytest.fixture
def refused(capsys):
    """Runs a command that must end in exit code 2, without a traceback and with nothing on stdout; gives its message."""

    def run(*argv):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in argv])
        said = capsys.readouterr()
        assert stop.value.code == 2
        assert said.out == ""
        assert "Traceback" not in said.err
        return said.err

    return run


@pytest.fixture(scope="module", autouse=True)
def no_claim_of_another_modules_files():
    """A file's claims are registered for the process; here many test modules share one."""
    from strop.claims import CLAIMS

    before = dict(CLAIMS)
    yield
    CLAIMS.clear()
    CLAIMS.update(before)


@pytest.fixture(scope="module", autouse=True)
def a_small_heap():
    """What a module finds in memory is not searched for cycles while it runs: with torch and transformers there, each search takes long."""
    gc.freeze()


@pytest.fixture
def measured(record_property):
    """Takes text for the end of the session: tables that a page of docs/ shows."""
    return lambda text: record_property("measured", text)


def pytest_terminal_summary(terminalreporter):
    reports = [report for each in ("passed", "failed") for report in terminalreporter.getreports(each)]
    if said := [text for report in reports for name, text in report.user_properties if name == "measured"]:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(said) + "\n")
    if terminalreporter.config.option.markexpr == "not full and not slow" and (over := over_budget(reports)):
        terminalreporter.section(f"papers that take more than {PAPER_SECONDS:g} s")
        terminalreporter.write("".join(f"{seconds:6.1f} s  {name}\n" for name, seconds in over))


def over_budget(reports):
    """(file, seconds) of the papers beyond their budget, the longest first."""
    spent = Counter()
    for report in reports:
        file = Path(report.nodeid.partition("::")[0])
        if file.parent.name == "methods":
            spent[file.stem.removeprefix("test_")] += report.duration
    return [(name, seconds) for name, seconds in spent.most_common() if seconds > PAPER_SECONDS]
