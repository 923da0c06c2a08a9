"""A doctor who is told its turns: whose number it is, what each message says of it, and what the last turn is worth."""

import asyncio
from dataclasses import replace

import pytest
import torch

from strop.check.growing import Script
from strop.directory import read_metrics
from strop.experiments.doctoragent_rl import BUDGETS, DISPLAY, HIDDEN
from strop.methods.doctoragent_rl import DOCTORAGENT_GRPO, IMITATED, RELEASED, SMALL, budget, by_turns
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Group, Rollout, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.credit import group_normalized
from strop.seams.episode import Between, Played
from strop.seams.index import Index
from strop.tasks import source
from strop.worlds.clinic import Clinic
from strop.worlds.symptoms import NAMES

CLINIC = source("clinic")
CASE = {"case": {name: name in "ag" for name in NAMES["short"]}, "illness": "a g", "advice": ""}


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


def played(renderer, method, *says, task=None, n=1, **changes):
    """Episodes of a script that says these, the last one again and again."""
    ctx = Ctx(0, Progress(), CLINIC, {"actor": Handle(Script(), renderer)}, None, place="0")
    how = replace(method.sampler, n=n, **changes)
    agent = (lambda state, turn: says[min(turn, len(says) - 1)]) if says else lambda state, turn: CLINIC.world.expert(state)
    (group,) = asyncio.run(Played(agent, how)(task or CLINIC.task("train", 0, 0), CLINIC.world, ctx))
    return group.rollouts


def numbers(rollouts):
    return [r.keys["seat"][2] for r in rollouts]


def test_a_group_has_one_number_of_turns_and_as_released_each_rollout_its_own(renderer):
    assert len(set(numbers(played(renderer, SMALL, n=12)))) == 1
    own = numbers(played(renderer, RELEASED, n=12))
    assert len(set(own)) > 3
    assert {*own} <= set(range(2, 11))
    assert numbers(played(renderer, SMALL, n=2, task=CLINIC.task("test", 0, 3))) == [8, 8], "what a task says goes before chance"


def heard(renderer, rollout):
    return [renderer.text(s.tokens) for row in rollout.rows for s in row.segments if s.kind in ("prompt", "observation")]


def test_every_message_says_the_turn_and_the_number_or_none_does(renderer):
    task = Task("ill", {**CASE, "turns": 6}, "clinic")
    says = (">a?", ">b?", ">=a g")
    (told,), (untold,) = (played(renderer, method, *says, task=task) for method in (SMALL, HIDDEN))
    for text, wanted in zip(heard(renderer, told), ("ill\n1/6", "2/6 a+", "3/6 b-"), strict=True):
        assert f">{wanted}<" in text
    for text, wanted in zip(heard(renderer, untold), ("ill", "a+", "b-"), strict=True):
        assert f">{wanted}<" in text
    assert told.keys["scores"] == untold.keys["scores"]
    first = DOCTORAGENT_GRPO.sampler.opening(task, Clinic(), 6)
    assert first == "ill\nTurn 1/6"


def test_a_malformed_last_turn_buys_more_up_to_the_tenth(renderer):
    task = Task("ill", {**CASE, "turns": 3}, "clinic")
    (once,) = played(renderer, SMALL, ">a?", ">b?", "?", ">c?", task=task)
    assert [turn["earned"] for turn in once.keys["facts"]] == [1, 1, -2, -5]
    assert once.stop == "turns"
    (ever,) = played(renderer, SMALL, ">a?", ">b?", "?", task=task)
    assert [turn["earned"] for turn in ever.keys["facts"]] == [1, 1] + [-2] * 8, "the tenth ends it, and nothing falls due"
    (strict,) = played(renderer, SMALL, ">a?", ">b?", "?", task=task, turns=Between(2, 10))
    assert len(strict.keys["facts"]) == 3


def test_a_task_that_says_a_wrong_number_and_a_display_without_places_are_refused(renderer):
    for wrong in (0, 11, True, "4"):
        with pytest.raises(ValueError, match="a task says that it has"):
            played(renderer, SMALL, task=Task("ill", {**CASE, "turns": wrong}, "clinic"))
    with pytest.raises(ValueError, match="twice"):
        budget(2, 10, each="{}")


def test_what_is_earned_is_the_sum_over_turns_and_a_turn_without_is_our_fault():
    def of(facts, stop="finished"):
        rollout = Rollout((), "0", keys={"facts": facts}, stop=stop)
        scores = asyncio.run(by_turns().on({"groups": [Group(Task("", {}, "s"), (rollout,))], "ctx": None}))
        return scores.values["0"]["earned"], len(scores.incidents)

    assert of([{"earned": 1.0}, {"earned": -2.0}, {"earned": 5.0}]) == (4.0, 0)
    assert of([{"earned": 1.0}, {}]) == (None, 1)
    assert of([{"earned": "x"}]) == (None, 1)
    assert of([]) == (0.0, 0)
    assert of([{"earned": 1.0}, {"error": "patient: gone"}], "error") == (None, 0), "its outcome says why"


def test_whitening_twice_changes_nothing():
    reward_R = torch.tensor([3.0, -5.0, 8.0, 8.0, 1.0, 0.5], dtype=torch.float64)
    index = Index.one_group(6)
    once = group_normalized(reward_R, index, eps=1e-6)
    torch.testing.assert_close(group_normalized(once, index, eps=1e-6), once, rtol=2e-6, atol=0)


def test_the_release_has_no_reference_and_clips_higher():
    assert not DOCTORAGENT_GRPO.reference
    assert set(DOCTORAGENT_GRPO.signals) == {"policy"}
    assert DOCTORAGENT_GRPO.signals["policy"].objective.constants["clip_high"] == 0.28
    assert SMALL.sampler.turns.per == "group"
    assert RELEASED.sampler.turns.per == "rollout"
    assert BUDGETS.arms == DISPLAY.arms


def test_both_stages_learn_and_what_the_patient_says_is_context(tmp_path, renderer):
    small = {"tasks": 1, "eval_tasks": 0, "slots": 16, "steps": 1, "task": "clinic"}
    run = create(Recipe(method=IMITATED, **small), tmp_path / "imitate")
    run.train()
    record = run.bill.total
    (rollout,) = played(renderer, IMITATED, ">a?", ">=a g")
    (row,) = rollout.rows
    assert [renderer.text(s.tokens) for s in row.segments if s.id in row.trains] == [">a?", ">=a g"]
    assert record["trained"] > record["decoded"] == 0
    two = create(Recipe(method=SMALL.but("doctor-small", sampler=replace(SMALL.sampler, n=2)), **small), tmp_path / "reinforce")
    two.train()
    assert two.bill.total["trained"] > 0
    assert read_metrics(two.directory)[0]["earned"] < 0, "an untaught doctor says what is no question"
