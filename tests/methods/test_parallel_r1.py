"""The rewards against tables, the task and its worked texts, and a run whose replies fork, killed and resumed."""

import random
import re
import shutil
from dataclasses import replace

import pytest
import torch

from strop.directory import cut_metrics, read_metrics
from strop.experiments.parallel_r1 import SAMPLED, SHARE, dealt
from strop.methods.parallel_r1 import BESIDE, BONUS, PARALLEL, right_in_parallel, tiered, verdict
from strop.recipe import Recipe
from strop.report import page
from strop.report.curve import verdict as verdict_curve
from strop.run import create, resume
from strop.seams.branches import Parallel, Tags, blocks
from strop.seams.index import Index
from strop.tasks.forks import PATH, RESULT, TAGS, Forks, tried, values

RIGHT = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
BLOCKS = torch.tensor([2.0, 0.0, -1.0, 1.0, 0.0, -1.0])


@pytest.mark.parametrize(
    ("earned", "said"),
    [
        (verdict()(RIGHT), [1, 1, 1, -1, -1, -1]),
        (right_in_parallel()(RIGHT, BLOCKS), [1, -1, -1, -1, -1, -1]),
        (tiered()(RIGHT, BLOCKS, step=7), [1, 1, 1, -1, -1, -1]),
        (tiered()(RIGHT, BLOCKS, step=8), [1.2, 1, 1, -1, -1, -1]),
        (tiered()(RIGHT, BLOCKS, step=19), [1.2, 1, 1, -1, -1, -1]),
        (tiered()(RIGHT, BLOCKS, step=20), [1, 1, 1, -1, -1, -1]),
        (tiered(malformed=-1.0)(RIGHT, BLOCKS, step=9), [1.2, 1, -1, -1, -1, -1]),
    ],
)
def test_rewards_are_those_of_the_table(earned, said):
    assert earned.tolist() == pytest.approx(said)


def test_the_control_pays_as_large_a_share_of_each_groups_right_answers_whichever_they_are():
    rng, index = random.Random(0), Index.of([[[1]] * 6, [[1]] * 6])
    right_R, blocks_R, paid = RIGHT.repeat(2), torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, *[0.0] * 6]), torch.zeros(12)
    for _ in range(400):
        chance_R = torch.tensor([rng.random() for _ in range(12)])
        earned = dealt()(right_R, blocks_R, chance_R, index, step=9)
        assert earned[3:6].tolist() == [-1] * 3
        assert earned[6:].tolist() == [1] * 3 + [-1] * 3
        paid += (earned > 1).float() / 400
    assert paid[:3].tolist() == pytest.approx([2 / 3] * 3, abs=0.1)
    assert dealt()(right_R, blocks_R, chance_R, index, step=7).unique().tolist() == [-1, 1]


def test_the_task_is_told_by_its_last_number_and_either_worked_text_is_right():
    source, forks = Forks(steps=3), 0
    for number in range(200):
        task = source.task("train", 0, number)
        ends = {n: values(task.needs["first"], task.needs["moves"], task.needs["gap"], n)[-1] for n in task.needs["numbers"]}
        assert [n for n, end in ends.items() if end == RESULT] == [task.needs["answer"]]
        text = source.example(task)
        graded = source.grade(task, text)
        assert graded["outcome"] == 1
        assert graded["forked"] == float(blocks(text, tags=TAGS) == 1)
        assert set(PATH.findall(text)) <= {tried(task, n) for n in task.needs["numbers"]}
        forks += int(graded["forked"])
        wrong = next(n for n in task.needs["numbers"] if n != task.needs["answer"])
        assert source.grade(task, f"<think>x</think><answer>{wrong}</answer>")["outcome"] == 0
    assert 70 < forks < 130
    train = {source.task("train", 0, n).id for n in range(500)}
    assert not train & {source.task("test", 0, n).id for n in range(500)}


EQUALS = Tags(("=", "}"), ("(", ")"), ("[", "]"))
"""The bundled model opens these without being taught."""


def forking(rows: str):
    sampler = Parallel(rows=rows, tags=EQUALS, n=4, max_tokens=48, path_tokens=5, blocks=2)
    marks = (blocks(tags=EQUALS),)
    return BONUS.but("forking", idea=("sampler", "marks"), sampler=sampler, marks=marks, tasks=2, update=replace(BONUS.update, minibatch=2))


@pytest.mark.parametrize(
    "rows", ["threads", pytest.param("seen", marks=pytest.mark.slow), pytest.param("branches", marks=pytest.mark.slow)]
)
def test_a_run_that_forks_is_killed_and_resumed_equal(tmp_path, rows):
    recipe = Recipe(method=forking(rows), task="chain", steps=2, lr=1e-4, eval_tasks=0, checkpoint_every=1)
    create(recipe, tmp_path / "a").train()
    lines = read_metrics(tmp_path / "a")
    assert verdict_curve(lines) == "outcome", "a reward of 1 and -1 is no share"
    assert page.curves(lines, {"after": {"pass@1": 0.5}}).count("<circle") == 1
    assert any(float(label) > 0 or float(label) < 0 for line in lines for label in line["labels"]["parallel"])
    assert ("measured" in lines[-1]["bill"]) == (rows != "threads")
    assert ("sampler" in lines[-1]) == (rows != "threads")
    assert all(line["sampler"]["largest"] == pytest.approx(1, abs=1e-4) for line in lines if rows != "threads"), (
        "what stands where it was drawn"
    )
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "000002")
    cut_metrics(tmp_path / "b" / "metrics.jsonl", 1)
    resume(tmp_path / "b", method=forking(rows)).train()
    assert [line["digest"] for line in read_metrics(tmp_path / "b")] == [line["digest"] for line in lines]


def test_held_out_tasks_are_asked_as_it_is_trained_and_the_claim_says_what_differs():
    from strop.evaluate import as_trained
    from strop.methods.grpo import GRPO
    from strop.tasks import source

    assert as_trained(PARALLEL, source("forks"))["sampler"] is PARALLEL.sampler
    assert as_trained(GRPO, source("forks")) == {}
    assert BESIDE.feed.tags == TAGS
    assert {arm.method.sampler for arm in SHARE.arms} == {SAMPLED.sampler}
    assert re.search("picked by chance", SHARE.arms[1].control)
