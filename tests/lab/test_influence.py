"""Influence against exact inverses and loops of backward passes, on a model small enough for both."""

import pytest
import torch
from torch import nn

from strop.lab.influence import (
    Curvature,
    Example,
    Reader,
    Text,
    agreement,
    along,
    curvature,
    curved,
    influence,
    interval,
    likely,
    logp,
    maps,
    passes,
    ranks,
    slope_of,
    solved,
    subsets,
)
from strop.policies.causal import load


@pytest.fixture(scope="module")
def policy():
    return load("seedling:layers=2,hidden=16", dtype=torch.float64, seed=3)


@pytest.fixture(scope="module")
def texts():
    draw = torch.Generator().manual_seed(0)
    made = []
    for n in range(14):
        tokens = torch.randint(5, 200, (8 + n % 5,), generator=draw).tolist()
        at = range(4, len(tokens))
        made.append(Text(tuple(tokens), tuple(at), tuple(1.0 if n % 3 else 0.5 - i for i in at), 1.0 if n % 2 else 0.7))
    return made


def by_loop(reader: Reader, found: dict[str, nn.Linear], text: Text) -> list[dict[str, torch.Tensor]]:
    """The gradient of each token's log-probability, a backward pass for each."""
    (one,) = passes(reader, [text], 10**6)
    made = []
    for n in range(len(text.at)):
        slopes = torch.autograd.grad(likely(reader(*one.asked), one)[n], [module.weight for module in found.values()])
        made.append(dict(zip(found, slopes, strict=True)))
    return made


def test_the_inverse_is_exact_where_k_fac_is():
    """Logits W x at W = 0: every label is as likely whatever x, so slopes and inputs are independent and F = A (x) S."""
    draw = torch.Generator().manual_seed(1)
    x_N, labels = torch.randn(50, 4, generator=draw, dtype=torch.float64), 5
    rows = [(x, label) for x in x_N for label in range(labels)]
    entered = torch.stack([x for x, _ in rows])[:, None]
    slopes = torch.stack([torch.eye(labels, dtype=torch.float64)[label] - 1 / labels for _, label in rows])[:, None]
    made = curvature(lambda _: [(torch.ones(len(rows), 1, dtype=torch.bool), [("map", entered, slopes)])])["map"]
    each = torch.einsum("no,ni->noi", slopes[:, 0], entered[:, 0]).flatten(1)
    fisher = each.T @ each / len(rows)
    slope = torch.randn(labels, 4, generator=draw, dtype=torch.float64)
    for damping in (0.01, 0.1, 1.0):
        shift = damping * made.value.mean() * torch.eye(len(fisher), dtype=torch.float64)
        exact = torch.linalg.solve(fisher + shift, slope.flatten()).reshape(slope.shape)
        torch.testing.assert_close(made.solve(slope, damping), exact, rtol=1e-6, atol=1e-9)


def test_corrected_curvature_is_the_fisher_matrixs_own_diagonal_in_the_directions_where_k_fac_is_not_exact():
    draw = torch.Generator().manual_seed(2)
    entered, slopes = (torch.randn(30, 3, n, generator=draw, dtype=torch.float64) for n in (4, 5))
    slopes = slopes * entered[..., :1]  # so they depend on one another
    real = torch.ones(30, 3, dtype=torch.bool)
    made = curvature(lambda _: [(real[:11], [("map", entered[:11], slopes[:11])]), (real[11:], [("map", entered[11:], slopes[11:])])])[
        "map"
    ]
    each = torch.einsum("nto,nti->noi", slopes, entered)
    turned = torch.einsum("op,noi,ij->npj", made.outward, each, made.inward)
    torch.testing.assert_close(made.value, turned.square().mean(0))
    torch.testing.assert_close((made.inward.T @ made.inward), torch.eye(4, dtype=torch.float64))


def test_every_tokens_slope_along_a_direction_is_that_of_a_loop_of_backward_passes(policy, texts):
    reader, found = Reader(policy), maps(policy)
    assert all(".mlp." in name for name in found)
    assert len(found) == 6
    directions = [{name: torch.randn_like(module.weight) for name, module in found.items()} for _ in range(3)]
    for budget, count in ((40, 1), (40, 3), (10**6, 3)):
        for direction, slopes in zip(directions, along(reader, found, texts, directions[:count], budget), strict=False):
            for text, slope_T in zip(texts, slopes, strict=True):
                looped = [sum((own[name] * direction[name]).sum() for name in found) for own in by_loop(reader, found, text)]
                torch.testing.assert_close(slope_T, torch.stack(looped), rtol=1e-5, atol=1e-6)  # norms compute in float32


def test_the_targets_slope_is_the_mean_of_a_loops_and_weights_count(policy, texts):
    reader, found = Reader(policy), maps(policy)
    texts = texts[:6]
    made = slope_of(reader, found, texts, budget=50)
    for name in found:
        looped = sum(
            weight * own[name] for text in texts for weight, own in zip(text.weight, by_loop(reader, found, text), strict=True)
        ) / len(texts)
        torch.testing.assert_close(made[name], looped, rtol=1e-5, atol=1e-7)
    ((first,),) = influence(reader, found, [Example("0", tuple(texts[:2]))], [made])
    looped = [
        weight * sum((own[name] * made[name]).sum().item() for name in found)
        for text in texts[:2]
        for weight, own in zip(text.weight, by_loop(reader, found, text), strict=True)
    ]
    assert [value for row in first.tokens for value in row] == pytest.approx(looped, rel=1e-4, abs=1e-6)
    assert first.whole == pytest.approx(sum(looped), rel=1e-4)
    assert first.of(1, 3, row=1) == pytest.approx(sum(first.tokens[1][1:3]))


