import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import strop.pico
from strop.tasks import DEFAULT_TASK

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_pico.py"
MIX = json.loads((strop.pico.path() / "card.json").read_text())["mix"]


@pytest.fixture(scope="module")
def card():
    return json.loads((strop.pico.path() / "card.json").read_text())


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(strop.pico.path(), dtype=torch.float32).eval()


def test_the_shipped_model_is_small_and_of_the_declared_family(model, card):
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == card["parameters"]
    assert 800_000 <= parameters <= 1_500_000
    assert model.config.model_type == "qwen3"
    files = list(strop.pico.path().iterdir())
    assert sum(file.stat().st_size for file in files if file.is_file()) < 10_000_000
    assert not [file for file in files if file.suffix in (".bin", ".pt", ".pkl")]


def test_the_base_is_useful_and_unfinished(card):
    assert card["default"] == DEFAULT_TASK
    assert len({run["seed"] for run in card["runs"]}) >= 2
    for run in card["runs"]:
        row = run["table"][DEFAULT_TASK]
        assert 0.25 <= row["pass@1"][0] <= 0.5
        assert row["pass@16"][0] > 0.8
        assert row["mean tokens"] <= 50


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name == DEFAULT_TASK else pytest.mark.full) for name in MIX])
def test_scored_again_a_task_lies_in_the_cards_intervals(model, card, name):
    make_pico = runpy.run_path(str(SCRIPT))
    tokenizer = AutoTokenizer.from_pretrained(strop.pico.path())
    again = make_pico["measure"](model, tokenizer, name, tasks=card["tasks"], samples=16, temperature=1.0, seed=1)
    row = card["runs"][0]["table"][name]
    for k in ("pass@1", "pass@16"):
        assert row[k][1] <= again[k][0] <= row[k][2]


def test_the_card_in_words_is_the_card_in_numbers(card):
    assert runpy.run_path(str(SCRIPT))["card_text"](card) == (strop.pico.path() / "CARD.md").read_text()


def test_an_unbiased_pass_at_k_by_hand():
    pass_at = runpy.run_path(str(SCRIPT))["pass_at"]
    assert pass_at(1, 4, 1) == 0.25
    assert pass_at(1, 4, 2) == 0.5
    assert pass_at(0, 4, 4) == 0.0
    assert pass_at(3, 4, 2) == 1.0


@pytest.mark.full
def test_the_script_runs_end_to_end(tmp_path):
    subprocess.run([sys.executable, SCRIPT, "--smoke", "--out", tmp_path], check=True, timeout=60)
    assert json.loads((tmp_path / "card.json").read_text())["texts"] == 30 * 64
    AutoModelForCausalLM.from_pretrained(tmp_path)
