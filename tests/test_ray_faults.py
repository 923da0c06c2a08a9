"""What a fault on a cluster does to a run, on several real raylets with killed, stopped and hung real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import faults
import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.full, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    command = [sys.executable, str(Path(__file__).parent / "faults.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2900, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_ray_every_fault_was_made(results, measured):
    measured(faults.table(results))
    assert results.keys() == faults.FAULTS.keys()


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_ray_after_a_fault_the_run_goes_on_within_a_minute_and_every_graded_group_is_accounted_for(results, fault):
    seen = results[fault]
    assert "failed" not in seen, seen
    assert seen["code"] == 0, seen
    assert seen["seconds"] < 60, seen
    assert seen["kept"], seen
    assert seen["graded"] == seen["committed"] + seen["discarded"]


def test_ray_sampling_ahead_discards_some_and_staleness_is_in_the_sum(results):
    assert any(results[name]["discarded"] for name, (_, options) in faults.FAULTS.items() if options.get("ahead"))


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_ray_a_run_with_a_fault_equals_its_own_log(results, fault):
    assert results[fault]["log"], results[fault]


@pytest.mark.parametrize(
    "fault", [name for name, (_, options) in faults.FAULTS.items() if not options.get("ahead") and not options.get("ranks")]
)
def test_ray_a_fault_changes_no_bit_of_a_synchronous_run(results, fault):
    assert results[fault]["same"], results[fault]


@pytest.mark.parametrize("fault", ["engine-killed", "engine-hung", "rank-killed", "node-removed", "all-engines-killed"])
def test_ray_the_message_names_actor_node_and_deadline(results, fault):
    said = results[fault]["message"]
    assert "actor" in said, said
    assert "on node" in said, said
    assert "15 s" in said, said
