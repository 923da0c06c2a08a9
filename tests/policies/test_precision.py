"""What training computes in, and what it computes twice."""

import pytest
import torch

from strop.directory import read_metrics
from strop.recipe import Recipe
from strop.run import create

SMALL = {"task": "chain", "steps": 2, "tasks": 3, "group": 4, "max_tokens": 12, "eval_tasks": 0, "slots": 16, "token_budget": 400}


def trained(directory, **changes):
    run = create(Recipe(method="grpo", seed=1, **{**SMALL, **changes}), directory / "run")
    run.train()
    return run


def test_checkpointing_changes_no_bit(tmp_path):
    kept, again = trained(tmp_path / "kept"), trained(tmp_path / "again", checkpointing=True)
    assert again.digest_weights() == kept.digest_weights()
    assert not any(module.training for module in again.policy.model.modules()), "nothing is left in training, so nothing is dropped"


@pytest.mark.parametrize("more", [{}, {"checkpointing": True, "lora": 4}])
def test_bfloat16_computes_with_float32_masters_and_its_distance_from_the_sampler_is_corrected(tmp_path, more):
    run = trained(tmp_path, dtype="bfloat16", **more)
    assert {p.dtype for p in run.policy.parameters().values()} == {torch.float32}
    assert {t.dtype for t in run.learner.state().values()} == {torch.float32}
    assert not run.own
    assert run.method.correction.name != "none"
    for line in read_metrics(run.directory):
        assert 0 < line["sampler"]["kl"] < 0.05, "it is measured"
    assert set(run.watch.silent) >= {"mismatch-ratio", "mismatch-kl", "mismatch-ess", "denominators"}
