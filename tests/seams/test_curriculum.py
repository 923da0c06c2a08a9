import copy
import json
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.records import Group, Rollout, Row, Segment, Task
from strop.seams.context import Ctx, Ledger, Progress
from strop.seams.curriculum import Band, Epochs, Mixed, Uniform, label

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


class Kinds(Numbers):
    """Tasks of three kinds in turn, whose texts have lengths of their own."""

    LENGTH: ClassVar[dict[str, int]] = {"short": 3, "long": 11, "other": 5}

    def task(self, split: str, seed: int, index: int) -> Task:
        return Task(str(index), {}, self.name, {"kind": [*self.LENGTH][index % 3], "level": index % 2})


def taught(task: Task, length: int | None = None) -> Group:
    said = Segment("teacher", (7,) * (Kinds.LENGTH[task.meta["kind"]] if length is None else length), "0.0")
    return Group(task, (Rollout((Row.of(Segment("prompt", (1, 2), "0"), said),), f"{task.id}/0"),), role="demo", id=task.id)


def mixed(mix: Mixed, asked: list[int], size: int | None = 30, length: int | None = None) -> tuple[dict[str, list[int]], list[str]]:
    """Tasks and tokens of each class at the end, and the prompts in order."""
    state, prompts, here = mix.init(Kinds(size)), [], Ctx(0, Progress(), Kinds(size), {}, grade=None)
    for n in asked:
        tasks, after = mix.pick(n, state, here)
        assert mix.pick(n, json.loads(json.dumps(state)), here) == (tasks, after)
        state = json.loads(json.dumps(mix.observe(after, [taught(task, length) for task in tasks], None, here)))
        prompts += [task.prompt for task in tasks]
    return state["seen"], prompts


@pytest.mark.parametrize("size", [30, None])
def test_classes_get_their_shares_of_tokens_within_one_percent_however_long_their_texts_are(size):
    seen, prompts = mixed(Mixed({"short": 1, "long": 2}, by=("kind",)), [16] * 40, size)
    total = sum(tokens for _, tokens in seen.values())
    assert seen["short"][1] == pytest.approx(total / 3, abs=0.01 * total)
    assert seen["short"][0] == pytest.approx(11 / 3 / 2 * seen["long"][0], rel=0.03)
    assert {int(prompt) % 3 for prompt in prompts} == {0, 1}


def test_shares_of_tasks_do_not_ask_for_lengths():
    seen, _ = mixed(Mixed({"short": 1, "long": 3}, by=("kind",), equal="tasks"), [10] * 10)
    assert (seen["short"][0], seen["long"][0]) == (25, 75)


def test_a_class_gives_its_tasks_in_order_and_around():
    _, prompts = mixed(Mixed({"long": 1}, by=("kind",)), [5, 7], size=12)
    assert prompts == ["1", "4", "7", "10"] * 3


def test_a_class_is_what_several_fields_say():
    assert label(Kinds(9).task("train", 0, 4), ("source", "kind", "level")) == "numbers long 0"
    with pytest.raises(ValueError, match=r"has no 'knid' to tell its class by. Did you mean 'kind'"):
        label(Kinds(9).task("train", 0, 4), ("knid",))


def test_an_empty_class_is_refused_with_those_there_are():
    for size in (30, None):
        with pytest.raises(ValueError, match=r"'numbers' has no task of the class 'shrt' among [0-9]+. Did you mean 'short'"):
            mixed(Mixed({"shrt": 1, "long": 1}, by=("kind",)), [4], size)
    assert mixed(Mixed({"shrt": 0, "long": 1}, by=("kind",)), [4])[1]


def test_a_class_whose_texts_are_off_by_over_a_percent_is_refused():
    class Failing(Mixed):
        """Its long texts never come."""

        def observe(self, state, groups, scores, ctx):
            return super().observe(state, [g for g in groups if g.task.meta["kind"] == "short"], scores, ctx)

    with pytest.raises(ValueError, match=r"class '(short|long)' has [0-9,]+ of [0-9,]+ tokens, and its share is [0-9,]+"):
        mixed(Failing({"short": 1, "long": 1}, by=("kind",)), [8] * 60)


@pytest.mark.parametrize(
    ("shares", "more", "says"),
    [
        ({"a": -1.0, "b": 2.0}, {}, "a share above 0; none is below"),
        ({"a": 0.0}, {}, "a share above 0"),
        ({}, {}, "a share above 0"),
        ({"a": 1.0}, {"by": ()}, "name the fields of a class"),
        ({"a": 1.0}, {"equal": "token"}, "Did you mean 'tokens'"),
    ],
)
def test_shares_that_are_none_are_refused(shares, more, says):
    with pytest.raises(ValueError, match=says):
        Mixed(shares, **more)
