# ruff: noqa: E501 (files of a user's, each in one line)
"""`strop check` on planted faults: each is named, with the part, its file and line; what is right passes, and so do strop's own parts."""

import json
from pathlib import Path

import pytest

from strop.check.file import of_file
from strop.check.growing import of_behaviour
from strop.check.parts import of_method
from strop.check.sources import of_source
from strop.cli import main
from strop.commands.check import of
from strop.methods import METHODS, method
from strop.tasks import SOURCES, source

HEAD = """
import random
from dataclasses import dataclass
import torch
from torch import Tensor
from strop.methods.grpo import GRPO
from strop.records import Fate, Group, Rollout, Scores, Task
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.sampler import Independent, Reply
from strop.seams.signal import Signal
from strop.seams.source import Graded, split_of
"""


def credit(body, formula="", gives="credit_R", takes="reward_R: Tensor", more=""):
    said = f', formula="{formula}"' if formula else ""
    return f'{more}\n@part(gives="{gives}"{said})\ndef mine({takes}) -> Tensor:\n    """Mine."""\n    {body}\nMINE = GRPO.but("mine", credit=(mine(),))\n'


def loss(body, formula="", takes="logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor"):
    said = f'formula="{formula}"' if formula else ""
    signals = '{"policy": Signal(mine(), means("group", "rollout", "token"))}'
    return f'@part({said})\ndef mine({takes}) -> Tensor:\n    """Mine."""\n    {body}\nMINE = GRPO.but("mine", signals={signals})\n'


def riddles(task=None, grade=None, gold=None):
    task = task or (
        "n = 0\n        while True:\n            n += 1\n            rng = random.Random(f'{split} {seed} {index} {n}')\n"
        "            made = Task(f'{rng.randint(1, 99)} + {rng.randint(1, 99)} =', {'sum': 1}, self.name)\n"
        "            a, _, b = made.prompt.removesuffix(' =').partition(' + ')\n"
        "            made = Task(made.prompt, {'sum': int(a) + int(b)}, self.name)\n"
        "            if split_of(made.id) == split:\n                return made"
    )
    grade = grade or "return Graded({'outcome': float(text.strip() == str(task.needs['sum']))})"
    gold = gold or "return str(task.needs['sum'])"
    return (
        "@dataclass(frozen=True)\nclass Riddles:\n    name = 'riddles'\n    size = None\n"
        f"    def task(self, split, seed, index):\n        {task}\n    def grade(self, task, text):\n        {grade}\n"
        f"    def gold(self, task):\n        {gold}\nSOURCE = Riddles()\n"
    )


def curriculum(pick, observe="return state", init="return {'next': 0}"):
    return (
        f"@dataclass(frozen=True)\nclass Mine:\n    def init(self, source):\n        {init}\n    def pick(self, n, state, ctx):\n        {pick}\n"
        f"    def observe(self, state, groups, scores, ctx):\n        {observe}\nMINE = GRPO.but('mine', idea=('curriculum',), curriculum=Mine())\n"
    )


DRAW = "tasks = [ctx.source.task('train', ctx.seed, state['next'] + i) for i in range(n)]; "

