"""A patient who tells one symptom a question: what each action earns and in which order it is looked at; what the best doctor reaches."""

import asyncio
from itertools import pairwise
from math import isclose

import pytest

from strop.check.growing import of_world
from strop.records import Task
from strop.seams.world import Said, Seat, replied, verdict
from strop.tasks import source
from strop.worlds import symptoms
from strop.worlds.clinic import Clinic, event, word_f1
from strop.worlds.symptoms import NAMES

CASE = {name: name in "abg" for name in NAMES["short"]}
TASK = Task("ill", {"case": CASE, "illness": "a g", "advice": "u w"}, "clinic")
PROSE = Task("ill", {"case": {"fever": True, "cough": False}, "illness": "viral rhinitis", "advice": "rest fluids"}, "clinic")


def heard(*texts, limit=4, world=Clinic(), task=TASK):
    """What is answered, turn by turn, as long as it is asked."""

    async def all_of_it():
        state, made = world.start(task, Seat("g", "g/0", limit)), []
        for text in texts:
            assert not (made and made[-1].done), "it was over before"
            state, reply = await replied(world, state, Said(text), {})
            made.append(reply)
        return made

    return asyncio.run(all_of_it())


def earned(*texts, **how):
    return [reply.facts["earned"] for reply in heard(*texts, **how)]


@pytest.mark.parametrize(
    ("texts", "earns", "ends"),
    [
        ((">a?",), [1.0], False),
        ((">c?",), [1.0], False),  # that it is not there is told too
        (("a?",), [-2.0], False),
        ((">a? >b?",), [-2.0], False),
        (("",), [-2.0], False),
        ((">a",), [-2.0], False),
        ((">a?b?",), [-2.0], False),
        ((">a?", ">a?"), [1.0, -2.0], False),
        ((">z?", ">z?"), [-1.0, -2.0], False),  # what nobody knows was asked too
        ((">a b?",), [-1.0], False),
        ((">=a g",), [5.0], True),
        ((">=a g+u w",), [10.0], True),
        ((">=a h+w",), [2.5 + 10 / 3], True),
        ((">=b h",), [0.0], True),
        ((">a?", ">b?", ">c?", ">d?"), [1.0, 1.0, 1.0, -5.0], True),
        ((">a?", ">b?", ">c?", ">a?"), [1.0, 1.0, 1.0, -5.0], True),  # the last turn is looked at before a repeat
        ((">a?", ">b?", ">c?", ">"), [1.0, 1.0, 1.0, -5.0], True),  # and before the number of question marks
        ((">a?", ">b?", ">c?", ">=a g"), [1.0, 1.0, 1.0, 5.0], True),
    ],
)
def test_every_action_earns_what_the_released_table_says(texts, earns, ends):
    found = heard(*texts)
    assert [reply.facts["earned"] for reply in found] == pytest.approx(earns)
    assert found[-1].done is ends


def test_a_malformed_last_turn_costs_two_and_buys_another():
    three = (">a?", ">b?", ">c?")
    assert earned(*three, "?", ">d?") == [1, 1, 1, -2, -5], "the -5 falls at the first that is well-formed"
    assert earned(*three, "?", "?", "?", ">=a g") == [1, 1, 1, -2, -2, -2, 5], "a diagnosis is still taken"
    late = heard(*three, "?", ">=a g")[-1]
    assert (late.done, late.scores["f1"], late.scores["outcome"]) == (True, 1.0, 0.0), "and is not in time"
    assert not heard(*three, "?", "?")[-1].done, "who goes on so never pays the -5 here"
    assert event(None, "=", 9, 4, ()) == "malformed"


def test_in_prose_the_format_is_that_of_the_release():
    def says(text):
        return heard(text, world=Clinic("prose"), task=PROSE)[0]

    good = "<think>Hm.</think><answer>Do you have a fever?</answer>"
    assert says(good).observation == "Yes, fever."
    assert says(good.replace("fever", "cough")).observation == "No cough."
    assert says(good.replace("fever", "car")).facts["event"] == "unknown"
    assert says(good.replace("fever", "fever or cough")).facts["event"] == "unknown"
    for broken in (
        good + " ",
        good + ".",
        good[:-1],
        good + good,
        "Do you have a fever?",
        good.replace("<think>", ""),
        good.replace("Hm", "</answer>"),
    ):
        assert (says(broken).facts["event"] == "malformed") is (broken != good + " "), broken
    right = "<think></think><answer>Diagnosis: Viral rhinitis. Recommendation: fluids, rest</answer>"
    assert says(right).facts["earned"] == 10
    assert says(right.replace("Diagnosis", "diagnosis")).facts["event"] == "not one question", "the literal word"


def test_word_f1_with_spaces_starts_well_above_nothing():
    said, gold = "it may be acute asthma", "the illness is viral rhinitis"
    assert word_f1(said, gold) == 0.0
    assert isclose(word_f1(said, gold, spaces=True), 8 / 18), "four spaces of nine and nine"
    assert word_f1("viral, rhinitis!", "viral rhinitis") == 1.0
    assert word_f1("viral viral", "viral rhinitis") == 0.5, "a bag, no set"
    assert word_f1("", "") == word_f1("a", "") == 0.0
    every = " ".join(symptoms.illnesses("prose"))
    assert word_f1(every, gold) < 0.2, "who lists everything earns next to nothing"


