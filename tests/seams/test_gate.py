import pytest

from strop.records import Fate, Group, Rollout, Task
from strop.seams.gate import DropFlat, MaskOverlong, SkipZeroCredit, decide


def group(*stops: str) -> Group:
    return Group(Task("p", {}, "s"), tuple(Rollout((), f"r{i}", stop=stop) for i, stop in enumerate(stops)))


def kinds(fates: dict[str, Fate]) -> list[str]:
    return [fates[unit].kind for unit in sorted(fates)]


def test_without_gates_everything_measured_is_kept():
    assert kinds(decide((), group("finished", "length"), {"r0": 0.0, "r1": 1.0})) == ["keep", "keep"]


def test_what_could_not_be_measured_is_dropped_and_says_so():
    fates = decide((DropFlat(),), group("finished", "finished", "finished"), {"r0": 0.0, "r1": None, "r2": 1.0})
    assert kinds(fates) == ["keep", "drop", "keep"]
    assert fates["r1"].why == "ungraded"


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_group_that_agrees_is_dropped(reward):
    fates = decide((DropFlat(),), group("finished", "finished"), {"r0": reward, "r1": reward})
    assert kinds(fates) == ["drop", "drop"]
    assert {fate.why for fate in fates.values()} == {"flat"}


def test_a_tolerance_says_what_counts_as_agreeing():
    rewards = {"r0": 0.5, "r1": 0.6}
    assert kinds(decide((DropFlat(tolerance=0.2),), group("finished", "finished"), rewards)) == ["drop", "drop"]
    assert kinds(decide((DropFlat(tolerance=0.05),), group("finished", "finished"), rewards)) == ["keep", "keep"]


def test_a_rollout_cut_at_its_limit_is_context_or_dropped():
    rewards = {"r0": 0.0, "r1": 1.0}
    assert kinds(decide((MaskOverlong(),), group("length", "finished"), rewards)) == ["context", "keep"]
    assert kinds(decide((MaskOverlong(fate="drop"),), group("length", "finished"), rewards)) == ["drop", "keep"]
    with pytest.raises(ValueError, match="context or drop"):
        decide((MaskOverlong(fate="keep"),), group("length"), {"r0": 0.0})


def test_a_later_gate_sees_what_the_earlier_ones_kept():
    # without the overlong rollout the others agree
    rewards, rollouts = {"r0": 1.0, "r1": 0.0, "r2": 0.0}, group("length", "finished", "finished")
    assert kinds(decide((MaskOverlong(fate="drop"), DropFlat()), rollouts, rewards)) == ["drop", "drop", "drop"]
    assert kinds(decide((DropFlat(), MaskOverlong(fate="drop")), rollouts, rewards)) == ["drop", "keep", "keep"]


def test_a_gate_is_shown_its_own_group_whatever_else_was_rewarded_in_the_step():
    rewards = {"r0": 1.0, "r1": 1.0, "elsewhere": 0.0, "nowhere": None}
    assert decide((DropFlat(),), group("finished", "finished"), rewards) == {u: Fate("drop", why="flat") for u in ("r0", "r1")}


def test_a_rollout_that_earns_the_mean_is_a_sibling_only():
    fates = decide((SkipZeroCredit(),), group(*["finished"] * 4), {"r0": 0.1, "r1": 0.2, "r2": 0.3, "r3": 0.2})
    assert kinds(fates) == ["keep", "context", "keep", "context"]


def test_leaving_out_what_earns_the_mean_leaves_the_mean():
    flat = decide((SkipZeroCredit(),), group(*["finished"] * 3), dict.fromkeys(("r0", "r1", "r2"), 0.1))
    assert kinds(flat) == ["context"] * 3
