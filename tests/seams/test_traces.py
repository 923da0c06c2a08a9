"""Judgements as demonstrations: which are kept, which are the longest, and that a form reads what was written in it."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest
from letters import Letters

from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Progress
from strop.seams.judge import Form
from strop.seams.recorded import Earlier, right_ones
from strop.seams.traces import FORMS, Written, agreeing, asks, longest, reworded, said, thinking
from strop.tasks import source

NONE, RNG = Scores(), random.Random(0)


def judged(number, scores, *texts, replies=None):
    """A task with this reference, and texts of somebody about it."""
    needs = {"question": f"q{number}?", "replies": replies or [f"r{number}-{i}" for i in range(len(scores))], "scores": list(scores)}
    rows = [Row.of(Segment("prompt", (1,), "0"), Segment("teacher", Letters().reply(text), f"0.{i}")) for i, text in enumerate(texts)]
    made = tuple(Rollout((row,), f"{number}/{i}", text=text) for i, (row, text) in enumerate(zip(rows, texts, strict=True)))
    return Group(Task(f"judge {number}", needs, "made"), made, id=str(number))


def text(*scores, thought="so"):
    return f"<think>{thought}</think>" + "".join(f"<answer>{score}</answer>" for score in scores)


def test_a_judgement_is_kept_where_every_score_is_the_references():
    group = judged(0, (8, 3), text(8, 3), text(8, 4), text(3, 8), text(8), text(8, 3, thought="else"), text(8, 3), "8 and 3")
    kept = agreeing([group], NONE, RNG)
    assert [one.rollouts[0].provenance for one in kept] == ["0/0", "0/4"], "equal texts count once"
    assert {one.role for one in kept} == {"demo"}
    assert {s.kind for one in kept for s in one.rollouts[0].rows[0].segments} == {"prompt", "teacher"}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (text(8, 3), [8, 3]),
        ("<answer>Score: 8</answer>\n<answer>3.</answer>", [8, 3]),
        ("<think><answer>1</answer></think><answer>8</answer><answer></answer><answer>3</answer>", [8, 3]),
        ("<answer>8 of 10</answer>", [8]),
        ("<answer>eight</answer>", []),
        ("8, 3", []),
    ],
)
def test_scores_are_the_first_numbers_in_tags_behind_the_thinking(written, found):
    assert said(written) == found


def test_of_a_task_the_longest_is_taken_and_of_tasks_the_longest():
    groups = [
        judged(0, (8, 3), text(8, 3), text(8, 3, thought="so so")),
        judged(1, (5, 1), text(5, 1)),
        judged(2, (2, 9), text(2, 9, thought="x" * 9)),
    ]
    kept = agreeing(groups, NONE, RNG)
    assert [one.rollouts[0].provenance for one in longest(kept, NONE, RNG, n=9)] == ["0/1", "1/0", "2/0"]
    assert [one.rollouts[0].provenance for one in longest(kept, NONE, RNG, n=2)] == ["0/1", "2/0"]
    assert [one.rollouts[0].provenance for one in longest(kept, NONE, RNG, n=1)] == ["2/0"]


@pytest.mark.parametrize("form", [*FORMS, Form("pair", "{prompt}: {first} {second}", tag="answer"), Form("point", low=0, high=9)], ids=str)
def test_what_is_said_in_a_form_is_read_by_it_as_the_reference(form):
    """Exactly, where the reference lies on whole numbers of the form's scale; in the reference's order wherever it does not."""
    for first in range(1, 11):
        for second in range(1, 11):
            group = judged(0, (first, second), text(first, second))
            task, shown = group.task, (0,) if form.kind == "point" else (0, 1)
            question, reply = asks(form, task, shown, (first, second), "a reason", 1.0, 10.0)
            assert all(task.needs["replies"][i] in question for i in shown)
            read = form.read(reply, len(shown))
            if form.kind == "point":
                assert read[0] == pytest.approx((first - 1) / 9, abs=0.5 / (form.high - form.low))
                assert (form.high - form.low) != 9 or read[0] == pytest.approx((first - 1) / 9)
            elif form.kind == "pair" or first != second:
                assert (read[0] > read[1], read[0] < read[1]) == (first > second, first < second)


@pytest.mark.parametrize(
    "form", [Form(), Form("point", low=1, high=5), Form("pair"), Form("rank")], ids=lambda form: f"{form.kind}{form.high:g}"
)
def test_write_and_read_are_each_others_inverse(form):
    whole = [((n - form.low) / (form.high - form.low),) for n in range(int(form.low), int(form.high) + 1)]
    ranks = [(1.0, 0.5, 0.0), (0.0, 1.0, 0.5), (0.5, 0.0, 1.0)]
    for verdict in {"point": whole, "pair": [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)], "rank": ranks}[form.kind]:
        assert form.read(f"It is so. {form.write(verdict)}", len(verdict)) == pytest.approx(verdict)


def test_a_judgement_is_asked_for_anew_and_keeps_its_reason_its_task_and_where_it_is_from():
    groups = agreeing([judged(n, (8, 3), text(8, 3, thought=f"why {n}")) for n in range(60)], NONE, RNG)
    made = reworded(groups, NONE, random.Random(1), Letters(), forms=FORMS)
    kinds = Counter()
    for before, after in zip(groups, made, strict=True):
        (rollout,), task = after.rollouts, after.task
        prompt, reply = (Letters().text(s.tokens) for s in rollout.rows[0].segments)
        assert (after.id, task, rollout.provenance) == (before.id, before.task, before.rollouts[0].provenance)
        assert reply == rollout.text + "\0"
        assert thinking(reply) == thinking(before.rollouts[0].text)
        form = next(
            f for f in FORMS if prompt == f.question("x", ["y"] * 2, (0,) if f.kind == "point" else (0, 1)).text or _fits(f, prompt, task)
        )
        verdict = form.read(rollout.text, 1 if form.kind == "point" else 2)
        kinds[form.kind, form.high] += 1
        if form.kind == "point":
            shown = task.needs["scores"][0 if task.needs["replies"][0] in prompt else 1]
            assert verdict[0] == pytest.approx((shown - 1) / 9, abs=0.5 / (form.high - form.low))
        else:
            assert verdict == (1.0, 0.0)
    assert len(kinds) == 4, "each form is drawn"


def _fits(form, prompt, task):
    ways = [(0,), (1,)] if form.kind == "point" else [(0, 1)]
    return prompt in [form.question(task.needs["question"], task.needs["replies"], shown).text for shown in ways]


def test_replies_that_are_alike_tie_as_a_pair_and_are_no_ranking():
    (group,) = agreeing([judged(0, (5, 5), text(5, 5))], NONE, RNG)
    (made,) = reworded([group], NONE, RNG, Letters(), forms=(Form("pair"), Form("rank")))
    assert made.rollouts[0].text.endswith("<verdict>tie</verdict>")
    assert reworded([group], NONE, RNG, Letters(), forms=(Form("rank"),)) == []


def test_a_pair_is_of_two_and_a_ranking_of_as_many_as_there_are():
    (group,) = agreeing([judged(0, (2, 9, 5), text(2, 9, 5))], NONE, RNG)
    (made,) = reworded([group], NONE, RNG, Letters(), forms=(Form("pair"), Form("rank")))
    assert made.rollouts[0].text == "<think>so</think><verdict>2 > 3 > 1</verdict>"


def test_a_task_that_nobody_judged_is_refused_in_words():
    group = replace(judged(0, (8, 3), text(8, 3)), task=Task("?", {}, "made"))
    with pytest.raises(ValueError, match="has no question in its needs"):
        agreeing([group], NONE, RNG)


def context(groups, given, handles):
    return Ctx(
        0, Progress(0, 9), source("scenes:ask=scores"), handles, grade=None, earlier=lambda stage: (groups, NONE), graded=given.append
    )


class Handle:
    renderer = Letters()


def test_makers_stand_one_behind_the_other_in_a_feed():
    groups = [judged(n, (8, 3), text(8, 3), text(3, 8)) for n in range(6)]
    feed = Earlier("trace", (agreeing(), longest(n=4), reworded(forms=(Form("pair"),))))
    taken = asyncio.run(feed.take(None, 4, None, None, context(groups, [], {"actor": Handle()}), Counter()))
    assert len({one.task.id for one in taken}) == 4
    assert {one.rollouts[0].text for one in taken} == {"<think>so</think><verdict>1</verdict>"}
    assert feed.paired is False
    assert Earlier("trace", right_ones()).makers == (right_ones(),)
    empty = Earlier("trace", (agreeing(), longest(n=0)))
    with pytest.raises(ValueError, match=r"agreeing then longest finds nothing in stage 'trace'"):
        asyncio.run(empty.take(None, 4, None, None, context(groups, [], {"actor": Handle()}), Counter()))


def test_the_source_writes_where_no_policy_is_named_and_says_so_where_it_cannot():
    ctx = context([], [], {"actor": Handle()}).at("here")
    task = ctx.source.task("train", 0, 0)
    (group,) = asyncio.run(Written(n=20)(task, None, ctx))
    (again,) = asyncio.run(Written(n=20)(task, None, ctx))
    assert group == again
    assert {r.provenance for r in group.rollouts} == {"script"}
    assert 1 < len({r.text for r in group.rollouts}) < 5
    with pytest.raises(ValueError, match=r"has no written\(task, rng\)"):
        asyncio.run(Written()(task, None, replace(ctx, source=source("chain"))))
    with pytest.raises(ValueError, match="at least one text"):
        Written(n=0)
