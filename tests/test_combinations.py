"""Pilot methods joined in one line learn together, each with its mechanism on."""

import gzip
import json
from dataclasses import replace

import pytest
import torch

from strop.directory import read_metrics
from strop.methods import method
from strop.recipe import Recipe
from strop.run import create

STEPS, RISE = 30, 0.05
POOL = "pool:48:chain"
PAIRS = {"treepo + flowrl": "chain", "cdas + treepo": POOL, "cdas + flowrl": POOL}


def trained(name: str, task: str, lr: float, place):
    """Thirty updates of one seed on the bundled model; the run and its metrics lines."""
    joined = method(name)
    joined = joined.but(update=replace(joined.update, minibatch=8))
    recipe = Recipe(method=joined, task=task, tasks=16, group=8, max_tokens=48, lr=lr, steps=STEPS, eval_tasks=0, checkpoint_every=STEPS)
    run = create(recipe, place)
    start = {key: value.detach().clone() for key, value in run.policy.parameters().items()}
    run.train()
    return run, start, read_metrics(place)


def rise(lines) -> float:
    """Mean training outcome of the last ten steps over that of the first ten."""
    outcome = [line["outcome"] for line in lines]
    return (sum(outcome[-10:]) - sum(outcome[:10])) / 10


def records(place):
    for path in sorted((place / "groups").glob("*.json.gz")):
        yield json.loads(gzip.decompress(path.read_bytes()))


def forks(place) -> int:
    """Segments that more than one row holds: paths that parted after a common beginning."""
    shared = 0
    for record in records(place):
        for group in record["groups"]:
            held = [s["id"] for r in group["rollouts"] for row in r["rows"] for s in row["segments"] if s["kind"] == "action"]
            shared += len(held) - len(set(held))
    return shared


def moved(run, start) -> float:
    """How far the partition head went from where it began."""
    return max(
        float((run.policy.parameters()[key].detach() - value).abs().max()) for key, value in start.items() if key.startswith("heads.logz")
    )


def visits(place) -> list[int]:
    *_, last = records(place)
    return last["state"]["curriculum"]["visits"]


@pytest.mark.full  # whole trainings
@pytest.mark.parametrize("name", PAIRS)
def test_two_pilots_in_one_line_learn_more_than_standing_still_and_both_are_active(name, tmp_path):
    torch.set_num_threads(1)
    run, start, lines = trained(name, PAIRS[name], 1e-4, tmp_path / "run")
    _, _, still = trained(name, PAIRS[name], 0.0, tmp_path / "still")
    assert [line["step"] for line in lines] == list(range(STEPS))
    print(f"{name}: outcome rose by {rise(lines):+.3f}, standing still by {rise(still):+.3f}")
    assert rise(lines) > RISE
    assert rise(lines) - rise(still) > RISE
    if "treepo" in name:
        assert forks(tmp_path / "run") > 0
    if "flowrl" in name:
        assert moved(run, start) > 1e-3
    if "cdas" in name:
        assert max(visits(tmp_path / "run")) - min(visits(tmp_path / "run")) > 1, "picks are as even as uniform ones"
