"""The command line: results as JSON, mistakes as one message with exit code 2, and Ctrl-C that loses nothing."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strop import cli, grading
from strop.cli import COMMANDS, explain, main
from strop.commands import recipes

STROP = [sys.executable, "-m", "strop"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random model of one small layer, with pico's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from strop import pico

    place = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(pico.path())
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": None}
    config = Qwen3Config(vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=True, **sizes, **ids)
    Qwen3ForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def small(tiny, tmp_path):
    """Flags of a run of seconds."""
    base = ["train", "--model", tiny, "--tasks", 2, "--group", 2, "--max-tokens", 6, "--eval-tasks", 3, "--eval-samples", 4]
    return [str(a) for a in [*base, "--steps", 2, "--out", tmp_path / "run"]]


@pytest.fixture(autouse=True)
def _methods_as_they_were():
    """A recipe file may register a method of its own; the next test finds only strop's."""
    from strop.methods import METHODS

    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def said(capsys, *argv):
    main([str(a) for a in argv])
    return json.loads(capsys.readouterr().out)


# Names and numbers.


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "--stesp", "3"], "Did you mean '--steps'"),
        (["train", "--method", "gropo"], "Did you mean 'grpo'"),
        (["train", "--task", "chian"], "Did you mean 'chain'"),
        (["train", "--task", "chain:step=3"], "Did you mean 'steps'"),
        (["train", "--steps", "many"], "invalid int value"),
        (["train", "--steps", "-1"], "needs a whole number of at least 0"),
        (["train", "--lr", "-1"], "at least 0"),
        (["train", "--grader-limit", "2"], "[0, 1]"),
        (["train", "--group", "1"], "group of at least 2"),
        (["train", "--device", "tpu"], "cpu, cuda, or auto"),
        (["train", "--model", "./nowhere"], "does not exist"),
        (["train", "nowhere.toml"], "no recipe file"),
        (["train", "--resume", "nowhere"], "holds no run"),
        (["train", "--resume", "nowhere", "--lr", "3"], "takes no --lr"),
        (["eval", "pico", "--samples", "0"], "--samples is at least 1"),
        (["eval", "pico", "--top-p", "0"], "(0, 1]"),
        (["eval", "pico", "--temperature", "nan"], "--temperature is at least 0"),
        (["eval", "./nowhere"], "does not exist"),
        (["eval"], "required: MODEL_OR_RUN"),
        (["methods", "gropo"], "Did you mean 'grpo'"),
        (["methods", "--baseline", "magic"], "invalid choice"),
        (["train", "--device", "cuda"], "torch sees no such device"),
        (["train", "--method", "resum-grpo"], "nothing answers in them. Choose a task that brings its world"),
        (["eval", "pico", "--device", "potato"], "device='potato': cpu, cuda, or auto"),
        (["train", "--lr", "1e400"], "a learning rate is a number"),
        (["plan", "--prompt", "0"], "a prompt has at least 1 token"),
        (["tasks", "countdwn"], "Did you mean 'countdown'"),
        (["tasks", "chain", "--count", "0"], "at least 1"),
        (["runs", "nowhere"], "no directory"),
        (["report", "nowhere"], "holds no run"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_mistake_is_one_message_that_says_what_to_do(argv, wanted, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert wanted in refused(*argv)
    assert not list(tmp_path.glob("runs/*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("r.json", '{"stesp": 3}', "Did you mean 'steps'"),
        ("r.json", '{"steps": "three"}', "steps is a whole number"),
        ("r.json", '{"lr": "high"}', "lr is a number"),
        ("r.json", '{"steps": true}', "steps is a whole number"),
        ("r.json", "{", "cannot be read as JSON"),
        ("r.json", "[1]", "an object of fields"),
        ("r.json", "[" * 100_000, "cannot be read as JSON"),
        ("r.toml", "steps = ", "cannot be read as TOML"),
        ("r.toml", "tasks = 0", "at least 1"),
        ("r.py", "x = 1", "defines no RECIPE"),
        ("r.py", "x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("r.py", "def f(:\n", "SyntaxError"),
        (
            "r.py",
            "from strop.methods.grpo import GRPO\nfrom strop.recipe import Recipe\nRECIPE = Recipe(method=GRPO.but(tasks=3))",
            "name of its own",
        ),
    ],
)
def test_a_recipe_file_that_cannot_be_used_says_why(name, content, wanted, refused, tmp_path):
    (tmp_path / name).write_text(content)
    assert wanted in refused("train", tmp_path / name)


def test_a_recipe_file_and_flags_make_one_recipe(tmp_path):
    (tmp_path / "r.toml").write_text('method = "rloo"\nsteps = 7\nlr = 1\n')
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?")
    recipes.add_flags(parser)
    recipe = recipes.build(parser.parse_args([str(tmp_path / "r.toml"), "--steps", "9"]))[0]
    assert (recipe.method, recipe.steps, recipe.lr) == ("rloo", 9, 1.0)


def test_every_field_of_a_recipe_is_a_flag_with_its_default():
    from dataclasses import fields

    from strop.recipe import Recipe

    found = recipes.knobs()
    assert list(found) == [f.name for f in fields(Recipe)]
    assert all(found[f.name].default == f.default for f in fields(Recipe))
    assert all(knob.doc or name in recipes.HELP for name, knob in found.items())


# Models.


def broken(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_that_is_not_a_causal_one_is_named(tiny, tmp_path, refused):
    model = broken(tiny, tmp_path)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen3ForSequenceClassification"]}))
    assert "not a causal language model" in refused("train", "--model", model, "--out", tmp_path / "run")


def test_a_model_without_a_chat_template_is_named(tiny, tmp_path, refused):
    model = broken(tiny, tmp_path)
    (model / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    assert "no chat template" in refused("train", "--model", model, "--out", tmp_path / "run")


def test_a_corrupt_weights_file_is_named(tiny, tmp_path, refused):
    model = broken(tiny, tmp_path)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "damaged" in refused("train", "--model", model, "--out", tmp_path / "run")


def test_a_model_of_pickles_is_refused_unopened(tiny, tmp_path, refused):
    model = broken(tiny, tmp_path)
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    assert "only pickle files" in refused("train", "--model", model, "--out", tmp_path / "run")


def test_a_directory_without_a_config_is_named(tmp_path, refused):
    (tmp_path / "model").mkdir()
    assert "config" in refused("train", "--model", tmp_path / "model", "--out", tmp_path / "run")


@pytest.mark.parametrize("bad", ["model", "grader"])
def test_after_a_refusal_the_same_directory_can_be_used(bad, small, tmp_path, refused, capsys):
    """A run that never began leaves nothing that stands in the way of the corrected command."""
    if bad == "model":
        wrong = [*small, "--model", "./nowhere"]
    else:
        wrong = [*small, "--task", "chain:steps=99"]
    refused(*wrong)
    main(small)


# Graders.

GRADER = """
import time
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.source import Graded


class Mine:
    name, size = "mine", None

    def task(self, split, seed, index):
        return Task(f"{{split}} {{index}}", {{}}, self.name)

    def grade(self, task, text):
        {body}
        return Graded({{"outcome": 1.0}})

    def gold(self, task):
        return None


SOURCE = Mine()
RECIPE = Recipe(eval_tasks=0)
"""


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("raise KeyError('answer')", "grader raised KeyError"),
        ("time.sleep(20)", "did not answer within"),
        ("return Graded({'outcome': float('nan')})", "grader returned nan"),
        ("return Graded({'outcome': '1'})", "grader returned '1'"),
        ("return 1.0", "grader raised ValueError: grade() gives 1.0: it is Graded({channel: score})"),
        ("raise SystemExit(3)", "grader raised SystemExit: 3"),
    ],
    ids=["raises", "hangs", "nan", "text", "number", "exit"],
)
def test_a_grader_that_fails_is_named_and_the_run_can_go_on(body, wanted, small, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(grading.grade, "__defaults__", (0.5,))
    (tmp_path / "mine.py").write_text(GRADER.format(body=body))
    at = small.index("--eval-tasks")
    message = refused(*small[:1], tmp_path / "mine.py", "--unchecked", *small[1:at], *small[at + 4 :])
    assert wanted in message
    assert f"--resume {tmp_path / 'run'}" in message


def test_a_source_of_ones_own_is_resumed_with_the_run(small, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(GRADER.format(body="pass"))
    main([*small[:1], str(tmp_path / "mine.py"), "--unchecked", *small[1:]])
    (tmp_path / "mine.py").unlink()
    (tmp_path / "run" / "eval" / "after.json").unlink()
    capsys.readouterr()
    again = said(capsys, "train", "--resume", tmp_path / "run", "--json")
    assert again["task"] == "mine"
    assert again["after"]["pass@1"] == 1.0


def test_a_method_of_ones_own_is_trained_and_resumed(small, tmp_path, capsys):
    (tmp_path / "own.py").write_text(
        "from strop.methods.grpo import GRPO\nfrom strop.recipe import Recipe\nRECIPE = Recipe(method=GRPO.but('own-grpo', tasks=3))\n"
    )
    main([*small[:1], str(tmp_path / "own.py"), *small[1:]])
    capsys.readouterr()
    assert said(capsys, "train", "--resume", tmp_path / "run", "--json")["method"] == "own-grpo"


# Directories and memory.


def test_a_directory_that_is_in_use_is_refused(small, tmp_path, refused):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    assert "exists already" in refused(*small)
    assert (tmp_path / "run" / "notes").read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_named(small, tmp_path, refused):
    (tmp_path / "file").write_text("")
    assert "cannot write to" in refused(*small[:-1], tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")]
)
def test_an_allocation_failure_names_the_settings(error, small, refused, monkeypatch):
    from strop import learning

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(learning, "backward", fails)
    message = refused(*small)
    assert "--token-budget" in message
    assert "--slots" in message
    assert "--cache" in message
    assert "--resume" in message


def test_a_full_disk_is_said_whoever_writes():
    from safetensors import SafetensorError

    theirs = "Error while serializing: I/O error: No space left on device (os error 28)"
    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError(theirs)):
        assert "the disk is full" in explain(error)


def test_a_fault_of_ours_keeps_its_traceback():
    assert explain(AttributeError("x")) is None
    assert explain(RuntimeError("x")) is None


# Results.


def test_train_says_before_and_after_as_one_object(small, tmp_path, capsys):
    main([*small, "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert {"run", "method", "fingerprint", "seconds", "before", "after", "base_at_temperature"} <= found.keys()
    for side in ("before", "after"):
        assert {"pass@1", "pass@8", "greedy", "lenient", "length", "interval"} <= found[side].keys()
    assert found["base_at_temperature"].keys() == {"0.3", "0.6", "1.0"}
    assert "reward" in err, "progress goes to stderr"
    run = tmp_path / "run"
    assert (run / "curve.png").exists()
    assert (run / "report.html").exists()

    main(["train", "--resume", str(run)])
    text = capsys.readouterr().out
    assert "pass@1" in text
    assert str(run) in text

    assert said(capsys, "report", run, "--json")["report"] == str(run / "report.html")
    (row,) = said(capsys, "runs", run.parent, "--json")["runs"]
    assert row["steps"] == "2/2"
    assert row["resume"] is None

    file = tmp_path / "eval.json"
    main(["eval", str(run), "--tasks", "3", "--samples", "4", "--json", str(file)])
    assert "pass@4" in capsys.readouterr().out
    scored = json.loads(file.read_text())
    assert scored["model"].endswith("checkpoints/000002")
    assert scored["max_tokens"] == 6
    assert {"pass@1", "pass@4", "mean", "majority", "interval"} <= scored.keys()


def test_a_run_that_is_resumed_ends_like_one_that_was_not(small, tmp_path, capsys, monkeypatch):
    """Evaluation touches nothing that training reads: the metrics agree outside `t`, whether or not it came first in this process."""
    from strop.directory import read_metrics
    from strop.loop import Run

    main(small)
    finish = Run.report

    def stops(self, *args, **kwargs):
        if self.step == 1:
            raise KeyboardInterrupt
        return finish(self, *args, **kwargs)

    monkeypatch.setattr(Run, "report", stops)
    other = tmp_path / "other"
    with pytest.raises(SystemExit) as stop:
        main([*small[:-1], str(other)])
    assert stop.value.code == 130
    assert f"strop train --resume {other}" in capsys.readouterr().err
    monkeypatch.undo()
    main(["train", "--resume", str(other)])
    first, second = ([{k: v for k, v in line.items() if k != "t"} for line in read_metrics(d)] for d in (tmp_path / "run", other))
    assert first == second


def test_the_lists_are_objects(capsys):
    from strop.methods import METHODS, PROGRAMS

    assert {row["name"] for row in said(capsys, "methods", "--json")["methods"]} == {*METHODS, *PROGRAMS}
    assert [row["name"] for row in said(capsys, "methods", "--baseline", "learned", "--json")["methods"]] == ["ppo"]
    assert said(capsys, "methods", "grpo", "--json")["parts"]["sampler"]["with"]["n"] == 8
    assert {"chain", "countdown"} <= {row["name"] for row in said(capsys, "tasks", "--json")["tasks"]}
    examples = said(capsys, "tasks", "countdown", "--count", "2", "--json")["examples"]
    assert [e["scores"]["outcome"] for e in examples] == [1.0, 1.0]


def test_the_doctor_checks_and_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(SystemExit):  # 1 where this machine has something to do
        main(["doctor", "--quick", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {"python", "torch", "cores", "memory", "disk", "extra math"} <= checks.keys()
    assert checks["disk"]["ok"]
    assert not list(tmp_path.iterdir())


# The process.


def test_help_and_import_are_quick():
    """0.5 s and 0.3 s on an idle machine; twice that here, and the best of three."""
    for argv, limit in ([*STROP, "--help"], 1.0), ([sys.executable, "-c", "import strop"], 0.6):
        best = 99.0
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True)
            best = min(best, time.perf_counter() - started)
        assert best < limit, argv


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_json(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert COMMANDS[name]


@pytest.mark.slow  # a process that is waited for
def test_ctrl_c_ends_after_the_write_and_says_how_to_go_on(small, tmp_path):
    argv = [
        *small[: small.index("--steps")],
        "--steps",
        "5000",
        "--out",
        str(tmp_path / "run"),
        "--eval-tasks",
        "0",
        "--checkpoint-every",
        "5000",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*STROP, *argv], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path)
    metrics: Path = tmp_path / "run" / "metrics.jsonl"
    deadline = time.time() + 60
    while time.time() < deadline and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"strop train --resume {tmp_path / 'run'}" in err
    assert out == ""
    lines = metrics.read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)
    assert len(list((tmp_path / "run" / "groups").glob("*.json.gz"))) == len(lines), "the step in hand was finished"


LIMITED = """
import resource, sys
import psutil
import torch
from strop import cli, train

plain = train.step

async def limited(run):
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 200 * 2**20,) * 2)
    return await plain(run)

train.step = limited
cli.main(sys.argv[1:])
"""


@pytest.mark.full  # a process of its own fills its memory
def test_a_real_allocation_failure_names_the_settings(tiny, tmp_path):
    flags = ["--tasks", "64", "--group", "64", "--max-tokens", "128", "--token-budget", "2000000", "--eval-tasks", "0"]
    argv = ["train", "--model", str(tiny), *flags, "--out", str(tmp_path / "run")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED, *argv], capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert "--token-budget" in done.stderr
    assert f"--resume {tmp_path / 'run'}" in done.stderr


# What a method is.


def shown(capsys, *argv):
    main([str(a) for a in argv])
    return capsys.readouterr().out


def test_explain_prints_the_formula_with_what_the_name_stands_for(capsys):
    text = shown(capsys, "explain", "grpo")
    assert text.startswith("grpo is grpo@strop-1\ngrpo@strop-1   fingerprint ")
    assert "    gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - 0.2, 1 + 0.2) * credit_T)\n" in text
    one = said(capsys, "explain", "dapo", "--json")
    assert (one["idea"], one["parent"]["name"]) == (["gate", "signals.policy"], "grpo@strop-1")
    assert one["formula"] in shown(capsys, "explain", "dapo")


def test_explain_takes_a_sum_a_recipe_a_run_and_a_saved_method(small, tmp_path, capsys):
    main([*small, "--method", "gspo + dapo.only(gate)"])
    (tmp_path / "recipe.json").write_text(
        json.dumps({"method": "gspo + dapo.only(gate)", "model": small[2], "tasks": 2, "group": 2, "max_tokens": 6})
    )
    capsys.readouterr()
    run, recipe = (said(capsys, "explain", tmp_path / name, "--json") for name in ("run", "recipe.json"))
    plain = said(capsys, "explain", "gspo + dapo.only(gate)", "--json")
    assert run["fingerprint"] == recipe["fingerprint"] != plain["fingerprint"]
    assert "2 tasks a step" in run["formula"]
    assert "DropFlat(refill=2" in run["formula"]
    (tmp_path / "saved.json").write_text(json.dumps({k: plain[k] for k in ("name", "paper", "idea", "parent", "parts")}))
    assert shown(capsys, "diff", tmp_path / "saved.json", "gspo + dapo.only(gate)").rstrip().endswith(f"fingerprint {plain['fingerprint']}")
    seams = {row["seam"] for row in said(capsys, "diff", tmp_path / "run", tmp_path / "saved.json", "--json")["seams"]}
    assert seams == {"tasks", "sampler.n", "sampler.max_tokens"}


def test_explain_of_a_run_knows_the_parts_of_its_own_recipe_file(small, tmp_path, capsys):
    (tmp_path / "own.py").write_text(
        "from strop.methods.grpo import GRPO\nfrom strop.recipe import Recipe\nfrom strop.seams.part import part\n"
        "@part(gives='credit_R', formula='credit_R = reward_R * {by}')\ndef scaled(reward_R, *, by=2.0):\n    return reward_R * by\n"
        "RECIPE = Recipe(method=GRPO.but('own', credit=(scaled(by=3.0),)))\n"
    )
    main([*small[:1], str(tmp_path / "own.py"), *small[1:]])
    (tmp_path / "own.py").unlink()
    capsys.readouterr()
    assert "    credit_R = reward_R * 3\n" in shown(capsys, "explain", tmp_path / "run")


def test_diff_says_equal_or_shows_both_sides(capsys):
    assert shown(capsys, "diff", "grpo", "grpo@strop").startswith("grpo and grpo@strop compute the same: fingerprint ")
    text = shown(capsys, "diff", "grpo", "dapo")
    assert "signals.policy.objective.clip_high  0.2" in text
    assert "  +     share_T = 1 / count(token, batch)\n" in text


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["explain", "gropo"], "Did you mean 'grpo'"),
        (["explain", "nowhere.toml"], "no such file or run"),
        (["explain", "runs/nowhere"], "no such file or run"),
        (["explain", "."], "holds no run"),
        (["explain", "dapo + gspo"], "both have an idea for signals.policy"),
        (["explain", "dapo.only(gates)"], "Did you mean 'gate'"),
        (["diff", "grpo"], "required: B"),
        (["train", "--method", "dapo + gspo"], "both have an idea for signals.policy"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_method_that_is_not_there_or_makes_no_sense_is_one_message(argv, wanted, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert wanted in refused(*argv)


@pytest.mark.parametrize(("load", "policy"), [(0.5, None), (99.0, "passive")])
def test_threads_wait_asleep_only_where_there_is_more_work_than_cores(monkeypatch, load, policy):
    monkeypatch.setenv("OMP_WAIT_POLICY", "to be restored")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    cli._wait_asleep_when_busy()
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_a_task_that_gives_no_channel_which_the_method_reads_is_refused_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--method", "stable-reinforce", "--out", str(tmp_path / "run")])
    assert "its reward 'gated_bonus' reads the channel 'consistent', which nobody grades here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
