"""Scores of spans: from a grader to the track that a credit reads, over every way that stretches may lie."""

import asyncio
import math

import pytest
import torch
from letters import Letters

from strop.batch import pack
from strop.check.formulas import in_float64, largest
from strop.grading import judged
from strop.identity import explain
from strop.learning import settle
from strop.methods.grpo import GRPO
from strop.records import Author, Fate, Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Progress
from strop.seams.credit import step_returns, steps_standardized
from strop.seams.mark import between, marked, pieces, stretches
from strop.seams.part import part


def said(unit, *texts):
    """A rollout of one row in which these were written one behind the other."""
    written = [
        Segment("action", tuple(map(ord, text)), f"{unit}.{i}", Author("actor", 0), (-1.0,) * len(text)) for i, text in enumerate(texts)
    ]
    return Rollout((Row.of(Segment("prompt", (1,), "p"), *written),), unit, text="".join(texts))


def group(*rollouts, mark=pieces()):
    return marked((mark,), [Group(Task("q", {}, "s"), rollouts, id="g")], Letters())[0]


def track(made, scores):
    rewards = {r.id: 1.0 for r in made.rollouts}
    return pack([made], {unit: Fate() for unit in rewards}, rewards, 0, scores).tracks["good_T"].nan_to_num(9).tolist()


@part(gives="good")
async def counted(groups, ctx, *, spans="piece", given=(0.5, -1.0, 0.25, 0.125)):
    """Every rollout's stretches get these in turn."""
    units = [r for g in groups for r in g.rollouts]
    return Scores({r.id: {"good": 1.0} for r in units}, spans={r.id: {"good": (spans, given[: stretches(r, spans)])} for r in units})


@part(gives="good")
async def wholly(groups, ctx, *, spans="piece", given=(0.5,)):
    """The same numbers for all, however many stretches there are."""
    return Scores({r.id: {"good": 1.0} for g in groups for r in g.rollouts}, spans={"a": {"good": (spans, given)}})


def asked(grader, made):
    return asyncio.run(judged((grader,), [made], Ctx(0, Progress(), None, {}, None)))


def test_a_spans_score_stands_at_its_last_decision():
    made = group(said("a", "ab\n\ncd"), said("b", "x"), said("c", "\n"))
    scores = asked(counted, made)
    assert scores.spans == {"a": {"good": ("piece", (0.5, -1.0))}, "b": {"good": ("piece", (0.5,))}, "c": {"good": ("piece", ())}}
    assert not scores.incidents
    assert track(made, scores) == [9, 0.5, 9, 9, 9, -1.0, 0.5, 9]
    assert pack([made], {}, {"a": 1, "b": 1, "c": 1}, 0, scores).tracks["good_T"].isnan().sum() == 5, "nobody's number is 0"


def test_a_stretch_that_went_on_under_new_weights_has_one_score_and_its_neighbour_another():
    made = group(said("a", "ab", "c\nd"))
    assert stretches(made.rollouts[0], "piece") == 2
    assert track(made, asked(counted, made)) == [9, 9, 0.5, 9, -1.0]


def test_what_a_row_repeats_has_its_score_there_too_and_is_trained_once():
    one = said("a", "ab", "\ncd")
    prompt, first, second = one.rows[0].segments
    rows = (Row.of(prompt, first), Row((prompt, first, second), frozenset({second.id})))
    made = group(Rollout(rows, "a", text=one.text))
    scores = asked(counted, made)
    assert track(made, scores) == [9, 0.5, 9, 0.5, 9, 9, -1.0]
    method = GRPO.but("mine", marks=(pieces(),), graders=(counted,), credit=(step_returns.reading(score_T="good_T"),))
    batch = pack([made], {"a": Fate()}, {"a": 1.0}, 0, scores)
    settled = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    assert settled.tracks["credit_T"].tolist() == [-0.5, -0.5, 0.0, 0.0, -1.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("given", "placed", "why"),
    [
        ((0.5,), [0.5, 9, 9], "scored 1 spans 'piece', and the reply has 2"),
        ((0.5, None), [0.5, 9, 9], "scored 1 spans"),
        ((0.5, math.nan), [0.5, 9, 9], "scored 1 spans"),
        ((math.inf, 0.5), [9, 9, 0.5], "scored 1 spans"),
        ((0.5, 0.25, 0.125), [0.5, 9, 0.25], "scored 3 spans"),
        ((), [9, 9, 9], "scored 0 spans"),
    ],
)
def test_a_span_without_a_number_is_our_fault_and_has_none(given, placed, why):
    made = group(said("a", "x\ny"))
    scores = asked(wholly(given=given), made)
    assert track(made, scores) == placed
    (incident,) = scores.incidents
    assert (incident.unit, incident.channel) == ("a", "good")
    assert why in incident.why
    assert scores.get("a", "good") == 1.0


def test_a_grader_that_fails_gives_a_track_without_a_number():
    made = group(said("b", "x"))
    scores = asked(wholly, made)
    assert scores.spans == {"b": {"good": ("piece", ())}}
    assert track(made, scores) == [9]


def test_spans_travel_with_their_scores():
    scores = asked(counted, group(said("a", "x\ny"), said("b", "z")))
    assert Scores.from_json(scores.to_json()) == scores
    assert "spans" not in Scores({"a": {"good": 1.0}}).to_json()
    assert scores.of([group(said("b", "z"))]).spans == {"b": {"good": ("piece", (0.5,))}}
    assert scores | scores == Scores(scores.values, spans=scores.spans)
    assert scores.under({"new": "a", "none": "nobody"}) == Scores({"new": {"good": 1.0}}, spans={"new": {"good": ("piece", (0.5, -1.0))}})
    with pytest.raises(ValueError, match="two graders gave channel 'good' of 'b'"):
        _ = scores | Scores(spans={"b": {"good": ("piece", (0.25,))}})


SPANS = GRPO.but(
    "mine",
    marks=(pieces(),),
    graders=(counted,),
    credit=(steps_standardized.reading(score_T="good_T"), step_returns(gamma=0.5)),
)


def test_what_credit_of_spans_prints_is_what_it_computes():
    text = explain(SPANS)
    assert 'good_T (at the last decision of each span("piece")' in text
    with in_float64():
        difference, felt = largest(SPANS, text, 30)
    assert difference < 1e-10
    assert felt


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"marks": ()}, "scores spans 'piece', which no mark of the method gives"),
        ({"marks": (between(),)}, "scores spans 'piece', which no mark of the method gives. Known: answer"),
        ({"graders": (counted(spans=""),)}, "its grader 'counted' scores whole rollouts. Let it score the spans of a mark: spans='LABEL'"),
        ({"graders": ()}, "reads good_T, which nobody provides"),
    ],
)
def test_what_nobody_scores_cannot_be_read(changes, words):
    with pytest.raises(ValueError, match=words):
        SPANS.but(**changes)


def test_a_batch_whose_spans_nobody_scored_is_refused_in_words():
    batch = pack([group(said("a", "x"))], {"a": Fate()}, {"a": 1.0}, 0, Scores({"a": {"outcome": 1.0, "good": 1.0}}))
    with pytest.raises(ValueError, match="its credit 'steps_standardized' reads good_T, and nobody scored it here"):
        settle(SPANS, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    assert torch.equal(batch.index.row_T, torch.tensor([0]))
