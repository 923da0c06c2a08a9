import random
import time

import pytest

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks import DEFAULT_TASK, SOURCES, source
from strop.tasks.procedural import spec, strict_answer

SPECS = [
    "bargain",
    "bargain:firm=0.0",
    "chain",
    "chain:steps=2",
    "countdown",
    "countdown:numbers=4,highest=30",
    "path",
    "path:places=9,extra=3",
    "skewed",
    "skewed:share=0.5",
    "facts",
    "facts:people=400,stated=0",
    "verdict",
    "verdict:highest=999",
    "walks",
    "walks:moves=6,places=21",
    "walks:judged=0.0",
    "stacks",
    "stacks:steps=6",
    "landscape",
    "landscape:levels=2,slots=4,values=6",
]
TAUGHT = ["chain", "countdown", "path", "skewed"]
"""Sources whose worked texts the bundled model was trained on."""
UNTAGGED = {"duel", "drill", "goals"}
"""Two players' texts, which are read by each other as they are."""

HOSTILE = [
    "",
    "9" * 300_000,
    "<answer>" + "9" * 300_000 + "</answer>",
    "<answer>" + "(" * 300_000 + "1" + ")" * 300_000 + "</answer>",
    "<answer>" + "(" * 100 + "1" + ")" * 100 + "</answer>",
    "<answer>1/0</answer>",
    "<answer>9**9**9**9</answer>",
    "<answer>__import__('os').system('touch /tmp/strop-was-here')</answer>",
    "<answer>١٢</answer>",
    "<answer>²</answer>",
    "<answer>\x00\ud800</answer>",
    "<answer></answer>",
    "<answer>" * 100_000,
    "</think>" * 100_000,
    "a " * 200_000,
    "1+" * 200_000,
    "\n" * 300_000,
    "\\boxed{" * 100_000,
]


def verdict(graded: Graded) -> tuple[float | None, float | None]:
    return graded["outcome"], graded["lenient"]


@pytest.mark.parametrize("name", SPECS)
def test_gold_scores_one(name: str):
    where = source(name)
    for index in range(100):
        task = where.task("test", 3, index)
        assert verdict(where.grade(task, where.gold(task) or "")) == (1.0, 1.0)


@pytest.mark.parametrize("name", SPECS)
def test_a_task_depends_on_nothing_but_its_arguments(name: str):
    forward = [source(name).task("train", 1, index) for index in range(20)]
    backward = [source(name).task("train", 1, index) for index in reversed(range(20))]
    assert forward == backward[::-1]
    assert forward != [source(name).task("train", 2, index) for index in range(20)]


@pytest.mark.parametrize("name", SPECS)
def test_train_and_test_never_meet_whatever_the_seed(name: str):
    where = source(name)
    train = {where.task("train", seed, index).prompt for seed in (0, 1) for index in range(300)}
    test = {where.task("test", seed, index).prompt for seed in (0, 1) for index in range(300)}
    assert not train & test


@pytest.mark.parametrize("name", ["countdown", "path:places=4,extra=0"])
def test_a_problem_written_in_another_order_does_not_cross_the_splits(name: str):
    def problems(split: Split) -> set[tuple[str, ...]]:
        tasks = [source(name).task(split, seed, index) for seed in (0, 1) for index in range(300)]
        asked, facts = zip(*(task.prompt.split(": ") for task in tasks), strict=True)
        return {
            (*sorted(a.split()), *sorted("".join(sorted(word)) if "to" in a else word for word in f.split()))
            for a, f in zip(asked, facts, strict=True)
        }

    train, test = problems("train"), problems("test")
    assert len(train) < 600  # twins there are, within a split
    assert not train & test


@pytest.mark.parametrize("name", SPECS)
def test_a_task_travels_through_json_and_is_graded_by_its_source(name: str):
    task = source(name).task("train", 0, 0)
    again = Task.from_json(task.to_json())
    assert again == task
    assert source(again.source).grade(again, source(name).gold(task) or "")["outcome"] == 1.0


@pytest.mark.parametrize("name", TAUGHT)
def test_worked_texts_are_varied_and_partly_wrong(name: str):
    where, rng = source(name), random.Random(0)
    texts = [(task := where.task("train", 0, index), where.worked(task, rng)) for index in range(500)]
    grades = [where.grade(task, text) for task, text in texts]
    share = sum(grades_["outcome"] or 0 for grades_ in grades) / 500
    assert 0.4 < share < 0.9
    assert sum(grades_["lenient"] or 0 for grades_ in grades) / 500 > share
    bare = sum("<think></think>" in text for _, text in texts) / 500
    assert 0.2 < bare < 0.8


@pytest.mark.parametrize("name", SOURCES)
def test_a_hostile_answer_is_wrong_quickly(name: str):
    where = source(name)
    task = where.task("train", 0, 0)
    for text in HOSTILE:
        start = time.perf_counter()
        graded = where.grade(task, text)
        assert time.perf_counter() - start < 0.5
        assert graded["outcome"] == 0.0
        assert graded.reason
        assert len(graded.reason) < 200
        assert not graded.incidents


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in UNTAGGED])
def test_strict_wants_one_closed_tag_at_the_end_and_lenient_does_not(name: str):
    where = source(name)
    task = where.task("train", 0, 0)
    answer = strict_answer(where.gold(task) or "")[0]
    for text in (
        f"<answer>{answer}</answer>",
        f"so\n<answer> {answer} </answer>\n",
        f"<think>no <answer></think><answer>{answer}</answer>",
    ):
        assert verdict(where.grade(task, text)) == (1.0, 1.0)
    for text in (f"<answer>{answer}", f"{answer}", f"I say\n{answer}", f"<answer>{answer}</answer> I hope", f"\\boxed{{{answer}}}"):
        assert verdict(where.grade(task, text)) == (0.0, 1.0), text
    twice = where.grade(task, f"<answer>{answer}</answer><answer>{answer}</answer>")
    assert twice["outcome"] == 0.0
    assert twice.reason == "more than one <answer>"


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_reads_back(name: str):
    assert spec(source(name)) == name
    assert source(spec(source(name))) == source(name)


def test_the_default_task_exists():
    assert DEFAULT_TASK in SOURCES
    assert spec(source(f"{DEFAULT_TASK}:")) == DEFAULT_TASK


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chian", "Did you mean 'chain'"),
        ("sudoku", "Known: attempts, bargain, chain"),
        ("chain:step=3", "Did you mean 'steps'"),
        ("chain:steps", "KNOB=VALUE"),
        ("chain:steps=many", "steps is a number"),
        ("chain:steps=nan", "steps is a number"),
        ("chain:steps=0", "whole number from 1 to 32, got 0"),
        ("chain:steps=2.5", "whole number from 1 to 32"),
        ("chain:steps=" + "9" * 10_000, "whole number from 1 to 32"),
        ("chain:steps=2,steps=3", "given twice"),
        ("skewed:share=1.5", "number from 0.0 to 1.0"),
        ("jsonl", "jsonl:PATH"),
    ],
)
def test_a_wrong_name_or_knob_is_answered_in_words(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        source(text)


def test_an_unknown_split_and_a_negative_index_are_refused():
    with pytest.raises(ValueError, match="'train' or 'test'"):
        source("chain").task("dev", 0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        source("chain").task("train", 0, -1)
