"""What is kept of what an agent did: that alone which ends as it should, with the errors on its way or without."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from strop.batch import pack
from strop.check.growing import Script
from strop.directory import sampled
from strop.experiments.agentscaler import DOMAINS, apart, names, own_success
from strop.methods.agentscaler import AGENTSCALER, AGENTSCALER_CLEAN, AGENTSCALER_RL, SHORT, TAUGHT, rejected, verified
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Scores, Segment, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Played
from strop.seams.world import Call, Said, Seat, tools_of, verdict
from strop.tasks import source
from strop.worlds.calls import Line

PROMPT = Segment("prompt", (1, 2), "0")
FINE, BAD = ["zk", True, ""], ["zk", False, "no fo z"]


def rollout(name, *tokens, stop="finished", text="", calls=(FINE,)):
    said, heard = Segment("action", tokens, "a", Author("actor", 0), (-1.0,) * len(tokens)), Segment("observation", (9,), "o")
    return Rollout((Row.of(PROMPT, said, heard),), name, stop=stop, text=text, keys={"calls": [[*calls]]})


ROLLOUTS = {
    "plain": rollout("plain", 3),
    "error on the way": rollout("error on the way", 4, calls=(BAD, FINE)),
    "not finished": rollout("not finished", 5, stop="turns"),
    "loop": rollout("loop", 6, text=">zk m 12345 a" * 4),
    "another end": rollout("another end", 7),
    "the same again": rollout("the same again", 3),
}
SCORES = Scores({name: {"outcome": float(name != "another end")} for name in ROLLOUTS})
GROUP = Group(Task("s fo m", {}, "database"), tuple(ROLLOUTS.values()))


def test_each_filter_rejects_its_own():
    found = {name: rejected(one, SCORES, errors=False) for name, one in ROLLOUTS.items()}
    assert found == {
        "plain": "",
        "error on the way": "errors",
        "not finished": "not finished",
        "loop": "loop",
        "another end": "another end",
        "the same again": "",
    }
    assert rejected(ROLLOUTS["error on the way"], SCORES) == ""


@pytest.mark.parametrize(("errors", "kept"), [(True, ["plain", "error on the way"]), (False, ["plain"])])
def test_what_verifies_is_a_demonstration_and_what_tools_said_is_no_part_of_the_loss(errors, kept):
    made = verified([GROUP], SCORES, random.Random(0), errors=errors)
    assert {r.provenance for g in made for r in g.rollouts} == {*kept}
    assert {g.role for g in made} == {"demo"}
    assert [[s.kind for s in row.segments] for g in made for r in g.rollouts for row in r.rows] == [
        ["prompt", "teacher", "observation"]
    ] * len(kept)
    batch = pack(made, {}, {r.id: 1.0 for g in made for r in g.rollouts}, 0)
    assert batch.trains_T.tolist() == [True] * len(kept), "of each its one token"
    assert verified([], SCORES, random.Random(0)) == []


def test_both_programs_are_phases_and_differ_in_errors_alone():
    assert [stage.name for stage in AGENTSCALER.plan] == ["imitate", "act", "general", "act-there", "vertical"]
    assert AGENTSCALER.plan[1].task != AGENTSCALER.plan[3].task
    differ = [a.name for a, b in zip(AGENTSCALER.plan, AGENTSCALER_CLEAN.plan, strict=True) if a.method.fingerprint != b.method.fingerprint]
    assert differ == ["general", "vertical"]


def test_an_expert_s_episodes_fit_the_small_model_and_are_verified_again_by_what_was_said():
    asked, found = source("database:messages=2"), Counter()
    renderer = load("pico").renderer
    for index in range(24):
        task = asked.task("train", 0, index)
        ctx = Ctx(0, Progress(), asked, {"actor": Handle(Script(), renderer)}, None, place=f"{index}")
        (group,) = asyncio.run(Played(lambda state, turn: asked.world.expert(state), replace(SHORT, n=1))(task, asked.world, ctx))
        (one,) = group.rollouts
        found[len(one.keys["said"])] += 1
        said = [Said(text, Line().read(text, tools_of(asked.world, task))) for text in one.keys["said"]]
        assert asyncio.run(verdict(asked.world, task, Seat(*one.keys["seat"]), said)) == one.keys["scores"] == {"outcome": 1, "lenient": 1}
        assert one.stop == "finished"
        assert all(len(row.tokens) < 160 for row in one.rows)
        assert max(len(s.tokens) for row in one.rows for s in row.segments if s.kind == "teacher") <= SHORT.max_tokens
        assert not any("[cut]" in renderer.text(s.tokens) for row in one.rows for s in row.segments)
    assert {3, 5, 6} <= {*found}, (
        "each call with a look at its tool's line, and the last word; one more where the wish comes in two messages"
    )


SMALL = {"tasks": 2, "group": 4, "eval_tasks": 0, "slots": 64}


def test_episodes_are_imitated_and_a_policy_is_paid_for_the_state_it_leaves(tmp_path):
    create(Recipe(method=TAUGHT, task="database", steps=1, **SMALL), tmp_path / "taught").train()
    groups, scores = sampled(tmp_path / "taught")
    assert all(r.text.endswith(".") and scores.get(r, "outcome") == 1 for g in groups for r in g.rollouts)
    paid = AGENTSCALER_RL.but("mine", idea=("sampler",), sampler=replace(SHORT, n=4))
    create(Recipe(method=paid, task="database", steps=1, **SMALL), tmp_path / "paid").train()
    groups, scores = sampled(tmp_path / "paid")
    assert all(r.keys["scores"]["outcome"] == scores.get(r, "outcome") for g in groups for r in g.rollouts)


class Left:
    """What a run leaves, as far as the checks read it."""

    def __init__(self, seed, train, test, means):
        self.seed, self.train = seed, train
        self.replies, self.held_out = ([{"needs": dict(task.needs)} for task in test],), ({"means": means},)

    def records(self):
        yield {"groups": [{"task": task.to_json()} for task in self.train]}


def test_the_claim_s_checks_see_what_they_are_for():
    asked = source("database")
    train = [asked.task("train", 1, index) for index in range(80)]
    test = [asked.task("test", 0, index) for index in range(80)]
    run = Left(1, train, test, {"own_0": 0.2, "own_1": 0.95})
    assert own_success.on({"trace": run}) == 0.95
    assert apart.on({"trace": run}) == 1
    unseen = test[0]
    met = Left(1, [*train, unseen], test, {})
    assert apart.on({"trace": met}) < 1
    assert len({*names(unseen.needs)}) > 8
    programs = {name: DOMAINS.arm(name).method for name in ("64", "1", "4", "64-other")}
    tasks = {name: [stage.task for stage in one.plan] for name, one in programs.items()}
    assert tasks["64-other"] == ["database:domains=64,others=1"]
    assert len({one.plan[0].method.fingerprint for one in programs.values()}) == 1, "they differ in nothing but their tasks"


def test_a_call_of_another_domain_s_tool_is_an_answer_and_no_end():
    asked = source("database:helps=0,others=1")
    task = asked.task("train", 0, 0)
    state = asked.world.start(task, Seat("g", "g/0"))
    (read,) = Line().read(f">{asked.world.documents(task)[0].name} a", tools_of(asked.world, task))
    after, reply = asyncio.run(asked.world.reply(state, Said("", (read,)), {}))
    assert reply.observation.startswith("error: there is no tool")
    assert not reply.done
    assert after["data"] == state["data"]
    assert not isinstance(read, Call)
