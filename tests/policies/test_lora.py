"""Adapters: one function in two forms, trained, saved and resumed."""

import pytest
import torch

from strop.batch import pack
from strop.directory import read_metrics
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load, of
from strop.policies.forward import Block
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Sampling, Segment, Task
from strop.run import create, resume

pytest.importorskip("peft")

SMALL = {"task": "chain", "tasks": 2, "group": 4, "max_tokens": 10, "slots": 16, "eval_tasks": 0, "lora": 4, "lr": 3e-3, "seed": 5}


def recipe(**changes) -> Recipe:
    return Recipe(**{"method": "grpo", "steps": 3, "checkpoint_every": 1, **SMALL, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = create(recipe(), tmp_path_factory.mktemp("lora") / "run")
    made.train()
    with torch.no_grad():  # three steps move B little: make both forms differ from the base by something to see
        for name, parameter in made.policy.parameters().items():
            if ".lora_B." in name:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    made.engine.deliver(made.version)
    made.checkpoint()
    return made


@pytest.fixture(scope="module")
def saved(run):
    return run.directory / "checkpoints" / "000003"


IDS = torch.arange(3, 35).reshape(2, 16)


def says(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.log_softmax(-1)


def test_merged_and_adapter_forms_give_equal_log_probabilities(run, saved):
    from transformers import AutoModelForCausalLM

    one = says(run.policy.model)
    assert (one - says(load("pico").model)).abs().max() > 0.05, "adapters change what the model says"
    torch.testing.assert_close(says(AutoModelForCausalLM.from_pretrained(saved)), one, atol=1e-5, rtol=1e-5)
    tensors = dict(run.policy.weights())
    assert tensors.keys() == dict(load("pico").model.named_parameters()).keys()


def test_peft_alone_loads_the_adapter(run, saved):
    from peft import PeftModel

    model = PeftModel.from_pretrained(load("pico").model, saved / "adapter").eval()
    torch.testing.assert_close(says(model), says(run.policy.model), atol=0, rtol=0)


def test_only_adapters_and_heads_are_trained():
    made = of(recipe())
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    assert all(".lora_" in name for name in made.parameters())
    assert sum(p.numel() for p in made.parameters().values()) < 0.1 * sum(p.numel() for p in before.values())
    assert {name for name, p in made.model.named_parameters() if p.requires_grad} == {n for n in before if ".lora_" in n}


def test_the_base_stays_as_it_was_through_training(run):
    base = dict(load("pico").model.named_parameters())
    for name, parameter in run.policy.model.named_parameters():
        if ".lora_" not in name:
            assert torch.equal(parameter, base[name.replace(".base_layer", "")]), name


def test_the_reference_is_the_model_with_its_adapters_off(run):
    prompt, reply = Segment("prompt", tuple(range(3, 9)), "0"), tuple(range(20, 30))
    action = Segment("action", reply, "1", Author("actor", 0, Sampling()), (0.0,) * len(reply))
    group = Group(Task("x", {}, "here"), (Rollout((Row.of(prompt, action),), "r"),))
    batch = pack([group], {}, {"r": 1.0}, 0)
    want = frozenset({"logp_T"})
    reference = run.policy.frozen("reference").evaluate(batch, want)["logp_T"]
    assert torch.equal(reference, load("pico").evaluate(batch, want)["logp_T"].detach())
    assert not torch.allclose(run.policy.evaluate(batch, want)["logp_T"], reference, atol=1e-3), "and on again afterwards"


def test_the_fast_path_draws_with_merged_weights(run):
    assert run.engine.path == "fast:qwen3"
    assert max(line["mismatch"] for line in read_metrics(run.directory)) < 1e-4
    plain = EmbeddedEngine(run.policy.model, run.policy.tokenizer, path="generic", eos_ids=run.policy.eos)
    fast = EmbeddedEngine(run.policy.model, run.policy.tokenizer, path="fast", eos_ids=run.policy.eos)
    ids = torch.arange(3, 19)[None]
    with torch.inference_mode():
        states = [e.runner.run(ids, torch.arange(16)[None], [Block(e._space(1, 16, True), 1, True)]) for e in (plain, fast)]
        logits = [e.runner.head(state[0]) for e, state in zip((plain, fast), states, strict=True)]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path, method):
    whole = create(recipe(method=method), tmp_path / "whole")
    whole.train()

    class Enough(Exception): ...

    def stop(line):
        if line["step"] == 1:
            raise Enough

    part = create(recipe(method=method), tmp_path / "part")
    with pytest.raises(Enough):
        part.train(stop)
    again = resume(tmp_path / "part", say=lambda _: None)
    again.train()
    assert again.digest_weights() == whole.digest_weights()
    assert again.digest_optimiser() == whole.digest_optimiser()


def test_an_unknown_target_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="q_proj"):
        of(recipe(lora_targets="q_prj"))


def test_an_adapter_on_a_head_that_is_the_embedding_too_is_refused_since_no_export_could_hold_it():
    with pytest.raises(ValueError, match="lm_head is its embedding too"):
        of(recipe(lora_targets="q_proj,lm_head"))


def test_targets_of_adapters_without_adapters_are_refused():
    with pytest.raises(ValueError, match="train them with --lora RANK"):
        recipe(lora=0, lora_targets="q_proj")
