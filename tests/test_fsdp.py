"""One learner in several processes is the learner of one process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsdp
import pytest


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("fsdp")
    fsdp.sample(directory)
    fsdp.start(directory, 1)
    return directory


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.full)])
def test_fsdp_gives_the_gradient_the_steps_and_the_weights_of_one_process(alone, processes, measured):
    fsdp.start(alone, processes)
    rows = fsdp.compare(alone, processes)
    measured("\n".join(map(fsdp.line, rows)))
    for row in rows:
        assert row["gradient"] < 1e-5, row
        assert row["weights"] < 1e-4, row  # Adam divides: what is nearly zero may turn
        assert row["updates"] == [[2], [2]], row
    by_case = {row["case"]: row for row in rows}
    odd = by_case["an odd number of passes per rank"]["passes"]
    assert any(-(-passes // processes) % 2 for passes in odd)
    assert any(passes % processes for passes in odd), "some rank has an empty pass"
    assert min(by_case["fewer passes than ranks"]["passes"]) < processes
    assert by_case["tree"]["shared"] > 0


RUN = ["--method", "ppo", "--task", "chain", "--tasks", "3", "--group", "4", "--max-tokens", "12", "--eval-tasks", "0"]
RUN += ["--slots", "16", "--token-budget", "200", "--steps", "3", "--checkpoint-every", "1", "--model", "pico"]


def strop(processes: int, *arguments: str) -> subprocess.CompletedProcess:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *launch, "-m", "strop", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=env, timeout=fsdp.DEADLINE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("fsdp") / "run"
    done = strop(2, "train", *RUN, "--out", str(directory))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("report  ") == 1, "only rank 0 speaks"
    return directory


def shorter(directory: Path, to: Path) -> Path:
    """The run as it stood before its last step, with that step's groups committed."""
    from strop.directory import cut_metrics

    shutil.copytree(directory, to)
    shutil.rmtree(to / "checkpoints" / "000003")
    cut_metrics(to / "metrics.jsonl", 2)
    return to


def last(directory: Path) -> dict:
    return json.loads((directory / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.full
@pytest.mark.parametrize("processes", [1, 4])
def test_fsdp_checkpoints_of_two_processes_go_on_in_another_number_of_them(of_two, tmp_path, processes):
    directory = shorter(of_two, tmp_path / "run")
    done = strop(processes, "train", "--resume", str(directory))  # its tripwires compare digests of weights and optimiser bit for bit
    assert done.returncode == 0, done.stderr[-3000:]
    mine, theirs = last(directory), last(of_two)
    assert mine["step"] == theirs["step"] == 2
    assert mine["digest"]["groups"] == theirs["digest"]["groups"]
    assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)
    assert weights(directory) == pytest.approx(weights(of_two), rel=1e-6)


def weights(directory: Path) -> float:
    """The norm of what the newest checkpoint holds, read as anybody would."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory / "checkpoints" / "000003")
    return float(sum(p.detach().double().square().sum() for p in model.parameters()).sqrt())


@pytest.mark.full
def test_fsdp_says_a_users_mistake_once_and_leaves_no_rank_waiting(of_two):
    done = strop(2, "train", *RUN, "--out", str(of_two))
    assert done.returncode != 0
    assert done.stderr.count("exists already") == 1
