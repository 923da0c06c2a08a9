"""Engines and environments as Ray actors: on one real local cluster, small."""

import asyncio
import json
import threading
from concurrent.futures import Future

import pytest
import torch
from echo import asking

from strop import grading, pico
from strop.directory import read_metrics
from strop.engines.embedded import EmbeddedEngine
from strop.methods.svs import SVS
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Scores, Segment, Task
from strop.run import create, resume
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.engine import Counters, Node
from strop.seams.feed import Rollouts
from strop.seams.flight import Flight
from strop.seams.sampler import Independent
from strop.seams.variants import VARIANT, WRITE, Variants, Window

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's own sockets


def small(**changes) -> Recipe:
    base = {"task": "chain", "model": str(pico.path()), "steps": 3, "tasks": 4, "group": 4, "max_tokens": 16, "lr": 1e-3}
    return Recipe(**{**base, "eval_tasks": 0, "checkpoint_every": 1, "slots": 64, **changes})


def lines(directory) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(directory)]


@pytest.fixture(scope="module")
def cluster():
    from strop.cluster import Cluster, connected
    from strop.cluster.terms import Deadlines

    torch.set_num_threads(1)
    with connected(Cluster("local", replicas=2, deadlines=Deadlines(reply=2.0))) as made:
        yield made


@pytest.fixture
def front(cluster):
    """Fronts that end with the test."""
    made = []

    def build(policy, recipe):
        made.append(cluster.front(policy, recipe))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.mark.slow  # a Ray cluster of several processes
def test_ray_two_replicas_at_ahead_0_write_the_very_metrics_of_one_process(tmp_path, front):
    recipe = small(method=asking(seconds=0.01))
    create(recipe, tmp_path / "here").train()
    there = create(recipe, tmp_path / "there", engine=front)
    there.train()
    assert len({m.facts["pid"] for m in there.engine.members}) == 2
    assert all(m.counters["decoded"] for m in there.engine.members), "one replica did all the work"
    assert lines(tmp_path / "there") == lines(tmp_path / "here")  # digests of groups, credit, weights and optimiser, and the bill
    assert json.loads((tmp_path / "there" / "recipe.json").read_text())["grade"] == "exact"
    for step in range(3):
        assert there.commit_path(step).read_bytes() == (tmp_path / "here" / "groups" / f"{step:06d}.json.gz").read_bytes()


@pytest.mark.slow  # a Ray cluster of several processes
def test_ray_what_a_sampler_had_graded_on_a_replica_is_not_graded_again(tmp_path, front, monkeypatch):
    reply = Independent(n=4, max_tokens=48)
    sampler = Variants(reply, Independent(n=2, max_tokens=48), Window(0.0, 1.0), most=1, ask="{}", between=("<think>", "</think>"))
    recipe = small(method=SVS.but(sampler=sampler), tasks=2, steps=1, group=None, max_tokens=None)
    create(recipe, tmp_path / "here").train()
    there, asked, grade = create(recipe, tmp_path / "there", engine=front), list[str](), grading.grade

    async def spied(source, groups, *rest):
        asked.extend(group.role for group in groups)
        return await grade(source, groups, *rest)

    monkeypatch.setattr(grading, "grade", spied)
    there.train()
    assert set(asked) == {WRITE}, "what the sampler did not ask"
    assert lines(tmp_path / "there") == lines(tmp_path / "here")
    roles = {group["role"] for group in there.record(0)["groups"]}
    assert roles == {"solve", WRITE, VARIANT}


@pytest.mark.full  # a Ray cluster of several processes
def test_ray_an_action_that_the_environment_never_answers_is_an_incident_and_no_score(tmp_path, front):
    run = create(small(method=asking(hang=True), steps=1, tasks=1, group=2, tripwire="grader=off"), tmp_path / "run", engine=front)
    run.train()
    record = run.record(0)
    (group,) = record["groups"]
    assert [r["stop"] for r in group["rollouts"]] == ["error", "error"]
    assert all(values["outcome"] is None for values in record["scores"]["values"].values())
    why = record["scores"]["incidents"][0][2]
    assert "environment worker" in why
    assert "node" in why
    assert "did not answer within 2 s" in why
    assert lines(tmp_path / "run")[0]["incidents"] == 2


@pytest.mark.full  # a Ray cluster of several processes
def test_ray_staleness_is_on_every_decision_and_the_run_equals_its_own_log(tmp_path, front):
    run = create(small(method=asking(seconds=0.3), ahead=2, steps=5), tmp_path / "run", engine=front)
    run.train()
    seen = lines(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["grade"] == "logged"
    assert run.method.name.endswith("-truncated")  # what other weights drew is corrected for
    assert seen[0]["age"]["most"] == 0
    assert 0 < max(line["age"]["most"] for line in seen) <= 2
    wrote = {
        s["author"]["version"] for g in run.record(3)["groups"] for r in g["rollouts"] for s in r["rows"][0]["segments"] if "author" in s
    }
    assert min(wrote) < 3
    assert run.record(0)["state"]["feed"]["asked"], "nothing was in flight when the first step was committed"
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "hash").write_text("damaged")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    again = resume(tmp_path / "run", say=lambda _: None, method=asking(seconds=0.3))  # all steps are committed: nobody is asked
    again.train()
    assert lines(tmp_path / "run") == seen


