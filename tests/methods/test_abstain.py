"""The rule of confidence targets by hand and by its one property, and what dividing by the spread does to it."""

import asyncio

import pytest
import torch

from strop import learning, pico, train
from strop.experiments.abstain import hidden_target
from strop.methods import method
from strop.methods.abstain import ABSTAIN, confidence_target
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores, Task
from strop.run import create
from strop.seams.context import Progress
from strop.seams.credit import group_centered, group_standardized
from strop.seams.index import Index

RIGHT, WRONG, ABSTAINED = (1.0, 0.0), (0.0, 0.0), (0.0, 1.0)


def rewards(outcomes, target):
    outcome_R, abstained_R = torch.tensor(outcomes, dtype=torch.float64).T
    return confidence_target(outcome_R, abstained_R, torch.full_like(outcome_R, target))


@pytest.mark.parametrize(("target", "cost"), [(0.0, 0.0), (0.5, 1.0), (2 / 3, 2.0), (0.75, 3.0), (0.9, 9.0)])
def test_right_earns_one_abstaining_nothing_and_an_error_costs_t_over_one_minus_t(target, cost):
    """At 0.75 the paper's text says 2, which belongs to 2/3: the formula decides."""
    got = rewards([RIGHT, ABSTAINED, WRONG], target).tolist()
    assert got == pytest.approx([1.0, 0.0, -cost], abs=1e-12)
    assert hidden_target(torch.zeros(1), torch.zeros(1), target=target).item() == pytest.approx(-cost, abs=1e-6)


def test_answering_pays_exactly_when_it_is_right_more_often_than_t():
    for target in (0.0, 0.3, 0.5, 2 / 3, 0.75, 0.9, 0.99):
        right, _, wrong = rewards([RIGHT, ABSTAINED, WRONG], target).tolist()
        for belief in torch.linspace(0, 1, 101, dtype=torch.float64).tolist():
            worth = belief * right + (1 - belief) * wrong
            assert (worth > 1e-9) == (belief > target + 1e-9), (target, belief)


@pytest.mark.parametrize("pair", [(RIGHT, WRONG), (WRONG, ABSTAINED), (RIGHT, ABSTAINED)])
def test_dividing_by_the_spread_cancels_the_penalty_in_a_group_of_two_outcomes(pair):
    """Standardised credit of two values is a function of how many have each: t is gone. Centred credit is proportional to their gap."""
    group = [pair[0]] * 3 + [pair[1]] * 5
    one = Index.one_group(8)
    harsh, mild = rewards(group, 0.9), rewards(group, 0.5)
    torch.testing.assert_close(group_standardized(harsh, one), group_standardized(mild, one))
    gap = (harsh[0] - harsh[-1]) / (mild[0] - mild[-1])
    torch.testing.assert_close(group_centered(harsh, one), group_centered(mild, one) * gap)
    assert (gap > 1.5) == (WRONG in pair)


def test_with_all_three_outcomes_the_penalty_is_felt_even_after_the_division():
    group, one = [RIGHT] * 2 + [WRONG] * 3 + [ABSTAINED] * 3, Index.one_group(8)
    harsh, mild = (group_standardized(rewards(group, t), one) for t in (0.9, 0.5))
    assert (harsh - mild).abs().max() > 0.1


def test_the_form_with_the_division_is_one_of_its_ideas_alone():
    standardized = method("abstain.only(reward)")
    assert standardized.reward == ABSTAIN.reward
    assert standardized.credit == GRPO.credit
    theirs = GRPO.describe()
    assert {seam for seam, value in ABSTAIN.describe().items() if value != theirs[seam]} == {"reward", "credit"} == set(ABSTAIN.idea)


def test_a_task_whose_source_grades_no_abstention_is_refused_in_words():
    groups = [Group(Task("p", {}, "s"), (Rollout((), "a"), Rollout((), "b")))]
    scores = Scores({"a": {"outcome": 1.0, "lenient": 1.0}, "b": {"outcome": None}})
    with pytest.raises(ValueError, match="'abstained', which nobody grades here"):
        learning.reward_of(ABSTAIN, groups, scores, Progress())
    assert learning.reward_of(GRPO, groups, scores, Progress()) == {"a": 1.0, "b": None}


def test_every_rollout_of_a_group_is_judged_under_the_target_in_its_question(tmp_path):
    recipe = Recipe(method=ABSTAIN, model=str(pico.path()), task="facts", steps=1, tasks=6, group=2, max_tokens=4, slots=16, lr=0.0)
    run = create(recipe, tmp_path / "run")
    asyncio.run(train.step(run))
    record = run.record(0)
    assert record is not None
    scores, groups = Scores.from_json(record["scores"]), [Group.from_json(g) for g in record["groups"]]
    assert len({group.task.needs["target"] for group in groups}) > 1
    for group in groups:
        target = group.task.needs["target"]
        assert f"t=.{round(100 * target):02d}" in group.task.prompt
        for rollout in group.rollouts:
            assert scores.get(rollout, "target") == target
            outcome, abstained = scores.get(rollout, "outcome"), scores.get(rollout, "abstained")
            assert record["rewards"][rollout.id] == pytest.approx(outcome - (1 - outcome - abstained) * target / (1 - target))
    assert isinstance(groups[0].task, Task)


def test_a_task_that_knows_no_abstention_is_named_and_no_grader_is_blamed(tmp_path):
    from strop.recipe import Recipe
    from strop.run import create

    run = create(Recipe(method=ABSTAIN, task="chain", tasks=2, group=2, max_tokens=4, steps=1, slots=16), tmp_path / "run")
    with pytest.raises(ValueError, match=r"'abstained', which nobody grades here\. What is graded: lenient, outcome"):
        run.train()
