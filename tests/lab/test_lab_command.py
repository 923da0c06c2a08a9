"""`strop lab bias`, and the tables of docs/lab.md, which are what it prints."""

import json
import re
import shlex
from pathlib import Path

import pytest

from strop.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "lab.md"
SHOWN = re.findall(r"```\n\$ strop (lab bias .*?)\n\n(.*?)```", PAGE.read_text(), re.S)


def told(capsys, *argv: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(list(argv))
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


LONGEST = "lab bias loo-sum raw-sum"
LATER = [pytest.param(*shown, id=shown[0], marks=pytest.mark.full if shown[0].startswith(LONGEST) else pytest.mark.slow) for shown in SHOWN]
"""Every table of the page, exact: in CI, and one of a minute in .ci/full."""


@pytest.mark.parametrize(("command", "table"), LATER)
def test_the_tables_of_the_page_are_what_the_command_prints(command, table, capsys):
    code, out, _ = told(capsys, *shlex.split(command.replace("\\\n", " ")))
    assert code == 0
    assert out.strip() == table.strip()


def test_the_page_shows_at_least_eight_combinations_and_both_points():
    assert len(SHOWN) >= 2
    assert len([line for line in SHOWN[0][1].splitlines() if "1x4" in line or "2x4" in line]) >= 8
    assert any("--point second" in command for command, _ in SHOWN)


def test_json_holds_each_row_with_all_its_numbers(capsys):
    code, out, err = told(capsys, "lab", "bias", "rloo", "ppo", "--group", "2", "--json")
    found = json.loads(out)
    assert (code, [row["method"] for row in found["rows"]]) == (0, ["rloo"])
    assert found["rows"][0]["bias"] < 1e-10
    assert next(iter(found["left_out"].values())) == ["ppo"]
    assert "rloo" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["ppo"], "it has a head"),
        (["gprpo"], "Did you mean 'grpo'"),
        (["rloo", "--point", "second"], "one update per batch"),
        (["grpo", "--target", "rewrd"], "Did you mean 'reward'"),
        (["grpo", "--vocab", "11", "--length", "5"], "more than 10000 sequences"),
        (["grpo", "--group", "1"], "needs a group of at least 2"),
        ([], "name one or more methods"),
    ],
)
def test_a_mistake_is_one_message(argv, says, capsys):
    code, out, err = told(capsys, "lab", "bias", *argv)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
