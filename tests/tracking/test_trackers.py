"""Trackers show each committed step once, whatever is killed when; and none of them ever stops a run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strop import tracking
from strop.cli import main
from strop.directory import read_metrics
from strop.tracking.lines import entries
from strop.tracking.mirror import follow

from . import readers

STROP = [sys.executable, "-m", "strop"]
NAMES = ["reward", "grad_norm", "bill/decoded", "t/seconds"]


def line(step: int) -> dict:
    return {
        "step": step,
        "reward": step / 8,
        "grad_norm": 1.5,
        "lenient": None,
        "fingerprint": "abc",
        "bill": {"decoded": 100 * step},
        "dropped": {"all right": 2},
        "taken": [[1.0, 0.5]],
        "warnings": {"collapse": "said"},
        "t": {"seconds": 2.0, "at": 1.8e9 + step, "replayed": False},
    }


def recorded(run: Path, steps: int, done: bool = False) -> Path:
    """A run's directory with so many lines."""
    run.mkdir(exist_ok=True)
    about = {
        "recipe": {"method": "grpo", "lr": 1e-5, "budget": None, "pass@k": 8},
        "resolved": {"method": "grpo@strop-1", "task": "chain", "steps": steps, "seed": 0, "parts": {}},
        "fingerprint": {"method": "m", "recipe": "r"},
        "versions": {"torch": "2"},
        "threads": 2,
        "grade": "exact",
        "tripwires": [],
    }
    (run / "recipe.json").write_text(json.dumps(about))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line(step)) + "\n" for step in range(steps)))
    if done:
        made = {"method": "grpo", "fingerprint": "m", "task": "chain", "model": "pico", "seed": 0, "seconds": 1.0, "bill": {}}
        before, after = ({"pass@1": value, "interval": {}, "tasks": 4} for value in (0.25, 0.5))
        (run / "result.json").write_text(json.dumps({**made, "steps": steps, "before": before, "after": after}))
    return run


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Nothing of this machine's user is written to, or asked."""
    for name in ("MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Scripted:
    """A tracker that keeps what it is given."""

    def __init__(self, *there: int):
        self.steps, self.closed = list(there), None

    def has(self):
        return set(self.steps)

    def log(self, entry):
        self.steps.append(entry.step)

    def close(self, done):
        self.closed = done


def test_every_number_of_a_line_is_logged_under_its_path_and_nothing_else(tmp_path):
    (_, second) = entries(recorded(tmp_path / "run", 2))
    assert (second.step, second.at) == (1, 1.8e9 + 1)
    assert second.values == {
        "reward": 0.125, "grad_norm": 1.5, "bill/decoded": 100.0, "dropped/all right": 2.0, "warnings": 1.0,
        "t/seconds": 2.0, "t/at": 1.8e9 + 1, "t/replayed": 0.0,
    }  # fmt: skip


def test_a_torn_line_is_not_logged_and_held_out_figures_follow_the_last_step(tmp_path):
    run = recorded(tmp_path / "run", 3, done=True)
    assert [e.step for e in entries(run)] == [0, 1, 2, 3]
    assert next(entries(run, 3)).values.items() >= {"held_out/before/pass@1": 0.25, "held_out/after/pass@1": 0.5}.items()
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "rew')
    assert [e.step for e in entries(run)] == [0, 1, 2, 3], "the torn one is no line"


def test_a_mirror_logs_what_the_tracker_lacks_once_and_says_so(tmp_path):
    run, tracker, said = recorded(tmp_path / "run", 4), Scripted(0, 1), []

    def calls():
        assert said == ["logged 2", "logged 3", "idle"]
        yield "\n"
        recorded(run, 6)
        yield "\n"
        yield "end\n"

    follow(run, tracker, calls(), said.append)
    assert tracker.steps == [0, 1, 2, 3, 4, 5]
    assert said[3:] == ["idle", "logged 4", "logged 5", "idle", "idle"]
    assert tracker.closed is True


def test_a_mirror_whose_run_was_killed_logs_the_rest_and_says_that_it_was(tmp_path):
    tracker = Scripted()
    follow(recorded(tmp_path / "run", 2), tracker, iter(()), lambda said: None)
    assert (tracker.steps, tracker.closed) == ([0, 1], False)


def test_a_tracker_without_its_package_or_name_is_refused_with_what_to_type(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "installed", lambda name: name != "wandb")
    out = tmp_path / "run"
    assert "pip install 'strop[wandb]'" in refused("train", "--track", "tensorboard,wandb", "--out", out)
    assert "tensorboard, wandb, trackio, mlflow" in refused("train", "--track", "tensorbord", "--out", out)
    assert "none, or those you name" in refused("train", "--track", "none,mlflow", "--out", out)
    assert "holds no run" in refused("track", out, "tensorboard")
    assert not out.exists()


def test_a_resumed_run_whose_package_is_gone_goes_on_and_says_so(tmp_path, monkeypatch):
    run, said = recorded(tmp_path / "run", 1), []
    tracking.settle(run, ["mlflow"])
    monkeypatch.setattr(tracking, "installed", lambda name: False)
    with tracking.beside(run, None, said.append) as mirrors:
        assert mirrors.step() == []
    assert said == ["tracker mlflow: its package is not installed here, so nothing is logged: pip install 'strop[mlflow]'"]
    assert tracking.remembered(run)["kinds"] == ["mlflow"]
    with tracking.beside(run, (), said.append):
        pass
    assert tracking.remembered(run)["kinds"] == [], "--track none"


def test_without_a_tracker_nothing_is_started_or_written(tmp_path):
    run = recorded(tmp_path / "run", 1)
    with tracking.beside(run, None, pytest.fail) as mirrors:
        assert mirrors.step() == []
    assert not (run / "track").exists()


def test_tensorboard_reads_back_what_was_logged_and_a_second_call_adds_nothing(tmp_path, store, capsys):
    run = recorded(tmp_path / "run", 3, done=True)
    for fresh in (4, 0):
        main(["track", str(run), "tensorboard", "--json"])
        assert json.loads(capsys.readouterr().out) == {"tensorboard": {"logged": fresh, "failed": None}}
    assert readers.read("tensorboard", run, store, ["reward", "held_out/after/pass@1"]) == {
        "reward": [(0, 0.0), (1, 0.125), (2, 0.25)],
        "held_out/after/pass@1": [(3, 0.5)],
    }
    files = [p.read_bytes() for p in (run / "tensorboard").iterdir()]
    assert any(b"lr = 1e-05" in data for data in files), "the recipe stands beside the curves"


def test_a_tracker_that_cannot_write_is_said_in_one_line_and_once(tmp_path, store):
    run, said = recorded(tmp_path / "run", 1), []
    (run / "tensorboard").write_text("a file where its directory would be")
    with tracking.beside(run, ["tensorboard"], said.append) as mirrors:
        deadline = time.monotonic() + 60
        while not (news := mirrors.step()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert mirrors.step() == []
    (where, failed) = [*said, *news]
    assert "tensorboard --logdir" in where
    assert failed.startswith("tracker tensorboard: ")
    assert "Error" in failed
    assert f"strop track {run} tensorboard" in failed
    assert "\n" not in failed


# ------------------------------------------------------------------------------------------ the real ones, killed

DIES = """
import os, sys
from pathlib import Path
from strop.tracking import kinds, mirror
kind, run, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
tracker = kinds.TRACKERS[kind]
log = tracker.log
def dying(self, entry):
    log(self, entry)
    if entry.step == last:
        if kind == "trackio":
            self.run._flush_queues_inline()
        os.kill(os.getpid(), 9)
tracker.log = dying
mirror.main(kind, run)
"""
"""A mirror that is killed between the tracker's write and anything it could note of it."""


@pytest.mark.full
@pytest.mark.parametrize("kind", tracking.KINDS)
def test_a_mirror_killed_right_after_a_write_leaves_each_step_once(kind, tmp_path, store):
    run = recorded(tmp_path / "run", 9, done=True)
    tracking.settle(run, [kind])
    for last in (0, 3, 4):
        died = subprocess.run([sys.executable, "-c", DIES, kind, str(run), str(last)], stdin=subprocess.DEVNULL, timeout=240, check=False)
        log = run / "track" / f"{kind}.log"
        assert died.returncode == -signal.SIGKILL, log.read_text()
    mirrors = tracking.Mirrors(run, [kind])
    assert mirrors.end() == []
    assert mirrors.to_json()[kind]["logged"] == (10 if kind == "wandb" else 5), "what it had was asked of it; wandb's file is written anew"
    found = readers.read(kind, run, store, [*NAMES, "held_out/after/pass@1"])
    assert found == {
        "reward": [(step, step / 8) for step in range(9)],
        "grad_norm": [(step, 1.5) for step in range(9)],
        "bill/decoded": [(step, 100.0 * step) for step in range(9)],
        "t/seconds": [(step, 2.0) for step in range(9)],
        "held_out/after/pass@1": [(9, 0.5)],
    }


def mirrors_of(pid: int) -> list[int]:
    """The mirrors that this process started."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"strop.tracking.mirror" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(int(child))
    return found


@pytest.mark.full
def test_a_run_killed_with_its_mirrors_and_resumed_has_each_step_once_in_all_four(tmp_path, store):
    run = tmp_path / "run"
    sizes = ["--steps", "9", "--tasks", "4", "--group", "4", "--max-tokens", "12", "--eval-tasks", "4", "--eval-samples", "2"]
    begun = [*STROP, "train", *sizes, "--checkpoint-every", "2", "--out", str(run), "--track", ",".join(tracking.KINDS)]
    for number, (argv, steps) in enumerate([(begun, 3), ([*STROP, "train", "--resume", str(run)], 6)]):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 240
            while not (run / "metrics.jsonl").exists() or len(read_metrics(run)) < steps:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            beside = mirrors_of(process.pid)
            assert len(beside) == 4
            os.kill(process.pid, signal.SIGKILL)
            for pid in beside if number else []:  # the first time they go on alone, while the resumed run begins
                os.kill(pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run([*STROP, "train", "--resume", str(run), "--json"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert {kind: told["failed"] for kind, told in json.loads(done.stdout)["trackers"].items()} == dict.fromkeys(tracking.KINDS)
    assert "Warning" not in done.stderr
    lines = read_metrics(run)
    assert [line["step"] for line in lines] == list(range(9))
    for kind in tracking.KINDS:
        found = readers.read(kind, run, store, ["reward", "grad_norm", "bill/decoded", "held_out/after/pass@1"])
        assert [step for step, _ in found["reward"]] == list(range(9)), kind
        for name, values in {"reward": [line["reward"] for line in lines], "grad_norm": [line["grad_norm"] for line in lines]}.items():
            assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6), kind
        assert [step for step, _ in found["held_out/after/pass@1"]] == [9], kind


@pytest.mark.full
def test_a_tracker_that_never_answers_costs_its_deadline_and_not_the_run(tmp_path, store, monkeypatch):
    run, said = recorded(tmp_path / "run", 1), []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with tracking.beside(run, ["mlflow"], said.append, patience=8.0) as mirrors:
            started = time.monotonic()
            assert mirrors.step() == []
            assert time.monotonic() - started < 0.1, "a step waits for nobody"
        assert 7 < time.monotonic() - started < 20
    assert said[1].startswith("tracker mlflow: no answer for 8 s. The run does without it")
    assert mirrors.each[0].process.returncode == -signal.SIGKILL


@pytest.mark.full
def test_a_server_that_goes_away_is_said_and_what_is_missing_is_logged_when_it_is_back(tmp_path, store, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"

    def server():
        kept = ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", *kept, "--port", str(port), "--workers", "1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def gone(process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run, news = recorded(tmp_path / "run", 3), []
    first = server()
    try:
        with tracking.beside(run, ["mlflow"], news.append, patience=90) as mirrors:
            (mirror,) = mirrors.each
            while mirror.logged < 3:
                assert mirrors.step() == []
                time.sleep(0.1)
            gone(first)
            recorded(run, 6)
            mirrors.step()
    finally:
        first.poll() is None and gone(first)
    (_, failed) = news
    assert failed.startswith("tracker mlflow: ")
    assert "\n" not in failed
    second = server()
    try:
        main(["track", str(run), "mlflow"])
    finally:
        gone(second)
    assert readers.read("mlflow", run, store, ["reward"]) == {"reward": [(step, step / 8) for step in range(6)]}
