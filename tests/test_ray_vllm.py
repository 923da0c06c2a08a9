"""vLLM behind Ray replicas: real servers that the replicas start, on a real local cluster, killed for real."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from engines import vllms

from strop import engines, grading, pico
from strop.directory import read_metrics
from strop.loop import Run
from strop.recipe import Recipe
from strop.records import Group, Sampling
from strop.run import create, resume
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.sampler import Independent, grown
from strop.tripwires import Tripped

ray = pytest.importorskip("ray")
stats = pytest.importorskip("scipy.stats")
pytestmark = [
    pytest.mark.full,
    vllms.NEEDED,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's own sockets
]
VLLM = f"vllm:python={vllms.python()}"
RECIPE = Recipe(
    task="chain", model=str(pico.path()), steps=3, tasks=4, group=8, max_tokens=24, lr=3e-3, eval_tasks=0, checkpoint_every=1, slots=64
)
TASKS, DRAWS = 64, 16
ALARM = 1e-3 / 4
"""One in a thousand comparisons of equals is called different, over the four statistics that are compared."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from strop.cluster import Cluster, connected

    torch.set_num_threads(1)
    with connected(Cluster("local", replicas=3)) as made:  # room for the two below, and for one more
        yield made


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory) -> Iterator[Run]:
    """Three steps on two vLLM replicas, which stay."""
    made = create(RECIPE.but(engine=VLLM), tmp_path_factory.mktemp("vllm") / "run", engine=replace(cluster, replicas=2).front)
    made.first = {name: tensor.clone() for name, tensor in made.policy.weights()}
    made.train()
    yield made
    made.engine.close()


def test_ray_two_vllm_replicas_train_under_the_grade_statistical_within_the_limits_that_vllm_states(run):
    assert json.loads((run.directory / "recipe.json").read_text())["grade"] == "statistical"
    assert run.method.correction.name == "truncated"  # since what was recorded is not the learner's own
    limits = run.engine.limits
    assert limits["stale-weights"] == 1e-4
    for line in read_metrics(run.directory):
        assert 0 < line["sampler"]["largest"] - 1 < limits["mismatch-ratio"] - 1  # near, and not the same bits
        assert line["bill"]["measured"] > 0


def test_ray_every_delivery_to_a_vllm_replica_was_probed_and_moved(run):
    probes = [line["watch"]["canary"] for line in read_metrics(run.directory)]
    assert len({probe["digest"] for probe in probes}) == RECIPE.steps
    for probe in probes:
        gap = np.abs(np.subtract(probe["engine"], probe["learner"]))
        assert 0 < gap.max() < run.engine.limits["stale-weights"]
    for before, after in pairwise(probes):
        assert np.abs(np.subtract(after["engine"], before["engine"])).max() > 10 * run.engine.limits["stale-weights"]
    assert not run.engine.losses
    for member in run.engine.members:
        assert member.facts["version"] == RECIPE.steps
        assert member.counters["decoded"], f"{member} wrote nothing"
        assert member.counters["scored"], f"{member} was not probed"


# Statistics of what is drawn, task by task.


def asked(run: Run, step: int, sampling: Callable[[int], Sampling] = lambda number: Sampling()) -> list[Group]:
    """One group of each task from the replicas."""
    run.engine.begin(step)
    futures: list[Future[list[Group]]] = [
        run.engine.ask(Independent(DRAWS, RECIPE.max_tokens, sampling=sampling(i)), task(run, i), None, context(run, i, run.engine))
        for i in range(TASKS)
    ]
    return [group for future in futures for group in future.result(300)]


def embedded(run: Run) -> list[Group]:
    """The same from the embedded engine, on the same weights."""
    engine = engines.build(run.policy, RECIPE)
    engine.begin(100)

    async def all_of_them() -> list[list[Group]]:
        sampler = Independent(DRAWS, RECIPE.max_tokens)
        return await asyncio.gather(*(grown(sampler, task(run, i), None, context(run, i, engine)) for i in range(TASKS)))

    return [group for groups in asyncio.run(all_of_them()) for group in groups]