@pytest.mark.full  # a Ray cluster of several processes
def test_ray_staleness_beyond_its_limit_is_discarded_and_every_task_that_was_asked_for_is_accounted_for(tmp_path, front):
    run = create(small(method=asking(seconds=0.2), ahead=2, max_age=0, steps=4), tmp_path / "run", engine=front)
    run.train()
    seen = lines(tmp_path / "run")
    stale = [one for line in seen for one in line["stale"]]
    assert stale, "nothing was too old: the limit was not put to work"
    assert all(one["age"] > 0 and one["length"] > 0 for one in stale)
    assert all(line["age"]["most"] == 0 for line in seen)
    committed = [group["id"] for step in range(4) for group in run.record(step)["groups"]]
    flight = run.record(3)["state"]["feed"]
    waiting = [place for _, _, place in flight["asked"]]
    numbers = sorted(int(place.rpartition("#")[2]) for place in [*committed, *(one["place"] for one in stale), *waiting])
    assert len(committed) == 4 * 4
    assert numbers == list(range(flight["number"]))
    segments = [
        s for step in range(4) for g in run.record(step)["groups"] for r in g["rollouts"] for row in r["rows"] for s in row["segments"]
    ]
    learned = sum(len(s["tokens"]) for s in segments if s["kind"] == "action")
    assert seen[-1]["bill"]["decoded"] >= learned + len(stale) * 4, "what was discarded is on the bill: a token a reply at least"


@pytest.mark.full  # a Ray cluster of several processes
def test_ray_a_replica_with_other_weights_is_named_before_anything_is_sampled(tmp_path, front):
    from strop.cluster import ClusterError

    run = create(small(steps=1), tmp_path / "run", engine=front)
    (_, odd) = run.engine.members
    other = {name: torch.zeros_like(t).view(-1).view(torch.uint8).numpy() for name, t in run.policy.weights()}
    ray.get(odd.actor.deliver.remote(other, 0), timeout=30)
    with pytest.raises(ClusterError, match=r"replica 0 .*replica 1 .* one of them holds other weights"):
        run.train()
    assert not run.commit_path(0).exists()


@pytest.mark.full  # a Ray cluster of several processes
def test_ray_learner_ranks_as_actors_move_the_weights_as_one_process_does(tmp_path):
    """FSDP adds in another order: the same gradients within 1e-5, the same rollouts as long as the weights draw alike."""
    from strop.cluster import Cluster

    recipe = small(steps=1)
    here = create(recipe, tmp_path / "here")
    here.train()
    there = create(recipe, tmp_path / "there", learner=Cluster("", ranks=2).learner)
    there.train()
    (one,), (two,) = lines(tmp_path / "here"), lines(tmp_path / "there")
    assert two["digest"]["groups"] == one["digest"]["groups"]
    assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)
    moved = [(a - b).abs().max() for a, b in zip(here.policy.parameters().values(), there.policy.parameters().values(), strict=True)]
    assert max(moved) < 1e-4 < recipe.lr
    assert there.version == 1


# Without a cluster.


def test_ray_sampling_ahead_without_a_cluster_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="train with --cluster local, or with ahead=0"):
        create(small(ahead=1), tmp_path / "run").train()


def test_ray_nobody_at_the_address_is_said_within_its_deadline():
    from strop.cluster import Cluster, ClusterError, connected

    with pytest.raises(ClusterError, match=r"nobody answers at 127\.0\.0\.1, port 9"), connected(Cluster("127.0.0.1:9")):
        pass


def test_staleness_new_weights_end_a_segment_and_its_child_goes_on():
    policy = load(str(pico.path()))
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=())
    handle = Handle(engine, policy.renderer)

    async def run() -> Node:
        root = await handle.open("1 + 2 =", root="a")
        writing = asyncio.create_task(handle.generate(root, max=40))
        while not engine.counters.decoded:
            await asyncio.sleep(0)
        with torch.no_grad():
            policy.model.lm_head.weight.mul_(0.5)
        engine.deliver(1)
        return await writing

    node = asyncio.run(run())
    (prompt, first, rest) = node.row().segments
    assert (first.author.version, rest.author.version) == (0, 1)
    assert len(first.tokens) + len(rest.tokens) == 40
    assert (prompt.id, first.id, rest.id) == ("0", "0.0", "0.0.0")
    assert node.row().trains == {"0.0", "0.0.0"}
    assert handle.text(node) == policy.renderer.text(first.tokens + rest.tokens)
    assert node.calls == 1
    assert engine.counters.recomputed >= len(first.tokens)

    async def scored() -> tuple[float, ...]:
        return await engine.score(node)

    assert torch.tensor(asyncio.run(scored())).allclose(torch.tensor(rest.logp), atol=1e-4)  # the rest is the new weights' own


