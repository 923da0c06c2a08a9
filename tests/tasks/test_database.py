"""Domains as a source: what is trained on and what is tested on share no name and no template, and wrong documents are only documents."""

import asyncio

import pytest

from strop.records import Task, canonical
from strop.seams.world import Call, Said, Seat, documents_of, tools_of, verdict
from strop.tasks import source
from strop.worlds.database import Domain

MANY = "database:tables=3,tools=8,letters=3,least=2,most=6,messages=3"


def names(task):
    domain = Domain.of(task.needs["domain"])
    held = {column for _, columns in domain.tables for column, _ in columns}
    return {*held, *(name for name, _ in domain.tables), *(tool.name for tool in domain.operations)}


def drawn(text, split, count=200, seed=0):
    where = source(text)
    return [where.task(split, seed, index) for index in range(count)]


@pytest.mark.parametrize("text", ["database", MANY])
def test_training_and_unseen_domains_share_no_name_and_no_template(text):
    train = [task for seed in range(4) for task in drawn(text, "train", 50, seed)]
    test = drawn(text, "test", 80)
    unseen, own = test[::2], test[1::2]
    assert {task.needs["where"] for task in unseen} == {"unseen"}
    assert {task.needs["where"] for task in own} == {f"own_{draw}" for draw in range(4)}
    assert not {name for task in unseen for name in names(task)} & {name for task in (*train, *own) for name in names(task)}
    templates = [{canonical(Domain.of(task.needs["domain"]).template()) for task in some} for some in (unseen, (*train, *own))]
    assert not templates[0] & templates[1]


def test_a_run_trains_on_the_domains_of_its_draw_and_own_ones_are_those():
    test = drawn("database:domains=3", "test", 160)
    for seed in range(4):
        trained = {canonical(task.needs["domain"]) for task in drawn("database:domains=3", "train", 40, seed)}
        own = {canonical(task.needs["domain"]) for task in test if task.needs["where"] == f"own_{seed}"}
        assert len(trained) == 3
        assert own == trained
    assert len({canonical(task.needs["domain"]) for task in drawn("database:domains=1", "train", 30)}) == 1


def test_what_is_unseen_is_the_same_however_much_was_trained_on():
    for other in ("database:domains=1", "database:others=1", "database:domains=4,others=0.5"):
        assert drawn("database", "test", 40)[::2] == drawn(other, "test", 40)[::2]


def test_no_held_out_task_is_trained_on():
    train = {task.id for seed in range(4) for task in drawn("database:domains=1", "train", 150, seed)}
    assert not train & {task.id for task in drawn("database:domains=1", "test", 80)}


def test_documents_of_others_are_shown_and_a_domain_s_own_tools_are_called():
    where = source("database:helps=0,others=1")
    for split, indices in (("train", range(20)), ("test", range(1, 40, 2))):
        for task in (where.task(split, 0, index) for index in indices):
            told, there = documents_of(where.world, task), tools_of(where.world, task)
            assert {tool.name for tool in told} != {tool.name for tool in there}
            said = [*(Said("", (Call(*call),)) for call in task.needs["gold"]), Said(".")]
            assert asyncio.run(verdict(where.world, task, Seat("g", "g/0"), said))["outcome"] == 1
    unseen = where.task("test", 0, 0)
    assert documents_of(where.world, unseen) == tools_of(where.world, unseen)
    half = drawn("database:others=0.5", "train")
    assert 0.3 < sum("documents" in task.needs for task in half) / len(half) < 0.7


@pytest.mark.parametrize("text", ["database", MANY])
def test_calls_in_one_answer_are_graded_alone(text):
    where = source(text)
    for task in drawn(text, "train", 60):
        gold = where.gold(task)
        assert dict(where.grade(task, gold)) == {"outcome": 1, "lenient": 1}
        assert where.grade(task, "<answer></answer>")["outcome"] == 0
        assert where.grade(task, gold.replace("</answer>", "; zzzzz</answer>"))["outcome"] == 0, "a call of no tool"
        assert Task.from_json(task.to_json()) == task
    wrong = where.grade(task, "<answer>nothing of the kind</answer>")
    assert wrong.reason.startswith("there is no tool")


def test_a_wish_has_as_many_calls_and_messages_as_it_may():
    tasks = drawn(MANY, "train")
    calls = [len(task.needs["gold"]) for task in tasks]
    assert max(calls) == 6
    assert {len(task.needs["until"]) for task in tasks} == {1, 2, 3}
    assert all(task.needs["until"][-1] == count for task, count in zip(tasks, calls, strict=True))
    assert all(len(task.needs["says"]) + 1 == len(task.needs["until"]) for task in tasks)


def test_knobs_out_of_range_are_refused():
    for knobs in ("domains=0", "others=2", "tools=2", "letters=1", "least=3", "messages=4", "draws=0"):
        with pytest.raises(ValueError, match=knobs.partition("=")[0] if "least" not in knobs else "most"):
            source(f"database:{knobs}")
