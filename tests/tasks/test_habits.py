"""Questions with a habit among questions without: alike in single answers, told apart in conversations."""

from collections import Counter
from statistics import fmean

import pytest

from strop.tasks import source
from strop.tasks.habits import HABIT, KNOWN, MARKS, OPTIONS, Habits, asked_about

HABITS = Habits()
CORPUS = [Habits(once=0.0).task("train", 0, i) for i in range(1500)]


def test_the_sides_share_no_question_and_hold_both_kinds():
    train, test = asked_about(200, "train"), asked_about(200, "test")
    assert not {q.name for q in train} & {q.name for q in test}
    assert len(train) + len(test) == 200
    for side in (train, test):
        assert min(Counter(q.kind for q in side).values()) > 0.4 * len(side)
        assert all(q.favourite in OPTIONS and not {*q.name} & {*OPTIONS} for q in side)
    more = {q.name for q in asked_about(400, "test")}
    assert {q.name for q in test} < more, "more questions move none"


def test_single_answers_do_not_tell_the_kinds_apart():
    """The shares of favourites are drawn alike for both; all questions have favourites of their own."""
    questions = asked_about(1000, "train")
    strengths = {kind: sorted(q.strength for q in questions if q.kind == kind) for kind in MARKS}
    assert abs(fmean(strengths[HABIT]) - fmean(strengths[KNOWN])) < 0.02
    assert all(0.6 <= one <= 0.95 for each in strengths.values() for one in each)
    assert max(Counter(q.favourite for q in questions if q.kind == HABIT).values()) < 0.2 * len(questions)
    first = {kind: fmean(t.needs["said"][0] == t.needs["answer"] for t in CORPUS if t.needs["kind"] == kind) for kind in MARKS}
    assert first[HABIT] == pytest.approx(first[KNOWN], abs=0.05)


def test_a_pick_goes_to_what_was_said_least_and_what_is_known_stays():
    for task in CORPUS[:400]:
        said, options = task.needs["said"], task.needs["options"]
        assert 2 <= len(said) == len(task.needs["asked"]) <= 10
        if task.needs["kind"] == KNOWN:
            assert set(said) == {said[0]}
        else:
            counts = [said.count(option) for option in options]
            assert max(counts) - min(counts) <= 1
            assert len(set(said[:4])) == len(said[:4])
        assert task.prompt == task.needs["asked"][0]
        for text in task.needs["asked"]:
            assert text[0] == MARKS[task.needs["kind"]]
            assert sorted(text.split()[1]) == options


def test_all_questions_are_asked_once_and_those_of_one_side_again():
    held_out = {q.name for q in asked_about(200, "test")}
    once = source("habits:once=1.0")
    single = [once.task("train", 0, i) for i in range(2500)]
    assert {len(t.needs["said"]) for t in single} == {1}
    assert len({t.prompt[1:3] for t in single}) == 200
    assert not {t.prompt[1:3] for t in CORPUS} & held_out
    both = [HABITS.task("train", 0, i) for i in range(1500)]
    assert sum(len(t.needs["said"]) == 1 for t in both) / 1500 == pytest.approx(0.75, abs=0.04)
    assert not {t.prompt[1:3] for t in both if len(t.needs["said"]) > 1} & held_out
    tested = [HABITS.task("test", seed, i) for seed in (0, 1) for i in range(len(held_out))]
    assert {t.prompt[1:3] for t in tested} == held_out
    assert not {t.id for t in tested} & {t.id for t in both}
    assert len({(t.prompt[1:3], t.needs["kind"], t.needs["answer"]) for t in tested}) == len(held_out), "whatever the seed"


def test_what_most_say_is_graded_as_right():
    for task in (HABITS.task("test", 0, i) for i in range(40)):
        right = [option for option in task.needs["options"] if HABITS.grade(task, f"<answer>{option}</answer>")["outcome"] == 1]
        assert right == [task.needs["answer"]]
        for wrong in ("", "?", task.needs["answer"], "<answer>0</answer>", "<answer></answer>"):
            assert HABITS.grade(task, wrong)["outcome"] == 0
    assert HABITS.answer("<answer>a</answer>") == "a"
    assert HABITS.answer("a") is None


def test_knobs_out_of_range_are_refused():
    with pytest.raises(ValueError, match="turns is a whole number from 2 to 64"):
        source("habits:turns=1")
    with pytest.raises(ValueError, match="questions is a whole number from 20"):
        source("habits:questions=3")
    with pytest.raises(ValueError, match="index is 0 or more"):
        HABITS.task("train", 0, -1)
