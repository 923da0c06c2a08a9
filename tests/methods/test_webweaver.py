"""Reports section by section: what stays in sight, what an overflow leaves, what citations earn; all arms are taught the same words."""

import asyncio
import re
from dataclasses import replace

import pytest
import torch

from strop.check.growing import Script
from strop.experiments.webweaver import ALL_AT_ONCE, ARMS, CALLS, LARGE, PRUNED
from strop.methods.webweaver import (
    ON_DOSSIERS,
    RELEASED,
    SECTIONS,
    WEBWEAVER,
    WEBWEAVER_GRPO,
    WEBWEAVER_RELEASED,
    asked_cited,
    citations_right,
    cited_well,
)
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Group, Rollout
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Played
from strop.seams.window import Append, Spent, named
from strop.tasks import source
from strop.worlds.dossier import Dossier

BANKS = source("dossier")
LINE = re.compile(r"[a-z]{2}[0-9]\[[0-9][a-z]\]")
"""Of a bank."""


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


def played(renderer, method, index=0, agent=None, **changes):
    """An episode of the expert, or of another script, in a method's window and world."""
    world = replace(method.environment or BANKS.world, **{k: v for k, v in changes.items() if k == "whole"})
    window = replace(method.sampler.window, **{k: v for k, v in changes.items() if k == "limit"})
    ctx = Ctx(0, Progress(), BANKS, {"actor": Handle(Script(), renderer)}, None, place="0")
    how, says = replace(method.sampler, n=1, window=window), agent or (lambda state, turn: world.expert(state))
    (group,) = asyncio.run(Played(says, how)(BANKS.task("train", 0, index), world, ctx))
    return group.rollouts[0]


def lengths(rollout):
    return [len(row.tokens) for row in rollout.rows]


def test_what_is_in_sight_after_pruning_does_not_depend_on_the_bank(renderer):
    rows = [lengths(played(renderer, PRUNED, index)) for index in range(9)]  # banks of 8, 24 and 48 lines in turn
    assert rows == [rows[0]] * 9
    assert len(rows[0]) == 4
    whole = [lengths(played(renderer, ALL_AT_ONCE, index)) for index in range(3)]
    assert whole[1][0] - whole[0][0] == 16 * len("ga5[1q]")
    assert whole[2][0] - whole[1][0] == 24 * len("ga5[1q]")


def test_a_row_holds_the_evidence_of_its_own_section_and_marks_for_the_others(renderer):
    rollout = played(renderer, PRUNED)
    for number, row in enumerate(rollout.rows):
        heard = [renderer.text(s.tokens) for s in row.segments if s.kind == "observation"]
        shown = [bool(LINE.search(text)) for text in heard]
        assert shown == [*[False] * (2 * number), True]
        taught = [renderer.text(s.tokens).split()[0] for s in row.segments if s.id in row.trains]
        assert taught == [">get", ">write"]
    (kept,) = played(renderer, replaced("kept")).rows
    assert sum(bool(LINE.search(renderer.text(s.tokens))) for s in kept.segments if s.kind == "observation") == 4


def replaced(name):
    return LARGE.arm(name).method


def test_every_arm_is_taught_the_same_words_and_calls(renderer):
    def taught(method, index):
        rollout = played(renderer, method, index)
        return [renderer.text(s.tokens) for row in rollout.rows for s in row.segments if s.id in row.trains]

    for index in range(3):
        said = [taught(arm.method, index) for arm in ARMS]
        assert said == [said[0]] * 4
        assert len(said[0]) == CALLS


def test_an_overflow_keeps_what_is_written_and_as_released_nothing(renderer):
    seen = []
    for limit in range(140, 440, 20):
        kept, lost = (played(renderer, replaced("kept"), limit=limit, whole=whole) for whole in (False, True))
        written = kept.keys["facts"][-1]["written"]
        assert kept.stop == lost.stop == ("finished" if written == 4 else "length")
        assert kept.keys["scores"]["coverage_8"] == written / 4
        assert kept.keys["scores"]["precision_8"] == float(written > 0)
        assert lost.keys["scores"]["coverage_8"] == lost.keys["scores"]["precision_8"] == float(written == 4)
        seen.append(written)
    assert seen == sorted(seen)
    assert {*seen} >= {1, 2, 3, 4}
    assert RELEASED.environment == Dossier(whole=True)
    assert WEBWEAVER.fingerprint != WEBWEAVER_RELEASED.fingerprint


def test_citations_are_channels_and_a_reward(renderer):
    def every_line(state, turn):
        bank, name = state["bank"], state["outline"][state["written"]]
        facts, _ = state["sections"][name]
        return f">write {' '.join(name + fact + ''.join(f'[{one}]' for one in bank) for fact in facts)}"

    honest, everything = played(renderer, ALL_AT_ONCE), played(renderer, ALL_AT_ONCE, agent=every_line)
    half = played(renderer, ALL_AT_ONCE, limit=220)
    groups, ctx = [Group(BANKS.task("train", 0, 0), tuple(replace(r, id=str(i)) for i, r in enumerate((honest, everything, half))))], None
    precision, coverage = (asyncio.run(grader.on({"groups": groups, "ctx": ctx})) for grader in (citations_right(), asked_cited()))
    right = [precision.values[str(i)]["precision"] for i in range(3)]
    covered = [coverage.values[str(i)]["coverage"] for i in range(3)]
    assert right == [1.0, 1 / 8, 1.0], "eight lines cited for each fact, of which one says it"
    assert covered == [1.0, 1.0, half.keys["facts"][-1]["covered"] / 8]
    assert 0 < covered[2] < 1
    torch.testing.assert_close(cited_well(torch.tensor(right), torch.tensor(covered)), torch.tensor([1.0, 0.125, covered[2]]))


def test_another_world_notes_no_citations_and_that_is_our_fault():
    group = Group(BANKS.task("train", 0, 0), (Rollout((), "0", keys={"facts": [{"known": 1}]}), Rollout((), "1")))
    for grader in (citations_right(), asked_cited()):
        scores = asyncio.run(grader.on({"groups": [group], "ctx": None}))
        assert [scores.values[one][grader.gives] for one in "01"] == [None, 0.0], "no world heard the second"
        assert "a world of citations" in scores.incidents[0].why


def test_a_window_that_leaves_out_what_served_is_named_as_the_others():
    assert named("spent:by=write,mark=.,limit=320") == Spent("write", ".", 320)
    assert SECTIONS.window == Spent(mark=".")
    assert isinstance(replaced("all").sampler.window, Append)
    assert WEBWEAVER_GRPO.sampler.window.by == "write"


def test_both_stages_learn(tmp_path):
    small = {"tasks": 1, "eval_tasks": 0, "slots": 32, "steps": 1, "task": "dossier"}
    run = create(Recipe(method=PRUNED, **small), tmp_path / "imitate")
    run.train()
    assert run.bill.total["calls"] == CALLS
    paid = ON_DOSSIERS.but("webweaver-small", sampler=replace(SECTIONS, n=2, turns=2))
    create(Recipe(method=paid, **small), tmp_path / "rewarded").train()
