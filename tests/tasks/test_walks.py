from string import ascii_lowercase

import pytest

from strop.check.sources import of_source
from strop.records import Task
from strop.seams.steps import lines_of
from strop.tasks import source
from strop.tasks.judging import right
from strop.tasks.walks import KINDS, Walks

BY_HAND = Task(
    "am\nac\ncx\nfj\njk\nkb",
    {
        "question": "am",
        "steps": ["ac", "cx", "fj", "jk", "kb"],
        "labels": [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]],
        "answer": 2,
    },
    "walks",
)
WALK = Task("xi", {"question": "xi", "walk": ["xz", "zc", "cf", "fi"]}, "walks")


def labelled(question, moves, places=26):
    """Of each move whether it is right in each way, by the words of the task alone; a walk goes on from where it went."""
    said, stands = [], question[0]
    for at, to in moves:
        far = (ascii_lowercase.index(to) - ascii_lowercase.index(at)) % places
        said.append([int(1 <= far <= places // 2), int(at == stands), int(far != 1)])
        stands = to
    return said


def test_labels_are_what_the_moves_say_and_every_way_is_met():
    assert labelled(BY_HAND.needs["question"], BY_HAND.needs["steps"]) == BY_HAND.needs["labels"]
    met = dict.fromkeys(KINDS, 0)
    for name, places in (("walks:wrong=0.5", 26), ("walks:moves=6,places=21,wrong=0.5", 21)):
        for index in range(200):
            task = source(name).task("train", 0, index)
            labels = task.needs["labels"]
            assert labels == labelled(task.needs["question"], task.needs["steps"], places)
            assert task.needs["answer"] == next((number for number, said in enumerate(labels, 1) if not right(said)), 0)
            for way, kind in enumerate(KINDS):
                met[kind] += sum(said[way] == 0 and sum(said) == 2 for said in labels)
    assert min(met.values()) > 100


def test_no_letter_tells_a_wrong_move():
    seen = {}
    for index in range(5000):
        task = Walks().task("train", 0, index)
        for (at, to), labels in zip(task.needs["steps"], task.needs["labels"], strict=True):
            seen.setdefault(f"from {at}", []).append(right(labels))
            seen.setdefault(f"to {to}", []).append(right(labels))
    assert len(seen) == 52
    assert all(0.52 < sum(said) / len(said) < 0.68 for said in seen.values())


def test_a_walk_by_hand_is_judged_by_its_first_wrong_move():
    grades = {said: Walks(moves=4).grade(BY_HAND, f"<answer>{said}</answer>") for said in "023"}
    assert [grades[said]["outcome"] for said in "023"] == [0, 1, 0]
    assert grades["2"] == {"outcome": 1, "lenient": 1, "faulty": 1, "caught": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("xzcfi", ""),
        ("xcegi", ""),
        ("xzmzi", ""),
        ("xzcf", "not 5 places"),
        ("xzcfgi", "not 5 places"),
        ("xzcfI", "not 5 places"),
        ("x z c f i", "not 5 places"),
        ("", "not 5 places"),
        ("yacfi", "begins or ends in the wrong place"),
        ("xzcfh", "begins or ends in the wrong place"),
        ("xzcai", "goes back"),
        ("xzcci", "goes back"),
        ("xzadi", "goes next door"),
        ("xzcgi", ""),
        ("xzchi", "goes next door"),
    ],
)
def test_a_walk_is_graded_by_where_its_moves_lead(answer, reason):
    graded = Walks(moves=4).grade(WALK, f"<think></think><answer>{answer}</answer>")
    assert (graded["outcome"], graded.reason) == (float(not reason), reason)
    assert "faulty" not in graded


def test_gold_says_every_move_and_an_example_tries_a_walk_before_another():
    assert Walks(moves=4).gold(WALK) == "<think>xz\nzc\ncf\nfi</think><answer>xzcfi</answer>"
    assert Walks().gold(BY_HAND) == Walks().example(BY_HAND) == "<think></think><answer>2</answer>"
    where, wrong = Walks(judged=0, wrong=0.5), 0
    for index in range(100):
        task = where.task("train", 0, index)
        assert all(min(said) for said in labelled(task.prompt, task.needs["walk"]))
        assert where.grade(task, where.gold(task))["outcome"] == 1
        text = where.example(task)
        assert where.grade(task, text)["outcome"] == 1
        (tried,) = lines_of(text)
        moves, marks = [tried[at : at + 2] for at in range(0, len(tried), 3)], tried[2::3]
        assert marks == "".join("<!.+"[[*labels, 0].index(0)] for labels in labelled(task.prompt, moves))
        wrong += len(marks) - marks.count("+")
    assert 120 < wrong < 180


def test_what_is_asked_for_never_meets_whatever_is_asked_of_it():
    def asked(name, split):
        drawn = (source(name).task(split, seed, index).needs["question"] for seed in (0, 1) for index in range(200))
        return {*drawn}

    small = "walks:moves=2,places=12"
    assert 1 < len(asked(small, "test")) < 60
    assert not asked(small, "train") & asked(small, "test")
    assert not asked("walks", "train") & asked("walks:judged=0", "test")


@pytest.mark.parametrize("name", ["walks", "walks:judged=0.5"])
def test_it_passes_the_exam_of_sources(name):
    assert [finding.says for finding in of_source(source(name)) if finding.fine is not True] == []


@pytest.mark.parametrize(
    ("knobs", "said"), [({"moves": 1}, "moves"), ({"places": 7}, "places"), ({"useless": -0.5}, "useless"), ({"judged": 2}, "judged")]
)
def test_what_cannot_be_a_walk_is_refused(knobs, said):
    with pytest.raises(ValueError, match=f"walks: {said} is"):
        Walks(**knobs)
