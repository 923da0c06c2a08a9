"""Influence beside kronfluence 1.0.1, which has EK-FAC of its own: the same maps, texts and targets, labels drawn by each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strop.lab.influence import agreement
from strop.policies.causal import load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_ranks_are_kronfluences(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from influence import side_kronfluence, side_strop, texts

    for model, least in (("pico", 0.99), ("seedling:layers=3,hidden=96", 0.99)):
        policy = load(model)
        train, targets = texts(policy, 300)
        ours, theirs = side_strop(policy, train, targets), side_kronfluence(load(model), train, targets)
        for target in targets:
            assert agreement(ours[target], theirs[target]) >= least, (model, target)
            assert sum(ours[target]) == pytest.approx(sum(theirs[target]), rel=0.3), "and the sizes, but for labels"


@pytest.mark.full
def test_the_benchmark_runs_small():
    script = [sys.executable, str(BENCHMARKS / "influence.py"), "--examples", "20", "--repeats", "1"]
    done = subprocess.run(script, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert "kronfluence took" in done.stdout
    assert "loop took" in done.stdout
