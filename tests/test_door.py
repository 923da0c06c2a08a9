"""One door to a run: what was changed behind its back is named, and nobody else writes to it meanwhile."""

import gzip
import json
import shutil
import subprocess
import sys

import pytest

from strop.cli import main

SMALL = ["--tasks", "2", "--group", "2", "--max-tokens", "6", "--eval-tasks", "0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "run"
    main(["train", "--steps", "3", "--checkpoint-every", "1", *SMALL, "--out", str(place)])
    return place


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def about(run, **changes):
    said = json.loads((run / "recipe.json").read_text())
    said["recipe"] |= changes
    (run / "recipe.json").write_text(json.dumps(said))


def test_an_edited_recipe_is_named_field_by_field(run, refused):
    about(run, task="countdown", seed=7)
    message = refused("train", "--resume", run)
    assert "seed is 7 and was 0" in message
    assert "task is 'countdown' and was 'chain'" in message


def test_group_files_that_changed_places_are_noticed(run, refused):
    shutil.rmtree(run / "checkpoints" / "000003")
    shutil.rmtree(run / "checkpoints" / "000002")
    (run / "groups" / "000002.json.gz").rename(run / "spare")
    shutil.copyfile(run / "groups" / "000001.json.gz", run / "groups" / "000002.json.gz")
    assert "000002.json.gz holds step 1" in refused("train", "--resume", run)


def test_a_doubled_line_is_noticed(run, refused):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], lines[0], lines[2]]) + "\n")
    assert "line 2 is of step 0, and step 1 is due there" in refused("train", "--resume", run, "--steps", 4)


def test_a_checkpoint_with_flipped_bits_is_not_evaluated(run, capsys):
    file = run / "checkpoints" / "000003" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-100:] = bytes(100)
    file.write_bytes(data)
    main(["eval", str(run), "--tasks", "1", "--samples", "1", "--max-tokens", "4", "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["model"].endswith("000002")
    assert "checkpoint 000003 is damaged and is not used" in said.err


def test_a_run_without_a_whole_checkpoint_is_not_its_base(run, refused):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    assert "no checkpoint that is whole" in refused("eval", run)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("{", "cannot be read"), ("[]", "cannot be read"), ("{}", "cannot be read"), ('{"recipe": 3}', "cannot be read")],
)
@pytest.mark.parametrize(
    "command",
    [
        ["train", "--resume"],
        ["eval"],
        *(pytest.param([name], marks=pytest.mark.slow) for name in ("export", "replay", "explain", "microscope")),
    ],
)
def test_a_recipe_that_is_torn_or_something_else_is_named(command, text, wanted, run, tmp_path, refused):
    (run / "recipe.json").write_text(text)
    more = {"export": [tmp_path / "out"], "microscope": ["--step", "0", "--methods", "grpo"]}
    assert wanted in refused(*command, run, *more.get(command[0], []))


def test_a_strangers_broken_run_beside_it_breaks_nothing(run, capsys):
    for name, text in {"torn": "{", "list": "[]", "odd": '{"resolved": {"seed": 1}, "recipe": 3}'}.items():
        (run.parent / name).mkdir()
        (run.parent / name / "recipe.json").write_text(text)
        (run.parent / name / "metrics.jsonl").write_bytes(b"\xff\xfe[1]\n3\n")
    main(["runs", str(run.parent), "--json"])
    assert [row["run"] for row in json.loads(capsys.readouterr().out)["runs"]] == [str(run)]


