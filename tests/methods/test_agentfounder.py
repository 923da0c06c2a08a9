"""AgentFounder: its stages, what its control keeps, and that what is imitated is read nowhere."""

import asyncio
from collections import Counter

import pytest

from strop.check.growing import Script
from strop.directory import read_metrics, sampled
from strop.experiments.agentfounder import FIRST, apart, imitated, permuted_steps, read_of
from strop.methods.agentfounder import ACT, AGENTFOUNDER, CHOICES, FIRST_STEPS, IMITATE, ONE, Few
from strop.policies.causal import load
from strop.program import Program, Stage, steps
from strop.recipe import Recipe
from strop.records import Scores
from strop.seams.context import Ctx, Handle, Progress, keyed
from strop.seams.feed import episode
from strop.seams.texts import VERDICTS, first_steps
from strop.staged import create as staged
from strop.tasks import source

RENDERER, WIKI = load("pico").renderer, source("wiki:known=0.5")


def ctx(place=""):
    return Ctx(3, Progress(), WIKI, {"actor": Handle(Script(), RENDERER)}, None, place=place)


def taught(count):
    return [asyncio.run(episode(WIKI.task("train", 0, index), WIKI.world, ONE, ctx(f"{index}"))) for index in range(count)]


def test_the_control_has_the_same_questions_plans_and_calls_and_none_of_them_together():
    groups = taught(12)
    planned, other = first_steps(groups, RENDERER), permuted_steps(groups, keyed(0), RENDERER)
    assert Counter(g.rollouts[0].text for g in planned) == Counter(g.rollouts[0].text for g in other)
    assert sum(len(g.rollouts[0].rows[0].tokens) for g in planned) == sum(len(g.rollouts[0].rows[0].tokens) for g in other)
    for own, made, group in zip(planned, other, groups, strict=True):
        asked = group.rollouts[0].rows[0].segments[0].tokens
        assert made.rollouts[0].rows[0].tokens == asked + RENDERER.reply(made.rollouts[0].text)
        assert made.task == own.task
    texts = [g.rollouts[0].text for g in planned]
    moved = [texts.index(g.rollouts[0].text) for g in other]
    assert all(texts[number] == texts[at] or number != at for number, at in enumerate(moved))
    assert sum(a.rollouts[0].text != b.rollouts[0].text for a, b in zip(planned, other, strict=True)) > 8


def test_a_few_tasks_come_each_once_a_turn_and_no_other_curriculum_comes_there():
    few = Few(count=5)
    first, state = few.pick(7, few.init(WIKI), ctx())
    then, _ = few.pick(3, state, ctx())
    numbers = [task.meta["index"] for task in (*first, *then)]
    assert {*numbers[:5]} == {*numbers[5:]} == {*range(1 << 20, (1 << 20) + 5)}
    assert few.observe(state, [], Scores(), ctx()) == state
    for wrong in ({"count": 0}, {"first": -1}):
        with pytest.raises(ValueError, match="at least 1 task"):
            Few(**wrong)
    with pytest.raises(ValueError, match=r"Epochs\(\) takes each"):
        few.init(source("pool:4:chain"))


def test_texts_are_read_from_the_initial_weights_before_anything_is_imitated():
    plan = {stage.name: stage for stage in AGENTFOUNDER.plan}
    assert [*plan] == ["agent", "act", "first-steps", "choices", "imitate", "reinforce"]
    assert plan["first-steps"].begins == "initial"
    assert plan["choices"].earlier == "act"
    assert plan["agent"].method == plan["imitate"].method, "both imitate the same few episodes"


SHORT = Program(
    "short",
    (
        Stage("agent", IMITATE, steps(1), task="wiki:known=0.5"),
        Stage("act", ACT.but(tasks=2), steps(1), task="wiki:known=0.5"),
        Stage("first-steps", FIRST_STEPS, steps(2), task="wiki:known=0.5", begins="initial"),
        Stage("imitate", IMITATE, steps(1), task="wiki:known=0.5"),
    ),
)


@pytest.mark.slow  # four stages
def test_its_stages_run_and_what_is_imitated_stands_in_no_text(tmp_path):
    recipe = Recipe(method=SHORT, steps=9, lr=1e-4, tasks=4, eval_tasks=0, slots=64)
    staged(recipe, tmp_path / "p").train()
    before, after = (read_metrics(tmp_path / "p" / name)[-1]["bill"]["trained"] for name in ("2-act", "3-first-steps"))
    read, _ = sampled(tmp_path / "p" / "3-first-steps")
    imitated, _ = sampled(tmp_path / "p" / "4-imitate")
    assert len(read) == 2 * 4
    assert after - before == sum(len(row.tokens) for g in read for r in g.rollouts for row in r.rows), "none is dropped"
    assert all(g.rollouts[0].text.startswith("Plan: get") for g in read)
    assert {g.task.id for g in read}.isdisjoint(g.task.id for g in imitated)


class Made:
    """A trace of these groups."""

    def __init__(self, read, taught, replies):
        self.replies, self.groups = [replies], [*read, *taught]

    def records(self):
        yield {"groups": [g.to_json() for g in self.groups]}


def test_a_graph_that_is_read_and_held_out_would_be_seen():
    groups = taught(6)
    read = first_steps(groups[:4], RENDERER)
    held = [{"needs": WIKI.task("test", 0, index).needs} for index in range(2)]
    fair = Made(read, groups[4:], held)
    assert (read_of()(fair), imitated()(fair), apart()(fair)) == (4, 2, 1)
    assert apart()(Made(read, groups[4:], [{"needs": groups[0].task.needs}, *held])) == 4 / 5
    assert apart()(Made(read, groups[3:], held)) == 4 / 5


def test_the_claim_compares_as_many_tokens_and_differs_in_the_texts_alone():
    assert [a.name for a in FIRST.arms] == ["planned", "permuted", "unread", "executed", "again"]
    one, other = (FIRST.arm(name).method for name in FIRST.compare)
    assert [stage.until for stage in one.plan] == [stage.until for stage in other.plan]
    assert one.plan[1].method == other.plan[1].method == IMITATE
    assert CHOICES.feed.stage == "act"
    assert {*VERDICTS} == {"right", "wrong"}
