from collections import Counter

import pytest

from strop.records import Fate, Group, Rollout, Scores, Task
from strop.seams.gate import DropFlat, Duplicate, MaskOverlong, SkipZeroCredit, decide, finish


def group(*stops: str) -> Group:
    return Group(Task("p", {}, "s"), tuple(Rollout((), f"r{i}", stop=stop) for i, stop in enumerate(stops)))


def groups(*flat: bool) -> tuple[list[Group], dict[str, float | None]]:
    """Groups of two rollouts, and rewards that agree where it says flat."""
    made = [Group(Task("p", {}, "s"), (Rollout((), f"{i}/0"), Rollout((), f"{i}/1"))) for i in range(len(flat))]
    return made, {r.id: float(n and not flat[i]) for i, g in enumerate(made) for n, r in enumerate(g.rollouts)}


def finished(*flat: bool, key=(0,)) -> dict[str, Fate]:
    made, rewards = groups(*flat)
    gates, fates = (DropFlat(), Duplicate()), {}
    for one in made:
        fates |= decide(gates, one, rewards)
    return finish(gates, made, fates, rewards, key=key)


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


def test_what_must_differ_may_be_the_verdict_and_not_the_reward():
    # a format term makes rewards differ where every answer is wrong
    rewards, one = {"r0": 0.0, "r1": 0.1}, group("finished", "finished")
    scores = Scores({"r0": {"outcome": 0.0}, "r1": {"outcome": 0.0}})
    assert kinds(decide((DropFlat(),), one, rewards, scores)) == ["keep", "keep"]
    assert kinds(decide((DropFlat(of="outcome"),), one, rewards, scores)) == ["drop", "drop"]
    with pytest.raises(ValueError, match="'outcom', which nobody grades here: outcome"):
        decide((DropFlat(of="outcom"),), one, rewards, scores)


def test_copies_of_kept_groups_fill_the_places_of_dropped_ones():
    fates = finished(True, False, True, False, True, True)
    assert {unit for unit, fate in fates.items() if fate.kind == "drop"} == {f"{i}/{n}" for i in (0, 2, 4, 5) for n in (0, 1)}
    assert fates["1/0"].times == fates["1/1"].times
    assert fates["1/0"].times + fates["3/0"].times == 6


def test_copies_are_drawn_alike_from_what_was_kept_and_repeat_with_their_key():
    drawn = Counter(
        fate.times for key in range(2000) for unit, fate in finished(True, True, False, False, key=(key,)).items() if unit == "2/0"
    )
    assert [drawn[times] / 2000 for times in (1, 2, 3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    assert finished(True, True, False, False, key=(7,)) == finished(True, True, False, False, key=(7,))


@pytest.mark.parametrize("flat", [(True, True), (False, False)])
def test_nothing_is_copied_where_nothing_or_everything_was_kept(flat):
    assert {fate.times for fate in finished(*flat).values()} == {1}


def test_weights_of_two_gates_multiply():
    def half(group, seen):
        return {unit: Fate(weight=0.5) for unit in seen.rewards}

    made, rewards = groups(False)
    assert decide((half, half), made[0], rewards)["0/0"].weight == 0.25
