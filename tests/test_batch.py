import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from worlds import worlds

from strop.batch import pack
from strop.learning import backward, settle
from strop.method import Method
from strop.records import Author, Fate, Group, Rollout, Row, Sampling, Segment, Span, Task
from strop.seams.correction import masked
from strop.seams.credit import reward_itself
from strop.seams.objective import policy_gradient
from strop.seams.reduction import means
from strop.seams.signal import Signal, Where, actions, forced, random_share, spans, teacher
from strop.seams.update import AdamW

some = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

PROMPT = Segment("prompt", (1, 2), "p")
WARM = Sampling(temperature=0.5)
FIRST = Segment("action", (3, 4, 5), "a", Author("actor", 1), (-0.5, -1.0, -1.5), (Span("late", 1, 3),))
SECOND = Segment("action", (3,), "b", Author("actor", 2, WARM), (-0.25,), (Span("late", 0, 1), Span("answer", 0, 1)))
FORCED = Segment("forced", (9,), "f")
TEACHER = Segment("teacher", (7, 8), "t")


def by_hand():
    """One rollout of two rows, the second repeating the first action; then one of a teacher; and one that was dropped."""
    two = Rollout((Row.of(PROMPT, FIRST), Row((PROMPT, FIRST, FORCED, SECOND), frozenset({"f", "b"}))), "two", stop="length")
    taught, gone = Rollout((Row.of(PROMPT, TEACHER),), "taught"), Rollout((Row.of(PROMPT, FIRST),), "gone")
    groups = [Group(Task("x", {}, "s"), (gone,)), Group(Task("y", {}, "s"), (two, gone, taught))]
    fates = {"gone": Fate("drop"), "taught": Fate("context", weight=0.5)}
    return pack(groups, fates, {"two": 1.0, "taught": None, "gone": 0.0}, version=3)


def test_a_batch_by_hand():
    batch = by_hand()
    assert batch.units == ("two", "taught")
    assert [row.tokens for row in batch.rows] == [(1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 9, 3), (1, 2, 7, 8)]
    assert [row.at for row in batch.rows] == [(2, 3, 4), (2, 3, 4, 5, 6), (2, 3)]
    assert batch.index.groups == 1
    assert batch.kind_T.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 2, 2]
    assert batch.trains_T.tolist() == [True] * 3 + [False] * 3 + [True] * 2 + [False] * 2
    assert batch.trained_T.tolist() == [True] * 3 + [False] * 4 + [True] + [False] * 2
    assert [batch.samplings[i].temperature for i in batch.sampling_T] == [1.0] * 7 + [0.5] + [1.0] * 2
    assert batch.tracks["age_T"][:8].nan_to_num(-1).tolist() == [2, 2, 2, 2, 2, 2, -1, 1]
    assert batch.tracks["sampled_logp_T"].nan_to_num(7).tolist() == [-0.5, -1.0, -1.5, -0.5, -1.0, -1.5, 7, -0.25, 7, 7]
    assert batch.weight_R.tolist() == [1.0, 0.5]
    assert batch.facts["truncated_R"].tolist() == [True, False]
    assert batch.facts["length_R"].tolist() == [4.0, 0.0]
    assert math.isnan(batch.facts["reward_R"][1])


@pytest.mark.parametrize(
    ("where", "places"),
    [
        (actions, [0, 1, 2, 7]),
        (forced, [6]),
        (teacher, []),  # its rollout is context
        (actions | forced, [0, 1, 2, 6, 7]),
        (spans("late"), [1, 2, 7]),
        (spans("answer"), [7]),
        (spans("late", "answer"), [1, 2, 7]),
        (spans("nowhere"), []),
        (Where(kinds=("forced",), labels=("late",)), []),
    ],
)
def test_selections_by_hand(where, places):
    assert by_hand().selected(where, (0,)).nonzero()[:, 0].tolist() == places


@some
@given(worlds())
def test_a_random_share_is_part_of_the_actions_and_a_function_of_its_key(world):
    batch = world.batch()
    some_T, all_T = batch.selected(random_share(0.5), (1, 2)), batch.selected(actions, (1, 2))
    assert not (some_T & ~all_T).any()
    assert torch.equal(some_T, batch.selected(random_share(0.5), (1, 2)))
    assert not (batch.selected(random_share(0.2), (1, 2)) & ~some_T).any()


@some
@given(worlds())
def test_what_a_correction_masks_counts_neither_in_the_sum_nor_in_the_mean(world):
    one = Method(
        "masked",
        {"it": Signal(policy_gradient(), means("token"))},
        (reward_itself(),),
        correction=masked(low=0.5, high=2.0),
        update=AdamW(),
    )
    batch, policy = settle(one, world.batch()), world.policy
    moving = policy.evaluate(batch, frozenset())["logp_T"].tolist()
    reward_T = batch.index.spread(batch.facts["reward_R"], "rollout", "token").tolist()
    weight_T = batch.index.spread(batch.weight_R, "rollout", "token").tolist()
    old, sampled, losses = batch.tracks["old_logp_T"].tolist(), batch.tracks["sampled_logp_T"].tolist(), []
    for t, trained in enumerate(batch.trained_T.tolist()):
        if trained and 0.5 <= math.exp(old[t] - sampled[t]) <= 2.0:
            losses.append(-weight_T[t] * math.exp(old[t] - sampled[t]) * moving[t] * reward_T[t])
    facts = backward(one, batch, policy, 10**6, 0.0, (0,))
    assert facts["loss/it"] == pytest.approx(sum(losses) / max(len(losses), 1), rel=1e-9, abs=1e-12)


def test_no_groups_make_an_empty_batch_that_gives_no_minibatch():
    batch = pack([], {}, {}, version=0)
    assert list(batch.minibatches(4)) == []
    assert batch.micros(10, "row") == []


def test_an_atom_beyond_the_budget_is_refused_with_what_to_change():
    with pytest.raises(ValueError, match="one row takes 7 tokens, more than token_budget=6: raise token_budget in the recipe"):
        by_hand().micros(6, "token")
    with pytest.raises(ValueError, match="one rollout takes 14 tokens"):
        by_hand().micros(13, "rollout")
