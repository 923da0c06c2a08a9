"""A run in which nothing is wrong trips nothing, however odd it looks."""

import pytest

from .clean import CLEAN, play

BRIEF = "grpo on path"
"""One for every change; the others are long."""
SILENT = {
    "ppo with one rollout a task": {"no-spread"},
    "flat groups that carry signal": {"no-spread"},
    "reinforce++": {"no-spread"},
    "ppo": {"no-spread"},
    "intuitor: no label is read": {"constant-grader"},
    "offline": {
        "undelivered-weights", "stale-weights", "retokenised", "sampling", "mismatch-ratio", "mismatch-kl", "mismatch-ess",
        "length-collapse", "runaway-length", "outcome-collapse",
    },
    "nothing is trained": {
        "undelivered-weights", "entropy-collapse", "length-collapse", "runaway-length", "no-gradient", "outcome-collapse",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name == BRIEF else pytest.mark.full) for name in CLEAN])
def test_a_clean_run_of_thirty_updates_trips_nothing_and_says_what_is_silent(name, tmp_path):
    shorter = {"steps": 30, "max_tokens": 16, "tasks": 4} if name == BRIEF else {}
    lines, about = play(name, tmp_path, **shorter)
    assert len(lines) >= 30
    assert [line["warnings"] for line in lines if "warnings" in line] == []
    assert set(about["silent"]) == SILENT.get(name, set())


def test_there_are_more_than_twenty_clean_runs():
    assert len(CLEAN) > 20


@pytest.mark.full
def test_the_intended_halving_of_length_halves_it(tmp_path):
    lines, _ = play("an intended halving of length", tmp_path)
    assert lines[-1]["length"] < 0.6 * lines[0]["length"]
