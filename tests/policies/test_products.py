"""Rows without slope: left out of the backward products, and nothing else changes."""

import pytest
import torch
from torch import nn

from strop.policies import products


def slopes(weigh: torch.Tensor, into: bool) -> dict[str, torch.Tensor]:
    """Slopes of two layers and what comes in, where row i of the outcome weighs `weigh[i]`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5, bias=False)).double()
    x = torch.randn(len(weigh), 6, dtype=torch.float64, requires_grad=True)
    for _ in range(2):  # a second pass adds to what the first has left
        with products.Products(into):
            (model(x).square().sum(-1) * weigh).sum().backward()
    return {"x": x.grad, **{name: p.grad for name, p in model.named_parameters()}}


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("idle", [(), (0, 3, 4), tuple(range(7)), (2, *range(3, 7)), (1,)])
def test_slopes_are_those_of_all_rows(idle, into, monkeypatch):
    weigh = torch.linspace(1.0, 2.0, 7, dtype=torch.float64)
    weigh[list(idle)] = 0.0
    monkeypatch.setattr(products, "WIDE", 1)
    mine = slopes(weigh, into)
    monkeypatch.setattr(products, "MOST", -1.0)
    whole = slopes(weigh, into)
    for name, slope in whole.items():
        torch.testing.assert_close(mine[name], slope, rtol=1e-14, atol=1e-14)
    assert all(not mine[name].any() for name in mine) == (len(idle) == 7), "a slope of zero is there, and is zero"


def test_only_rows_with_a_slope_are_multiplied():
    weigh = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    seen = products._pulled(weigh[:, None] * torch.ones(6, 3, dtype=torch.float64))
    assert seen is not None
    assert seen.tolist() == [1, 4]
    assert products._pulled(torch.ones(6, 3)) is None, "nothing is copied where all rows pull"
    tiny = torch.tensor([[1e-38], [0.0]])
    assert products._pulled(tiny).tolist() == [0], "a slope is no zero for being small"


def test_tensors_without_values_keep_all_rows():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), products.Products(True):
        layer, x = nn.Linear(products.WIDE, 3), torch.randn(4, products.WIDE, requires_grad=True)
        layer(x).sum().backward()
        assert layer.weight.grad.shape == (3, products.WIDE)
