"""The bonus for rare formats against a loop over rollouts, the formats of the task, and labels in a run that is killed."""

import math
import random
import shutil
from collections import Counter

import pytest
import torch

from strop.directory import cut_metrics, read_metrics
from strop.methods.arm import ADA_GRPO, ARM, rare_formats
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Task
from strop.report import page
from strop.run import create, resume
from strop.seams.credit import group_normalized
from strop.seams.index import Index
from strop.seams.mark import between
from strop.seams.part import part
from strop.seams.update import AdamW
from strop.tasks.formats import TAGS, Formats, written
from strop.tripwires import Tripped

(MARK,) = ADA_GRPO.marks


def by_hand(groups: list[list[tuple[float, int]]], fraction: float) -> list[float]:
    """The paper's alpha times reward, rollout by rollout: a reply in no format is a format of its own, and earns nothing."""
    found = []
    for group in groups:
        for right, label in group:
            size, alike = len(group), sum(other == label for _, other in group)
            decay = alike / size + 0.5 * (1 - alike / size) * (1 + math.cos(math.pi * fraction))
            found.append((right if label >= 0 else 0.0) * size / alike * decay)
    return found


def test_the_bonus_is_the_papers_over_random_groups():
    rng = random.Random(0)
    for fraction in (0.0, 0.1, 0.5, 0.93, 1.0):
        groups = [[(float(rng.random() < 0.6), rng.choice((-1, 0, 1, 2, 2))) for _ in range(rng.choice((2, 5, 8)))] for _ in range(12)]
        index = Index.of([[[1]] * len(group) for group in groups])
        outcome_R, format_R = (torch.tensor(x, dtype=torch.float64) for x in zip(*(one for g in groups for one in g), strict=True))
        torch.testing.assert_close(
            rare_formats(outcome_R, format_R, fraction, index), torch.tensor(by_hand(groups, fraction), dtype=torch.float64)
        )


def test_it_is_group_over_count_at_the_start_and_one_at_the_end():
    right, labels, index = torch.ones(4), torch.tensor([0.0, 1.0, 1.0, 1.0]), Index.one_group(4)
    assert rare_formats(right, labels, 0.0, index).tolist() == pytest.approx([4, 4 / 3, 4 / 3, 4 / 3])
    assert rare_formats(right, labels, 1.0, index).tolist() == pytest.approx([1, 1, 1, 1])


def test_a_group_whose_right_answers_share_one_format_with_all_feels_nothing():
    index, outcome_R = Index.one_group(4), torch.tensor([1.0, 0.0, 1.0, 0.0])
    bonus_R = rare_formats(outcome_R, torch.full((4,), 2.0), 0.0, index)
    torch.testing.assert_close(group_normalized(bonus_R, index), group_normalized(outcome_R, index))


def test_a_group_that_is_all_right_is_flat_without_the_bonus_and_pushed_to_the_rarer_format_with_it():
    index, outcome_R, format_R = Index.one_group(4), torch.ones(4), torch.tensor([0.0, 2.0, 2.0, 2.0])
    assert group_normalized(outcome_R, index).abs().max() == 0
    credit_R = group_normalized(rare_formats(outcome_R, format_R, 0.3, index), index)
    assert credit_R[0] > 0 > credit_R[1]


def test_every_worked_text_is_right_has_the_label_of_its_format_and_costs_more_than_the_one_before():
    source, drawn = Formats(), Counter()
    for number in range(300):
        task = source.task("train", 0, number)
        texts = [written(task, tag) for tag in TAGS]
        assert [MARK.on({"text": text}) for text in texts] == [0, 1, 2]
        assert {source.grade(task, text)["outcome"] for text in texts} == {1.0}
        assert len(texts[0]) < len(texts[1]) < len(texts[2])
        drawn[texts.index(source.example(task))] += 1
    assert min(drawn.values()) > 75
    train = {source.task("train", 0, n).id for n in range(2000)}
    assert not train & {source.task("test", 0, n).id for n in range(500)}


def test_a_reply_that_opens_with_the_short_tag_and_writes_everything_is_in_no_format():
    task = Task("7+0-0+4+0-0=?", {"answer": 11}, "formats")
    assert MARK.on({"text": written(task, TAGS[2]).replace(TAGS[2], TAGS[1], 1)}) is None


SMALL = {"steps": 2, "tasks": 2, "group": 4, "max_tokens": 12, "eval_tasks": 0, "checkpoint_every": 2, "slots": 16}


def test_labels_stand_on_the_line_and_are_read_once_however_often_the_run_is_killed(tmp_path):
    recipe = Recipe(method="ada-grpo", task="formats", **SMALL)
    create(recipe, tmp_path / "run").train()
    first, second = read_metrics(tmp_path / "run")
    assert sum(first["labels"]["format"].values()) == pytest.approx(1)
    assert "format" not in first, "the mean of labels says nothing"
    said = page.curves([{**first, "labels": {"format": {"-1": 0.25, "2": 0.75}}}, second], {})
    assert "labels.format.-1 " in said
    assert "labels.format.2 " in said
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000002")
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 1)
    resume(tmp_path / "run").train()
    again = read_metrics(tmp_path / "run")[1]
    assert {**again, "t": 0} == {**second, "t": 0}
    assert again["t"]["replayed"]


@part(gives="reward_R", formula="reward_R = outcome_R - answer_length_R")
def brief(outcome_R, answer_length_R):
    """The verdict less the tokens of the answer."""
    return outcome_R - answer_length_R


@part(gives="reward_R", formula="reward_R = outcome_R + format_R")
def labelled(outcome_R, format_R):
    """What nobody can say is no reward."""
    return outcome_R + format_R


@part(gives="format_R")
def failing(text: str) -> int:
    """Knows the empty text alone."""
    return {"": 0}[text]


def test_a_reward_reads_how_many_tokens_an_answer_has(tmp_path):
    one = GRPO.but("brief", marks=(between(),), reward=brief, update=AdamW())
    create(Recipe(method=one, task="skewed", **{**SMALL, "steps": 1}), tmp_path / "run").train()
    (line,) = read_metrics(tmp_path / "run")
    assert line["answer_length"] > 0
    assert line["reward"] == pytest.approx(line["outcome"] - line["answer_length"])


def test_a_mark_that_fails_stops_the_run_as_a_grader_would(tmp_path):
    one = GRPO.but("failing", marks=(failing,), reward=labelled, update=AdamW())
    run = create(Recipe(method=one, task="skewed", **SMALL), tmp_path / "run")
    with pytest.raises(Tripped, match=r"part failing .*KeyError"):
        run.train()


def test_a_label_that_the_source_gives_too_is_refused_in_words(tmp_path):
    run = create(Recipe(method=ADA_GRPO.but(update=AdamW()), task="verdict", **SMALL), tmp_path / "run")
    with pytest.raises(ValueError, match=r"two graders gave channel 'format' .* Name their channels apart"):
        run.train()


def test_the_program_teaches_all_formats_and_then_reinforces():
    imitate, reinforce = ARM.plan
    assert imitate.method.feed.text == "worked"
    assert reinforce.method.idea == ("marks", "reward")
    assert {stage.task for stage in ARM.plan} == {"formats"}
