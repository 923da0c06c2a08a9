"""How tripwires live in a run: said, kept, resumed, turned off."""

import contextlib
import json
from dataclasses import replace

import pytest

from strop.cli import main
from strop.commands.live import Live
from strop.directory import read_metrics
from strop.methods.ppo import PPO
from strop.report import page, tokens
from strop.run import create, resume
from strop.tripwires import BY_NAME, TRIPWIRES, Tripped, limits
from strop.tripwires.siblings import twins

from .faults import BASE, FAULTS, Enough

SMALL = BASE.but(tasks=2, group=4, max_tokens=12, steps=3)


def planted(name):
    return next(fault for fault in FAULTS if fault.name == name)


def without_clocks(directory):
    return [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(directory)]


def train(run, stop_after=None):
    def show(line):
        if line["step"] == stop_after:
            raise Enough

    with contextlib.suppress(Enough):
        run.train(show)
    return run


@pytest.mark.parametrize("tripwire", TRIPWIRES, ids=lambda tripwire: tripwire.name)
def test_a_tripwire_sees_nothing_where_nothing_was_measured(tripwire):
    assert tripwire.sees([{"step": 0}], tripwire.limit) is None
    assert tripwire.sees([{"step": n, "watch": {"holding": []}} for n in range(20)], tripwire.limit) is None


@pytest.mark.slow  # three runs
def test_a_killed_and_resumed_run_warns_as_one_that_never_stopped(tmp_path, monkeypatch):
    fault = planted("nobody solves a task")
    recipe = SMALL.but(steps=10)
    for name in ("whole", "cut"):
        run = create(recipe, tmp_path / name)
        with monkeypatch.context() as patch:
            fault.plant(run, patch)
            train(run, stop_after=None if name == "whole" else 5)
            if name == "cut":
                resume(run.directory, say=lambda _: None).train()
    whole = without_clocks(tmp_path / "whole")
    assert [line["step"] for line in whole if "warnings" in line] == [7]
    assert without_clocks(tmp_path / "cut") == whole


def test_a_stop_leaves_weights_and_rollouts_and_after_the_fix_the_run_is_the_one_it_would_have_been(tmp_path, monkeypatch):
    clean = train(create(SMALL, tmp_path / "clean"))
    run = create(SMALL, tmp_path / "run")
    before = run.digest_weights()
    with monkeypatch.context() as patch:
        planted("one masked token is shifted").plant(run, patch)
        with pytest.raises(Tripped, match=r"tripwire mask: \d+ decisions") as stop:
            run.train()
    assert run.digest_weights() == before
    assert str(run.commit_path(0)) in str(stop.value)
    assert run.commit_path(0).exists()
    again = resume(run.directory, say=lambda _: None)
    again.train()
    assert again.digest_weights() == clean.digest_weights()


def test_a_tripwire_that_is_off_lets_the_run_go_on_and_stays_on_its_record(tmp_path, monkeypatch):
    run = create(SMALL, tmp_path / "run")
    planted("one masked token is shifted").plant(run, monkeypatch)
    with pytest.raises(Tripped):
        run.train()
    resume(run.directory, say=lambda _: None, tripwire="mask=off").train()
    assert len(read_metrics(run.directory)) == SMALL.steps
    kept = json.loads((run.directory / "recipe.json").read_text())
    assert [about["off"] for about in kept["tripwires"]] == [[], ["mask"]]
    assert resume(run.directory, say=lambda _: None).watch.describe()["off"] == ["mask"]


def test_at_the_command_line_a_stop_is_exit_code_1_with_diagnosis_and_remedy(tmp_path, capsys, monkeypatch):
    argv = ["train", "--tasks", "2", "--group", "2", "--max-tokens", "6", "--steps", "2", "--eval-tasks", "0", "--slots", "16"]
    monkeypatch.setattr("strop.tasks.chain.Chain.grade", lambda self, task, text: {}["gone"])
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--out", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    assert "tripwire grader: 4 of 4 rollouts could not be graded" in said.err
    assert "--tripwire grader=off" in said.err
    assert f"strop train --resume {tmp_path / 'run'}" in said.err
    monkeypatch.undo()
    main(["train", "--resume", str(tmp_path / "run"), "--tripwire", "grader=off", "--tripwire", "no-spread=off"])
    err = capsys.readouterr().err
    assert "grader is off" in err
    assert "no-spread is off" in err
    assert "A*(" in err, "the first batch is shown once it exists"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gradr=off", "Did you mean 'grader'"),
        ("grader", "write grader=LIMIT"),
        ("grader=many", "write grader=LIMIT"),
        ("grader=-1", "at least 0"),
    ],
)
def test_a_mistaken_limit_is_refused_with_what_to_write(text, wanted):
    with pytest.raises(ValueError, match=wanted):
        BASE.but(tripwire=text)


