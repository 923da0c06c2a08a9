"""An engine that draws in bfloat16 what is learned in float32: measured, bridged, said."""

import asyncio

import pytest
import torch

from strop.directory import read_metrics
from strop.engines.embedded import EmbeddedEngine
from strop.identity import explain
from strop.methods import METHODS, method
from strop.policies import causal, twin
from strop.recipe import Recipe
from strop.run import create, resume
from strop.saved import load
from strop.seams.compute import Exact, Quantized

SMALL = {"task": "chain", "steps": 2, "tasks": 3, "group": 4, "max_tokens": 12, "eval_tasks": 0, "slots": 16, "compute": "bfloat16"}


@pytest.fixture
def anywhere(monkeypatch):
    """As if this processor had the instructions: it computes the same without them, slowly."""
    monkeypatch.setattr("strop.engines.embedded.fast", lambda dtype, device: True)


@pytest.mark.parametrize("lora", [0, 4])
def test_a_run_that_draws_in_bfloat16_measures_its_distance_and_bridges_it_per_rollout(tmp_path, anywhere, lora):
    run = create(Recipe(method="grpo", seed=1, lora=lora, **SMALL), tmp_path / "run")
    run.train()
    assert {p.dtype for p in run.policy.parameters().values()} == {torch.float32}
    assert run.engine.runner.dtype == torch.bfloat16
    assert not run.own
    assert dict(run.method.correction.constants) == {"cap": 2.0, "level": "sequence"}
    for line in read_metrics(run.directory):
        assert 0 < line["sampler"]["kl"] < 0.01
        assert line["sampler"]["effective"] > 0.95
        assert line["mismatch"] < 1e-4, "the learner agrees with its own measured log-probabilities"
    assert not {"mismatch-ratio", "mismatch-kl", "mismatch-ess"} & set(run.watch.silent), "they watch, with limits of 16 bits"


def test_it_resumes_to_the_same_bits(tmp_path, anywhere):
    recipe = Recipe(method="grpo", seed=1, **{**SMALL, "steps": 3, "checkpoint_every": 2})
    whole = create(recipe, tmp_path / "whole")
    whole.train()
    cut = create(recipe, tmp_path / "cut")
    cut.advance()
    again = resume(tmp_path / "cut", say=lambda said: None)
    again.train()
    assert again.digest_weights() == whole.digest_weights()


@pytest.mark.parametrize("lora", [0, 4])
def test_the_copy_holds_the_delivered_weights_rounded_once(lora):
    policy = causal.of(Recipe(lora=lora))
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos, dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(0.01 * torch.randn_like(parameter))
    engine.deliver(1)
    rounded = {name: tensor for name, tensor in twin.adapters.whole(engine._drawing)}
    for name, tensor in policy.weights():
        torch.testing.assert_close(rounded[name], tensor.to(torch.bfloat16), rtol=0, atol=0)

    async def ask():
        node = await engine.open(policy.renderer.prompt("1+1"), root="a")
        return await engine.generate(node, max=8)

    node = asyncio.run(ask())
    with torch.no_grad():
        logits = policy.model(torch.tensor([node.tokens])).logits[0, -len(node.segment.tokens) - 1 : -1]
    logp = logits.log_softmax(-1).gather(-1, torch.tensor(node.segment.tokens)[:, None])[:, 0]
    gap = (torch.tensor(node.segment.logp) - logp).abs().max()
    assert 0 < gap < 0.1


def test_a_processor_without_the_instructions_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("strop.engines.embedded.fast", lambda dtype, device: False)
    with pytest.raises(ValueError, match=r"AVX512-BF16 or AMX .* Leave out --compute bfloat16"):
        create(Recipe(method="grpo", **SMALL), tmp_path / "run")


@pytest.mark.parametrize("make", [lambda: Quantized("int3"), lambda: Recipe(compute="int3")])
def test_an_unknown_format_is_refused(make):
    with pytest.raises(ValueError, match="draws in bfloat16"):
        make()
    with pytest.raises(ValueError, match="got 'bfloat16'"):
        method("grpo").but(compute="bfloat16")


def test_what_the_engine_draws_with_is_part_of_the_method_and_its_default_is_not_described():
    grpo = method("grpo")
    rounded = grpo.but(compute=Quantized())
    assert rounded.fingerprint != grpo.fingerprint
    assert load(rounded.to_json()) == rounded
    assert load(grpo.to_json()).compute == Exact()
    assert all("compute" not in one.describe() for one in map(method, METHODS))
    assert rounded.off_policy().name == "grpo@strop-1-bridged"
    assert "drawn with Quantized(dtype='bfloat16')" in explain(rounded)
