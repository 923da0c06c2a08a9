"""`strop lab tools`: averages by both rules, by the form of a task, of a model that calls and of one that does not."""

import json

import pytest

from strop.cli import main
from strop.lab.tools import averages, by_form, silent
from strop.records import Group, Rollout, Task

NEEDS = {"gold": [["get", {"key": "m"}]], "edges": []}


def rollout(name, *calls):
    made = [{"tool": t, "known": bool(t), "fits": bool(t), "ok": ok, "given": {"key": "m"}, "told": {}} for t, ok in calls]
    return Rollout((), name, keys={"facts": [{"made": made}] if made else [{}]})


GROUPS = [
    Group(Task("a", {**NEEDS, "where": "fuzzy_0"}, "servers"), (rollout("a/0", ("get", True)), rollout("a/1")), id="a"),
    Group(Task("b", {**NEEDS, "where": "explicit_0"}, "servers"), (rollout("b/0", ("", False), ("get", True)),), id="b"),
]


def test_an_empty_episode_counts_by_one_rule_and_leaves_the_average_by_the_other():
    forms = by_form(GROUPS)
    assert [*forms] == ["all", "explicit_0", "fuzzy_0"]
    assert averages(forms["fuzzy_0"]) == {"name": 0.5, "schema": 0.5, "executed": 0.5, "depends": 0.0, "fulfilled": 0.5}
    assert averages(forms["fuzzy_0"], official=True) == {"name": 1, "schema": 1, "executed": 1, "depends": 0.0, "fulfilled": 0.5}
    assert averages(forms["explicit_0"])["name"] == 0.5
    assert silent(forms["all"]) == 1 / 3
    assert averages(forms["fuzzy_0"][1:], official=True) == {"depends": 0.0, "fulfilled": 0.0}, "nothing is left of the others"


def test_a_silent_model_is_shown_with_what_the_official_average_makes_of_it(capsys):
    main(["lab", "tools", "pico", "--calls", "line", "--tasks", "8", "--turns", "2", "--max-tokens", "8", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found["forms"]) == 9
    said = found["forms"]["all"]
    assert (said["episodes"], said["silent"], said["outcome"]) == (8, 1, 0)
    assert said["scores"] == dict.fromkeys(("name", "schema", "executed", "depends", "fulfilled"), 0)
    assert {*said["official"]} == {"depends", "fulfilled"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--task", "chain"], "no world with tools"),
        (["--tasks", "0"], "--tasks is at least 1"),
        (["--temperature", "-1"], "--temperature is at least 0"),
        (["--max-tokens", "0"], "--max-tokens is at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(argv, words, capsys):
    with pytest.raises(SystemExit):
        main(["lab", "tools", "pico", *argv])
    assert words in capsys.readouterr().err
