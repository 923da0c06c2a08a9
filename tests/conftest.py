"""What tests of commands share."""

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