FAULTS = {
    "a flipped sign in a loss": (
        loss("return credit_T * (logp_T - old_logp_T).exp()", "loss_T = -exp(logp_T - old_logp_T) * credit_T"),
        "signals.policy mine (planted.py, line 14): what `strop explain` prints and what it computes differ",
    ),
    "another constant than the one printed": (credit("return 2.0 * reward_R", "credit_R = 3 * reward_R"), "prints and what it computes differ"),
    "one number too few": (credit("return reward_R[1:]"), "gives credit_R of shape"),
    "a number for each decision": (credit("return index.spread(reward_R, 'rollout', 'token')", takes="reward_R: Tensor, index: Index"), "rollouts: it has one number for each"),
    "an index out of range": (credit("return reward_R + reward_R[99]"), "raises IndexError: index 99 is out of bounds"),
    "a constant of another precision": (credit("return torch.where(reward_R > 0.5, 0.1, -1.0)"), "gives credit_R as float32 where it was given float64"),
    "whole numbers": (credit("return (reward_R > 0.5).long()"), "gives credit_R as int64"),
    "a list": (credit("return reward_R.tolist()"), "gives a list as credit_R: a part gives a tensor"),
    "no spread": (credit("return reward_R / (reward_R - reward_R)"), "is no number for finite ones"),
    "torch's noise": (credit("return reward_R + torch.rand(len(reward_R), dtype=reward_R.dtype)"), "a generator that is not the run's"),
    "Python's noise": (credit("return reward_R * random.random()"), "a generator that is not the run's"),
    "memory from call to call": (credit("SEEN.append(1); return reward_R * len(SEEN)", more="SEEN = []"), "other numbers for the same batch the second time"),
    "changed in place": (credit("return reward_R.mul_(2.0)"), "changes reward_R in place"),
    "the batch's order": (credit("return reward_R * torch.arange(len(reward_R), dtype=reward_R.dtype)"), "depends on the order of the batch"),
    "no slope": (loss("return logp_T.detach() * credit_T"), "no slope on any batch"),
    "two tracks without names": (credit("return reward_R, reward_R", gives="credit_R,return_T"), "so it returns a dict of them"),
    "splits that meet": (riddles(task="rng = random.Random(f'{seed} {index}')\n        return Task(str(rng.randint(1, 9)), {'sum': 1}, self.name)"), "held-out tasks are trained on too"),
    "tasks that do not repeat": (riddles(task="return Task(f'{split} {random.random()}', {'sum': 1}, self.name)"), "is not the same the second time"),
    "a gold answer that is wrong": (riddles(gold="return str(task.needs['sum'] + 1)"), "scores 0.0, not 1"),
    "wrong answers that are paid": (riddles(grade="return Graded({'outcome': 1.0})"), "pays 1 for"),
    "a score out of range": (riddles(grade="return Graded({'outcome': 10.0 * (text == str(task.needs['sum']))})"), "a score lies in [0, 1]"),
    "a grader that raises": (riddles(grade="return Graded({'outcome': float(int(text) == task.needs['sum'])})"), "raises ValueError: invalid literal"),
    "a gold that is no text": (riddles(gold="return task.needs['sum']"), "it is a text that scores 1"),
    "needs that JSON does not hold": (riddles(task="return Task(f'{split} {seed} {index}', {'sum': {1}}, self.name)", grade="return Graded({'outcome': 0.0})", gold="return None"), "not JSON serializable"),
    "a state that is no plain data": (curriculum(DRAW + "return tasks, {**state, 'next': state['next'] + n}", init="return {'next': 0, 'seen': set()}"), "a state is plain data"),
    "a state that is changed": (curriculum(DRAW + "state['next'] += n; return tasks, state"), "pick changes the state it was given"),
    "a curriculum's own noise": (curriculum("return [ctx.source.task('train', ctx.seed, random.randrange(12)) for _ in range(n)], state"), "a generator that is not the run's"),
    "a gate for what it was not shown": (
        "@dataclass(frozen=True)\nclass Mine:\n    refill: int = 0\n    def __call__(self, group, rewards):\n        return {r.id: Fate('drop') for r in group.rollouts}\n"
        "MINE = GRPO.but('mine', gate=(Mine(),))\n",
        "which it was not shown",
    ),
    "a footprint that is too small": (
        "from strop.seams.context import Footprint\n@dataclass(frozen=True)\nclass Mine(Independent):\n"
        "    async def _episode(self, task, environment, root, ctx, ordinal):\n        actor = ctx.policies['actor']\n"
        "        node = await actor.generate(root, max=self.max_tokens, keep=True)\n"
        "        return Rollout((node.row(),), f'{ctx.place}/{ordinal}', stop=node.stop, text=actor.text(node))\n"
        "MINE = GRPO.but('mine', idea=('sampler',), sampler=Mine(n=4, max_tokens=16))\n",
        "declared a footprint of",
    ),
    "a world that keeps its state": (
        "class Mine:\n    def start(self, task):\n        return {'turn': 0}\n    async def reply(self, state, action):\n        state['turn'] += 1\n"
        "        return state, Reply('again')\n"
        "@dataclass(frozen=True)\nclass World:\n    def start(self, task):\n        return {'turn': 0}\n    async def reply(self, state, action):\n"
        "        state['turn'] += 1\n        return state, Reply('again')\n"
        "MINE = GRPO.but('mine', idea=('environment', 'sampler'), environment=World(), sampler=Independent(n=2, max_tokens=8, turns=2, observation=8))\n",
        "changes the state it was given",
    ),
    "a grader that raises for a rollout": (
        "@part(gives='extra')\nasync def mine(groups, ctx):\n    return Scores({r.id: {'extra': 1 / 0} for g in groups for r in g.rollouts})\n"
        "MINE = GRPO.but('mine', graders=(mine(),))\n",
        "grader raised ZeroDivisionError",
    ),
}  # fmt: skip
QUICK = ("a flipped sign in a loss", "a constant of another precision", "splits that meet", "the batch's order")


