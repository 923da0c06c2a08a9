import math

import pytest
import torch

from strop.experiments.stable_reinforce import left
from strop.methods import method
from strop.methods.stable_reinforce import STABLE_REINFORCE, bounded_surrogate, drop_outliers, gated_bonus
from strop.seams.credit import batch_whiten
from strop.seams.objective import clipped_surrogate
from strop.tasks import source

RATES = (0.5, 0.6, 0.68, 0.7, 0.8, 0.89, 0.91, 0.95, 0.99, 0.996)
SIZES = (4, 8, 10, 11, 16, 64)


@pytest.mark.parametrize("rate", RATES)
def test_three_deviations_begin_at_nine_tenths_and_the_released_window_at_seven(rate):
    size = 1000
    wrong = round(size * (1 - rate))
    assert left("three deviations", wrong, size) == (rate <= 0.9)
    assert left("released window", wrong, size) == (rate < 0.685)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_left_out_of_ten_rollouts_or_fewer(size):
    fired = [wrong for wrong in range(1, size) if not left("three deviations", wrong, size)]
    assert bool(fired) == (size > 10)
    assert not fired or fired[0] == 1, "a lone wrong one lies farthest"


def test_the_papers_case_one_wrong_of_256():
    z_T = batch_whiten(torch.tensor([0.5] + [2.0] * 255, dtype=torch.float64), torch.ones(256, dtype=torch.bool))
    assert z_T[0].item() == pytest.approx(-15.97, abs=0.01)
    assert drop_outliers(z_T)[0] == 0


def slope(part, log_ratio: torch.Tensor, credit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logp = log_ratio.clone().requires_grad_()
    loss = part(logp, torch.zeros_like(logp), credit, torch.ones_like(logp))
    loss.sum().backward()
    assert logp.grad is not None
    return loss.detach(), logp.grad


def test_the_bound_is_a_dual_clip_at_a_thousand():
    draw = torch.Generator().manual_seed(0)
    log_ratio = torch.empty(4000, dtype=torch.float64).uniform_(math.log(1e-3), 12, generator=draw)
    credit = torch.randn(4000, generator=draw, dtype=torch.float64)
    mine, theirs = (slope(part, log_ratio, credit) for part in (bounded_surrogate(), clipped_surrogate(dual_clip=1e3)))
    beyond = (log_ratio > math.log(1e3)) & (credit < 0)
    assert beyond.sum() > 500
    assert bool((mine[1][beyond] == 0).all())
    for ours, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)


def test_nothing_overflows():
    loss, gradient = slope(bounded_surrogate(), torch.tensor([800.0, -800.0]), torch.tensor([-1.0, 1.0]))
    assert bool(torch.isfinite(loss).all())
    assert gradient.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("right", "agrees", "gated"), [(1, 1, 2.0), (1, 0, 1.5), (0, 1, 0.5), (0, 0, 0.5)])
def test_agreement_is_paid_where_the_verdict_is_right(right, agrees, gated):
    given = gated_bonus(torch.tensor([float(right)]), torch.tensor([float(agrees)]), torch.tensor([1.0]))
    assert given.tolist() == [gated]


def test_the_released_form_differs_in_its_credit_alone():
    released, mine = method("stable-reinforce@r1-reward"), STABLE_REINFORCE.describe()
    assert {seam for seam, value in released.describe().items() if value != mine.get(seam)} == {"credit", "reference"}


@pytest.mark.parametrize(
    ("text", "outcome", "form", "consistent"),
    [
        ("<think>34+57=91=0</think><answer>1</answer>", 1, 1, 1),
        ("<think>34+57=91=4</think><answer>1</answer>", 1, 1, 0),
        ("<think>34+57=91=4</think><answer>2</answer>", 0, 1, 1),
        ("<think>no idea</think><answer>1</answer>", 1, 1, 0),
        ("<think>=0</think> <answer>1</answer>", 1, 0, 0),
        ("<answer>1</answer>", 1, 0, 0),
        ("<think>=0</think><answer>3</answer>", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_a_verdict_and_whether_its_check_favours_it(text, outcome, form, consistent):
    verdict = source("verdict")
    task = next(t for i in range(500) if (t := verdict.task("train", 0, i)).needs["answer"] == "1")
    first, second = task.needs["candidates"]
    said = text.replace("=0<", f"={first}<").replace("=4<", f"={second}<")
    graded = verdict.grade(task, said)
    assert (graded["outcome"], graded["format"], graded["consistent"]) == (outcome, form, consistent)
