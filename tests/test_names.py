"""A file of the user's own is as good as a name: in every command, in sums, beside others, when its run goes on elsewhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from riddles import RIDDLES

from strop import own, saved
from strop.cli import main
from strop.commands import recipes
from strop.methods import METHODS, method
from strop.tasks import identity, source

HELPERS = """
import torch

def squash(x, k):
    return torch.tanh(x * k)
"""
SQUASHED = '''"""Credit through a tanh."""
from torch import Tensor
from strop.methods.grpo import GRPO
from strop.seams.part import part
from helpers import squash

@part(gives="credit_R")
def squashed(credit_R: Tensor, *, k: float = 2.0) -> Tensor:
    """Squashed."""
    return squash(credit_R, k)

SQUASHED = GRPO.but("squashed", credit=(*GRPO.credit, squashed()))
'''
SLOW = """
from dataclasses import replace
from strop.methods.grpo import GRPO
from squashed import SQUASHED

SLOW = GRPO.but("slow", idea=("update",), update=replace(GRPO.update, lr=1e-4))
"""
FILES = {"helpers.py": HELPERS, "squashed.py": SQUASHED, "slow.py": SLOW, "riddles.py": RIDDLES}
SMALL = ["--tasks", "2", "--group", "2", "--max-tokens", "6", "--eval-tasks", "0"]


def written(folder, files=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (files or FILES).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return written(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def run(mine, tmp_path_factory):
    """Two steps of a sum of two files' methods on a third file's task; the files are gone when it is done."""
    place, there = tmp_path_factory.mktemp("runs") / "run", written(tmp_path_factory.mktemp("gone"))
    asked = f"{there}/squashed.py + {there}/slow.py:SLOW"
    main(["train", "--method", asked, "--task", f"{there}/riddles.py:Riddles:most=9", "--steps", "2", *SMALL, "--out", str(place)])
    shutil.rmtree(there)
    return place


def said(capsys, *argv):
    capsys.readouterr()
    main([*map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


# What a text names.


def test_a_name_a_file_and_a_sum_of_them_are_methods(mine, monkeypatch):
    monkeypatch.chdir(mine)
    first, second = method("squashed.py"), method("slow.py:SLOW")
    assert (first.name, second.name) == ("squashed", "slow")
    assert method("squashed.py + slow.py:SLOW").fingerprint == (first + second).fingerprint
    assert method("gspo + slow.py").name == "gspo + slow"  # the only method that the file defines; what it imports is another's
    assert method("dapo.only(gate) + slow.py").units() == ("update", "gate")


def test_a_method_is_the_same_however_its_file_was_loaded(mine, tmp_path):
    alone = method(f"{mine}/squashed.py").fingerprint
    assert method(f"{mine}/slow.py:SQUASHED").fingerprint == alone  # imported by its neighbour
    elsewhere = written(tmp_path / "elsewhere")
    (elsewhere / "squashed.py").rename(elsewhere / "renamed-since.py")
    assert method(f"{elsewhere}/renamed-since.py").fingerprint == alone
    code = "from squashed import SQUASHED; print(SQUASHED.fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], cwd=mine, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == alone


def test_a_changed_helper_beside_it_changes_the_method_and_is_read_again(tmp_path):
    there = written(tmp_path / "there")
    before = method(f"{there}/squashed.py").fingerprint
    (there / "helpers.py").write_text(HELPERS.replace("x * k", "x * k * 2"))
    after = method(f"{there}/squashed.py").fingerprint
    assert before != after
    (there / "helpers.py").write_text(HELPERS + "\n\ndef another():\n    return 0\n")
    assert method(f"{there}/squashed.py").fingerprint == before  # what it does not use is none of it


def test_two_folders_may_hold_files_of_one_name(tmp_path):
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    (second / "helpers.py").write_text(HELPERS.replace("tanh", "sin"))
    both = [method(f"{folder}/squashed.py") for folder in (first, second, first)]
    assert both[0].fingerprint == both[2].fingerprint != both[1].fingerprint
    import torch

    squashed = [one.credit[-1](torch.tensor([1.0]), k=1.0).item() for one in both]
    assert squashed == pytest.approx([0.7616, 0.8415, 0.7616], abs=1e-4)
    assert "helpers" not in sys.modules


IMPORTS = {
    "import tools\nX = tools.one()": 1,
    "import tools as t\nX = t.one()": 1,
    "from tools import one\nX = one()": 1,
    "from . import tools\nX = tools.one()": 1,
    "import kit.deep\nX = kit.deep.two()": 2,
    "from kit.deep import two\nX = two()": 2,
    "import kit.deep as d\nX = d.two()": 2,
    "import bare.deep\nX = bare.deep.two()": 2,
    "from bare import deep\nX = deep.two()": 2,
    "from bare.deeper import under\nX = under.three()": 3,
    "def later():\n    import tools\n    return tools.one()\nX = later()": 1,
    "from tools import *\nX = one()": 1,
}


@pytest.mark.parametrize("text", IMPORTS)
def test_what_stands_beside_a_file_is_found_however_it_is_imported(text, tmp_path):
    files = {"tools.py": "def one():\n    return 1\n", "kit/deep.py": "import tools\ndef two():\n    return tools.one() + 1\n"}
    for folder in ("kit", "bare/deeper"):
        (tmp_path / folder).mkdir(parents=True)
    files |= {
        "bare/deep.py": files["kit/deep.py"],
        "bare/deeper/under.py": "from bare.deep import two\ndef three():\n    return two() + 1\n",
    }
    written(tmp_path, files | {"kit/__init__.py": "", "asks.py": text})
    module = own.loaded(tmp_path / "asks.py")
    assert IMPORTS[text] == module.X
    if "later" in text:
        assert module.later() == 1  # long after it was loaded
    wanted = {"asks.py", "tools.py", *(name for name in files if any(f"{top}/" in name and top in text for top in ("kit", "bare")))}
    assert set(own.beside(tmp_path / "asks.py")) >= wanted
    assert not {"tools", "kit", "bare"} & set(sys.modules)


def test_a_class_takes_knobs_and_a_source_that_is_made_takes_none(mine, tmp_path):
    assert source(f"{mine}/riddles.py:Riddles:most=3").most == 3
    (tmp_path / "made.py").write_text(RIDDLES + "\nSOURCE = Riddles(most=5)\n")
    assert source(f"{tmp_path}/made.py").most == 5
    with pytest.raises(ValueError, match="takes no knobs"):
        source(f"{tmp_path}/made.py:SOURCE:most=3")
    assert identity(f"{tmp_path}/made.py") == identity(f"{mine}/riddles.py:Riddles:most=5") != identity(f"{mine}/riddles.py")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["explain", "nowhere.py"], "no file"),
        (["explain", "squashed.py:SQUASH"], "squashed.py has no method 'SQUASH'. Did you mean squashed.py:SQUASHED?"),
        (["explain", "riddles.py"], "riddles.py defines no method"),
        (["explain", "two.py"], "defines 2 methods; say which: two.py:A or two.py:B"),
        (["explain", "grop"], "One of your own is FILE.py or FILE.py:NAME"),
        (["tasks", "squashed.py"], "squashed.py defines no task source"),
        (["tasks", "lacks.py"], "the source Lacks has no gold (gold(task): a text that scores 1"),
        (["tasks", "riddles.py:Riddles:least=2"], "Riddles has no knob 'least'"),
        (["explain", "broken.py"], "broken.py, line 2: ZeroDivisionError"),
        (["explain", "beside.py"], "broken.py, line 2: ZeroDivisionError"),
        (["explain", "syntax.py"], "syntax.py, line 1: SyntaxError"),
        (["explain", "ends.py"], "ends.py, line 1: SystemExit: 3"),
        (["explain", "zero.py"], "zero.py, line 0: SyntaxError: source code string cannot contain null bytes"),
        (["train", "--method", "later.py", "--steps", "0"], "syntax.py, line 1: SyntaxError: invalid syntax (it lies beside what is"),
        (["train", "squashed.py"], "strop train --method"),
        (["claim", "show", "squashed.py"], "defines no claim"),
        (["methods", "riddles.py"], "defines no method"),
        (["lab", "bias", "grop"], "unknown method or combination"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_not_there_is_said_with_what_is(argv, wanted, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = "from strop.methods.grpo import GRPO\nA = GRPO.but('a', tasks=3)\nB = GRPO.but('b', tasks=4)\n"
    lacks = RIDDLES.replace("Riddles", "Lacks").partition("    def gold")[0]
    broken = {"broken.py": "\nx = 1 / 0\n", "beside.py": "import broken\n", "syntax.py": "def\n"}
    broken |= {"ends.py": "raise SystemExit(3)\n", "zero.py": "x = 1\0\n", "later.py": SQUASHED + "\n\ndef later():\n    import syntax\n"}
    written(tmp_path, {**FILES, "two.py": two, "lacks.py": lacks, **broken})
    assert wanted in refused(*argv)


def test_a_toml_recipe_finds_the_files_beside_it(mine, tmp_path, capsys):
    there = written(tmp_path / "there")
    (there / "recipe.toml").write_text('method = "squashed.py + slow.py"\ntask = "riddles.py"\nsteps = 7\n')
    made = said(capsys, "explain", there / "recipe.toml")
    assert made["name"] == "squashed + slow"
    plan = recipes.settled(recipes._default(), recipes.read_data(there / "recipe.toml"), there)
    assert plan.task == str(there / "riddles.py")


ODD = {
    "no task": ("return None", "task('{split}', 0, 0) gives None, which is no Task"),
    "a text": ("return 'q'", "gives 'q', which is no Task"),
    "a prompt that is no text": ("return Task(5, {}, 'odd')", "a task's prompt is a text, got 5"),
    "half a character": ("return Task(f'{index} \\ud800', {}, 'odd')", "a task holds '\\ud800', half a character"),
    "needs that are no JSON": ("return Task(f'{index}', {'sum': {1}}, 'odd')", "a task's needs are plain JSON"),
    "what raises": ("raise KeyError(index)", "odd.py, line 23: KeyError: 0"),
}


@pytest.mark.parametrize("command", [["tasks"], ["eval", "pico", "--task"], ["train", "--unchecked", "--steps", "0", "--task"], ["check"]])
@pytest.mark.parametrize("what", ODD)
def test_a_source_that_gives_no_task_is_refused_in_a_line_by_every_command(what, command, tmp_path, refused, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    body, said = ODD[what]
    head, _, tail = RIDDLES.partition("        rng = ")
    (tmp_path / "odd.py").write_text(head + f"        {body}\n\n    def grade(" + tail.partition("    def grade(")[2])
    said = said.replace("{split}", "test" if command[0] == "eval" else "train")
    if command[0] != "check":
        assert said.replace("line 23", f"line {head.count(chr(10)) + 1}") in refused(*command, "odd.py")
        return
    with pytest.raises(SystemExit) as stop:
        main(["check", "odd.py"])
    assert stop.value.code == 1
    assert "BAD   source Riddles (odd.py" in capsys.readouterr().out


# What a run keeps.


def test_a_run_keeps_the_files_it_was_made_of_and_no_others(run):
    about = json.loads((run / "recipe.json").read_text())
    (kept,) = about["files"]
    assert sorted(kept["sha256"]) == ["helpers.py", "riddles.py", "slow.py", "squashed.py"] or "slow.py" not in kept["sha256"]
    assert {p.name for p in (run / "own").rglob("*.py")} == set(kept["sha256"])
    assert about["recipe"]["method"] == "squashed + slow"


def test_its_method_and_its_source_are_built_again_from_what_it_kept(run):
    made = saved.brought(run)
    about = json.loads((run / "recipe.json").read_text())
    assert made["method"].name == "squashed + slow"
    assert made["source"].most == 9
    assert saved.method_of(run).fingerprint == about["fingerprint"]["method"]


@pytest.mark.slow  # seconds
def test_it_is_explained_compared_replayed_and_looked_at(run, mine, capsys, monkeypatch):
    monkeypatch.chdir(mine)
    assert said(capsys, "explain", run)["name"] == "squashed + slow"
    seams = {row["seam"] for row in said(capsys, "diff", run, "squashed.py + slow.py:SLOW")["seams"]}
    assert seams == {"tasks", "sampler.n", "sampler.max_tokens", "update.lr"}
    again = said(capsys, "replay", run, "--out", run.parent / "again")
    assert again["equal"]
    other = said(capsys, "replay", run, "--method", "slow.py", "--out", run.parent / "other")
    assert other["method"] == "slow-truncated"
    assert said(capsys, "replay", run.parent / "other", "--out", run.parent / "other-again")["equal"]
    shown = said(capsys, "microscope", run, "--step", 1, "--methods", "slow.py,gspo + dapo.only(gate),squashed.py")
    assert [one["name"] for one in shown["methods"]] == ["slow", "gspo + dapo.only(gate)", "squashed"]
    scored = said(capsys, "eval", run, "--tasks", 2, "--samples", 1)
    assert scored["task"] == "riddles"
    assert said(capsys, "eval", "pico", "--task", "riddles.py", "--tasks", 2, "--samples", 1, "--max-tokens", 4)["task"] == "riddles"
    assert said(capsys, "lab", "bias", "squashed.py", "--length", 2, "--group", 2)["rows"][0]["method"] == "squashed"


def test_it_goes_on_as_if_it_had_never_stopped_and_longer_than_it_was_meant_to(run, tmp_path, capsys):
    place = tmp_path / "copied"
    shutil.copytree(run, place)
    before = (place / "metrics.jsonl").read_text().splitlines()
    made = said(capsys, "train", "--resume", place, "--steps", 4)
    lines = (place / "metrics.jsonl").read_text().splitlines()
    assert (made["steps"], made["method"]) == (4, "squashed + slow")
    assert lines[:2] == before
    about = json.loads((place / "recipe.json").read_text())
    assert (about["recipe"]["steps"], about["past"]) == (4, [{"until": 2, "steps": 2, "budget": None}])
    replay = said(capsys, "replay", place, "--out", tmp_path / "again")
    assert replay["equal"]
    assert replay["steps"] == 4
    shutil.rmtree(place / "checkpoints")
    (place / "checkpoints").mkdir()
    (place / "metrics.jsonl").write_text("")
    said(capsys, "train", "--resume", place)  # every step again, each under the recipe as it then was
    again = [{**json.loads(line), "t": 0} for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert again == [{**json.loads(line), "t": 0} for line in lines]


def test_a_source_that_is_made_in_one_file_of_a_class_in_another_goes_on_without_either(tmp_path, capsys):
    there, place = (
        written(tmp_path / "there", {"riddles.py": RIDDLES, "made.py": "from riddles import Riddles\nHARD = Riddles(most=5)\n"}),
        tmp_path / "run",
    )
    main(["train", "--task", f"{there}/made.py:HARD", "--steps", "1", *SMALL, "--out", str(place)])
    shutil.rmtree(there)
    assert said(capsys, "train", "--resume", place, "--steps", 2)["steps"] == 2
    assert saved.brought(place)["source"].most == 5


def test_a_run_cannot_end_before_what_it_has_made(run, refused):
    assert "has made 2 steps already" in refused("train", "--resume", run, "--steps", 1)


def test_a_kept_file_that_is_not_what_it_was_is_named(run, tmp_path, refused):
    place = tmp_path / "copied"
    shutil.copytree(run, place)
    file = place / "own" / "0" / "helpers.py"
    file.write_text(file.read_text() + "\n# later\n")
    assert "own/0/helpers.py is not the file that the run kept" in refused("train", "--resume", place)


def test_a_file_that_has_changed_since_is_said_and_the_run_goes_on_with_its_copy(mine, tmp_path, capsys):
    there, place = written(tmp_path / "there"), tmp_path / "run"
    main(["train", "--method", f"{there}/squashed.py", "--steps", "1", *SMALL, "--out", str(place)])
    (there / "helpers.py").write_text(HELPERS.replace("tanh", "sin"))
    capsys.readouterr()
    main(["train", "--resume", str(place), "--steps", "2"])
    said = capsys.readouterr().err
    assert f"note: {there}/helpers.py has changed since this run began; the run goes on with the copy it kept." in said
    fingerprints = {json.loads(line)["fingerprint"] for line in (place / "metrics.jsonl").read_text().splitlines()}
    assert len(fingerprints) == 1


@pytest.mark.slow  # seconds
def test_a_run_of_a_version_that_kept_its_recipe_file_alone_goes_on(mine, tmp_path, capsys):
    there, place = written(tmp_path / "there"), tmp_path / "run"
    (there / "recipe.py").write_text(
        SQUASHED.replace("from helpers import squash", "from torch import tanh\ndef squash(x, k):\n    return tanh(x * k)\n")
        + RIDDLES
        + "\nfrom strop.recipe import Recipe\nRECIPE = Recipe(method=SQUASHED)\nSOURCE = Riddles()\n"
    )
    main(["train", str(there / "recipe.py"), "--steps", "1", *SMALL, "--out", str(place)])
    about = json.loads((place / "recipe.json").read_text())
    for name in ("files", "asked"):
        del about[name]
    about["recipe"]["task"] = ""
    (place / "recipe.json").write_text(json.dumps(about))
    shutil.rmtree(place / "own")
    shutil.copyfile(there / "recipe.py", place / "recipe.py")
    capsys.readouterr()
    assert said(capsys, "train", "--resume", place, "--steps", 2)["steps"] == 2
    assert said(capsys, "explain", place)["name"] == "squashed"
    kept = (place / "recipe.py").read_text()
    (place / "recipe.py").write_text(kept.replace("x * k", "x + k"))
    with pytest.raises(SystemExit):
        main(["train", "--resume", str(place), "--steps", "3"])
    assert "squashed computes something else now" in capsys.readouterr().err


# Claims.


def test_claims_that_a_file_imported_are_not_its_own(tmp_path):
    from strop.claims import asked, named

    example = (Path(__file__).parent.parent / "examples" / "add_a_method.py").read_text()
    (tmp_path / "theirs.py").write_text(example)
    mine = "from dataclasses import replace\nfrom theirs import ENTROPY\nMORE = replace(ENTROPY, name='more-entropy')\n"
    (tmp_path / "mine.py").write_text(mine)
    assert asked(f"{tmp_path}/mine.py") == ["more-entropy"]
    assert named("more-entropy").name == "more-entropy"
    assert asked(f"{tmp_path}/theirs.py:ENTROPY") == ["w-reinforce-entropy"]


def test_strops_names_are_what_they_were():
    assert all(method(name).name for name in METHODS)


def test_a_misspelt_name_is_answered_with_the_near_ones_of_strop_and_of_the_files_here(tmp_path, refused, monkeypatch):
    (tmp_path / "my.py").write_text(
        "from strop.methods.grpo import GRPO\nGMPO, OTHER = GRPO.but('gmpo', tasks=8), GRPO.but('other', tasks=4)\n"
    )
    (tmp_path / "broken.py").write_text("GMPQ = (")
    monkeypatch.chdir(tmp_path)
    assert "has no method 'GMOP'. Did you mean my.py:GMPO?" in refused("explain", "my.py:GMOP")
    assert "It has GMPO, OTHER." in refused("explain", "my.py:nothing"), "what it imports is not its own"
    said = refused("explain", "gmpo")
    assert "Did you mean 'mpo' or 'gspo'" in said
    assert said.strip().endswith("One of your own is FILE.py or FILE.py:NAME. Here stands my.py:GMPO.")
    assert "Here stands my.py." in refused("train", "--task", "my")
    assert "Did you mean my.py?" in refused("explain", "myy.py")
    assert "Here stands" not in refused("explain", "grop")
