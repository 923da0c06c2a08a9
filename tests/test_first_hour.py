"""The first hour of a new user: a method, a curriculum, a task and a claim in files of their own, through every command by its place."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from riddles import RIDDLES

from strop.cli import main

METHOD = '''"""Credit by rank: what a rollout earns is how many siblings it beats."""
import torch
from torch import Tensor

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import in_step, mean_so_far
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.index import Index
from strop.seams.part import part


@part(gives="credit_R", needs=("group",), formula="credit_R = {scale} * (reward_R - mean(reward_R, group))")
def scaled(reward_R: Tensor, index: Index, *, scale: float = 2.0) -> Tensor:
    """Against the group's mean, times a constant."""
    return scale * (reward_R - index.spread(index.mean(reward_R, "rollout", "group"), "group", "rollout"))


RANKED = GRPO.but("ranked", paper="0000.00000", credit=(scaled(),))
CLAIM = Claim(
    "ranked-reward",
    mechanism="Twice the credit",
    consequence="raises the training reward",
    regime="on chains",
    method="ranked",
    recipe=Recipe(task="chain", tasks=2, group=8, max_tokens=64, steps=20, lr=1e-4),
    arms=(Arm("twice", RANKED), Arm("once", RANKED.but("once", credit=(scaled(scale=1.0),)), control="the same, once")),
    compare=("twice", "once"),
    measure=mean_so_far(name="reward"),
    threshold=0.0,
    refuted_if="it does not",
    profiles={"quick": Profile(seeds=(0,), budget="1000 decoded", minutes=0.1)},
    checks=(Check("something was drawn", in_step(name="length", step=0), "twice", least=0.1),),
)
'''
CURRICULUM = '''"""Every second task of the stream."""
from dataclasses import dataclass

from strop.methods.grpo import GRPO


@dataclass(frozen=True)
class Seconds:
    stride: int = 2

    def init(self, source):
        return {"next": 0}

    def pick(self, n, state, ctx):
        tasks = [ctx.source.task("train", ctx.seed, state["next"] + self.stride * i) for i in range(n)]
        return tasks, {"next": state["next"] + self.stride * n}

    def observe(self, state, groups, scores, ctx):
        return state


EVERY = GRPO.but("every-second", idea=("curriculum",), curriculum=Seconds())
'''
WORLD = '''"""Asks once more."""
from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.seams.episode import Episodes
from strop.seams.window import Recent
from strop.seams.world import Reply


@dataclass(frozen=True)
class Again:
    def start(self, task, seat):
        return 0

    async def reply(self, state, said, ask):
        return state + 1, Reply("Are you sure?", done=state > 0)


ASKED = GRPO.but(
    "asked-twice",
    idea=("environment", "sampler"),
    environment=Again(),
    sampler=Episodes(n=4, turns=3, max_tokens=8, observation=24, window=Recent()),
)
'''
FLAGS = ["--tasks", "2", "--group", "4", "--max-tokens", "8", "--eval-tasks", "2", "--eval-samples", "1", "--checkpoint-every", "1"]


def said(capsys, *argv):
    capsys.readouterr()
    main([*map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow  # half a minute
def test_the_first_hour(tmp_path, capsys, monkeypatch):
    for name, text in {"ranked.py": METHOD, "every.py": CURRICULUM, "riddles.py": RIDDLES, "again.py": WORLD}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = "ranked.py:RANKED + every.py:EVERY"
    assert said(capsys, "check", "ranked.py", "every.py", "riddles.py:Riddles", both)["wrong"] == 0
    assert said(capsys, "tasks", "riddles.py:Riddles", "--show", "1")["examples"][0]["scores"]["outcome"] == 1
    assert said(capsys, "methods", "ranked.py:RANKED")["name"] == "ranked"
    assert said(capsys, "plan", "--method", both, "--task", "riddles.py:Riddles", *FLAGS)["fits"]

    command = [sys.executable, "-m", "strop", "train", "--method", both, "--task", "riddles.py:Riddles", "--steps", "6", *FLAGS]
    with subprocess.Popen([*command, "--out", "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy()) as train:
        lines = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 2):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        train.send_signal(signal.SIGKILL)
    before = [{**json.loads(line), "t": 0} for line in lines.read_text().splitlines()[:2]]
    for name in ("ranked.py", "every.py", "riddles.py"):
        (tmp_path / name).rename(tmp_path / f"{name}.away")  # as on another machine
    done = said(capsys, "train", "--resume", "run")
    assert (done["method"], done["steps"]) == ("ranked + every-second", 6)
    assert [{**json.loads(line), "t": 0} for line in lines.read_text().splitlines()[:2]] == before
    assert said(capsys, "replay", "run", "--out", "again")["equal"]
    assert "credit_R = 2 * (reward_R - mean(reward_R, group))" in said(capsys, "explain", "run")["formula"]

    for name in ("ranked.py", "every.py", "riddles.py"):
        (tmp_path / f"{name}.away").rename(tmp_path / name)
    assert {row["seam"] for row in said(capsys, "diff", "grpo", "ranked.py:RANKED")["seams"]} == {"credit.0"}
    assert (
        said(capsys, "replay", "run", "--method", "grpo + every.py", "--out", "other")["method"] == "grpo@strop-1 + every-second-truncated"
    )
    shown = said(capsys, "microscope", "run", "--step", "3", "--methods", f"grpo,{both}")
    assert [one["name"] for one in shown["methods"]] == ["grpo@strop-1", "ranked + every-second"]
    assert said(capsys, "train", "--resume", "run", "--steps", "7")["steps"] == 7
    assert said(capsys, "eval", "run", "--tasks", "2", "--samples", "1", "--show", "1")["task"] == "riddles"

    assert said(capsys, "check", "again.py")["wrong"] == 0
    assert said(capsys, "world", "check", "riddles.py:Riddles", "--method", "again.py")["fine"]
    asked = ["--method", "again.py:ASKED", "--task", "riddles.py:Riddles", "--steps", "1", *FLAGS]
    assert said(capsys, "train", *asked, "--out", "asked")["method"] == "asked-twice"
    (tmp_path / "again.py").unlink()
    assert said(capsys, "train", "--resume", "asked", "--steps", "2")["steps"] == 2
    assert said(capsys, "eval", "asked", "--tasks", "2", "--samples", "1")["world"] == "Again()"
    record = said(capsys, "claim", "run", "ranked.py:CLAIM", "--out", "claims")
    assert (record["claim"], record["verdict"], record["why_void"]) == ("ranked-reward", "direction only", [])
