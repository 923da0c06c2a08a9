"""What a reward and a credit may read, and what becomes of a rollout that nobody could grade."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from strop.batch import pack
from strop.check.formulas import in_float64, largest
from strop.identity import explain
from strop.learning import reward_of, settle
from strop.methods.grpo import GRPO
from strop.records import Author, Fate, Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Progress
from strop.seams.credit import group_centered
from strop.seams.gate import DropFlat, MaskOverlong
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.role import Role

PROMPT = Segment("prompt", (9,), "0")


def rollout(unit: str, length: int) -> Rollout:
    return Rollout((Row.of(PROMPT, Segment("action", (1,) * length, f"{unit}.a", Author("actor", 0), (-1.0,) * length)),), unit)


GROUPS = [
    Group(Task("p", {}, "s"), (rollout("a", 1), rollout("b", 2), rollout("c", 3))),
    Group(Task("q", {}, "s"), (rollout("d", 4), rollout("e", 5))),
]
SCORES = Scores({unit: {"outcome": v} for unit, v in {"a": 1.0, "b": 0.0, "c": None, "d": 1.0, "e": 1.0}.items()})


@part(gives="reward_R", formula="reward_R = outcome_R - mean(outcome_R, group) + 0.01 * length_R + 0.1 * step + fraction")
def against_siblings(outcome_R: Tensor, length_R: Tensor, step: int, fraction: float, index: Index) -> Tensor:
    mean_R = index.spread(index.mean(outcome_R, "rollout", "group"), "group", "rollout")
    return outcome_R - mean_R + 0.01 * length_R + 0.1 * step + fraction


@part(gives="credit_R", formula="credit_R = credit_R + fraction * (outcome_R - lenient_R)")
def with_the_verdicts(credit_R: Tensor, outcome_R: Tensor, lenient_R: Tensor, fraction: float) -> Tensor:
    return credit_R + fraction * (outcome_R - lenient_R)


@part(gives="length")
async def lengths(groups: list[Group], ctx: Ctx) -> Scores:
    return Scores({r.id: {"length": 0.0} for g in groups for r in g.rollouts})


MINE = GRPO.but("mine", reward=against_siblings, credit=(group_centered, with_the_verdicts))


def test_a_reward_sees_its_groups_graded_rollouts_their_length_and_where_the_run_stands():
    given = reward_of(MINE, GROUPS, SCORES, Progress(step=2, steps=8))
    expected = {"a": 0.5 + 0.01 + 0.2 + 0.25, "b": -0.5 + 0.02 + 0.2 + 0.25, "d": 0.04 + 0.2 + 0.25, "e": 0.05 + 0.2 + 0.25}
    assert given.pop("c") is None
    assert given == pytest.approx(expected)


def test_a_reward_that_would_make_a_number_of_anything_is_not_asked_for_what_nobody_graded():
    @part(gives="reward_R")
    def failed(outcome_R: Tensor) -> Tensor:
        return torch.where(outcome_R > 0.5, 1.0, -1.0).to(outcome_R)

    assert reward_of(GRPO.but("mine", reward=failed), GROUPS, SCORES, Progress()) == {"a": 1.0, "b": -1.0, "c": None, "d": 1.0, "e": 1.0}


def test_a_credit_reads_channels_and_progress():
    rewards = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": 1.0}
    scores = Scores({unit: {"outcome": v, "lenient": 0.5} for unit, v in rewards.items()})
    batch = pack(GROUPS, {unit: Fate() for unit in rewards}, rewards, 0, scores)
    settled = settle(MINE, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]), 0.5)
    credit_R = settled.index.mean(settled.tracks["credit_T"], "token", "rollout")
    torch.testing.assert_close(credit_R, torch.tensor([2 / 3 + 0.25, -1 / 3 - 0.25, -1 / 3 - 0.25, 0.25, 0.25]))


def test_a_channel_that_nobody_grades_is_named():
    batch = pack(GROUPS, {}, dict.fromkeys("abcde", 0.0), 0, SCORES)
    with pytest.raises(ValueError, match="its credit 'with_the_verdicts' reads the channel 'lenient', which nobody grades here"):
        settle(MINE, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))


def test_a_channel_takes_no_facts_place():
    scores = Scores({unit: {"outcome": 0.0, "reward": 7.0, "length": 7.0} for unit in "abcde"})
    batch = pack(GROUPS, {}, dict.fromkeys("abcde", 1.0), 0, scores)
    assert batch.facts["reward_R"].tolist() == [1.0] * 5
    assert batch.facts["length_R"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(ValueError, match="gives the channel 'length', and length_R is something else already"):
        GRPO.but("mine", graders=(lengths,))


def test_what_such_parts_print_is_what_they_compute():
    with in_float64():
        difference, felt = largest(MINE, explain(MINE), 20)
    assert difference < 1e-10
    assert felt


def test_a_copy_of_a_group_has_numbers_of_its_own():
    fates = {unit: Fate(times=2) for unit in "de"} | {unit: Fate() for unit in "abc"}
    batch = pack(GROUPS, fates, dict.fromkeys("abcde", 0.0), 0)
    assert batch.units == tuple("abcdede")
    assert batch.index.groups == 3
    assert [len(mini.rows) for mini in batch.minibatches(1)] == [3, 2, 2]


@part(gives="reward_R", formula="reward_R = 2 * lenient_R")
def doubled(lenient_R: Tensor) -> Tensor:
    return 2 * lenient_R


def test_each_role_is_rewarded_by_its_own_part_and_pairs_by_their_side():
    written = replace(GROUPS[1], role="write", rollouts=(rollout("w", 1), rollout("v", 1)), id="w")
    pair = Group(Task("r", {}, "s"), (rollout("x", 1), rollout("y", 1)), role="pair")
    scores = SCORES | Scores({"w": {"outcome": 0.0, "lenient": 0.5}, "v": {"outcome": 1.0, "lenient": None}})
    scores |= Scores({"x": {"chosen": 1.0}, "y": {"chosen": 0.0}})
    one = GRPO.but("roles", roles={"write": Role(reward=doubled)})
    given = reward_of(one, [*GROUPS, written, pair], scores, Progress())
    assert given == {"a": 1.0, "b": 0.0, "c": None, "d": 1.0, "e": 1.0, "w": 1.0, "v": None, "x": 1.0, "y": 0.0}


def test_a_roles_gates_see_its_own_groups_alone():
    one = GRPO.but("roles", gate=(DropFlat(),), roles={"write": Role(gate=(MaskOverlong(),))})
    assert [(role.gate, [g.role for g in groups]) for role, groups in one.by_role([*GROUPS, replace(GROUPS[0], role="write")])] == [
        ((DropFlat(),), ["solve", "solve"]),
        ((MaskOverlong(),), ["write"]),
    ]
    assert one.role("demo") == Role(one.reward, one.gate), "what has no role of its own is kept like the method's"
    assert one.role("pair").gate == ()
