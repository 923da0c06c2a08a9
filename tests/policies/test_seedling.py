"""A seedling is its seed's: the same weights wherever they are made, and trained, resumed and forecast like any model."""

import shutil

import pytest
import torch

from strop import run
from strop.cli import main
from strop.directory import read_metrics
from strop.methods.sft import SFT
from strop.policies.causal import blank, load, of
from strop.policies.chat import ModelError
from strop.recipe import Recipe

RECIPE = Recipe(method=SFT, model="seedling:layers=2,hidden=32,heads=2", task="chain", steps=4, tasks=4, lr=1e-3, eval_tasks=0)


def tensors(policy):
    return list(policy.model.parameters())


def test_its_weights_are_its_seeds():
    torch.manual_seed(7)
    one, other = of(RECIPE), of(RECIPE.but(seed=1))
    torch.manual_seed(8)
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(of(RECIPE)), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True) if a.ndim > 1]
    assert all(moved)
    assert one.model.config.num_hidden_layers == 2
    assert one.model.config.hidden_size == 32
    assert sum(p.numel() for p in blank(RECIPE)[0].model.parameters()) == sum(p.numel() for p in tensors(one))
    assert one.eos == load("pico").eos


@pytest.mark.parametrize("changes", [{}, {"method": "grpo", "lora": 2}], ids=["whole", "adapters"])
def test_without_any_checkpoint_it_begins_again_with_the_same_weights(tmp_path, changes):
    recipe = RECIPE.but(max_tokens=8, group=2, checkpoint_every=4, **changes)
    made = run.create(recipe, tmp_path / "run")
    made.train()
    whole, weights = read_metrics(tmp_path / "run"), made.digest_weights()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    again = run.resume(tmp_path / "run", say=lambda _: None, method=recipe.resolved())
    again.train()
    assert again.digest_weights() == weights
    assert [line["digest"] for line in read_metrics(tmp_path / "run")] == [line["digest"] for line in whole]


def test_a_name_that_asks_for_none(capsys):
    for name, said in {
        "seedling:layer=2": "no 'layer'. Did you mean 'layers'",
        "seedling:layers=0": "write layers=N once",
        "seedling:layers=2,layers=3": "write layers=N once",
        "seedling:hidden=30": "hidden=30 is to be divided among heads=4",
    }.items():
        with pytest.raises(ModelError, match=said):
            load(name)
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "--model", "seedling:layer=2"])
    assert "Did you mean 'layers'" in capsys.readouterr().err
