"""strop world: what there is, an episode by hand and by its expert, and a world that breaks its promises."""

import io
import json

import pytest

from strop.cli import main
from strop.records import Group, Rollout, Task


def said(capsys, *argv):
    """(exit code, what it answers as JSON, what it says meanwhile)."""
    capsys.readouterr()
    code = 0
    try:
        main([*argv, "--json"])
    except SystemExit as ended:
        code = ended.code
    out = capsys.readouterr()
    return code, json.loads(out.out or "null"), out.err


def test_every_world_is_listed_with_what_brings_it(capsys):
    _, found, _ = said(capsys, "world", "list")
    by_name = {row["world"]: row for row in found["worlds"]}
    assert by_name["wiki"]["task"] == "wiki"
    assert by_name["wiki"]["tools"] == "get"
    assert by_name["calculator"]["task"] == "--method grpo-roc"
    assert by_name["python"]["tools"] == "python"


def test_the_expert_plays_and_is_graded(capsys):
    code, played, err = said(capsys, "world", "play", "wiki", "--expert", "--index", "3")
    assert (code, played["channels"]["outcome"], played["stop"]) == (0, 1.0, "finished")
    assert "> >get " in err


def test_one_plays_by_hand_and_is_told_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(">get\nhello\n<answer>x\x1b[2J</answer>\n"))
    _, played, err = said(capsys, "world", "play", "wiki")
    assert played["channels"]["outcome"] == 0
    assert "'key' is a required property" in err
    assert "no call" in err
    assert "\x1b" not in err


def test_a_world_that_keeps_its_promises(capsys):
    code, found, _ = said(capsys, "world", "check", "wiki", "--tasks", "4")
    assert (code, found["fine"]) == (0, True)
    assert [row["found"] for row in found["checks"]] == [["kept"], ["kept"]]


BAD = """
from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.seams.world import Reply

@dataclass(frozen=True)
class Counts:
    def start(self, task, seat):
        return {"turn": 0}
    async def reply(self, state, said, ask):
        state["turn"] += 1
        return state, Reply("again")
    def expert(self, state):
        return "no answer"

MINE = GRPO.but("mine", idea=("environment",), environment=Counts())
"""


def test_a_world_that_changes_its_state_and_whose_expert_solves_nothing_is_named(capsys, tmp_path):
    (tmp_path / "bad.py").write_text(BAD)
    code, found, _ = said(capsys, "world", "check", "chain", "--method", str(tmp_path / "bad.py"), "--tasks", "2", "--turns", "3")
    assert (code, found["fine"]) == (1, False)
    assert "changes the state it was given" in found["checks"][0]["found"][0]
    assert "task 0" in found["checks"][1]["found"][0]


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["world", "play", "chain"], "brings no world"),
        (["world", "check"], "name a source of tasks"),
        (["world", "play", "chain", "--method", "resum"], "program of stages"),
        (["world", "play", "sums", "--method", "grpo-roc", "--expert"], "has no expert"),
        (["world", "play", "wikki"], "no task source 'wikki'"),
    ],
)
def test_what_cannot_be_played_is_said(argv, why, capsys):
    code, nothing, err = said(capsys, *argv)
    assert (code, nothing) == (2, None)
    assert why in err


def test_a_model_is_asked_in_the_world_that_its_tasks_bring(capsys):
    _, found, _ = said(capsys, "eval", "pico", "--task", "wiki", "--tasks", "2", "--samples", "1", "--calls", "line", "--turns", "3")
    assert found["world"] == "Wiki(noise=1)"
    assert found["sampler"].startswith("Episodes(n=8, turns=3, max_tokens=128")
    assert "calls=Line(mark='>'" in found["sampler"]


def test_a_model_is_asked_with_another_window_and_what_was_wrong_with_its_calls_is_counted(capsys, tmp_path):
    room = ("--observation", "20", "--max-tokens", "10", "--tasks", "2", "--samples", "2", "--calls", "line")
    code, found, _ = said(capsys, "eval", "pico", "--task", "wiki", "--window", "recent:tokens=40,limit=96", *room)
    assert code == 0
    assert "window=Recent(tokens=40, limit=96)" in found["sampler"]
    asked = ("--window", "summarised:by=judge,most=20,limit=200")
    code, _, err = said(capsys, "eval", "pico", "--task", "wiki", *asked, *room)
    assert code == 2
    assert "--policy judge=MODEL_OR_RUN" in err
    code, found, _ = said(capsys, "eval", "pico", "--task", "wiki", *asked, *room, "--policy", "judge=pico")
    assert (code, set(found["cost"])) == (0, {"actor", "judge"})
    own = tmp_path / "mine.py"
    own.write_text("from strop.seams.window import Pruned\nMINE = Pruned(after=1, limit=150)\n")
    code, found, _ = said(capsys, "eval", "pico", "--task", "wiki", "--window", f"{own}:MINE", *room)
    assert "Pruned(after=1" in found["sampler"]


@pytest.mark.parametrize(
    ("task", "window", "why"),
    [
        ("wiki", "recents", "Did you mean 'recent'"),
        ("wiki", "recent:limit", "NAME:KNOB=VALUE"),
        ("wiki", "recent:limit=x", "limit is a number"),
        ("wiki", "recent:limits=9", "Did you mean 'limit'"),
        ("wiki", "pruned:after=0", "at least 1"),
        ("wiki", "recent:limit=96", "holds no prompt"),
        ("chain", "recent", "a reply is all there is to see"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_words(capsys, task, window, why):
    code, _, err = said(capsys, "eval", "pico", "--task", task, "--tasks", "1", "--window", window)
    assert code == 2
    assert why in err


def test_reasons_are_counted_over_all_calls():
    from strop.commands.eval import called

    made = [[["get", True, ""], ["", False, "no JSON: so"]], [["", False, "no JSON: so"], ["get", False, "no such card"]]]
    group = Group(Task("?", {}, "s"), (Rollout((), "r", keys={"calls": made}), Rollout((), "q")))
    assert called([group]) == {"rollout": 2.0, "broken": 0.75, "why": {"no JSON: so": 0.5, "get: no such card": 0.25}}
    assert called([Group(Task("?", {}, "s"), (Rollout((), "r"),))]) is None


@pytest.mark.parametrize(
    "task", ["wiki", "database", "clues", "stream", "graphs", "clinic", "dossier", "servers", "screens", "pages", "repair"]
)
def test_a_world_of_ours_keeps_what_it_promises_and_its_expert_solves_its_tasks(capsys, task):
    code, _, err = said(capsys, "world", "check", task, "--tasks", "4")
    assert code == 0, err


def test_an_expert_that_runs_out_of_turns_is_told_apart_from_one_that_errs(capsys):
    code, found, err = said(capsys, "world", "check", "graphs", "--tasks", "1", "--turns", "2")
    assert code == 1
    assert "at the last of 2 turns (--turns)" in f"{found}{err}"