def unsaid(group: Group) -> Group:
    """Every action says that it was drawn plainly, whatever it was drawn with."""
    plain = [
        [[replace(s, author=replace(s.author, sampling=Sampling())) if s.author else s for s in row.segments] for row in r.rows]
        for r in group.rollouts
    ]
    rollouts = [
        replace(r, rows=tuple(replace(row, segments=tuple(segments)) for row, segments in zip(r.rows, rows, strict=True)))
        for r, rows in zip(group.rollouts, plain, strict=True)
    ]
    return replace(group, rollouts=tuple(rollouts))


def task(run: Run, number: int) -> Any:
    return run.source.task("train", 7, number)


def context(run: Run, number: int, engine: Any) -> Ctx:
    return Ctx(
        0, Progress(100, 1000), run.source, {"actor": Handle(engine, run.policy.renderer)}, grade=None, place=f"{task(run, number).id}/0"
    )


def apart(run: Run, one: list[Group], other: list[Group]) -> dict[str, float]:
    """How likely engines that draw from one distribution are to differ by as much: a paired t-test over tasks, for each statistic."""
    (a, b) = (of_tasks(run, groups) for groups in (one, other))
    return {name: float(stats.ttest_rel(a[name], b[name]).pvalue) for name in a}


def said(name: str, found: dict[str, float]) -> str:
    return f"p, {name:43}" + ", ".join(f"{what} {p:.1g}" for what, p in found.items())


def of_tasks(run: Run, groups: list[Group]) -> dict[str, np.ndarray]:
    scores = asyncio.run(grading.grade(run.source, groups))
    batch = run.evaluate(groups, "online", frozenset({"logp_T", "entropy_T"}))
    logp_T, entropy_T = (batch.tracks[name].double() for name in ("logp_T", "entropy_T"))
    return {
        "reward": np.array([np.mean([scores.get(r.id, "lenient") for r in group.rollouts]) for group in groups]),
        "length": np.array([np.mean([r.length for r in group.rollouts]) for group in groups]),
        "logp": batch.index.mean(logp_T, "token", "group").numpy(),
        "surprise": batch.index.mean(logp_T + entropy_T, "token", "group").numpy(),  # 0 on average, for who draws from the learner's own
    }


@pytest.fixture(scope="module")
def reference(run) -> list[Group]:
    return embedded(run)


def test_ray_vllm_replicas_draw_with_the_statistics_of_the_embedded_engine(run, reference, measured):
    found = apart(run, asked(run, 100), reference)
    measured(said("two vLLM replicas", found))
    assert min(found.values()) > ALARM, found


def test_ray_the_comparison_tells_a_vllm_replica_that_draws_at_another_temperature_than_it_says(run, reference, measured):
    """Every second task, as with one of two replicas."""
    drawn = asked(run, 101, lambda number: Sampling(temperature=1.5 if number % 2 else 1.0))
    found = apart(run, [unsaid(group) for group in drawn], reference)
    measured(said("every second task drawn at temperature 1.5", found))
    assert min(found.values()) < ALARM, found


def test_ray_a_vllm_replica_that_keeps_stale_weights_is_told_by_the_comparison_and_by_the_probe(run, reference, measured):
    def of(weights: Any) -> dict[str, np.ndarray]:
        return {name: tensor.detach().view(-1).view(torch.uint8).numpy() for name, tensor in weights}

    odd = run.engine.members[1].actor
    ray.get(odd.deliver.remote(of(run.first.items()), run.version), timeout=60)
    try:
        found = apart(run, asked(run, 102), reference)
        measured(said("one replica holds the first weights", found))
        assert min(found.values()) < ALARM, found
        from strop.cluster import ClusterError

        with pytest.raises((ClusterError, Tripped), match="one of them holds other weights"):
            asyncio.run(run.watch.begin())
    finally:
        ray.get(odd.deliver.remote(of(run.policy.weights()), run.version), timeout=60)


def test_ray_several_replicas_on_one_vllm_server_are_refused_with_the_way_out(cluster, tmp_path):
    with pytest.raises(ValueError, match=r"is one server, and 3 replicas need one each: --replicas 1, or .* vllm:python="):
        create(RECIPE.but(engine="vllm:http://127.0.0.1:9"), tmp_path / "run", engine=cluster.front)


# Ahead of the learner.


