"""People who cannot be guessed at: their sides of the split, their knowledge, and what counts as not knowing."""

from collections import Counter

import pytest

from strop.tasks import source
from strop.tasks.facts import HELD_OUT_TARGETS, ROOMS, TARGETS, UNSURE, residents, room
from strop.tasks.mentions import COUNTS, mentions

FACTS = source("facts")


def person(task):
    return task.prompt.partition("?")[0]


def test_nobody_is_on_both_sides_whatever_the_seed_and_the_target():
    train = {person(FACTS.task("train", seed, i)) for seed in range(5) for i in range(1000)}
    test = {person(FACTS.task("test", seed, i)) for seed in range(5) for i in range(4000)}
    assert len(train) + len(test) == 1000, "everybody is asked about"
    assert not train & test
    assert 0.35 < len(train) / 1000 < 0.45


def test_the_same_person_under_another_target_is_the_same_problem():
    tasks = [FACTS.task("train", 0, i) for i in range(2000)]
    by_person = {}
    for task in tasks:
        by_person.setdefault(person(task), set()).add(task.id)
    assert all(len(ids) == 1 for ids in by_person.values())
    assert len({next(iter(ids)) for ids in by_person.values()}) == len(by_person), "and another person is another problem"
    assert any(len({t.prompt for t in tasks if person(t) == name}) > 1 for name in by_person), "it was asked about under several targets"
    hidden = source("facts:stated=0").task("train", 0, 0)
    assert hidden.id == tasks[0].id
    assert "t=" not in hidden.prompt


def test_a_leak_of_people_between_the_splits_shows_in_the_ids_that_the_claim_runner_compares():
    """Trained on under one target, tested under another: different prompts, one id."""
    at_half = FACTS.about("Kd", 0.5, {})
    at_two_thirds = FACTS.about("Kd", 2 / 3, {})
    assert at_half.prompt != at_two_thirds.prompt
    assert {at_half.id} & {at_two_thirds.id}


def test_held_out_people_are_asked_at_every_target_and_two_thirds_is_never_trained():
    first = [FACTS.task("test", 0, i) for i in range(5)]
    assert len({person(t) for t in first}) == 1
    assert [t.needs["target"] for t in first] == list(HELD_OUT_TARGETS)
    assert {FACTS.task("train", 0, i).needs["target"] for i in range(500)} == set(TARGETS)
    assert set(HELD_OUT_TARGETS) - set(TARGETS) == {2 / 3}


def test_a_seed_draws_what_is_said_of_people_and_never_the_truth():
    assert mentions(1000, 0) != mentions(1000, 1)
    truth = {person(t): t.needs["answer"] for seed in (0, 1) for i in range(3000) if (t := FACTS.task("test", seed, i))}
    assert truth == {name: room(name) for name in truth}


def test_knowledge_is_graded_as_the_paper_file_asks():
    """Counts 0 to 6 in the weights given; a mention is right as often as its person is reliable: 0.65 on average."""
    everybody = residents(2000, "train") + residents(2000, "test")
    said = mentions(2000, 3)
    counts = Counter(Counter(name for name, _ in said).get(name, 0) for name in everybody)
    for number, weight in enumerate(COUNTS):
        assert counts[number] / 2000 == pytest.approx(weight / 100, abs=0.03)
    assert sum(room(name) == answer for name, answer in said) / len(said) == pytest.approx(0.65, abs=0.03)
    wrong = Counter(answer for name, answer in said if room(name) != answer)
    assert set(wrong) == set(ROOMS)


def test_a_base_learns_to_read_the_target_and_not_whom_to_be_sure_of():
    """Mentions that say nobody knows come more often under a high target, and as often for those who are well known."""
    where = source("mentions")
    tasks = [where.task("train", 0, i) for i in range(20_000)]
    often = Counter(person(t) for t in tasks)

    def unsure(some):
        return sum(t.needs["answer"] == UNSURE for t in some) / len(some)

    high, low = [t for t in tasks if "t=.9" in t.prompt], [t for t in tasks if "t=.0" in t.prompt]
    assert unsure(high) == pytest.approx(0.25 * 0.945, abs=0.02)
    assert unsure(low) == pytest.approx(0.25 * 0.045, abs=0.02)
    median = sorted(often.values())[len(often) // 2]
    rare, known = [t for t in tasks if often[person(t)] <= median], [t for t in tasks if often[person(t)] > median]
    assert unsure(rare) == pytest.approx(unsure(known), abs=0.015)


@pytest.mark.parametrize("said", ["?", "I don't know", "I don’t know.", " idk ", "I do not know!", "i DON'T know"])
def test_an_abstention_is_recognised_in_the_tag_and_bare(said):
    task = FACTS.task("test", 0, 3)
    for text in (f"<answer>{said}</answer>", said):
        graded = FACTS.grade(task, text)
        assert (graded["outcome"], graded["abstained"], graded["target"]) == (0.0, 1.0, 0.75), text


@pytest.mark.parametrize("said", ["I know: {}", "not {}", "?{}", "", "m", "{}{}"])
def test_what_is_neither_an_answer_nor_an_abstention_is_wrong(said):
    task = FACTS.task("test", 0, 0)
    graded = FACTS.grade(task, f"<answer>{said.replace('{}', task.needs['answer'])}</answer>")
    assert (graded["outcome"], graded["abstained"]) == (0.0, 0.0)
    assert graded.reason


def test_hedging_after_the_answer_is_no_abstention_and_the_gold_is_no_hedge():
    task = FACTS.task("test", 0, 0)
    assert FACTS.grade(task, FACTS.gold(task)) == {"outcome": 1.0, "lenient": 1.0, "abstained": 0.0, "target": 0.0}
    assert FACTS.grade(task, FACTS.gold(task) + " I don't know")["abstained"] == 0.0
