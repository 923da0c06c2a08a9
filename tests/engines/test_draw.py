from __future__ import annotations

import numpy as np
import pytest
import torch

from strop.engines import draw
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
    np.testing.assert_array_equal(scored, logp)


def test_a_large_vocabulary_is_drawn_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch):
    logits, u = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)), np.linspace(0, 0.99, 40)
    whole = draw.draw(logits, u, Sampling())
    monkeypatch.setattr(draw, "_ROWS_AT_ONCE", 50 * 7)
    pieces = draw.draw(logits, u, Sampling())
    assert all((a == b).all() for a, b in zip(whole, pieces, strict=True))
