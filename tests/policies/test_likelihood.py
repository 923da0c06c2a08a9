"""Statistics and slopes that are made in place are those of torch's plain softmax."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from strop.policies.likelihood import Draws, likelihood
from strop.policies.products import Products
from strop.records import Sampling

V = 50
SAMPLINGS = [Sampling(), Sampling(temperature=0.7), Sampling(temperature=1.3, allowed=(1, 2, 3, 9, 49))]
NUMBER, TARGET = torch.tensor([0, 1, 2, 2, 1, 0, 2]), torch.tensor([3, 4, 2, 9, 49, 0, 49])


def plain(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of all ids as they were drawn."""
    barred = torch.ones(V, dtype=torch.bool)
    barred[list(SAMPLINGS[2].allowed or ())] = False
    cooled = logits / torch.tensor([s.temperature for s in SAMPLINGS], dtype=logits.dtype)[NUMBER][:, None]
    return cooled.masked_fill((NUMBER == 2)[:, None] & barred, -1e30).log_softmax(-1)


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("cached", [2**20, 2 * V])
def test_log_probability_entropy_and_their_slopes_are_those_of_a_plain_softmax(once, cached, monkeypatch):
    monkeypatch.setattr("strop.policies.likelihood.CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(len(TARGET), V, dtype=torch.float64, generator=generator)).requires_grad_()
    pull, bend = torch.randn(2, len(TARGET), dtype=torch.float64, generator=generator)
    logp = plain(logits)
    chosen, entropy = logp.gather(-1, TARGET[:, None])[:, 0], -(logp.exp() * logp).sum(-1)
    (slope,) = torch.autograd.grad((pull * chosen + bend * entropy).sum(), logits)

    want = frozenset({"entropy_T", "below_T"})
    got = likelihood(logits * 1, TARGET, Draws.of(SAMPLINGS, NUMBER), want, once=once)
    torch.testing.assert_close(got["logp_T"], chosen)
    torch.testing.assert_close(got["entropy_T"], entropy)
    below = torch.where(torch.arange(V) < TARGET[:, None], logp.exp(), 0.0).sum(-1)
    torch.testing.assert_close(got["below_T"], below.detach())
    (found,) = torch.autograd.grad((pull * got["logp_T"] + bend * got["entropy_T"]).sum(), logits)
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)


def test_a_certain_decision_has_no_slope_and_an_unlikely_one_has_its_own():
    logits = torch.tensor([[200.0, 0.0, -200.0]] * 2, requires_grad=True)
    got = likelihood(logits * 1, torch.tensor([0, 2]), Draws.of([Sampling()], torch.zeros(2, dtype=torch.long)), frozenset({"entropy_T"}))
    assert got["logp_T"].tolist() == [0.0, -400.0]
    assert got["entropy_T"].tolist() == [0.0, 0.0]
    got["logp_T"].sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]


@pytest.mark.parametrize("into", [True, False])
def test_products_give_the_slopes_that_torch_gives_and_add_them_up(into):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 6, padding_idx=2), nn.Linear(6, 5), nn.Linear(5, 3, bias=False))
    tied = model[0].weight
    ids = torch.tensor([[1, 2, 3], [3, 3, 9]])

    def loss() -> torch.Tensor:
        return F.linear(model(ids), torch.ones(6, 3)).matmul(tied.t()).sin().sum()

    loss().backward()
    once = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    for _ in range(2):
        with Products(into):
            made = loss()
        made.backward()
    for parameter, slope in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * slope, rtol=1e-5, atol=1e-5)
