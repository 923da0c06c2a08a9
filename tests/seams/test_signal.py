import asyncio
import re

import pytest

from strop.methods.grpo import GRPO
from strop.seams.context import Handle, Progress, keyed
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.signal import Signal, Where, actions, constant, forced, linear, random_share, spans, teacher, warmup_cosine


def test_selections_by_kind_join():
    assert (teacher | actions).kinds == ("action", "teacher")
    assert actions | teacher == teacher | actions
    assert actions | actions == actions
    assert (actions | forced | teacher).kinds == ("action", "forced", "teacher")
    assert spans("a", "b") == Where(labels=("a", "b"))


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        (constant(), {0.0: 1.0, 1.0: 1.0}),
        (linear(), {0.0: 1.0, 0.25: 0.75, 1.0: 0.0}),
        (linear(start=0.2, end=0.4), {0.0: 0.2, 0.5: 0.3, 1.0: 0.4}),
        (warmup_cosine(), {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        (warmup_cosine(warmup=0.2, floor=0.1), {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.55, 1.0: 0.1}),
        (warmup_cosine(warmup=1.0), {0.5: 0.5, 1.0: 1.0}),
    ],
    ids=repr,
)
def test_schedules_by_hand(schedule, at):
    signal = Signal(clipped_surrogate(), means("token"), weight=schedule)
    for fraction, value in at.items():
        assert signal.weight_at(fraction) == pytest.approx(value)


def test_a_share_of_one_is_everything():
    assert random_share(1.0) == actions


def test_progress_stays_within_the_run():
    assert [Progress(step, 4).fraction for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert Progress(0, 0).fraction == 0.0


def test_noise_is_a_function_of_its_key():
    assert keyed(1, "a").random() == keyed(1, "a").random()
    assert len({keyed(*key).random() for key in ((1, "a"), (1, "b"), (2, "a"), ("1", "a"), (1, "a", 0))}) == 5


def test_what_a_policy_cannot_do_yet_says_so():
    with pytest.raises(NotImplementedError, match="not built yet"):
        asyncio.run(Handle(None, None).decide(None))


def test_several_turns_need_somebody_who_answers():
    sampler = GRPO.but(sampler=type(GRPO.sampler)(n=2, turns=2)).sampler
    with pytest.raises(ValueError, match=re.escape("Independent(turns=2) needs a world")):
        asyncio.run(sampler(None, None, None))
