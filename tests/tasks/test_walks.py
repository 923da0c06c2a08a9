import re
from itertools import pairwise

import pytest

from strop.check.sources import of_source
from strop.records import Task
from strop.tasks import source
from strop.tasks.judging import right
from strop.tasks.walks import KINDS, Walks

BY_HAND = Task(
    "e to a: dabfcg cfdaeb\neb\nbf\ncg\nda",
    {"question": "e to a: dabfcg cfdaeb", "steps": ["eb", "bf", "cg", "da"], "labels": [[1, 1, 1]] * 2 + [[1, 0, 1]] * 2, "answer": 3},
    "walks",
)
WALK = Task("e to a: dabfcg cfdaeb", {"question": "e to a: dabfcg cfdaeb", "walk": ["eb", "bf", "fd", "da"]}, "walks")


def labelled(question, moves):
    """Of each move whether it is right in each way, by the words of the task alone."""
    start, _, goal, lines = re.fullmatch(r"(\w) (to) (\w): ([a-z ]+)", question).groups()
    at, been = start, {start}
    for move in moves:
        road = any(line[place : place + 2] == move for line in lines.split() for place in range(len(line)))
        yield [int(road), int(move[0] == at), int(move[1] not in been)]
        at = move[1]
        been.add(at)
    assert at == goal


def test_labels_are_what_the_map_says_and_every_way_is_met():
    met = dict.fromkeys(KINDS, 0)
    for name in ("walks:wrong=0.5", "walks:moves=6,places=9,stops=8,wrong=0.5"):
        for index in range(200):
            task = source(name).task("train", 0, index)
            labels = task.needs["labels"]
            assert labels == [*labelled(task.needs["question"], task.needs["steps"])]
            assert task.needs["answer"] == next((number for number, said in enumerate(labels, 1) if not right(said)), 0)
            assert all(sum(said) >= 2 for said in labels), "one way at a time"
            for way, kind in enumerate(KINDS):
                met[kind] += sum(not said[way] for said in labels)
    assert min(met.values()) > 100


def test_no_letter_tells_a_wrong_move():
    """Neither where a move starts nor where it ends: its label cannot be read off one token."""
    seen = {}
    for index in range(3000):
        task = Walks().task("train", 0, index)
        for move, labels in zip(task.needs["steps"], task.needs["labels"], strict=True):
            for token in (("from", move[0]), ("to", move[1])):
                seen.setdefault(token, []).append(right(labels))
    assert len(seen) == 14
    assert all(0.63 < sum(said) / len(said) < 0.79 for said in seen.values())


def test_a_walk_by_hand_is_judged_by_its_first_wrong_move():
    assert [*labelled(BY_HAND.needs["question"], BY_HAND.needs["steps"])] == BY_HAND.needs["labels"]
    grades = {said: Walks().grade(BY_HAND, f"<answer>{said}</answer>") for said in "034"}
    assert [grades[said]["outcome"] for said in "034"] == [0, 1, 0]
    assert grades["3"] == {"outcome": 1, "lenient": 1, "faulty": 1, "caught": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("ebfda", ""),
        ("eba", "no road ba"),
        ("ebf", "starts or ends in the wrong place"),
        ("bfda", "starts or ends in the wrong place"),
        ("ebfdabfda", "visits a place twice"),
        ("e b", "not a route"),
        ("", "not a route"),
    ],
)
def test_a_walk_is_graded_by_the_roads_and_their_direction(answer, reason):
    graded = Walks().grade(WALK, f"<think></think><answer>{answer}</answer>")
    assert (graded["outcome"], graded.reason) == (float(not reason), reason)
    assert "faulty" not in graded


def test_gold_is_a_walk_move_by_move_and_another_one_is_right_too():
    assert Walks().gold(WALK) == "<think>eb\nbf\nfd\nda</think><answer>ebfda</answer>"
    other = Task("a to d: abcd acebd", {"question": "a to d: abcd acebd", "walk": ["ab", "bc", "cd"]}, "walks")
    for answer in ("abcd", "abd", "acd", "acebd"):
        assert Walks().grade(other, f"<answer>{answer}</answer>")["outcome"] == 1
    for index in range(50):
        task = Walks(judged=0).task("train", 0, index)
        moves = task.needs["walk"]
        assert all(a[1] == b[0] for a, b in pairwise(moves))
        assert all(min(said) for said in labelled(task.prompt, moves))


def test_maps_never_meet_however_their_lines_are_ordered_and_whatever_is_asked_of_them():
    def maps(name, split):
        drawn = (source(name).task(split, seed, index).needs["question"] for seed in (0, 1) for index in range(200))
        return {tuple(sorted(question.partition(": ")[2].split())) for question in drawn}

    small = "walks:moves=2,places=4,stops=4"
    assert maps(small, "train")
    assert not maps(small, "train") & maps(small, "test")
    assert not maps("walks", "train") & maps("walks:judged=0", "test")


@pytest.mark.parametrize("name", ["walks", "walks:judged=0.5"])
def test_it_passes_the_exam_of_sources(name):
    assert [finding.says for finding in of_source(source(name)) if finding.fine is not True] == []


@pytest.mark.parametrize(
    ("knobs", "said"),
    [({"moves": 1}, "moves"), ({"places": 5}, "places"), ({"stops": 8}, "stops"), ({"judged": 2}, "judged"), ({"lines": 0}, "lines")],
)
def test_what_cannot_be_a_map_is_refused(knobs, said):
    with pytest.raises(ValueError, match=f"walks: {said} is"):
        Walks(**knobs)


def test_a_map_without_room_is_said_in_words():
    with pytest.raises(ValueError, match="finds no map with room"):
        [Walks(moves=12, places=14, stops=4).task("train", 0, index) for index in range(3)]
