"""WebExplorer: what an episode earns, limits that grow when many are cut, and a solver on questions that were edited."""

import asyncio
import json
from itertools import pairwise

import pytest
import torch

from strop.directory import sampled
from strop.experiments.webexplorer import ASKED, of, played
from strop.methods.webexplorer import LIMITS, TAUGHT, WEBEXPLORER, WEBEXPLORER_PROGRAM, crowded, in_form, limited, outcome_beside_format
from strop.policies.causal import load
from strop.program import Program, Stage, steps, when
from strop.recipe import Recipe
from strop.records import Group, Rollout, Task
from strop.run import create
from strop.seams.world import Call, Said
from strop.staged import create as staged
from strop.tasks import source
from strop.tasks.clues import OPERATORS
from strop.worlds.calls import Hermes
from strop.worlds.clues import base_of

GOOD, UNFOUND, BROKEN = ["search", True, ""], ["visit", False, "no such page"], ["", False, "no JSON"]
ANSWER = "<answer>aa</answer>"


def scored(grader, stop, text, *turns):
    """What a grader says of an episode of these turns, each a list of calls."""
    keys = {"facts": [{} for _ in turns], **({"calls": [*turns]} if any(turns) else {})}
    groups = [Group(Task("x", {}, "s"), (Rollout((), "0", stop=stop, keys=keys, text=text),))]
    return asyncio.run(grader.on({"groups": groups, "ctx": None})).values["0"][grader.gives]


@pytest.mark.parametrize(
    ("stop", "text", "turns", "form", "cut"),
    [
        ("finished", f"call\naa\n{ANSWER}", ([GOOD], []), 1, 0),
        ("finished", ANSWER, ([],), 1, 0),
        ("finished", f"call\nno page\n{ANSWER}", ([UNFOUND], []), 1, 0),
        ("finished", f"call\nerror\n{ANSWER}", ([BROKEN], []), 0, 0),
        ("finished", f"call\nerror\n{ANSWER}", ([GOOD, BROKEN], []), 0, 0),
        ("finished", f"hm\nno call\n{ANSWER}", ([], []), 0, 0),
        ("finished", f"hm\nno call\ncall\naa\n{ANSWER}", ([], [GOOD], []), 0, 0),
        ("finished", "call\naa\n<answer>aa", ([GOOD], []), 0, 0),
        ("finished", f"call\naa\n{ANSWER}{ANSWER}", ([GOOD], []), 0, 0),
        ("turns", "call\naa\ncall", ([GOOD], [GOOD]), 0, 1),
        ("length", "call", ([GOOD],), 0, 1),
    ],
)
def test_the_form_of_an_episode_by_hand(stop, text, turns, form, cut):
    assert scored(in_form(), stop, text, *turns) == form
    assert scored(limited(), stop, text, *turns) == cut


def test_the_reward_by_hand():
    outcome_R, format_R = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(outcome_beside_format(outcome_R, format_R), torch.tensor([0.0, 0.2, 1.0, 1.2]))
    assert WEBEXPLORER.reward.constants == {"format_share": 0.2}


@pytest.mark.parametrize(
    ("cut", "moved"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([0.3, 0.1, 0.1], False),
        ([0.2, 0.2, 0.3], True),
        ([1.0, 0.0, 0.0, 0.0], False),
        ([None, 0.3, 0.4], True),
    ],
)
def test_limits_grow_when_a_fifth_of_three_steps_is_cut(cut, moved):
    assert crowded()(cut) is moved


def test_stages_have_more_turns_and_more_room_each_and_keep_the_optimiser():
    taught, *grown = WEBEXPLORER_PROGRAM.plan
    assert taught.task == "clues"
    assert [(stage.method.sampler.turns, stage.method.sampler.window.limit) for stage in grown] == [*LIMITS]
    assert all(one < other for pair in pairwise(LIMITS) for one, other in zip(*pair, strict=True))
    assert [type(stage.until).__name__ for stage in grown] == ["When", "When", "Share"]
    assert [stage.keeps for stage in grown] == [(), *[("curriculum", "optimiser")] * 2]
    assert isinstance(WEBEXPLORER.sampler.calls, Hermes)


