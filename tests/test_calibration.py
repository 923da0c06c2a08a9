"""Coverage, error and score by target, by hand; the oracle's optimality; beliefs against a model whose answers are known."""

import math

import pytest
import torch

from strop.calibration import Belief, at_targets, beliefs, oracle, penalty, reliability, rises
from strop.policies.causal import load
from strop.tasks import source

SURE = [Belief(0.95, True), Belief(0.8, True), Belief(0.7, False), Belief(0.4, True), Belief(0.2, False)]


def test_one_line_per_target_by_hand():
    """At 0.75: one task right half of the time and abstained the other half, one always wrong: scores 1/2 and -3."""
    values = {"target": [0.0, 0.75, 0.75, None], "mean": [1.0, 0.5, 0.0, 1.0], "abstained": [0.0, 0.5, 0.0, 0.0]}
    at_zero, at_three_quarters = at_targets(values)
    assert (at_zero.target, at_zero.tasks, at_zero.score, at_zero.coverage) == (0.0, 1, 1.0, 1.0)
    line = at_three_quarters
    assert (line.tasks, line.score, line.error, line.coverage) == pytest.approx((2, (0.5 - 3) / 2, 0.5, 0.75))
    assert line.selective == pytest.approx(0.25 / 0.75)
    assert line.score_error == pytest.approx(3.5 / 2 / math.sqrt(1))  # sample deviation 3.5 / sqrt(2), over sqrt(2)


def test_nobody_who_never_answers_is_given_an_accuracy_and_other_evaluations_have_no_lines():
    (line,) = at_targets({"target": [0.9], "mean": [0.0], "abstained": [1.0]})
    assert (line.score, line.coverage, line.error, line.selective) == (0.0, 0.0, 0.0, None)
    assert at_targets({"mean": [1.0], "lenient": [1.0]}) == []


def test_the_oracle_answers_where_it_is_surer_than_the_target():
    lines = oracle(SURE, (0.0, 0.5, 0.75, 0.9))
    assert [line.coverage for line in lines] == pytest.approx([1.0, 0.6, 0.4, 0.2])
    assert [line.score for line in lines] == pytest.approx([0.6, (2 - 1) / 5, 2 / 5, 1 / 5])
    assert rises(lines) == 0.0


def test_no_threshold_scores_above_the_targets_own_where_beliefs_are_true():
    """A calibrated believer, in expectation: at each confidence p a share p is right."""
    people = [Belief(p / 100, right) for p in range(5, 100, 5) for right in [True] * p + [False] * (100 - p)]
    for target in (0.0, 0.5, 0.75, 0.9):
        own = oracle(people, (target,))[0].score
        for other in (0.0, 0.3, 0.5, 0.6, 0.75, 0.85, 0.9, 0.97):
            chosen = [b for b in people if b.sure > other]
            right = sum(b.right for b in chosen)
            assert own >= (right - penalty(target) * (len(chosen) - right)) / len(people) - 1e-12


def test_a_policy_that_grows_bolder_as_errors_grow_dearer_is_seen():
    lines = at_targets({"target": [0.0, 0.5, 0.9], "mean": [0.0] * 3, "abstained": [0.5, 0.8, 0.1]})
    assert rises(lines) == pytest.approx(0.7)


def test_reliability_counts_everybody_once_and_says_how_often_each_bin_was_right():
    bins = reliability(SURE)
    assert sum(b["share"] for b in bins) == pytest.approx(1.0)
    assert [b["share"] for b in bins] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.2])
    assert [b["right"] for b in bins] == [0.0, 1.0, 0.0, 1.0, 1.0]
    assert reliability(SURE, (0.0, 0.1, 1.0))[0] == {"above": 0.0, "to": 0.1, "share": 0.0, "sure": None, "right": None}


def test_a_belief_is_the_share_of_the_likeliest_answer_among_the_answers_that_sampling_gives():
    """Against the model's own distribution, token by token, and whatever it says of abstaining."""
    policy, facts = load("pico"), source("facts")
    tasks = [facts.task("test", 0, 5 * i) for i in range(3)]
    for task, belief in zip(tasks, beliefs(policy, facts, tasks), strict=True):
        worth = []
        for text in facts.answers:
            prompt, reply = policy.renderer.prompt(task.prompt), policy.renderer.reply(text)
            with torch.no_grad():
                logp = policy.model(torch.tensor([[*prompt, *reply]])).logits[0].log_softmax(-1)
            worth.append(sum(logp[len(prompt) + i - 1, token].item() for i, token in enumerate(reply)))
        shares = torch.softmax(torch.tensor(worth), 0)
        assert belief.sure == pytest.approx(shares.max().item(), abs=1e-4)
        assert belief.right == (facts.answers[int(shares.argmax())] == facts.gold(task))