def planted(folder, text):
    (folder / "planted.py").write_text(HEAD + text)
    return folder / "planted.py"


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS])
def test_a_planted_fault_is_named(name, tmp_path):
    text, wanted = FAULTS[name]
    wrong = [str(finding) for finding in of(str(planted(tmp_path, text))) if finding.fine is False]
    assert any(wanted in said for said in wrong), wrong
    assert all("planted.py, line" in said for said in wrong), wrong


RIGHT = {
    "a credit with its formula": credit("return torch.where(reward_R > 0.5, 0.1, -1.0).to(reward_R)", "credit_R = where(reward_R > 0.5, 0.1, -1)"),
    "a loss with its formula": loss("return -(logp_T - old_logp_T).exp() * credit_T", "loss_T = -exp(logp_T - old_logp_T) * credit_T"),
    "a source": riddles(),
    "a curriculum": curriculum(DRAW + "return tasks, {**state, 'next': state['next'] + n}"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_keeps_its_promises_passes(name, tmp_path):
    found = list(of(str(planted(tmp_path, RIGHT[name]))))
    assert found
    assert [str(finding) for finding in found if finding.fine is False] == []


@pytest.mark.slow  # a second each
@pytest.mark.parametrize("name", METHODS)
def test_strops_own_parts_pass_the_same_exams(name):
    found = [*of_method(method(name), everything=True), *of_behaviour(method(name), everything=True)]
    assert [str(finding) for finding in found if not finding.fine] == []
    assert len(found) > 3


@pytest.mark.parametrize("name", SOURCES)
def test_strops_own_sources_pass_the_same_exam(name):
    wrong = [finding.says for finding in of_source(source(name)) if finding.fine is False]
    by_design = "held-out tasks are trained on too" if name == "mentions" else None  # a corpus about the same people in both splits
    assert [says for says in wrong if by_design is None or by_design not in says] == []


def test_training_stops_before_its_first_step_and_says_what_is_wrong(tmp_path, refused, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = planted(tmp_path, credit("return torch.where(reward_R > 0.5, 0.1, -1.0)"))
    message = refused("train", "--method", file, "--out", tmp_path / "run", "--steps", 0)
    assert "credit[0] mine (planted.py, line 15): gives credit_R as float32" in message
    assert "Nothing was trained." in message
    assert not (tmp_path / "run").exists()
    main(["train", "--method", str(file), "--out", str(tmp_path / "run"), "--steps", "0", "--eval-tasks", "0", "--unchecked"])


@pytest.mark.slow  # seconds
def test_what_passed_is_not_looked_at_again_until_its_file_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = planted(tmp_path, RIGHT["a credit with its formula"])

    def said(name):
        main(["train", "--method", str(file), "--out", str(tmp_path / name), "--steps", "0", "--eval-tasks", "0"])
        return "checking method mine" in capsys.readouterr().err

    assert [said("a"), said("b")] == [True, False]
    file.write_text(file.read_text() + "\n# another\n")
    assert said("c")


@pytest.mark.slow  # seconds
def test_the_tutorials_file_passes(capsys):
    example = Path(__file__).parent.parent / "examples" / "add_a_method.py"
    found = list(of_file(example))
    assert [str(finding) for finding in found if finding.fine is False] == []
    assert {finding.about.partition(" ")[0] for finding in found} >= {"credit[0]", "claim"}


def test_the_command_counts_what_is_to_be_mended(tmp_path, capsys):
    file = planted(tmp_path, FAULTS["splits that meet"][0])
    with pytest.raises(SystemExit) as stop:
        main(["check", str(file), "--json"])
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["wrong"] >= 1


def planted_table():
    rows = [f"| {name} | {wanted.replace('|', chr(92) + '|')} |" for name, (_, wanted) in FAULTS.items()]
    return "\n".join(["| planted | said |", "|---|---|", *rows])


def test_the_page_shows_what_is_planted():
    page = (Path(__file__).parent.parent / "docs" / "your-own.md").read_text()
    assert planted_table() in page
