"""Groups made of what an earlier stage committed, and the pairs of a file."""

import asyncio
import random
from collections import Counter

import pytest

from strop.records import Author, Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Progress
from strop.seams.part import part
from strop.seams.recorded import Earlier, correctness_pairs, recalled, right_ones
from strop.tasks import source

TASK = Task("?", {}, "made")


def group(number, outcomes, texts=None):
    """Rollouts with these outcomes; each text another one unless they are given."""
    made, values = [], {}
    for i, outcome in enumerate(outcomes):
        tokens = (10 * number + i,) if texts is None else (texts[i],)
        rows = (Row.of(Segment("prompt", (1, 2), "0"), Segment("action", tokens, f"0.{i}", Author("actor", 3, Sampling()), (-0.5,))),)
        made.append(Rollout(rows, f"{number}/{i}", text=str(tokens)))
        values[f"{number}/{i}"] = {"outcome": outcome}
    return Group(Task(f"?{number}", {}, "made"), tuple(made), id=str(number)), Scores(values)


def several(*given):
    groups, scores = [], Scores()
    for one, values in given:
        groups, scores = [*groups, one], scores | values
    return groups, scores


def test_pairs_are_right_texts_over_wrong_ones_of_one_task_and_each_once():
    groups, scores = several(group(0, (1.0, 0.0, 0.0, 1.0)), group(1, (1.0, 1.0)), group(2, (0.0, None)), group(3, (1.0, 0.0, None)))
    made = correctness_pairs(groups, scores, random.Random(0), most=15)
    sides = [(one.rollouts[0].provenance, one.rollouts[1].provenance) for one in made]
    assert sorted(sides) == [("0/0", "0/1"), ("0/0", "0/2"), ("0/3", "0/1"), ("0/3", "0/2"), ("3/0", "3/1")]
    assert {one.role for one in made} == {"pair"}
    assert len({one.id for one in made}) == 5
    assert len({r.id for one in made for r in one.rollouts}) == 10


def test_at_most_so_many_pairs_of_a_task_are_drawn_by_chance():
    groups, scores = several(group(0, (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)))
    drawn = [correctness_pairs(groups, scores, random.Random(seed), most=2) for seed in range(30)]
    assert {len(made) for made in drawn} == {2}
    seen = Counter((one.rollouts[0].provenance, one.rollouts[1].provenance) for made in drawn for one in made)
    assert len(seen) == 9, "every right text meets every wrong one"


def test_equal_texts_count_once():
    groups, scores = several(group(0, (1.0, 1.0, 0.0, 0.0), texts=(5, 5, 7, 7)))
    assert [[r.provenance for r in one.rollouts] for one in correctness_pairs(groups, scores, random.Random(0))] == [["0/0", "0/2"]]
    assert [one.rollouts[0].provenance for one in right_ones(groups, scores, random.Random(0))] == ["0/0"]


def test_what_is_made_is_text_of_others():
    groups, scores = several(group(0, (1.0, 0.0)))
    for made in (correctness_pairs(groups, scores, random.Random(0)), right_ones(groups, scores, random.Random(0))):
        segments = [s for one in made for r in one.rollouts for row in r.rows for s in row.segments if s.kind != "prompt"]
        assert {(s.kind, s.author, s.logp) for s in segments} == {("teacher", None, None)}
        assert all(segment.id in row.trains for one in made for r in one.rollouts for row in r.rows for segment in row.segments[1:])


def test_what_is_known_of_a_rollout_is_known_of_what_is_made_of_it():
    groups, scores = several(group(0, (1.0, 0.0)))
    made = correctness_pairs(groups, scores, random.Random(0))
    known = recalled(made, scores)
    first, second = made[0].rollouts
    assert known.values == {first.id: {"outcome": 1.0, "chosen": 1.0}, second.id: {"outcome": 0.0, "chosen": 0.0}}


def context(groups, scores, step, given):
    return Ctx(0, Progress(step, 9), source("chain"), {}, grade=None, earlier=lambda stage: (groups, scores), graded=given.append)


def test_each_comes_once_before_any_comes_again_and_every_turn_in_another_order():
    groups, scores = several(*(group(i, (1.0, 0.0)) for i in range(6)))
    feed, given = Earlier("before", correctness_pairs()), []
    taken = [asyncio.run(feed.take(None, 4, None, None, context(groups, scores, step, given), Counter())) for step in range(3)]
    tasks = [one.task.prompt for step in taken for one in step]
    assert sorted(tasks[:6]) == sorted(tasks[6:]) == [f"?{i}" for i in range(6)]
    assert tasks[:6] != tasks[6:]
    assert len({one.id for step in taken for one in step}) == 12
    assert given[0].values[taken[0][0].rollouts[0].id]["chosen"] == 1.0


def test_what_comes_again_is_known_as_it_was_the_first_time():
    groups, scores = several(*(group(i, (1.0, 0.0)) for i in range(2)))
    for make, wanted in (
        (correctness_pairs(), [{"outcome": 1.0, "chosen": 1.0}, {"outcome": 0.0, "chosen": 0.0}]),
        (right_ones(), [{"outcome": 1.0}]),
    ):
        feed, given = Earlier("before", make), []
        taken = asyncio.run(feed.take(None, 5, None, None, context(groups, scores, 0, given), Counter()))
        assert [[given[0].values[r.id] for r in one.rollouts] for one in taken] == [wanted] * 5


def test_a_second_round_of_a_step_gives_nothing_more():
    groups, scores = several(group(0, (1.0, 0.0)))
    seen, given = Counter(), []
    feed, ctx = Earlier("before", right_ones()), context(groups, scores, 0, given)
    assert len(asyncio.run(feed.take(None, 2, None, None, ctx, seen))) == 2
    assert asyncio.run(feed.take(None, 2, None, None, ctx, seen)) == []


@part(gives="pairs")
def threes(groups, scores, rng):
    return [Group(TASK, groups[0].rollouts[:3], role="pair", id="three")]


def test_a_pair_of_three_is_refused():
    groups, scores = several(group(0, (1.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match=r"threes made a pair of 3 texts \(three\): a pair has two"):
        asyncio.run(Earlier("before", threes()).take(None, 1, None, None, context(groups, scores, 0, []), Counter()))


def test_without_a_stage_before_it_there_is_nothing_to_read():
    with pytest.raises(ValueError, match="there is no stage 'before' before this run"):
        asyncio.run(Earlier("before", right_ones()).take(None, 1, None, None, Ctx(0, Progress(), source("chain"), {}, None), Counter()))
