"""Beginnings that rows share are computed once, and what is learned is what a plain pass learns."""

from types import SimpleNamespace

import pytest
import torch
from engines.models import VOCAB, small

from strop.batch import Packed, pack
from strop.methods.flowrl import FLOWRL
from strop.methods.ppo import PPO
from strop.policies import adapters, shared
from strop.policies.causal import CausalPolicy, recomputing
from strop.records import Author, Fate, Group, Rollout, Row, Sampling, Segment, Task

ROWS = (3, 4)


def batch(common: int, groups: int = ROWS[0], replies: int = ROWS[1], drops: bool = True):
    """Prompts of several lengths that begin alike; replies of several lengths, every other with an observation and a second turn."""
    made = torch.Generator().manual_seed(common)

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, VOCAB, (count,), generator=made).tolist())

    def written(name: str, tokens: tuple[int, ...]) -> Segment:
        return Segment("action", tokens, name, Author("actor", 0, Sampling()), (-1.0,) * len(tokens))

    start, found = some(common), []
    for g in range(groups):
        prompt, rollouts = Segment("prompt", start + some(3 + 2 * g), f"{g}"), []
        for i in range(replies):
            turns = [written(f"{g}.{i}", some(1 + 2 * i))]
            turns += [Segment("observation", some(3), f"{g}.{i}.o"), written(f"{g}.{i}.2", some(2))] if i % 2 else []
            rollouts.append(Rollout((Row.of(prompt, *turns),), f"{g}-{i}"))
        found.append(Group(Task(f"{g}", {}, "s"), tuple(rollouts), id=f"g{g}"))
    fates = {"0-1": Fate("drop")} if drops else {}
    return pack(found, fates, dict.fromkeys((r.id for group in found for r in group.rollouts), 0.0), 0)


def learned(policy, made, want):
    """Tracks and gradients of a loss that pulls at all of them."""
    for parameter in policy.parameters().values():
        parameter.grad = None
    tracks = policy.evaluate(made, want)
    torch.stack([track.sin().sum() for _, track in sorted(tracks.items())]).sum().backward()
    return tracks, {name: p.grad.clone() for name, p in policy.parameters().items() if p.grad is not None}


@pytest.mark.parametrize("common", [0, 12])
@pytest.mark.parametrize(
    "family", ["Qwen3", *(pytest.param(f, marks=pytest.mark.slow) for f in ("Llama", "Gemma3", "Qwen2", "Olmo2", "Glm4"))]
)
def test_tracks_and_gradients_are_those_of_a_plain_pass(family, common, monkeypatch):
    torch.manual_seed(0)
    changes = {"Gemma3": {"final_logit_softcapping": None, "sliding_window": 64}}.get(family, {})
    model = small(family, **changes).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    policy = CausalPolicy(model, SimpleNamespace(eos_token_id=0), family, heads=(*PPO.heads, *FLOWRL.heads))
    made, want = batch(common), frozenset({"logp_T", "entropy_T", *policy.declared})
    assert {head.per for head in policy.declared.values()} == {"decision", "prompt"}
    monkeypatch.setattr(shared, "WORTH", 1.0)
    levels = policy._levels(made)
    assert [len(level.pieces) for level in levels] == [*([1] if common else []), 3, 11]
    tracks, slopes = learned(policy, made, want)
    monkeypatch.setattr(shared, "WORTH", -1.0)
    assert policy._levels(made) is None
    plain, wanted = learned(policy, made, want)
    for name in want:
        torch.testing.assert_close(tracks[name], plain[name], atol=1e-6, rtol=0)
    assert slopes.keys() == wanted.keys()
    for name, slope in wanted.items():  # families compute norms and angles in float32
        assert (slopes[name] - slope).abs().max() <= 1e-5 * slope.abs().max().clamp_min(1e-2), name


def test_a_beginning_is_computed_once(monkeypatch):
    policy = CausalPolicy(small("Qwen3").eval(), SimpleNamespace(eos_token_id=0), "Qwen3")
    made, computed = batch(20, drops=False), []
    policy.splits()
    policy.model.get_input_embeddings().register_forward_hook(lambda module, given, out: computed.append(out.shape[0] * out.shape[1]))
    policy.evaluate(made)
    once, longest = sum(computed), max(len(row.tokens) for row in made.rows)
    assert once == 20 + 3 * 7 + 12 * 12
    assert once < 0.5 * len(made.rows) * longest


def test_rows_that_share_little_and_models_that_cannot_are_computed_plainly():
    def rows(*pairs):
        return [Packed(prompt + tail, (len(prompt),)) for prompt, tail in pairs]

    assert shared.levels(rows(((1, 2, 3), (4,)), ((2, 2, 3), (4,)))) is None
    assert shared.levels(rows(((1,) * 20, (4,)), ((1,) * 20, (5,)), ((1,) * 20, (6,)))) is not None
    assert shared.levels(rows(((1,) * 20, (4,)))) is None
    (first, second, third) = shared.levels(rows(((1,) * 20, (4,)), ((1,) * 20 + (2, 3), (5, 6)), ((1,) * 20, (7,))))
    assert (first.pieces, second.pieces, second.parent) == (((1,) * 19,), ((1,), (1, 2, 3)), (0, 0)), "each prompt keeps a token of its own"
    assert (third.pieces, third.parent) == (((4,), (5, 6), (7,)), (0, 1, 0))
    policy = CausalPolicy(small("Mistral").eval(), SimpleNamespace(eos_token_id=0), "Mistral")
    assert policy._levels(batch(12)) is None, "its window is 24"
    policy = CausalPolicy(small("Qwen3").eval(), SimpleNamespace(eos_token_id=0), "Qwen3")
    assert policy._levels(batch(12))
    recomputing(policy)
    assert policy._levels(batch(12)) is None, "layers that are computed again keep no cache"


def test_adapters_learn_the_same(monkeypatch):
    policy = CausalPolicy(small("Qwen3").eval(), SimpleNamespace(eos_token_id=0), "Qwen3")
    policy.adapter = adapters.adapt(policy.model, 2, "all-linear", 0)
    made, want = batch(12), frozenset({"logp_T"})
    assert policy._levels(made)
    tracks, slopes = learned(policy, made, want)
    monkeypatch.setattr(shared, "WORTH", -1.0)
    plain, wanted = learned(policy, made, want)
    torch.testing.assert_close(tracks["logp_T"], plain["logp_T"], atol=1e-5, rtol=0)
    assert slopes.keys() == wanted.keys() == policy.parameters().keys()
    for name, slope in wanted.items():
        torch.testing.assert_close(slopes[name], slope, atol=1e-5, rtol=1e-4)
