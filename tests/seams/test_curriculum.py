import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.records import Task
from strop.seams.context import Ctx, Ledger, Progress
from strop.seams.curriculum import Band, Epochs, Uniform

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)


class Numbers:
    name = "numbers"

    def __init__(self, size: int | None):
        self.size = size

    def task(self, split: str, seed: int, index: int) -> Task:
        assert split == "train"
        return Task(str(index), {}, self.name)


def ctx(size: int | None, seed: int = 0) -> Ctx:
    return Ctx(seed, Progress(), Numbers(size), {}, grade=None)


def drawn(curriculum, asked: list[int], size: int | None, seed: int = 0) -> list[int]:
    state, numbers = curriculum.init(Numbers(size)), []
    for n in asked:
        tasks, state = curriculum.pick(n, state, ctx(size, seed))
        assert len(tasks) == n
        numbers += [int(task.prompt) for task in tasks]
    return numbers


@some
@given(st.integers(1, 9), st.lists(st.integers(0, 7), max_size=8), st.integers(0, 5))
def test_every_task_comes_once_in_every_epoch_however_many_are_asked_for_at_a_time(size, asked, seed):
    numbers = drawn(Epochs(), asked, size, seed)
    assert numbers == drawn(Epochs(), [sum(asked)], size, seed)
    for start in range(0, len(numbers), size):
        epoch = numbers[start : start + size]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(size))


def test_epochs_have_orders_of_their_own_and_so_have_seeds():
    numbers = drawn(Epochs(), [40], 20)
    assert numbers[:20] != numbers[20:]
    assert drawn(Epochs(), [20], 20, seed=1) != numbers[:20]


def test_a_stream_never_comes_round():
    assert drawn(Epochs(), [3, 0, 4], None) == list(range(7))


@pytest.mark.parametrize("curriculum", [Epochs(), Uniform()])
@pytest.mark.parametrize("size", [5, None])
def test_picking_is_pure_and_what_is_remembered_is_plain_data(curriculum, size):
    state = curriculum.init(Numbers(size))
    for _ in range(3):
        before = copy.deepcopy(state)
        first, after = curriculum.pick(4, state, ctx(size))
        again, after_again = curriculum.pick(4, json.loads(json.dumps(state)), ctx(size))
        assert (first, after) == (again, after_again)
        assert state == before
        assert curriculum.observe(after, [], None, ctx(size)) == after
        state = after


def test_uniform_draws_differ_and_stay_inside():
    numbers = drawn(Uniform(), [7, 13], 5)
    assert set(numbers) <= set(range(5))
    assert len(set(numbers)) > 1
    assert numbers == drawn(Uniform(), [20], 5)


def tried(rates: dict[str, float], size: int | None) -> Ctx:
    made = [Numbers(size).task("train", 0, int(number)) for number in rates]
    last = {task.id: [rate, 8, 0] for task, rate in zip(made, rates.values(), strict=True)}
    return replace(ctx(size), ledger=Ledger(last=last))


def test_a_band_passes_over_tasks_that_were_last_solved_too_often_or_too_seldom():
    known = tried({"0": 0.0, "1": 0.5, "2": 1.0, "3": 0.2, "4": 0.8, "5": 0.81}, None)
    curriculum = Band(Epochs(), low=0.2, high=0.8)
    tasks, state = curriculum.pick(4, curriculum.init(Numbers(None)), known)
    assert [task.prompt for task in tasks] == ["1", "3", "4", "6"], "an untried one passes"
    assert state["passed"] == 3
    assert [task.prompt for task in curriculum.pick(1, state, known)[0]] == ["7"]


def test_where_the_band_leaves_too_few_the_nearest_to_it_fill_the_step():
    known = tried({"0": 0.0, "1": 0.1, "2": 1.0, "3": 0.5}, 4)
    curriculum = Band(Epochs(), low=0.2, high=0.6)
    tasks, _ = curriculum.pick(3, curriculum.init(Numbers(4)), known)
    assert len(tasks) == 3
    assert {task.prompt for task in tasks} == {"3", "1", "0"}


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_a_band_lies_between_no_and_all(low, high):
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        Band(low=low, high=high)
