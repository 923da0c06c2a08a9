"""`strop doctor --model`: what suits a model is said in its flags, and what keeps it from training in a line."""

import json
import runpy
from pathlib import Path

import pytest

from strop.cli import main
from strop.lab import fitness

STANDIN = runpy.run_path(str(Path(__file__).parent.parent.parent / "scripts" / "make_standin.py"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model without a chat template."""
    place = tmp_path_factory.mktemp("base")
    STANDIN["write"](place)
    (place / "model" / "chat_template.jinja").unlink()
    return place / "model"


def test_a_base_model_gets_a_format_and_worked_examples(base, capsys):
    main(["doctor", "--model", str(base), "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert list(checks) == ["prompts", "memory", "model", "ends", "turns", "writing", "learning", "to try"]
    assert checks["prompts"]["flags"] == {"chat": "qa", "shots": 4}
    assert checks["prompts"]["says"].endswith("'Question: What is 17 + 25?\\nAnswer:'")
    assert r"or '\nQuestion:'" in checks["ends"]["says"]
    assert checks["to try"]["says"] == f"strop train --model {base} --chat qa --shots 4"
    assert all(float(checks[name]["says"].split(" tokens a second")[0]) > 0 for name in ("writing", "learning"))


@pytest.mark.full  # forecasts, a second and more each
def test_what_is_free_decides_how_to_train(monkeypatch):
    monkeypatch.setattr(fitness, "load", None)  # before anything is loaded

    def memory(free):
        return next(found for found in fitness.findings("pico", free) if found.about == "memory")

    assert memory(2**40).flags == fitness.LEANER[0]
    assert memory(600 * 2**20).flags in fitness.LEANER[1:]
    assert not memory(2**20).fine
    assert memory(2**20).says.startswith("even adapters alone need")


def test_quickly_nothing_is_written_or_learned_from(capsys):
    main(["doctor", "--model", "pico", "--quick", "--json"])
    assert list(json.loads(capsys.readouterr().out)["checks"]) == ["prompts", "memory", "model", "ends", "turns", "to try"]


def test_a_model_without_a_fast_path_is_told_why(tmp_path):
    STANDIN["write"](tmp_path, family="gpt_neox")
    (writing,) = (found for found in fitness.findings(str(tmp_path / "model"), 2**40) if found.about == "writing")
    assert "generic path, since 'gpt_neox' is none of llama" in writing.says


def test_a_model_that_cannot_be_used_is_a_finding(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--model", str(tmp_path / "none")])
    assert stop.value.code == 1
    assert "TODO model  model" in capsys.readouterr().out