HOLD = """
import sys, time
from pathlib import Path
from strop.directory import locked
lock = locked(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.slow  # seconds
def test_two_processes_never_train_in_one_place_and_a_killed_one_leaves_nothing(run, tmp_path, refused, capsys):
    there = tmp_path / "new"
    there.mkdir()
    for place, argv in ((run, ["train", "--resume", run, "--steps", 4]), (there, ["train", "--steps", 0, *SMALL, "--out", there])):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "held\n"
            capsys.readouterr()
            assert f"another process is training in {place}" in refused(*argv)
            other.kill()
        main([*map(str, argv)])


def test_weights_that_a_file_lacks_are_not_made_up(tmp_path, refused):
    from safetensors.torch import load_file, save_file

    from strop import pico

    place = shutil.copytree(pico.path(), tmp_path / "renamed")
    tensors = load_file(place / "model.safetensors")
    save_file({f"policy.{name}": tensor for name, tensor in tensors.items()}, place / "model.safetensors", {"format": "pt"})
    message = refused("eval", place, "--tasks", 1)
    assert "its weights lack" in message
    assert "that it does not know, as policy.model" in message


@pytest.mark.parametrize("layer", [0, 99])
def test_weights_that_the_model_would_compute_without_are_refused_and_another_tower_is_not(layer, tmp_path, refused):
    from safetensors.torch import load_file, save_file

    from strop import pico

    place = shutil.copytree(pico.path(), tmp_path / "more")
    tensors = load_file(place / "model.safetensors")
    spare = next(iter(tensors.values())).clone()
    more = f"model.layers.{layer}.self_attn.q_proj.weight_scale"
    save_file({**tensors, more: spare}, place / "model.safetensors", {"format": "pt"})
    assert f"its weights hold {more}" in refused("eval", place, "--tasks", 1)
    save_file({**tensors, "vision_tower.patch.weight": spare}, place / "model.safetensors", {"format": "pt"})
    main(["eval", str(place), "--tasks", "1", "--samples", "1", "--max-tokens", "2"])


def test_a_checkpoint_that_is_named_by_its_own_path_is_held_to_its_hash_too(run, refused):
    place = run / "checkpoints" / "000003"
    data = bytearray((place / "model.safetensors").read_bytes())
    data[-9] ^= 1
    (place / "model.safetensors").write_bytes(data)
    assert "is a checkpoint that was damaged or changed since" in refused("eval", place, "--tasks", 1)
    assert "is a checkpoint that was damaged" in refused("train", "--model", place, "--steps", 0, "--out", run.parent / "other")


def test_an_evaluation_shows_what_was_said_and_says_what_is_odd(capsys, tmp_path):
    main(["eval", "pico", "--tasks", "3", "--samples", "2", "--max-tokens", "2", "--show", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {kind: len(members) for kind, members in found["shown"].items()} == {"best": 1, "worst": 1, "cut": 1, "unparsed": 1}
    assert "of the replies were cut at 2 tokens: raise --max-tokens" in found["advice"]
    main(["eval", "pico", "--tasks", "3", "--samples", "2", "--stop", "</think>", "--show", "1"])
    said = capsys.readouterr().out
    assert "no answer could be read" in said
    assert "unparsed:\n-- score 0" in said


def test_a_task_is_shown_as_the_model_sees_it(capsys):
    main(["tasks", "chain", "--show", "2", "--shots", "1", "--json"])
    for example in json.loads(capsys.readouterr().out)["examples"]:
        assert example["seen"].count("<|user|>") == 2
        assert example["prompt"] in example["seen"]
        assert (example["scores"]["outcome"], example["wrong_scores"]["outcome"]) == (1.0, 0.0)


def test_a_committed_step_is_read_by_its_own_name(run):
    record = json.loads(gzip.decompress((run / "groups" / "000001.json.gz").read_bytes()))
    assert record["step"] == 1


@pytest.mark.parametrize(
    "command", [["train", "--steps", 9, "--resume"], ["eval"], ["replay"], ["export"], ["microscope"]], ids=lambda c: c[0]
)
def test_a_run_whose_policy_was_handed_to_it_is_not_gone_on_with_by_another(command, tmp_path, refused):
    from strop.lab import tabular
    from strop.recipe import Recipe

    run = tmp_path / "run"
    tabular.create(Recipe(steps=1, tasks=2, group=2, max_tokens=3, eval_tasks=0), run).train()
    before = (run / "recipe.json").read_bytes()
    more = {"export": [tmp_path / "out"], "microscope": ["--step", "0", "--methods", "grpo"], "replay": ["--out", tmp_path / "again"]}
    said = refused(*command, run, *more.get(command[0], []))
    assert "trained a policy of its own kind (strop.lab.tabular.TabularPolicy)" in said or "(TabularPolicy) that was handed to it" in said
    assert (run / "recipe.json").read_bytes() == before
