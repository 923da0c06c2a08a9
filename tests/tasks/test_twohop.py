"""Two tables one behind the other: what is held out follows from what is shown, and nothing else is asked."""

import pytest

from strop.tasks import source
from strop.tasks.procedural import strict_answer
from strop.tasks.twohop import ALPHABET, NonTree, TwoHop, drawn


@pytest.mark.parametrize("made", [TwoHop(), NonTree(), TwoHop(tokens=6, train=40, tables=3), NonTree(tokens=8, train=200, seen=1.0)])
def test_every_held_out_task_can_be_worked_out_from_the_training_set(made):
    both = {split: [made.task(split, 0, i) for i in range(made.sizes[split])] for split in ("train", "test")}
    first, second = {}, {}
    for task in both["train"]:
        a, b, c = task.prompt
        bridge, answer = task.needs["bridge"], task.needs["answer"]
        assert first.setdefault((a, b), bridge) == bridge
        assert second.setdefault((bridge, b, c) if isinstance(made, NonTree) else (bridge, c), answer) == answer
    assert both["test"]
    for task in both["test"]:
        a, b, c = task.prompt
        bridge = first[a, b]
        assert task.needs["answer"] == second[(bridge, b, c) if isinstance(made, NonTree) else (bridge, c)]
    asked = [task.prompt for split in both.values() for task in split]
    assert len({*asked}) == len(asked)
    assert len(both["train"]) == made.size == made.train


def test_a_share_of_each_table_is_used_and_the_answers_spread_over_all_tokens():
    made = TwoHop(train=1700)
    inputs = [x for split in drawn(made).values() for x in split]
    assert len({x[:2] for x in inputs}) <= round(0.7 * 256)
    assert len({(x[3], x[2]) for x in inputs}) <= round(0.7 * 256)
    counts = [sum(x[4] == token for x in inputs) / len(inputs) for token in range(16)]
    assert max(counts) < 0.2


def test_the_seed_of_a_run_draws_nothing_and_tables_draws_all():
    one = TwoHop()
    assert [one.task("train", 0, i).id for i in range(20)] == [one.task("train", 9, i).id for i in range(20)]
    assert [one.task("train", 0, i).id for i in range(20)] != [TwoHop(tables=1).task("train", 0, i).id for i in range(20)]
    assert TwoHop(train=600).task("train", 0, 7) == one.task("train", 0, 7), "more examples begin with the same ones"


def test_the_worked_text_has_the_bridge():
    task = source("twohop").task("test", 0, 3)
    assert source("twohop").example(task) == f"<think>{task.needs['bridge']}</think><answer>{task.needs['answer']}</answer>"
    assert strict_answer(source("twohop").gold(task))[0] == task.needs["answer"]


def test_what_there_is_not_is_refused_in_words():
    assert len({*ALPHABET}) == len(ALPHABET) == len({*ALPHABET.casefold()}) == 50
    with pytest.raises(ValueError, match="tokens is a whole number from 4 to 50, got 51"):
        source("twohop:tokens=51")
    with pytest.raises(ValueError, match=r"twohop:tokens=4: the tables make \d+ inputs, and 500 are asked for"):
        source("twohop:tokens=4").task("train", 0, 0)
    with pytest.raises(ValueError, match=r"twohop has 500 tasks to train, numbered from 0, got 500"):
        TwoHop().task("train", 0, 500)
    with pytest.raises(ValueError, match="split is 'train' or 'test'"):
        TwoHop().task("dev", 0, 0)
    assert TwoHop().grade(TwoHop().task("train", 0, 0), "<answer>ab</answer>").reason == "not one token"
