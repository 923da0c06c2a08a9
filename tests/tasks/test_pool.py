import pytest

from strop.tasks import source

TEXT = "pool:7:chain:steps=1+chain:steps=3+path"


def test_a_pool_ends_and_its_members_take_turns():
    pool = source(TEXT)
    first = [pool.task("train", 5, index) for index in range(7)]
    assert pool.size == 7
    assert [t.meta.get("steps") for t in first] == [1, 3, None, 1, 3, None, 1]
    assert len({t.id for t in first}) == 7
    assert [pool.task("train", 5, index + 7) for index in range(7)] == first


def test_every_member_grades_its_own_and_held_out_tasks_go_on():
    pool = source(TEXT)
    tested = [pool.task("test", 0, index) for index in range(30)]
    assert len({t.id for t in tested}) > 25
    assert not {t.id for t in tested} & {pool.task("train", 0, index).id for index in range(7)}
    for task in tested[:6]:
        assert pool.grade(task, pool.gold(task))["outcome"] == 1.0
        assert pool.grade(task, "<answer>0</answer>")["outcome"] == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool:many:chain", "written pool:SIZE"),
        ("pool:3", "written pool:SIZE"),
        ("pool:0:chain", "at least one task"),
        ("pool:3:chian", "'chain'"),
    ],
)
def test_a_pool_that_cannot_be_read_says_how_it_is_written(text, words):
    with pytest.raises(ValueError, match=words):
        source(text)


def test_a_pool_holds_no_task_twice():
    pool = source("pool:300:chain:steps=1")
    assert len({pool.task("train", 0, index).id for index in range(300)}) == 300
    drawn = [source("chain:steps=1").task("train", 0, index).id for index in range(300)]
    assert len(set(drawn)) < 300, "the source itself draws some again"
    with pytest.raises(ValueError, match="too few different tasks"):
        source("pool:600:countdown:numbers=2,highest=9").task("train", 0, 0)
