"""A run killed at any instant goes on as if it had not been."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def kills(phase: str, first: int, last: int, *method: str) -> list[dict]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(HERE / "kills.py"), phase, str(first), str(last), *method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


KILLS = {"update": 10, "write": 10, "sample": 10}
"""Phases, and how often each is killed in `.ci/full`: two processes a kill."""


def check(results: list[dict]) -> None:
    assert all(r["killed"] for r in results), results
    assert all(r["resumed"] for r in results), results
    assert all(r["kept"] for r in results), "a committed group was lost or changed"
    assert all(r["equal"] for r in results), results


@pytest.mark.parametrize(
    ("phase", "count"),
    [pytest.param("update", 3, marks=pytest.mark.slow), *(pytest.param(*each, marks=pytest.mark.full) for each in KILLS.items())],
)
def test_kills_leave_weights_optimiser_states_and_metrics_equal(phase, count):
    results = kills(phase, 0, count)
    assert len(results) == count
    check(results)


@pytest.mark.full
@pytest.mark.parametrize("phase", ["write", "update"])
def test_a_method_with_a_head_of_its_own_is_killed_and_goes_on_alike(phase):
    results = kills(phase, 0, 4, "flowrl")
    assert len(results) == 4
    check(results)


@pytest.mark.full
@pytest.mark.parametrize("phase", ["write", "update", "sample"])
def test_two_policies_that_are_trained_together_are_killed_and_go_on_alike(phase):
    results = kills(phase, 0, 5, "two-players")
    assert len(results) == 5
    check(results)


@pytest.mark.full
@pytest.mark.parametrize("phase", ["write", "sample"])
def test_episodes_whose_rows_begin_anew_are_killed_and_go_on_alike(phase):
    results = kills(phase, 0, 8, "windowed")
    assert len(results) == 8
    check(results)
    assert all(r["rows"] > 1 for r in results), "rows were summarised"


@pytest.mark.full  # twenty programs of four stages
def test_a_program_killed_inside_any_write_goes_on_to_the_same_stages():
    results = kills("program", 0, 20)
    assert len(results) == 20
    check(results)
    assert {len(r["done"]) for r in results} == {0, 1, 2, 3}, "killed in every stage"


@pytest.mark.full  # twenty programs of six stages
def test_two_players_who_learn_in_turns_are_killed_in_any_write_and_go_on_alike():
    results = kills("program", 0, 20, "lifelong")
    assert len(results) == 20
    check(results)
    assert {len(r["done"]) for r in results} == set(range(6)), "killed in every stage"


def small(tmp_path, **changes):
    from strop import pico
    from strop.recipe import Recipe

    base = {"task": "chain", "model": str(pico.path()), "steps": 3, "tasks": 2, "group": 2, "max_tokens": 8}
    return Recipe(**{**base, "eval_tasks": 0, "checkpoint_every": 1, "slots": 16, **changes})


def test_a_torn_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    from strop.run import create, resume

    run = create(small(tmp_path), tmp_path / "run")
    run.train()
    whole = run.digest_weights()
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    with open(newest / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    said: list[str] = []
    again = resume(tmp_path / "run", say=said.append)
    assert any(newest.name in line and "damaged" in line for line in said), said
    again.train()
    assert again.digest_weights() == whole


def test_a_torn_metrics_line_is_cut_and_written_again(tmp_path):
    from strop.directory import read_metrics
    from strop.run import create, resume

    run = create(small(tmp_path, checkpoint_every=2), tmp_path / "run")
    run.train()
    path = tmp_path / "run" / "metrics.jsonl"
    whole = [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(tmp_path / "run")]
    path.write_bytes(path.read_bytes()[:-40])
    resume(tmp_path / "run", say=lambda _: None).train()
    assert [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(tmp_path / "run")] == whole


def test_a_damaged_commit_is_named_with_what_to_do(tmp_path):
    from strop.directory import RunError
    from strop.run import create, resume

    run = create(small(tmp_path, checkpoint_every=10, steps=2), tmp_path / "run")
    run.train()
    import shutil

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000002")
    path = run.commit_path(1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"000001\.json\.gz is damaged"):
        resume(tmp_path / "run", say=lambda _: None).train()


def test_another_number_of_threads_is_said_aloud(tmp_path):
    from strop.run import create, resume

    create(small(tmp_path, steps=1), tmp_path / "run").train()
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    about["threads"] += 1
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(about))
    said: list[str] = []
    resume(tmp_path / "run", say=said.append)
    assert any("bits may differ" in line for line in said), said


def test_a_full_disk_is_named_and_loses_nothing(tmp_path, monkeypatch):
    from strop import durable
    from strop.run import create, resume

    run = create(small(tmp_path), tmp_path / "run")

    def full(name: str) -> None:
        if name == "torn" and run.step == 1:
            raise OSError(28, "No space left on device")

    durable.watch(full)
    try:
        with pytest.raises(OSError, match="No space left"):
            run.train()
    finally:
        durable.watch(None)
    assert json.loads(gzip.decompress(run.commit_path(0).read_bytes()))["step"] == 0
    again = resume(tmp_path / "run", say=lambda _: None)
    again.train()
    assert again.step == 3


def test_a_run_recorded_with_the_earlier_hash_is_held_to_that_one(tmp_path):
    from strop.directory import read_metrics
    from strop.run import create, resume
    from strop.tripwires import Tripped

    run = create(small(tmp_path), tmp_path / "run")
    run.train()
    earlier = {"weights": run.digest_weights(like="0" * 16), "optimiser": run.digest_optimiser(like="0" * 16)}
    assert all(len(digest) == 16 for digest in earlier.values())

    def recorded(**digests: str) -> None:
        lines = read_metrics(tmp_path / "run")
        lines[-1]["digest"] |= digests
        (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    recorded(**earlier)
    again = resume(tmp_path / "run", say=lambda _: None)
    assert again.digest_weights() == run.digest_weights() != earlier["weights"]
    recorded(optimiser=earlier["optimiser"][::-1])
    with pytest.raises(Tripped, match="lost-state"):
        resume(tmp_path / "run", say=lambda _: None)


def test_what_cannot_begin_leaves_a_directory_as_it_was(tmp_path):
    from strop.run import create

    with pytest.raises(ValueError, match="does not exist"):
        create(small(tmp_path, model="./nowhere"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="does not exist"):
        create(small(tmp_path, model="./nowhere"), tmp_path / "empty")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]
    assert list((tmp_path / "empty").iterdir()) == []
    create(small(tmp_path), tmp_path / "empty")
    kept = sorted(path.name for path in (tmp_path / "empty").iterdir())
    with pytest.raises(ValueError, match="exists already"):
        create(small(tmp_path), tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == kept, "a run that is there stays"
