import json

import pytest

from strop.claims import CLAIMS, named
from strop.claims.trace import step_value
from strop.cli import main
from strop.commands import claim as command

from .test_claim import claim


def said(capsys, *argv):
    main([str(a) for a in argv])
    return capsys.readouterr()


def test_the_list_is_an_array_of_names_methods_minutes_and_verdicts(capsys):
    rows = json.loads(said(capsys, "claim", "list", "--json").out)
    assert {"name", "method", "profile_minutes", "verdict"} == set(rows[0])
    assert {row["name"] for row in rows} == set(CLAIMS)
    assert all(row["verdict"] for row in rows)


def test_show_prints_what_would_refute_it_and_what_each_arm_controls_for(capsys):
    text = said(capsys, "claim", "show", "cdas-spread").out
    assert f"refuted   if {named('cdas-spread').refuted_if}" in text
    assert "no selection: every task once before any comes again" in text


def test_run_ends_with_a_record_and_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "named", lambda name: claim())
    shown = said(capsys, "claim", "run", "larger-step", "--seeds", 1, "--out", tmp_path)
    assert "larger-step: direction only" in shown.out
    assert "2 of 2 runs done" in shown.err
    record = json.loads((tmp_path / "larger-step-quick" / "record.json").read_text())
    assert record["interval"] == [None, None], "one seed has no spread"
    assert "<!doctype html>" in (tmp_path / "larger-step-quick" / "page.html").read_text()
    table = said(capsys, "claim", "show", "larger-step", "--out", tmp_path).out
    assert "step_value at the common budget" in table
    assert table.count("\nlarge ") >= 2  # its arms, and what each measured


def test_a_measure_without_a_value_is_named_and_is_no_success(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "named", lambda name: claim(measure=step_value(name="no_such_number")))
    with pytest.raises(SystemExit) as stop:
        main(["claim", "run", "larger-step", "--seeds", "1", "--unchecked", "--out", str(tmp_path)])
    assert stop.value.code == 1
    assert "large, seed 0: no value: step_value gives nothing there, so there is no verdict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("claim", "rnu", "cdas-spread"), "Did you mean 'run'"),
        (("claim", "run"), "needs a claim's name"),
        (("claim", "run", "cdas-spred"), "Did you mean 'cdas-spread'"),
        (("claim", "run", "cdas-spread", "--profile", "ful"), "has no profile 'ful'. Did you mean 'full'"),
        (("claim", "run", "cdas-spread", "--jobs", "0"), "at least 1"),
    ],
)
def test_a_mistake_is_one_message(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(list(argv))
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
