"""Fast, generic and full forward agree, family by family."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from strop.engines.embedded import EmbeddedEngine
from strop.policies import families
from strop.records import Sampling
from strop.seams.engine import Node

from .models import FAMILIES, FAST, VOCAB, make, small


async def _grow(engine: EmbeddedEngine, prompts: Sequence[int] = (0, 1)) -> list[Node]:
    """Two prompts, or some; under each, actions that cross a length class, one with an observation and a second turn."""

    async def task(i: int) -> list[Node]:
        prompt = await engine.open([(5 * i + 3 * j) % VOCAB for j in range(21 + 9 * i)], root=str(i))
        actions = await asyncio.gather(*(engine.generate(prompt, max=12 + 25 * k) for k in range(3)))
        seen = await engine.extend(actions[1], [1, 2, 3, 4, 5], kind="observation")
        return [*actions, await engine.generate(seen, max=9), await engine.generate(seen, max=9, sampling=Sampling(temperature=0.6))]

    return [node for nodes in await asyncio.gather(*map(task, prompts)) for node in nodes]


def _full(model: PreTrainedModel, node: Node) -> torch.Tensor:
    assert node.segment.author is not None
    tokens = torch.tensor([node.tokens])
    count = len(node.segment.tokens)
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits[0, -count - 1 : -1].float() / node.segment.author.sampling.temperature
    return logits.log_softmax(-1).gather(-1, tokens[0, -count:, None])[:, 0]


def tiered(*cases: tuple[str, ...], late: Any = pytest.mark.slow) -> list[Any]:
    """The plainest family and the one that differs from it most for everybody; the others in CI, or later."""
    everybodys = {("Qwen3", "generic"), ("Qwen3", "fast"), ("Gemma3", "fast"), ("Qwen3",), ("Gemma3",)}
    return [pytest.param(*case, marks=[] if case in everybodys else [late]) for case in cases]


_FAST, _GENERIC = [(f, "fast") for f in FAST], [(f, "generic") for f in FAMILIES]


@pytest.mark.parametrize(("family", "path"), tiered(*_FAST, *_GENERIC, late=pytest.mark.full))
def test_sampled_and_scored_logp_are_those_of_a_full_forward(family: str, path: str, folder: Path):
    model = make(family, folder)
    engine = EmbeddedEngine(model, path=path)
    assert engine.path.startswith(path)
    nodes = asyncio.run(_grow(engine))
    for node in nodes:
        torch.testing.assert_close(torch.tensor(node.segment.logp), _full(model, node), atol=1e-4, rtol=0)

    async def score() -> list[tuple[float, ...]]:
        return list(await asyncio.gather(*map(engine.score, nodes)))

    for node, scored in zip(nodes, asyncio.run(score()), strict=True):
        torch.testing.assert_close(torch.tensor(node.segment.logp), torch.tensor(scored), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", tiered(*zip(FAST)))
def test_declared_families_take_the_fast_path_and_write_what_the_generic_one_writes(family: str, folder: Path):
    model = make(family, folder)
    fast, generic = EmbeddedEngine(model), EmbeddedEngine(model, path="generic")
    assert fast.path == f"fast:{model.config.model_type}"
    for a, b in zip(asyncio.run(_grow(fast)), asyncio.run(_grow(generic)), strict=True):
        assert a.segment.tokens == b.segment.tokens
        torch.testing.assert_close(torch.tensor(a.segment.logp), torch.tensor(b.segment.logp), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "changes", "why"),
    [
        ("Cohere", {}, "'cohere' is none of llama, mistral"),
        ("Llama", {"mlp_bias": True}, "a bias follows its attention or stands in its feed-forward part"),
        ("Qwen3", {"hidden_act": "relu"}, "its activation is 'relu'"),
        ("Mistral", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "more than the position"),
        ("Granite", {"attention_bias": True}, "a bias follows its attention"),
    ],
)
def test_what_no_line_declares_keeps_its_own_forward_and_says_why(family: str, changes: dict[str, Any], why: str):
    model = small(family, **changes)
    assert EmbeddedEngine(model).path == "generic"
    with pytest.raises(ValueError, match=why):
        EmbeddedEngine(model, path="fast")


@pytest.mark.parametrize("family", tiered(*zip(FAST)))
def test_a_prompt_alone_is_answered_bit_for_bit_as_in_company(family: str, folder: Path):
    model = make(family, folder)
    engine = EmbeddedEngine(model)
    assert engine.grade == "exact"
    company = asyncio.run(_grow(engine, range(3)))
    alone = asyncio.run(_grow(EmbeddedEngine(model), [1]))
    assert [node.segment for node in alone] == [node.segment for node in company][len(alone) : 2 * len(alone)]


@pytest.mark.full  # where oneDNN is not, the other tests take this path
@pytest.mark.parametrize("family", FAST)
def test_torchs_own_operations_write_what_onednns_write(family: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    model = make(family, folder)
    usual = EmbeddedEngine(model)
    monkeypatch.setattr(families, "operations", lambda device, dtype: families.Plain)
    plain = EmbeddedEngine(model)
    assert plain.runner.ops is families.Plain
    for a, b in zip(asyncio.run(_grow(usual)), asyncio.run(_grow(plain)), strict=True):
        assert a.segment.tokens == b.segment.tokens
        torch.testing.assert_close(torch.tensor(a.segment.logp), torch.tensor(b.segment.logp), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("family", "path"), tiered(*_FAST, *_GENERIC, late=pytest.mark.full))
def test_half_precision_decodes_as_near_the_same_weights_as_the_models_own(family: str, path: str, folder: Path):
    model = make(family, folder).to(torch.bfloat16)
    exact = copy.deepcopy(model).float()
    engine = EmbeddedEngine(model, path=path)
    assert engine.path.startswith(path)
    ours, theirs = [], []
    for node in asyncio.run(_grow(engine)):
        truth = _full(exact, node)
        ours.append(torch.tensor(node.segment.logp) - truth)
        theirs.append(_full(model, node) - truth)
    typical = [gap.abs().median() if family.endswith("Moe") else gap.abs().mean() for gap in map(torch.cat, (ours, theirs))]
    assert typical[0] < 1.5 * typical[1], "a router near a tie takes another expert, elsewhere roundings differ"


@pytest.mark.parametrize(("family", "path"), tiered(*_FAST, ("Cohere", "generic"), late=pytest.mark.full))
def test_greedy_is_transformers_generate_until_a_near_tie(family: str, path: str, folder: Path, record_property: pytest.FixtureRequest):
    model = make(family, folder)
    engine = EmbeddedEngine(model, path=path, eos_ids=())
    prompts = [[(7 * i + j * j) % VOCAB for j in range(10 + 3 * i)] for i in range(4)]

    async def greedy(i: int) -> Node:
        return await engine.generate(await engine.open(prompts[i], root=str(i)), max=40, sampling=Sampling(temperature=0))

    async def run() -> list[Node]:
        return list(await asyncio.gather(*map(greedy, range(4))))

    ties = 0
    for prompt, node in zip(prompts, asyncio.run(run()), strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, pad_token_id=0)
        theirs = whole[0, len(prompt) :].tolist()
        ours = list(node.segment.tokens)
        if ours == theirs:
            continue
        split = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        with torch.no_grad():
            top = model(torch.tensor([prompt + ours[:split]])).logits[0, -1].topk(2).values
        assert top[0] - top[1] < 1e-4
        ties += 1
    record_property("near_ties", ties)
    assert ties <= 1
