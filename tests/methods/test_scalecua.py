"""Walks are imitated with what they reached, and the claim's checks see what they are for."""

import asyncio
from statistics import fmean

from strop.check.growing import Script
from strop.directory import sampled
from strop.experiments.scalecua import LABELS, acts, false, new, open_to, true
from strop.methods.scalecua import SCALECUA, SHORT, TAUGHT
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Rollout, Scores
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.feed import episode
from strop.tasks import source


def demonstrated(text, indices):
    asked, renderer = source(text), load("pico").renderer
    for index in indices:
        ctx = Ctx(0, Progress(), asked, {"actor": Handle(Script(), renderer)}, None, place=f"{index}")
        yield renderer, asyncio.run(episode(asked.task("train", 0, index), asked.world, SHORT, ctx))


def test_goals_and_walks_of_every_mode_fit_and_are_taught_action_by_action():
    for text in ("screens:goals=20,walks=2,mode=reasoned", "screens:goals=20,walks=2,mode=mixed"):
        for renderer, group in demonstrated(text, range(60)):
            (one,) = group.rollouts
            (row,) = one.rows
            said = [s for s in row.segments if s.kind == "teacher"]
            assert max(len(s.tokens) for s in said) <= SHORT.max_tokens
            assert len(said) == len(group.task.needs.get("walk", said[1:])) + 1 or group.task.needs["mode"] == "grounding"
            assert not any("[cut]" in renderer.text(s.tokens) for s in row.segments)
            assert len(row.tokens) < 600


def test_a_run_learns_from_walks(tmp_path):
    stage = SCALECUA.plan[0]
    assert stage.method.fingerprint == TAUGHT.fingerprint
    assert "walks=16,mode=mixed" in stage.task
    create(Recipe(method=TAUGHT, task="screens:goals=1,walks=3", steps=1, tasks=4, eval_tasks=0), tmp_path / "run").train()
    groups, scores = sampled(tmp_path / "run")
    assert sum("walk" in g.task.needs for g in groups) == 3
    assert {scores.get(r, "outcome") for g in groups for r in g.rollouts} == {1.0}


FEW = "screens:goals=20,walks=2,apps=4"


class Left:
    """What a run leaves, as far as the checks read it."""

    def __init__(self, train, scores, test, means):
        self.train, self.scores = train, scores
        self.replies, self.held_out = ([{"needs": dict(task.needs)} for task in test],), ({"means": means},)

    def records(self):
        yield {"groups": [{"task": group.task.to_json()} for group in self.train]}

    def steps(self):
        yield self.train, self.scores


def left(text, test=None, wins=0.25):
    groups = [group for _, group in demonstrated(text, range(20, 60))]
    rollouts: list[Rollout] = [r for g in groups for r in g.rollouts]
    scores = Scores({r.id: {"outcome": r.keys["scores"]["outcome"]} for r in rollouts})
    return Left(groups, scores, test or [source("screens").task("test", 0, i) for i in range(20)], {"pass@1": wins})


def test_the_claim_s_checks_see_what_they_are_for():
    told, other = left(f"{FEW},mode=reasoned"), left(f"{FEW},mode=reasoned,labels=shuffled")
    assert true.on({"trace": told}) == 1.0
    assert false.on({"trace": told}) == 0.0
    assert false.on({"trace": other}) > 0.9
    assert new.on({"trace": told}) == 1.0
    met = left(FEW, [source(FEW).task("train", 0, i) for i in range(20, 60)])
    assert new.on({"trace": met}) < 0.1
    assert open_to.on({"trace": told}) == 0.75
    assert acts.on({"trace": told}) == 0.25
    tasks = {arm.name: arm.method.plan[0].task for arm in LABELS.arms}
    assert tasks["shuffled"] == tasks["reached"] + ",labels=shuffled"
    assert tasks["reached"] == tasks["goals"] + ",walks=16"
    assert len({arm.method.plan[0].method.fingerprint for arm in LABELS.arms}) == 1, "they differ in nothing but their tasks"


def test_walks_are_little_longer_than_the_ways_to_their_labels():
    asked = source("screens:goals=20,walks=8,apps=20")
    tasks = [asked.task("train", 0, i) for i in range(20, 180)]
    longer = fmean(len(t.needs["walk"]) / (len(t.prompt.split()) - 1) for t in tasks)
    assert 1.0 < longer < 1.5