def test_ray_a_vllm_replica_that_samples_ahead_ends_its_tasks_under_the_weights_they_began_with(cluster, tmp_path):
    recipe = RECIPE.but(engine=VLLM, ahead=1, steps=4)
    made = create(recipe, tmp_path / "run", engine=replace(cluster, replicas=1).front)
    made.train()
    made.engine.close()
    assert not made.engine.losses
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["grade"] == "logged"
    seen = read_metrics(tmp_path / "run")
    assert [line["step"] for line in seen] == list(range(4))
    assert max(line["age"]["most"] for line in seen) == 1
    for step in range(4):
        for group in made.record(step)["groups"]:
            versions = [s["author"]["version"] for r in group["rollouts"] for s in r["rows"][0]["segments"] if s["kind"] == "action"]
            assert len(versions) == recipe.group  # one whole action each: nothing was cut
            assert all(step - 1 <= version <= step for version in versions)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "hash").write_text("damaged")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    asks_nobody = partial(resume, say=lambda _: None, engine=lambda policy, recipe: engines.build(policy, recipe.but(engine="embedded")))
    asks_nobody(tmp_path / "run").train()  # from its commits alone
    again = read_metrics(tmp_path / "run")
    assert [line["digest"] for line in again] == [line["digest"] for line in seen]


# Killed.


def running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def below(driver: psutil.Process) -> dict[str, list[psutil.Process]]:
    """A run's vLLM processes: the servers, their engines and all of them."""
    found: dict[str, list[psutil.Process]] = {"servers": [], "engines": [], "all": []}
    for process in driver.children(recursive=True):
        try:
            said, above = " ".join(process.cmdline()), " ".join(process.parent().cmdline())  # pyright: ignore[reportOptionalMemberAccess]
        except (psutil.Error, AttributeError):
            continue
        if "VLLM::" in said or "serve.py" in said:
            found["all"].append(process)
            found["engines"] += [process] if "VLLM::EngineCore" in said else []
            found["servers"] += [process] if "ray::Replica" in above else []
    return found


def test_ray_a_vllm_killed_or_hung_in_mid_generation_is_named_and_replaced_and_none_outlives_a_killed_driver(tmp_path, measured):
    out, log = tmp_path / "run", tmp_path / "said"
    command = [sys.executable, "-m", "strop", "train", "--cluster", "local", "--replicas", "2", "--engine", VLLM, "--steps", "500"]
    command += ["--tasks", "8", "--group", "8", "--max-tokens", "48", "--eval-tasks", "0", "--tripwire", "grader=off", "--out", str(out)]
    with log.open("w") as said:
        driver = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
    top = psutil.Process(driver.pid)

    def commits() -> int:
        return len(list((out / "groups").glob("*.gz")))

    def until(what: Callable[[], Any], seconds: float) -> float:
        began = time.monotonic()
        while not what():
            assert driver.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() - began < seconds, log.read_text()[-2000:]
            time.sleep(0.1)
        return time.monotonic() - began

    try:
        until(lambda: commits() >= 1, 300)
        for fault in (signal.SIGKILL, signal.SIGSTOP):
            processes = below(top)["engines"]
            assert len(processes) == 2
            there = commits()
            processes[0].send_signal(fault)
            seconds = until(lambda there=there: commits() > there + 1, 60)
            measured(f"{fault.name} to vLLM's engine process: two commits later after {seconds:.1f} s")
            if fault == signal.SIGKILL:
                took = seconds + until(lambda: "is there again" in log.read_text(), 240)
                measured(f"another replica there after {took:.1f} s")
        killed, hung = (line for line in log.read_text().splitlines() if line.endswith("is asked again."))
        assert "lost its engine (vLLM at" in killed
        assert "computed nothing for 40 s" in hung or re.search(r"did not take weights of version \d+ within 30 s", hung)
        for line in (killed, hung):
            for word in ("actor", "on node", "due every 15 s"):
                assert word in line
        every = below(top)["all"]
        commands = [process.cmdline() for process in every]
        folders = {Path(said[said.index("--owned") + 1]) for said in commands if "--owned" in said}
        assert folders
        assert all(folder.exists() for folder in folders)
    finally:
        driver.kill()
        driver.wait(30)
    end = time.monotonic() + 40
    while left := [process for process in every if running(process)]:
        assert time.monotonic() < end, f"outlived the run: {left}"
        time.sleep(0.2)
    assert not any(folder.exists() for folder in folders)