def test_limits_are_set_by_name_and_change_no_fingerprint():
    assert limits("grader=0.5, mask=off")["grader"] == 0.5
    assert limits("grader=0.5, mask=off")["mask"] is None
    assert limits("")["mask"] == BY_NAME["mask"].limit
    assert BASE.but(tripwire="mask=off").fingerprint == BASE.fingerprint


def test_what_is_silent_is_kept_with_the_precondition_that_fails(tmp_path):
    recipe = SMALL.but(method=PPO.but(sampler=replace(PPO.sampler, n=1)), group=1, lr=0.0)
    create(recipe, tmp_path / "run")
    (kept,) = json.loads((tmp_path / "run" / "recipe.json").read_text())["tripwires"]
    assert kept["silent"]["no-spread"] == ["credit is group-relative"]
    assert kept["silent"]["entropy-collapse"] == ["the actor is trained"]
    assert not set(kept["silent"]) & set(kept["limits"])


def test_two_seeds_with_one_curve_are_named_and_two_curves_are_not(tmp_path, capsys):
    for seed in (0, 1):
        create(SMALL.but(seed=seed, steps=2), tmp_path / str(seed)).train()
    assert twins(tmp_path / "1") == []
    (tmp_path / "1" / "metrics.jsonl").write_text((tmp_path / "0" / "metrics.jsonl").read_text())
    assert twins(tmp_path / "1") == [str(tmp_path / "0")]
    main(["runs", str(tmp_path)])
    assert f"dead-seed: {tmp_path / '1'} is, number by number, {tmp_path / '0'}" in capsys.readouterr().out


def test_a_warning_stands_above_the_live_table_and_in_the_report(tmp_path, capsys):
    line = {"step": 3, "warnings": {"no-spread": "for 8 steps"}}
    for terminal in (True, False):
        with Live(5, terminal=terminal) as live:
            live.show(line)
        assert "warning at step 3: no-spread: for 8 steps" in capsys.readouterr().err
    assert "for 8 steps" in page.tripwires({"tripwires": []}, [line])
    assert page.tripwires({"tripwires": []}, [{"step": 1}]) == ""


def test_the_first_batch_shows_the_mask_in_use(tmp_path, monkeypatch):
    run = create(SMALL, tmp_path / "run")
    planted("one masked token is shifted").plant(run, monkeypatch)
    with pytest.raises(Tripped):
        run.train()
    first, second = tokens.read(run.directory)
    trained = [on for _, kind, on in first["tokens"] if kind == "action"]
    assert trained == [False] + [True] * (len(trained) - 1), "the hole is there to see"
    assert all(on == (kind == "action") for _, kind, on in second["tokens"])
    group = json.loads(json.dumps(run.record(0)))["groups"][0]
    action = next(s["tokens"] for s in group["rollouts"][0]["rows"][0]["segments"] if s["kind"] == "action")
    assert len(trained) == len(action)


def test_tokens_are_shown_once_in_marks_and_never_as_markup(tmp_path, capsys):
    shown = [
        {
            "rollout": "t/0",
            "cut": [0, 0],
            "tokens": [["<b>\x1b[31m", "prompt", False], ["[red]a\n", "action", True], ["x", "forced", False]],
        }
    ]
    assert tokens.marked(shown).splitlines()[1] == "  t/0: P(<b>·[31m) A*([red]a⏎) F(x)"
    assert "<b>" not in tokens.html(shown)
    (tmp_path / tokens.NAME).write_text(json.dumps(shown))
    for terminal in (True, False):
        with Live(5, terminal=terminal) as live:
            live.first(tmp_path)
            live.first(tmp_path)
        said = capsys.readouterr().err
        assert said.count("[red]a⏎") == 1
        assert "\x1b[31m" not in said.replace("\x1b[31m ", "") or terminal
    with Live(5, [{"step": 0}], terminal=False) as live:
        live.first(tmp_path)
    assert "first batch" not in capsys.readouterr().err, "a resumed run has shown it already"


def test_the_wires_of_a_run_are_on_its_metrics_lines(tmp_path):
    train(create(SMALL, tmp_path / "run"))
    for line in read_metrics(tmp_path / "run"):
        assert {"canary", "kl", "ess", "ratio", "misplaced", "drawn", "undrawn", "holding"} <= line["watch"].keys()
        assert line["watch"]["drawn"] == line["watch"]["tokens"] > 0