def test_who_went_on_to_the_end_has_no_outcome_and_counts_what_went_wrong():
    found = heard("x", ">z?", ">b?", ">b?", ">c?", limit=9)[-1].scores
    assert found == {"outcome": 0.0, "f1": 0.0, "turns": 5.0, "repeats": 1.0, "invalid": 2.0, "leaks": 0.0}
    stated = Task("ill", {**TASK.needs, "turns": 4}, "clinic")
    assert heard(">=a g", task=stated)[-1].scores["within_4"] == 1.0


def test_a_verdict_follows_from_what_was_said_and_the_world_keeps_its_promises():
    said = [Said(text) for text in (">a?", ">g?", ">=a g")]
    assert asyncio.run(verdict(Clinic(), TASK, Seat("g", "g/0", 4), said)) == heard(">a?", ">g?", ">=a g")[-1].scores
    for name in ("clinic", "clinic:prose=1,advised=1"):
        there = source(name)
        assert of_world(there.world, there.task("train", 0, 0)) == []
    with pytest.raises(ValueError, match="short"):
        Clinic("shor")


def test_its_expert_asks_in_any_order_within_its_turns_and_knows_the_file():
    lengths, first = set(), set()
    for name in ("clinic", "clinic:prose=1,advised=1"):
        there = source(name)
        for index in range(40):
            task, world = there.task("train", 0, index), there.world

            async def played(task=task, world=world, index=index):
                state, texts, replies = world.start(task, Seat("g", f"g/{index}", 10)), [], []
                while not replies or not replies[-1].done:
                    texts.append(world.expert(state))
                    state, reply = await replied(world, state, Said(texts[-1]), {})
                    replies.append(reply)
                return texts, replies

            texts, replies = asyncio.run(played())
            scores = replies[-1].scores
            assert scores["outcome"] == 1.0
            assert scores["repeats"] == scores["invalid"] == 0.0
            assert sum(reply.facts["earned"] for reply in replies) == len(texts) - 1 + 5 * (1 + bool(there.advised))
            assert there.grade(task, there.gold(task))["outcome"] == 1.0
            lengths.add(len(texts))
            first.add(texts[0])
    assert lengths == set(range(2, 11))
    assert len(first) > 20


def test_cases_follow_the_chances_and_held_out_ones_say_their_turns():
    there = source("clinic")
    tasks = [there.task("train", 0, index) for index in range(1500)]
    of = [task for task in tasks if task.needs["illness"].startswith("a")]
    assert sum(task.needs["case"]["a"] for task in of) / len(of) == pytest.approx(0.95, abs=0.03)
    assert len({task.needs["illness"] for task in tasks}) == 16
    assert [there.task("test", 0, index).needs["turns"] for index in range(6)] == [2, 4, 6, 8, 10, 2]
    assert all("turns" not in task.needs for task in tasks)
    held = {there.task("test", 0, index).meta["where"] for index in range(300)}
    assert not held & {task.meta["where"] for task in tasks}
    with pytest.raises(ValueError, match="prose"):
        source("clinic:prose=2")


def test_what_the_number_of_turns_explains_of_the_return_drawn_by_rollout():
    """By hand: every case, every answer, of the one who asks what tells most."""
    returns, chances = [], []
    for turns in range(2, 11):
        for _, joint in symptoms.answers()[turns - 1]:
            said = int(joint.argmax())
            for number, chance in enumerate(joint):
                f1 = word_f1(symptoms.illnesses("short")[said], symptoms.illnesses("short")[number])
                returns.append((turns, turns - 1 + 5 * f1))
                chances.append(float(chance) / 9)
    assert sum(chances) == pytest.approx(1.0)
    mean = sum(p * r for p, (_, r) in zip(chances, returns, strict=True))
    whole = sum(p * (r - mean) ** 2 for p, (_, r) in zip(chances, returns, strict=True))
    by_turns = {t: 9 * sum(p * r for p, (turns, r) in zip(chances, returns, strict=True) if turns == t) for t in range(2, 11)}
    between = sum((value - mean) ** 2 for value in by_turns.values()) / 9
    assert symptoms.explained() == pytest.approx(between / whole, abs=1e-9)
    assert symptoms.explained() == pytest.approx(0.885, abs=0.001)
    assert symptoms.explained(low=6, high=6) == 0.0


def test_the_best_doctor_is_no_worse_than_the_greedy_one_and_gains_by_every_turn():
    best, greedy = symptoms.ceilings(), [symptoms.right(questions) for questions in range(10)]
    assert best[0] == greedy[0] == pytest.approx(1 / 16)
    assert best[1] == pytest.approx(0.475 / 4), "one question tells of one word"
    assert all(one >= other - 1e-12 for one, other in zip(best, greedy, strict=True))
    assert all(b > a for a, b in pairwise(best))
    for known, joint in symptoms.answers()[3]:
        assert len(known) == 3
        assert joint.sum() > 0
    stop, reached = symptoms.unseen((2, 4, 6))
    assert symptoms.untold((2, 4, 6)) == pytest.approx(0.3425, abs=1e-4), "who stops by what was answered"
    assert symptoms.untold((6,)) == pytest.approx(symptoms.ceilings()[5])
    assert (stop, reached) == (4, pytest.approx(2 * best[3] / 3))
    assert "0.885" in symptoms.table()
