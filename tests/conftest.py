"""What tests of commands share, and what long tests measured."""

import pytest

from strop.cli import main


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


@pytest.fixture
def measured(record_property):
    """Takes text for the end of the session: tables that a page of docs/ shows."""
    return lambda text: record_property("measured", text)


def pytest_terminal_summary(terminalreporter):
    reports = [report for each in ("passed", "failed") for report in terminalreporter.getreports(each)]
    if said := [text for report in reports for name, text in report.user_properties if name == "measured"]:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(said) + "\n")
