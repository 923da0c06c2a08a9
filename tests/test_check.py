"""`strop check` on planted faults: each is named, with the part, its file and line; what is right passes, and so do strop's own parts."""

import json
from pathlib import Path

import planted
import pytest

from strop.check.file import of_file
from strop.check.growing import of_behaviour
from strop.check.parts import of_method
from strop.check.sources import of_source
from strop.cli import main
from strop.commands.check import of
from strop.methods import METHODS, method
from strop.methods.infra import LEVELS
from strop.tasks import SOURCES, source

QUICK = ("a flipped sign in a loss", "a constant of another precision", "splits that meet", "the batch's order")


def written(folder, text):
    (folder / "planted.py").write_text(planted.HEAD + text)
    return folder / "planted.py"


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in planted.FAULTS])
def test_a_planted_fault_is_named(name, tmp_path):
    text, wanted = planted.FAULTS[name]
    wrong = [str(finding) for finding in of(str(written(tmp_path, text))) if finding.fine is False]
    assert any(wanted in said for said in wrong), wrong
    assert all("planted.py, line" in said for said in wrong), wrong


@pytest.mark.parametrize("name", planted.RIGHT)
def test_what_keeps_its_promises_passes(name, tmp_path):
    found = list(of(str(written(tmp_path, planted.RIGHT[name]))))
    assert found
    assert [str(finding) for finding in found if finding.fine is False] == []


OWN_SOURCE = {  # of curricula that choose among tasks of a kind
    "infra": "pool:600:" + "+".join(f"{name}:steps={steps}" for name, levels in LEVELS.items() for steps in levels),
    "coverage": "twohop:train=700",
    "formalmath": "proofs:false=0.5",
    "formalmath-released": "proofs",
}


@pytest.mark.slow  # a second each
@pytest.mark.parametrize("name", METHODS)
def test_strops_own_parts_pass_the_same_exams(name):
    own = source(OWN_SOURCE[name]) if name in OWN_SOURCE else None
    found = [*of_method(method(name), everything=True), *of_behaviour(method(name), everything=True, source=own)]
    assert [str(finding) for finding in found if not finding.fine] == []
    assert len(found) > 3


@pytest.mark.parametrize("name", SOURCES)
def test_strops_own_sources_pass_the_same_exam(name):
    wrong = [finding.says for finding in of_source(source(name)) if finding.fine is False]
    by_design = "held-out tasks are trained on too" if name == "mentions" else None  # a corpus about the same people in both splits
    assert [says for says in wrong if by_design is None or by_design not in says] == []


def test_training_stops_before_its_first_step_and_says_what_is_wrong(tmp_path, refused, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = written(tmp_path, planted.FAULTS["a constant of another precision"][0])
    message = refused("train", "--method", file, "--out", tmp_path / "run", "--steps", 0)
    assert "credit[0] mine (planted.py, line 18): gives credit_R as float32" in message
    assert "Nothing was trained." in message
    assert not (tmp_path / "run").exists()
    main(["train", "--method", str(file), "--out", str(tmp_path / "run"), "--steps", "0", "--eval-tasks", "0", "--unchecked"])


@pytest.mark.slow  # seconds
def test_what_passed_is_not_looked_at_again_until_its_file_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = written(tmp_path, planted.RIGHT["a credit with its formula"])

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
    file = written(tmp_path, planted.FAULTS["splits that meet"][0])
    with pytest.raises(SystemExit) as stop:
        main(["check", str(file), "--json"])
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["wrong"] >= 1


def test_the_page_shows_what_is_planted():
    page = (Path(__file__).parent.parent / "docs" / "your-own.md").read_text()
    assert planted.table() in page


ASKING = """
from strop.seams.world import Reply
@dataclass(frozen=True)
class Hinted:
    def start(self, task, seat):
        return {'sum': task.needs['sum']}
    async def reply(self, state, said, ask):
        return state, Reply(f"it is {state['sum']}")
TURNS = Independent(n=2, max_tokens=8, turns=2, observation=8)
MINE = GRPO.but('mine', idea=('environment', 'sampler'), environment=Hinted(), sampler=TURNS)
"""


def test_a_world_is_shown_a_task_of_its_own_files_source_else_of_the_default_one(tmp_path):
    both = [str(found) for found in of(str(written(tmp_path, planted.riddles() + ASKING))) if found.fine is False]
    assert both == []
    alone = [str(found) for found in of(str(written(tmp_path, ASKING))) if found.fine is False]
    assert len(alone) == 1
    assert "start: raises KeyError: 'sum'" in alone[0]


def test_a_world_is_shown_a_task_of_the_source_that_is_trained_on(tmp_path, refused, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "world.py").write_text(planted.HEAD + ASKING)
    (tmp_path / "sums.py").write_text(planted.HEAD + planted.riddles())
    flags = ("train", "--method", str(tmp_path / "world.py"), "--steps", "0", "--eval-tasks", "0", "--task")
    main([*flags, str(tmp_path / "sums.py"), "--out", str(tmp_path / "run")])
    capsys.readouterr()
    assert "raises KeyError: 'sum'" in refused(*flags, "chain", "--out", tmp_path / "other")


def test_what_hangs_is_named_and_what_is_slow_is_no_fault(tmp_path, monkeypatch):
    from strop.check import finding, sources

    monkeypatch.setattr(finding.guarded, "__defaults__", (0.3,))
    monkeypatch.setattr(sources, "PATIENCE", 0.2)
    hangs = planted.riddles(grade="import time; time.sleep(5)")
    wrong = [str(found) for found in of(str(written(tmp_path, hangs))) if found.fine is False]
    assert len(wrong) == 1
    assert "did not answer within 0.3 s" in wrong[0]
    slow = planted.riddles(grade="import time; time.sleep(0.05); " + planted.graded("float(text == str(task.needs['sum']))"))
    found = list(of(str(written(tmp_path, slow))))
    assert [one for one in found if one.fine is False] == []
    assert any("grades slowly" in one.says for one in found)