def test_a_step_on_an_example_raises_what_it_is_said_to_raise_by_as_much(policy, texts):
    """To first order: up-weighting moves the weights by H^-1 grad log p(z)."""
    reader, found = Reader(policy), maps(policy)
    curves = curved(reader, found, texts, seed=1)
    target = slope_of(reader, found, texts[:4])
    ((said,),) = influence(reader, found, [Example("z", (texts[7],))], [solved(curves, target)])
    moved = solved(curves, {name: slope for name, slope in slope_of(reader, found, [texts[7]]).items()})
    before = sum(logp(reader, texts[:4])) / 4
    step, kept = 1e-6, {name: module.weight.detach().clone() for name, module in found.items()}
    with torch.no_grad():
        for name, module in found.items():
            module.weight += step * moved[name]
    after = sum(logp(reader, texts[:4])) / 4
    with torch.no_grad():
        for name, module in found.items():
            module.weight.copy_(kept[name])
    assert (after - before) / step == pytest.approx(said.whole, rel=1e-2)
    assert all(weight.requires_grad for weight in policy.model.parameters())


def test_labels_that_the_model_draws_give_its_fisher_matrix_and_the_same_ones_each_time(policy, texts):
    reader, found = Reader(policy), maps(policy)
    first, second = (curved(reader, found, texts, seed=1, budget=60) for _ in range(2))
    other, given = curved(reader, found, texts, seed=2), curved(reader, found, texts, labels="given")
    for name in found:
        assert torch.equal(first[name].value, second[name].value)
        assert not torch.allclose(first[name].value, other[name].value)
        assert not torch.allclose(first[name].value, given[name].value)


def test_directions_without_curvature_need_damping_and_a_map_without_any_has_no_say(policy, texts):
    reader, found = Reader(policy), maps(policy)
    down = found["model.layers.1.mlp.down_proj"]
    kept = down.weight.detach().clone()
    with torch.no_grad():
        down.weight.zero_()  # whatever stands before it in this layer reaches nothing
    curves = curved(reader, found, texts)
    assert {name for name, one in curves.items() if one.silent} == {f"model.layers.1.mlp.{part}_proj" for part in ("up", "gate")}
    slope = slope_of(reader, found, texts)
    made = solved(curves, slope)
    assert all(torch.isfinite(one).all() for one in made.values())
    assert made["model.layers.1.mlp.up_proj"].abs().max() == 0
    with torch.no_grad():
        down.weight.copy_(kept)
        found["model.layers.0.mlp.gate_proj"].weight[:3] = 0  # dead units
    few = curved(reader, found, texts[:2])
    assert few["model.layers.0.mlp.down_proj"].flat > 0
    with pytest.raises(ValueError, match=r"damping 0 divides by the curvature, and [0-9]+ of 768 directions .* name a damping above 0"):
        solved(few, slope, damping=0)


def test_full_curvature_needs_no_damping():
    q, values = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0], torch.rand(3, 3, dtype=torch.float64) + 0.1
    one = Curvature(q, q, values)
    torch.testing.assert_close(one.solve(q @ values @ q.T, 0.0), q @ torch.ones(3, 3, dtype=torch.float64) @ q.T)


def test_adapters_are_asked_about_and_not_what_they_stand_beside():
    pytest.importorskip("peft")
    from strop.policies.causal import of
    from strop.recipe import Recipe

    policy = of(Recipe(model="seedling:layers=1,hidden=16", lora=2))
    found = maps(policy)
    assert set(found) == {f"model.layers.0.mlp.{part}_proj.lora_{side}.default" for part in ("gate", "up", "down") for side in "AB"}
    reader, text = Reader(policy), Text((5, 6, 7, 8), (2, 3), (1.0, 1.0))
    curves = curved(reader, found, [text])
    assert {name for name, one in curves.items() if one.silent} == {name for name in found if "lora_A" in name}, "B is still zero"
    ((said,),) = influence(reader, found, [Example("z", (text,))], [solved(curves, slope_of(reader, found, [text]))])
    assert said.whole > 0


def test_a_model_whose_trained_maps_are_in_its_attention_alone_is_refused_in_words():
    pytest.importorskip("peft")
    from strop.policies.causal import of
    from strop.recipe import Recipe

    policy = of(Recipe(model="seedling:layers=1,hidden=16", lora=2, lora_targets="q_proj,v_proj"))
    with pytest.raises(ValueError, match=r"no linear map in an MLP that is trained; it has 4 in its attention: ask for .* --maps all"):
        maps(policy)
    assert len(maps(policy, "all")) == 4


def test_a_text_counts_tokens_that_something_stands_before():
    with pytest.raises(ValueError, match="a text of 3 tokens"):
        Text((1, 2, 3), (0, 1), (1.0, 1.0))


def test_ranks_share_ties_and_agreement_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    one, other = [3.0, 1.0, 2.0, 2.0, 5.0, -1.0], [0.1, 0.3, 0.3, 0.2, 0.0, 0.9]
    assert ranks(one) == [4, 1, 2.5, 2.5, 5, 0]
    assert agreement(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert agreement(one, [1.0] * 6) is None
    low, high = interval(one, other)
    assert low <= agreement(one, other) <= high
    assert interval(one, other, less=one) == (0, 0)


def test_halves_are_halves_and_differ():
    made = subsets(5, 11)
    assert {len(one) for one in made} == {5}
    assert len(set(made)) == 5
    assert made == subsets(5, 11)