SMALL = {"tasks": 2, "group": 4, "eval_tasks": 0, "slots": 64}


@pytest.mark.slow  # five steps in three stages
def test_all_its_stages_are_trained_and_one_that_is_crowded_ends(tmp_path):
    taught, narrow, wider, _ = WEBEXPLORER_PROGRAM.plan
    soon = when(crowded(above=-1.0, last=2), at_most=4)  # however few are cut
    late = when(crowded(above=1.0, last=1), at_most=2)
    short = Program(
        "short",
        (
            Stage("imitate", taught.method, steps(1), task="clues"),
            Stage("narrow", narrow.method, soon, task=narrow.task),
            Stage("wider", wider.method, late, task=wider.task, keeps=wider.keeps),
        ),
    )
    one = staged(Recipe(method=short, steps=9, lr=1e-4, **SMALL), tmp_path / "p")
    one.train()
    assert [(done.steps, done.why) for done in one.done] == [(1, "steps"), (2, "when"), (2, "steps")]
    groups, _ = sampled(tmp_path / "p" / "1-imitate")
    assert all(r.text.endswith(f"<answer>{g.task.needs['answer']}</answer>") for g in groups for r in g.rollouts), "the teacher is right"
    lines = [json.loads(line) for line in (tmp_path / "p" / "2-narrow" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["limited"] <= 1 and line["reward"] == pytest.approx(line["outcome"] + 0.2 * line["format"]) for line in lines)
    groups, _ = sampled(tmp_path / "p" / "2-narrow")
    assert all(len(row.tokens) <= 256 for g in groups for r in g.rollouts for row in r.rows)


@pytest.mark.slow
def test_its_own_set_up_trains_too(tmp_path):
    create(Recipe(method=WEBEXPLORER, task="clues:evolved=5", steps=1, **SMALL), tmp_path / "run").train()


@pytest.mark.parametrize("name", ["clues", "clues:evolved=5", "clues:evolved=5,operator=any"])
def test_the_teacher_is_right_within_the_room_that_it_has(name):
    asked, renderer = source(name), load("pico").renderer
    reads = asked.world.reply
    for index in range(40):
        task = asked.task("train", 0, index)
        taken, right = asyncio.run(played(task, of(task, "salient", 0)))
        assert right
        assert taken <= TAUGHT.sampler.turns
        for page in base_of(*task.needs["base"]).names[index::40]:
            _, reply = asyncio.run(reads(asked.world.start(task, None), Said("", (Call("visit", {"name": page}),)), {}))
            assert len(renderer.turn(reply.observation)) <= TAUGHT.sampler.observation


def test_the_solver_takes_longer_where_the_most_telling_clues_are_gone_and_as_long_where_the_least_are():
    tasks = [source("clues:entities=2000").task("test", 0, index) for index in range(40)]

    def turns(operator, rounds):
        return sum(asyncio.run(played(task, of(task, operator, rounds)))[0] for task in tasks) / len(tasks)

    first = turns("salient", 0)
    assert turns("salient", 5) > first + 1
    assert abs(turns("flattest", 5) - first) < 0.5
    assert {*OPERATORS} >= {"salient", "flattest", "any"}


def test_questions_are_played_and_nothing_is_learned(tmp_path):
    run = create(Recipe(method=ASKED, task="clues:entities=2000", steps=1, tasks=5, lr=0.0, eval_tasks=0), tmp_path / "run")
    before = run.digest_weights(heads=False)
    run.train()
    groups, _ = sampled(tmp_path / "run")
    assert [len(group.rollouts) for group in groups] == [1] * 5
    for group in groups:
        turns, right = asyncio.run(played(group.task, of(group.task, "salient", 0)))
        assert right
        assert len(group.rollouts[0].keys["calls"]) == turns, "the run and its reading play alike"
    assert run.digest_weights(heads=False) == before
