"""WebSailor-V2: credit without a spread, every end its word; questions with two sides; what managed tools recover."""

import asyncio
from dataclasses import replace

import pytest
import torch

from strop.experiments.websailor import ASKS, FAULTS, MANAGED, TWO_SIDED, WORLDS, solved_in, tried
from strop.methods.dr_grpo import DR_GRPO
from strop.methods.websailor import ENDS, IMITATED, LOOKS, ON_GRAPHS, WEBSAILOR, WEBSAILOR_PROGRAM
from strop.recipe import Recipe
from strop.run import create
from strop.seams.credit import group_centered, leave_one_out
from strop.seams.index import Index
from strop.seams.part import written
from strop.seams.reduction import means
from strop.seams.world import Said, Seat
from strop.tasks import source
from strop.worlds.graphs import Graphs


@pytest.mark.parametrize("size", [2, 3, 8, 16])
def test_the_mean_s_advantage_times_g_by_g_less_1_is_leave_one_out(size):
    reward_R, index = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)), Index.one_group(size)
    torch.testing.assert_close(group_centered(reward_R, index) * size / (size - 1), leave_one_out(reward_R, index), rtol=0, atol=1e-14)


def test_nothing_is_divided_by_a_spread_every_token_weighs_the_same_and_the_table_is_gate_and_reward():
    assert WEBSAILOR.credit == DR_GRPO.credit == (group_centered(),)
    assert WEBSAILOR.signals["policy"].reduce == means("token")
    assert WEBSAILOR.gate == (ENDS,)
    assert WEBSAILOR.reward == ENDS.reward
    assert written(ENDS) == "Ends(right='train', wrong='train', cut='context', form=-0.5, call=-0.5, lost=None, refill=0)"


def test_mask_penalty_and_neither_are_one_word_apart():
    neither = replace(ENDS, cut="train")
    punished = replace(ENDS, cut=-0.5)
    made = [ON_GRAPHS.but("other", idea=("reward", "gate"), gate=(one,), reward=one.reward) for one in (neither, punished)]
    assert len({ON_GRAPHS.fingerprint, *(one.fingerprint for one in made)}) == 3
    assert made[0].reward == ON_GRAPHS.reward


def test_arms_are_held_to_the_same_questions_and_trained_on_their_own():
    tasks = {arm.name: arm.method.stages[0].task for arm in TWO_SIDED.arms}
    assert {name.removeprefix(ASKS) for name in tasks.values()} == {"", ",closed=0.0,tree=1", ",closed=0.0"}
    held = [[source(task).task("test", 9, index).id for index in range(4)] for task in tasks.values()]
    assert held[0] == held[1] == held[2]
    assert source(TWO_SIDED.recipe.task).task("test", 9, 0).id == held[0][0]


def test_the_teacher_has_room_for_most_of_its_looks():
    asked, world, turns = source(WEBSAILOR_PROGRAM.stages[0].task), Graphs(), []
    for index in range(60):
        state, taken = world.start(asked.task("train", 0, index), Seat("", "")), 1
        while not isinstance(does := world.expert(state), str):
            state, _ = asyncio.run(world.reply(state, Said("", (does,)), {}))
            taken += 1
        turns.append(taken)
    assert sum(taken <= LOOKS.turns for taken in turns) >= 50


# ------------------------------------------------------------------------------------------------ managed tools


def test_the_solver_is_right_where_tools_are_and_not_where_they_lie():
    tasks = [source(MANAGED.recipe.task).task("train", 11, index) for index in range(40)]
    ends = {name: [solved_in(task, name)[0] for task in tasks] for name in WORLDS}
    assert ends["clean"].count("right") >= 38
    assert ends["raw"].count("lost") > 20
    assert ends["managed"].count("right") > ends["raw"].count("right") + 5
    assert "lost" not in ends["managed"]
    assert ends["managed"].count("right") < ends["clean"].count("right"), "a stale answer is no loss that anybody notices"
    again = [asyncio.run(tried(task, FAULTS, "k")) for task in tasks[:5]]
    assert again == [asyncio.run(tried(task, FAULTS, "k")) for task in tasks[:5]]


@pytest.mark.slow
def test_both_stages_learn_and_the_line_counts_ends_and_what_worlds_did(tmp_path):
    small = {"eval_tasks": 0, "slots": 32, "steps": 1}
    imitated = create(Recipe(method=IMITATED, task=ASKS, tasks=1, **small), tmp_path / "imitate")
    imitated.train()
    assert imitated.bill.total["trained"] > 0
    faulty = ON_GRAPHS.but(
        "websailor-faulty", idea=("environment", "sampler"), environment=WORLDS["managed"], sampler=replace(LOOKS, n=2, turns=2)
    )
    lines = []
    rewarded = create(Recipe(method=faulty, task=ASKS, tasks=2, **small), tmp_path / "rewarded")
    rewarded.train(show=lines.append)
    assert rewarded.bill.total["decoded"] > 0
    assert "ended" in lines[0]
    assert lines[0]["incidents"] == 0
