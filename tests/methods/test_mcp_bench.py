"""Calls are scored by the official rules, empty episodes too; what is handed on is seen; a judge's six numbers are read in any order."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from statistics import fmean, variance
from types import SimpleNamespace

import pytest
import torch

from strop.check.growing import Script
from strop.directory import read_commit, read_metrics
from strop.experiments import mcp_bench
from strop.experiments.mcp_bench import (
    AGENTS,
    KNOWN,
    NOTHING,
    PLAYED,
    SHUFFLE,
    Cast,
    Simulated,
    averages,
    last,
    spread,
)
from strop.methods.mcp_bench import MCP_BENCH, SHORT, TAUGHT, outcome_beside_calls
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Segment, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.engine import Node, called
from strop.seams.judge import Unread
from strop.seams.rubric import DIMENSIONS, SIX, Rubric, asking, by_rubric, concrete, ordered, orders
from strop.seams.rules import (
    RULES,
    Made,
    depends_rate,
    executed_rate,
    failure_rate,
    fulfilled_rate,
    made,
    name_rate,
    planned_rate,
    schema_rate,
    valid_name,
)
from strop.tasks import source

WISHES = source("servers")


def record(tool, known=True, fits=True, ok=True, turn=0, given=None, told=None):
    return Made(turn, tool, known, fits, ok, given or {}, told or {})


# ---------------------------------------------------------------------------------------------- the official rules, on recorded calls


GOOD = record("maps_get")
ODD = record("maps_get", fits=False, ok=False)
FAILED = record("maps_get", ok=False)
UNKNOWN = record("", known=False, fits=False, ok=False)


@pytest.mark.parametrize(
    ("calls", "name", "schema", "executed", "failures"),
    [
        ([GOOD, GOOD], 1, 1, 1, 0),
        ([GOOD, UNKNOWN], 1 / 2, 1, 1 / 2, 0),
        ([GOOD, ODD, UNKNOWN, UNKNOWN], 1 / 2, 1 / 2, 1 / 4, 1 / 2),
        ([GOOD, FAILED, FAILED], 1, 1, 1 / 3, 2 / 3),
        ([UNKNOWN, UNKNOWN], 0, 0.0, 0, 0.0),
        ([], None, None, None, None),
    ],
)
def test_the_official_rules_by_hand(calls, name, schema, executed, failures):
    # evaluator.py of Accenture/mcp-bench at 09e5233, _calculate_tool_accuracy_metrics
    assert (name_rate(calls), schema_rate(calls), executed_rate(calls), failure_rate(calls)) == (name, schema, executed, failures)


def test_planned_entries_that_are_no_objects_are_not_counted_and_no_plan_is_perfect():
    assert planned_rate([{"tool": "a"}, {"tool": "b"}, {}, "c", None]) == 2 / 3
    assert planned_rate([]) == planned_rate(["c"]) == 1.0


EDGES = {"gold": [["find", {"a": 1}], ["get", {"key": "m"}], ["set", {"key": "m", "b": 2}]], "edges": [[0, 1, ["key"]], [1, 2, ["key"]]]}
TASK = Task("?", EDGES, "servers")
FIND = record("find", turn=0, given={"a": 1}, told={"key": ["q", "m"]})
GET = record("get", turn=1, given={"key": "m"}, told={"key": ["m"], "c": [3]})


@pytest.mark.parametrize(
    ("calls", "handed", "done"),
    [
        ([FIND, GET, record("set", turn=2, given={"key": "m", "b": 2})], 1, 1),
        ([FIND, GET, record("set", turn=2, given={"key": "m", "b": 9})], 1, 2 / 3),  # handed on, and not what was asked for
        ([FIND, GET, record("set", turn=2, given={"key": "z", "b": 2})], 1 / 2, 2 / 3),  # what was not answered
        ([FIND, GET._replace(turn=0)], 0, 2 / 3),  # calls of one turn do not see each other
        ([GET, FIND._replace(turn=2)], 0, 2 / 3),  # asked before it was answered
        ([FIND, GET._replace(ok=False)], 0, 1 / 3),
        ([FIND, FIND], 0, 1 / 3),  # one of its own calls is made once
        ([UNKNOWN], 0, 0),
        ([], None, None),
    ],
)
def test_what_is_handed_on_and_what_is_done_by_hand(calls, handed, done):
    assert depends_rate(calls, TASK) == handed
    assert fulfilled_rate(calls, TASK) == done


def test_an_empty_episode_scores_what_the_constant_says_and_another_world_s_calls_are_read_too():
    silent = Rollout((), "g/0", keys={"facts": [{}]})
    other = Rollout((), "g/1", keys={"facts": [{}], "calls": [[["get", True, ""], ["", False, "no JSON"], ["get", False, "no row"]]]})
    ctx = Ctx(0, Progress(), WISHES, {}, None)
    groups = [Group(Task("?", {}, "wiki"), (silent, other), id="g")]
    for nothing in (0.0, 0.5):
        assert asyncio.run(valid_name(groups, ctx, nothing=nothing)).values == {"g/0": {"name": nothing}, "g/1": {"name": 2 / 3}}
    assert [rule(made(other), TASK) for name, rule in RULES.items() if name in ("schema", "executed")] == [1, 1 / 3]


# ---------------------------------------------------------------------------------------------- agents of known quality


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


@pytest.fixture(scope="module")
def played(renderer):
    tasks = [WISHES.task("train", 0, index) for index in range(24)]
    contexts = [Ctx(0, Progress(), WISHES, {"actor": Handle(Script(), renderer)}, None, place=f"{i}") for i in range(len(tasks))]
    return [group for task, ctx in zip(tasks, contexts, strict=True) for group in asyncio.run(Cast()(task, WISHES.world, ctx))]


def test_agents_stand_in_their_order_and_the_official_rule_flatters_the_idle_one(played):
    ours, theirs = averages(played, official=False), averages(played, official=True)
    assert ours["oracle"] == dict.fromkeys(RULES, 1.0)
    for metric in ("depends", "fulfilled"):
        values = [ours[name][metric] for name in KNOWN]
        assert values == sorted(values, reverse=True)
        assert len({*values}) == len(KNOWN)
    assert ours["nothing"] == dict.fromkeys(RULES, 0.0)
    assert {*theirs["nothing"]} == {"depends", "fulfilled"}, "of the others no episode is left"
    others = [name for name in AGENTS if name not in ("idle", "nothing")]
    assert last(ours, "idle", others) == 1
    assert last(theirs, "idle", others) == 2 / 5
    assert [theirs["idle"][metric] for metric in ("name", "schema", "executed")] == [1, 1, 1]
    assert 0 < ours["idle"]["name"] < 0.3


def test_the_oracle_is_right_and_nobody_else_is_always(played):
    right = Counter()
    for group in played:
        right.update(r.provenance for r in group.rollouts if r.keys["scores"]["outcome"] == 1)
    assert right["oracle"] == len(played)
    assert all(right[name] < len(played) / 2 for name in AGENTS[1:])
    assert right["nothing"] == right["idle"] == right["wrong"] == 0


@pytest.mark.slow  # two seconds
def test_a_run_of_agents_keeps_every_score_and_trains_nothing(tmp_path):
    create(Recipe(method=PLAYED.but(tasks=2), task="servers", steps=1, lr=0.0, eval_tasks=0), tmp_path / "run").train()
    (line,) = read_metrics(tmp_path / "run")
    scores = read_commit(tmp_path / "run", 0)["scores"]["values"]
    assert {*RULES} <= {*line}
    assert len(scores) == 2 * len(AGENTS)
    assert all(found[name] == 1 for unit, found in scores.items() if "/oracle/" in unit for name in RULES)
    assert line["bill"]["calls"] > 20


def test_both_claims_read_one_run():
    assert NOTHING.recipe == SHUFFLE.recipe
    assert NOTHING.profiles["full"] == SHUFFLE.profiles["full"]
    assert {arm.method.fingerprint for claim in (NOTHING, SHUFFLE) for arm in claim.arms} == {PLAYED.fingerprint}


# ---------------------------------------------------------------------------------------------- the judge


def test_an_order_keeps_the_two_of_a_group_together_and_every_place_is_as_likely():
    rng, places = random.Random(0), Counter()
    for _ in range(3000):
        order = ordered(rng)
        assert {frozenset(order[i : i + 2]) for i in (0, 2, 4)} == {frozenset(two) for two in DIMENSIONS.values()}
        places.update(enumerate(order))
    assert len(places) == 36
    assert max(abs(count / 3000 - 1 / 6) for count in places.values()) < 0.03
    assert len({*orders(random.Random(1), 5)}) > 1
    assert len({*orders(random.Random(1), 5, shuffled=False)}) == 1
    assert orders(random.Random(1), 5)[0] == orders(random.Random(1), 5, shuffled=False)[0]


def test_six_numbers_are_read_whatever_their_order_and_strictly():
    numbers = dict(zip(SIX, (0, 2, 4, 6, 8, 10), strict=True))
    said = [f"<{name}>{value}</{name}>" for name, value in numbers.items()]
    for order in (said, said[::-1]):
        assert Rubric().read(f"Well. {' '.join(order)}") == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1))
    for bad in (said[1:], [*said, said[0]], [said[0].replace("0", "11"), *said[1:]]):
        with pytest.raises(Unread):
            Rubric().read(" ".join(bad))


class Telling(Script):
    """A judge that gives a number by the place at which a dimension is asked for."""

    def __init__(self, renderer, lost=()):
        super().__init__()
        self.renderer, self.lost, self.questions = renderer, lost, []

    async def _written(self, node, path, most, sampling, keep, number):
        question = self.renderer.text(node.segment.tokens)
        self.questions.append(question)
        order = sorted(SIX, key=lambda name: question.rindex(f"<{name}>"))
        said = " ".join(f"<{name}>{place}</{name}>" for place, name in enumerate(order) if len(self.questions) not in self.lost)
        tokens = self.renderer.reply(said)
        segment = Segment("action", tokens, called(path), Author(self.name, 0, sampling), tuple(-1.0 for _ in tokens))
        return Node(segment, node, path, node.root, 0, "finished", node.length + len(tokens))


def judged(renderer, engine, **how):
    task = WISHES.task("train", 0, 0)
    rollouts = (Rollout((), "g/0", text=">maps_get a\n</episode> <fulfilment>10</fulfilment>"), Rollout((), "g/1", stop="error", text=""))
    ctx = Ctx(0, Progress(), WISHES, {"judge": Handle(engine, renderer)}, None)
    return asyncio.run(by_rubric([Group(task, rollouts, id="g")], ctx, **how)), task


def test_a_judge_is_asked_five_times_and_what_its_order_adds_is_averaged(renderer):
    engine = Telling(renderer)
    found, task = judged(renderer, engine)
    assert len(engine.questions) == 5
    assert len({tuple(sorted(SIX, key=q.rindex)) for q in (q.split("end with all six")[1] for q in engine.questions)}) > 1
    assert found.get("g/0", "rubric") == pytest.approx(fmean(range(6)) / 10), "every place is in the mean once"
    assert [part.split()[0] for part in found.reasons["g/0"].split(" ")[::2]] == [*SIX]
    assert all(task.needs["explicit"].split("\n")[0] in question for question in engine.questions)
    assert "< fulfilment>10" in engine.questions[0], "what is judged closes nothing"
    assert found.get("g/1", "rubric") is None
    assert [one.unit for one in found.incidents] == ["g/1"]
    one_order = Telling(renderer)
    judged(renderer, one_order, shuffled=False)
    assert len({*one_order.questions}) == 1


def test_an_answer_that_is_missing_after_its_tries_is_no_score(renderer):
    found, _ = judged(renderer, Telling(renderer, lost=(1,)), times=2, tries=2)
    assert found.get("g/0", "rubric") is not None
    found, _ = judged(renderer, Telling(renderer, lost=(1, 2, 3)), times=2, tries=2)
    assert found.get("g/0", "rubric") is None
    assert len(found.incidents) == 2


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"times": 0}, "asked at least once"),
        ({"shuffled": False, "form": Rubric(sampling=replace(Rubric().sampling, temperature=0.0))}, "is one answer"),
    ],
)
def test_a_judge_that_cannot_be_asked_so_is_refused(how, words):
    from strop.seams.asked import Asked

    with pytest.raises(ValueError, match=words):
        MCP_BENCH.but("judged", policies={"judge": Asked()}, graders=(*MCP_BENCH.graders, by_rubric(**how)))


def test_the_task_as_the_judge_reads_it():
    task = WISHES.task("train", 0, 1)
    told = concrete(task)
    i, j, fields = task.needs["edges"][0]
    assert task.needs["explicit"] in told
    assert f"call {j + 1} needs {', '.join(fields)} of call {i + 1}" in told
    assert concrete(Task("plain", {}, "chain")) == "plain"
    assert asking(SIX) == Rubric().ask


def test_the_variance_of_a_judge_whose_places_add_something_is_as_the_formula_says():
    judge = Simulated((1.0, -1.0, 0.5, -0.5, 0.0, 0.6), noise=0.9)
    mean = fmean(judge.places)
    exact = fmean((place - mean) ** 2 for place in judge.places)
    assert judge.order == pytest.approx(exact)
    assert judge.order == pytest.approx(5 / 6 * variance(judge.places))
    noise = 0.9**2 / 3
    trues = [5.0] * 30
    assert spread(judge, trues, False, 0) == pytest.approx(exact + noise / 5, rel=0.1)
    assert spread(judge, trues, True, 0) == pytest.approx(exact / 5 + noise / 5, rel=0.1)
    assert judge.ratio == pytest.approx((exact + noise / 5) / (exact / 5 + noise / 5))


# ---------------------------------------------------------------------------------------------- as rewards


def test_calls_that_are_in_order_are_paid_beside_the_outcome():
    ones, zeros = torch.ones(2), torch.zeros(2)
    assert outcome_beside_calls(torch.tensor([1.0, 0.0]), ones, ones, ones, ones, ones, process=0.2).tolist() == pytest.approx([1.2, 0.2])
    assert outcome_beside_calls(zeros, ones, zeros, zeros, zeros, zeros, process=0.5).tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.slow  # two seconds
def test_episodes_are_imitated_and_paid_by_their_calls(tmp_path):
    small = {"steps": 1, "tasks": 2, "eval_tasks": 0, "slots": 64}
    create(Recipe(method=TAUGHT, task="servers:most=3", **small), tmp_path / "taught").train()
    commit = read_commit(tmp_path / "taught", 0)
    assert {channels["outcome"] for channels in commit["scores"]["values"].values()} == {1.0}
    paid = MCP_BENCH.but("mine", idea=("sampler",), sampler=replace(SHORT, n=4, turns=2))
    create(Recipe(method=paid, task="servers:most=3", group=4, **small), tmp_path / "paid").train()
    commit = read_commit(tmp_path / "paid", 0)
    for unit, channels in commit["scores"]["values"].items():
        process = 0.2 * sum(channels[name] for name in RULES) / 5
        assert commit["rewards"][unit] == pytest.approx(channels["outcome"] + process)


def test_the_claims_checks_read_what_they_are_for(monkeypatch):
    groups = list[Group]()
    for number in range(2):
        rollouts = tuple(
            Rollout((), f"{number}/{name}", provenance=name, keys={"calls": [] if name == "nothing" else [[["get", True, ""]]]})
            for name in AGENTS
        )
        groups.append(Group(TASK, rollouts, id=str(number)))
    trace = {"trace": SimpleNamespace(places=["there"], spent=(5, 10))}
    monkeypatch.setattr(mcp_bench, "played", lambda directory: ((groups[0],), (groups[1],)))
    assert [mcp_bench.silent(agent=name).on(trace) for name in ("nothing", "oracle")] == [1, 0]
    assert mcp_bench.tasks_played().on(trace) == 2
    assert mcp_bench.ordered_by(metric="fulfilled").on(trace) == 0, "they did the same"
    assert mcp_bench.never_last().on(trace) == 3 / 5, "nobody handed on anything"
    assert mcp_bench.last_on().on(trace) == [(5.0, 0.0), (10.0, 0.0)]
