"""An engine that draws in bfloat16 what is learned in float32: measured, bridged, said."""

import asyncio

import pytest
import torch

from strop.directory import read_metrics
from strop.engines.embedded import EmbeddedEngine, beside
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
        torch.testing.assert_close(rounded[name], twin.rounded(tensor, torch.bfloat16), rtol=0, atol=0)

    async def ask():
        node = await engine.open(policy.renderer.prompt("1+1"), root="a")
        return await engine.generate(node, max=8)

    node = asyncio.run(ask())
    with torch.no_grad():
        logits = policy.model(torch.tensor([node.tokens])).logits[0, -len(node.segment.tokens) - 1 : -1]
    logp = logits.log_softmax(-1).gather(-1, torch.tensor(node.segment.tokens)[:, None])[:, 0]
    gap = (torch.tensor(node.segment.logp) - logp).abs().max()
    assert 0 < gap < 0.1


STEP = 2.0**-13
"""Of bfloat16 between 1/64 and 1/32."""


@pytest.mark.parametrize("start", [0.02, 0.02 + STEP / 2], ids=["what the format can say", "half-way"])
def test_an_update_of_a_fraction_of_a_step_arrives_as_it_is_on_the_mean(start):
    """A checkpoint in bfloat16 has weights of the first kind, and 4-bit files many of the second: to the nearest, an update of a hundredth
    of a step is lost there, and fifty times itself here."""
    before = torch.full((500, 640), start).bfloat16().float() + (STEP / 2 if start > 0.02 else 0)
    update = STEP / 100
    for sign in (1, -1):
        moved = twin.rounded(before * sign + update * sign, torch.bfloat16).float() - twin.rounded(before * sign, torch.bfloat16).float()
        assert abs(moved.mean().item() / (update * sign) - 1) < 0.02
        assert (moved.sum(0) * sign > 0).all(), "a column of 500 weights moves too: the dither is spread evenly"
    nearest = (twin.rounded(before + update, torch.bfloat16, True) - twin.rounded(before - update, torch.bfloat16, True)).float().mean()
    assert nearest.item() == pytest.approx(0.0 if start == 0.02 else STEP)


@pytest.mark.parametrize("shape", [(3,), (7, 5), (70000,), (1100, 1000)])
def test_rounding_is_to_a_neighbour_in_the_format_and_what_it_can_say_stays(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = twin.rounded(weight, torch.bfloat16)
    cut = (weight.view(torch.int32) & -twin.PERIOD).view(torch.float32)
    up = ((weight.view(torch.int32) & -twin.PERIOD) + twin.PERIOD).view(torch.float32)
    assert ((made.float() == cut) | (made.float() == up)).all()
    assert torch.equal(twin.rounded(made.float(), torch.bfloat16), made)
    assert (made.float() - weight).mean().abs() < 0.01 / weight.numel() ** 0.5
    assert torch.equal(twin.rounded(weight.t() if weight.ndim == 2 else weight, torch.float32), weight.t() if weight.ndim == 2 else weight)


def test_a_learner_that_computes_in_the_format_rounds_to_the_nearest_and_so_does_its_twin(anywhere):
    recipe = Recipe(compute="bfloat16", dtype="bfloat16")
    policy = causal.of(recipe)
    engine = beside(policy, recipe)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(0.01 * torch.randn_like(parameter))
    engine.deliver(1)
    held = dict(twin.adapters.whole(engine._drawing))
    assert all(torch.equal(held[name], tensor.bfloat16()) for name, tensor in policy.weights())


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
