from __future__ import annotations

import numpy as np
import pytest
import torch

from strop.engines import draw
from strop.forecast import Meter
from strop.records import Sampling


def test_noise_is_a_function_of_its_address():
    keys = np.array([draw.key(0, s, r, p) for s in (0, 1) for r in ("a", "b") for p in ((0, 1), (0, 2), (0, 1, 0))], dtype=np.uint64)
    assert len(set(keys.tolist())) == len(keys)
    position = np.arange(len(keys))
    together = draw.uniforms(keys, position)
    alone = np.concatenate([draw.uniforms(keys[i : i + 1], position[i : i + 1]) for i in range(len(keys))])
    assert (together == alone).all()


def test_noise_is_uniform_along_positions_and_across_keys():
    along = draw.uniforms(np.full(20000, draw.key(0, 0, "a", (0, 0)), dtype=np.uint64), np.arange(20000))
    across = draw.uniforms(np.array([draw.key(0, 0, "a", (0, i)) for i in range(20000)], dtype=np.uint64), np.zeros(20000, dtype=np.int64))
    for u in (along, across):
        assert 0 <= u.min() < 1e-3
        assert 1 - 1e-3 < u.max() < 1
        # Kolmogorov-Smirnov distance; 1.95 / sqrt(n) is passed by one sample in a thousand
        assert np.abs(np.sort(u) - (np.arange(20000) + 0.5) / 20000).max() < 1.95 / 20000**0.5
        assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.03


def test_drawn_frequencies_are_the_distribution():
    logits = torch.tensor([[1.0, 0.0, -2.0, -torch.inf, 2.0]]).expand(50000, -1)
    token, logp = draw.draw(logits, (np.arange(50000) + 0.5) / 50000, Sampling(temperature=0.7))
    expected = (logits[0] / 0.7).softmax(-1).numpy()
    np.testing.assert_allclose(np.bincount(token, minlength=5) / 50000, expected, atol=5e-5)
    np.testing.assert_allclose(np.exp(logp), expected[token], rtol=1e-5)


@pytest.mark.parametrize("u", [0.0, 1 - 2.0**-52])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(u: float):
    logits = torch.tensor([[-torch.inf, 0.0, -40.0, -torch.inf]])
    token, logp = draw.draw(logits, np.array([u]), Sampling())
    assert token[0] in (1, 2)
    assert np.isfinite(logp).all()


@pytest.mark.parametrize(
    ("sampling", "support"),
    [(Sampling(top_k=2), {0, 3}), (Sampling(top_p=0.6), {0, 3}), (Sampling(allowed=(1, 2)), {1, 2}), (Sampling(temperature=0), {3})],
)
def test_logp_is_that_of_the_distribution_drawn_from(sampling: Sampling, support: set[int]):
    logits = torch.tensor([[2.0, 1.0, 0.0, 2.1, -1.0]]).expand(4000, -1)
    token, logp = draw.draw(logits, (np.arange(4000) + 0.5) / 4000, sampling)
    assert set(token.tolist()) == support
    share = np.bincount(token, minlength=5) / 4000
    np.testing.assert_allclose(np.exp(logp), share[token], atol=1e-3)
    scored = draw.logp_of(logits, torch.from_numpy(token), sampling).numpy()
    np.testing.assert_allclose(scored, logp, atol=1e-6)


def test_draws_are_the_same_in_pieces_and_from_rows_in_any_order(monkeypatch: pytest.MonkeyPatch):
    logits, u = torch.randn(40, 5000, generator=torch.Generator().manual_seed(0)), np.linspace(0, 0.99, 40)
    whole = draw.draw(logits, u, Sampling())
    mixed = np.array([7, 7, 8, 9, 39, 0])
    monkeypatch.setitem(draw._ENTRIES, "cpu", 5000 * 7)
    pieces, some = draw.draw(logits, u, Sampling()), draw.draw(logits, u[mixed], Sampling(), mixed)
    for drawn, in_pieces, from_rows in zip(whole, pieces, some, strict=True):
        assert (drawn == in_pieces).all()
        assert (drawn[mixed] == from_rows).all()


@pytest.mark.parametrize("V", [262_144, 151_936, 50_257])
def test_sums_of_blocks_choose_what_one_sum_over_the_vocabulary_chooses(V: int):
    """Peaked, flat, and with tokens that nobody may draw; uniforms at the very boundaries between tokens are left out."""
    state = np.random.default_rng(V)
    logits = torch.from_numpy(state.normal(size=(24, V)).astype(np.float32)) * torch.tensor([0.0, 1.0, 8.0] * 8)[:, None]
    logits[::2, : V // 3] = -torch.inf
    u = np.concatenate([state.random(20), [0.0, 1 - 2.0**-52, 0.5, 1e-12]])
    token, logp = draw.draw(logits, u, Sampling())
    until = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    target = torch.from_numpy(u)[:, None] * until[:, -1:]
    np.testing.assert_array_equal(token, torch.searchsorted(until, target, right=True)[:, 0].numpy())
    np.testing.assert_allclose(logp, logits.double().log_softmax(-1)[torch.arange(24), torch.from_numpy(token)], atol=1e-5)
    np.testing.assert_allclose(draw.logp_of(logits, torch.from_numpy(token), Sampling()).numpy(), logp, atol=1e-5)


def test_a_draw_holds_a_small_part_of_the_logits_again():
    logits = torch.randn(64, 1 << 16)
    with Meter() as meter:
        draw.draw(logits, np.linspace(0, 0.99, 64), Sampling(temperature=0.7))
    assert meter.peak - logits.nbytes < logits.nbytes / 2  # the distribution in float64 would be twice the logits
