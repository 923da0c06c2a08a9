import re

import pytest

from strop.check.sources import of_source
from strop.records import Task
from strop.seams.steps import lines_of
from strop.tasks import source
from strop.tasks.judging import right
from strop.tasks.procedural import strict_answer
from strop.tasks.walks import KINDS, Walks

BY_HAND = Task(
    "acf dki\nb\nh\nf\nb\nk",
    {
        "question": "acf dki",
        "steps": ["b", "h", "f", "b", "k"],
        "labels": [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]],
        "answer": 3,
    },
    "walks",
)
WALK = Task("acf dki", {"question": "acf dki", "walk": ["b", "h", "j", "e"]}, "walks")


def labelled(question, moves):
    """Of each move whether it is right in each way, by the words of the task alone."""
    closed, ends = re.fullmatch(r"([a-z]+) ([a-z]+)", question).groups()
    return [[int(move not in closed), int(move not in moves[:number]), int(move not in ends)] for number, move in enumerate(moves)]


def test_labels_are_what_the_map_says_and_every_way_is_met():
    assert labelled(BY_HAND.needs["question"], BY_HAND.needs["steps"]) == BY_HAND.needs["labels"]
    met = dict.fromkeys(KINDS, 0)
    for name in ("walks:wrong=0.5", "walks:moves=6,places=20,closed=5,wrong=0.5"):
        for index in range(200):
            task = source(name).task("train", 0, index)
            labels = task.needs["labels"]
            assert labels == labelled(task.needs["question"], task.needs["steps"])
            assert task.needs["answer"] == next((number for number, said in enumerate(labels, 1) if not right(said)), 0)
            for way, kind in enumerate(KINDS):
                met[kind] += sum(said[way] == 0 and sum(said) == 2 for said in labels)
    assert min(met.values()) > 100


def test_no_letter_tells_a_wrong_move():
    seen = {}
    for index in range(3000):
        task = Walks().task("train", 0, index)
        for move, labels in zip(task.needs["steps"], task.needs["labels"], strict=True):
            seen.setdefault(move, []).append(right(labels))
    assert len(seen) == 12
    assert all(0.65 < sum(said) / len(said) < 0.75 for said in seen.values())


def test_a_walk_by_hand_is_judged_by_its_first_wrong_move():
    grades = {said: Walks().grade(BY_HAND, f"<answer>{said}</answer>") for said in "034"}
    assert [grades[said]["outcome"] for said in "034"] == [0, 1, 0]
    assert grades["3"] == {"outcome": 1, "lenient": 1, "faulty": 1, "caught": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("bhje", ""),
        ("lgeb", ""),
        ("bhj", "not 4 places"),
        ("bhjel", "not 4 places"),
        ("bhjz", "not 4 places"),
        ("b h j", "not 4 places"),
        ("", "not 4 places"),
        ("bhjb", "visits a place twice"),
        ("bhjf", "enters a closed place"),
        ("khje", "enters a dead end"),
    ],
)
def test_a_walk_is_graded_by_the_map(answer, reason):
    graded = Walks().grade(WALK, f"<think></think><answer>{answer}</answer>")
    assert (graded["outcome"], graded.reason) == (float(not reason), reason)
    assert "faulty" not in graded


def test_gold_says_every_move_and_an_example_has_second_thoughts():
    assert Walks().gold(WALK) == "<think>b\nh\nj\ne</think><answer>bhje</answer>"
    assert Walks().gold(BY_HAND) == Walks().example(BY_HAND) == "<think></think><answer>3</answer>"
    where, wrong = Walks(judged=0, wrong=0.5), 0
    for index in range(100):
        task = where.task("train", 0, index)
        assert all(min(said) for said in labelled(task.prompt, task.needs["walk"]))
        assert where.grade(task, where.gold(task))["outcome"] == 1
        text = where.example(task)
        assert where.grade(task, text)["outcome"] == 1
        said = lines_of(text)
        moves, marks = said[::2], said[1::2]
        assert marks == ["-+"[right(labels)] for labels in labelled(task.prompt, moves)]
        assert "".join(move for move, mark in zip(moves, marks, strict=True) if mark == "+") == strict_answer(text)[0]
        wrong += marks.count("-")
    assert 150 < wrong < 250


def test_maps_never_meet_however_their_places_are_ordered_and_whatever_is_asked_of_them():
    def maps(name, split):
        drawn = (source(name).task(split, seed, index).needs["question"] for seed in (0, 1) for index in range(200))
        return {tuple("".join(sorted(part)) for part in question.split(" ")) for question in drawn}

    small = "walks:moves=2,places=6,closed=2"
    assert 1 < len(maps(small, "test")) < 60
    assert not maps(small, "train") & maps(small, "test")
    assert not maps("walks", "train") & maps("walks:judged=0", "test")


@pytest.mark.parametrize("name", ["walks", "walks:judged=0.5"])
def test_it_passes_the_exam_of_sources(name):
    assert [finding.says for finding in of_source(source(name)) if finding.fine is not True] == []


@pytest.mark.parametrize(
    ("knobs", "said"), [({"moves": 1}, "moves"), ({"places": 9}, "places"), ({"closed": 0}, "closed"), ({"judged": 2}, "judged")]
)
def test_what_cannot_be_a_map_is_refused(knobs, said):
    with pytest.raises(ValueError, match=f"walks: {said} is"):
        Walks(**knobs)