class Late:
    """A stand-in for a cluster: it answers when the test says so, with one decision by a version the test names."""

    name, own, counters, limits = "actor", True, Counters(), {}

    def __init__(self):
        self.version, self.asked = 0, []

    def ask(self, sampler, task, environment, ctx, *, step=None):
        self.asked.append((ctx.place, task, Future()))
        return self.asked[-1][2]

    def graded(self, groups):
        return {}

    def answer(self, number: int, version: int, length: int = 3):
        place, task, future = self.asked[number]
        action = Segment("action", (1,) * length, "0.0", Author("actor", version), (-1.0,) * length)
        rollout = Rollout((Row.of(Segment("prompt", (2,), "0"), action),), f"{place}/0")
        future.set_result([Group(task, (rollout,), id=place)])


def take(engine: Late, flight: Flight, ahead: int, step: int, picked: list[Task], **constants):
    async def grade(groups):
        return Scores({r.id: {"outcome": 1.0} for g in groups for r in g.rollouts})

    def pick(n):
        made = [Task(f"task {len(picked) + i}", {}, "test") for i in range(n)]
        picked.extend(made)
        return made

    ctx = Ctx(0, Progress(step, 10), None, {"actor": Handle(engine, None)}, grade, flight=flight)
    feed = Rollouts(ahead=ahead, **constants)
    return asyncio.run(feed.take(pick, 2, Independent(), None, ctx, None))


def test_staleness_groups_come_as_they_are_done_in_the_order_they_were_asked_for():
    engine, flight, picked = Late(), Flight(), []
    threading.Timer(0.2, lambda: [engine.answer(n, 0) for n in (3, 0)]).start()
    got = take(engine, flight, 1, 0, picked)
    assert len(picked) == 4  # two for this step, two ahead
    assert [g.task.prompt for g in got] == ["task 0", "task 3"]
    assert [task["prompt"] for _, task, _ in flight.to_json()["asked"]] == ["task 1", "task 2"]


def test_staleness_too_old_groups_are_discarded_and_reported_by_length_and_difficulty():
    engine, flight, picked = Late(), Flight(), []
    threading.Timer(0.2, lambda: [engine.answer(0, 0), engine.answer(1, 0)]).start()
    take(engine, flight, 1, 0, picked)
    engine.version = 3
    engine.answer(2, 1, length=7)  # two versions old
    threading.Timer(0.2, lambda: [engine.answer(n, 3) for n in range(3, 6)]).start()
    got = take(engine, flight, 1, 1, picked)
    assert [g.task.prompt for g in got] == ["task 3", "task 4"]
    (stale,) = flight.stale
    assert (stale["age"], stale["length"], stale["rate"]) == (2, 7.0, 1.0)
    assert stale["place"].startswith("0/")  # asked for in step 0


def test_staleness_what_is_discarded_is_told_by_length_and_difficulty():
    from strop.report import staleness

    kept = [[10.0, 1.0], [11.0, 0.25], [12.0, 0.0], [20.0, 0.5]]
    line = {
        "taken": kept,
        "stale": [{"place": "a", "age": 3, "length": 90.0, "rate": 0.0}, {"place": "b", "age": 3, "length": 80.0, "rate": None}],
    }
    groups = staleness.seen([line, {"step": 1}])
    made = staleness.tables(groups)
    assert made["pass rate"]["never right"] == {"discarded": 1, "kept": 1}
    assert made["pass rate"]["not graded"] == {"discarded": 1, "kept": 0}
    assert list(made["length"].values())[2] == {"discarded": 2, "kept": 0}  # all that is discarded is among the longest
    assert "2 of 6 groups were too old" in staleness.text(groups)
    assert "never right: 1 of 2" in staleness.text(groups)
    assert staleness.text(groups[:4]) == "sampled ahead: 4 groups, none too old"


def test_staleness_what_was_in_flight_when_a_run_died_is_asked_for_again():
    engine, flight, picked = Late(), Flight(), []
    threading.Timer(0.2, lambda: [engine.answer(0, 0), engine.answer(1, 0)]).start()
    take(engine, flight, 1, 0, picked)
    saved = json.loads(json.dumps(flight.to_json()))
    later, again = Late(), Flight()
    again.restore(saved)
    threading.Timer(0.2, lambda: [later.answer(0, 1), later.answer(1, 1)]).start()
    got = take(later, again, 1, 1, picked)
    assert [g.task.prompt for g in got] == ["task 2", "task 3"]
    assert [g.id for g in got] == [place for place, _, _ in engine.asked[2:4]]  # the same noise


def test_staleness_the_last_steps_ask_for_nothing_beyond_the_end():
    engine, flight, picked = Late(), Flight(), []
    threading.Timer(0.2, lambda: [engine.answer(0, 0), engine.answer(1, 0)]).start()
    take(engine, flight, 4, 9, picked)
    assert len(picked) == 2


def test_staleness_max_age_without_ahead_makes_no_sense():
    with pytest.raises(ValueError, match="without `ahead` nothing is older"):
        small(max_age=1).resolved()
    assert small(ahead=3, max_age=1).resolved().feed == Rollouts(ahead=3, max_age=1)
