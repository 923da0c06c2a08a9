"""MinD's reward, the attempts of its task, the program that turns thoughts into turns, and its claims."""

import json
import shutil
from collections import Counter

import pytest
import torch

from strop import durable, staged
from strop.directory import cut_metrics, read_metrics, sampled
from strop.experiments.mind import LENGTHS, TOKENS
from strop.methods.mind import IN_TURNS, MIND, MIND_GRPO, last_answer_and_form
from strop.program import Program, Stage, steps
from strop.recipe import Recipe
from strop.records import canonical
from strop.seams.recorded import Earlier
from strop.seams.sampler import Independent
from strop.seams.turns import Turn, by_markers, turns, turns_of, written
from strop.seams.update import AdamW
from strop.tasks import source
from strop.tasks.attempts import MOST, worked


def test_a_reply_earns_its_last_answer_and_its_form_apart():
    outcome_R, turns_R = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([3.0, -1.0, 1.0, -1.0])
    assert last_answer_and_form(outcome_R, turns_R).tolist() == [2, 1, 1, 0]
    assert last_answer_and_form(outcome_R, turns_R, form=0.5).tolist() == [1.5, 1, 0.5, 0]


def test_nothing_is_paid_for_few_turns():
    paid = last_answer_and_form(torch.ones(3), torch.tensor([1.0, 2.0, 9.0]))
    assert len(set(paid.tolist())) == 1


TURNS, FLAT = source("attempts"), source("attempts:style=flat")


def tasks(count, split="train"):
    return [TURNS.task(split, 0, number) for number in range(count)]


def test_a_worked_text_repairs_what_skips_an_operation_and_checks_what_does_not():
    seen, first, last, behind = Counter(), 0, 0, {True: [], False: []}
    for task in tasks(1500):
        said = turns(TURNS.example(task))
        seen[len(said)] += 1
        right = [turn.answer == str(task.needs["answer"]) for turn in said]
        whole = [turn.thought.count("\n") == TURNS.steps - 1 for turn in said]
        assert all(right[place] for place in range(len(said)) if whole[place])
        assert whole == sorted(whole), "a check of a whole attempt is whole"
        first, last = first + right[0], last + right[-1]
        for place in range(min(len(said), MOST - 1)):
            behind[whole[place]].append(place + 1 < len(said))
        assert TURNS.grade(task, TURNS.example(task))["outcome"] == right[-1], "the last answer counts"
    assert set(seen) == {1, 2, MOST}
    assert 0.55 < first / 1500 < 0.68
    assert 0.84 < last / 1500 < 0.93
    assert 0.86 < sum(behind[False]) / len(behind[False]) < 0.94
    assert 0.56 < sum(behind[True]) / len(behind[True]) < 0.64


def test_the_same_attempts_stand_in_one_thought_where_they_are_flat_and_markers_give_them_back():
    for task in tasks(40):
        said, (whole,) = turns(TURNS.example(task)), turns(FLAT.example(task))
        assert by_markers(whole.thought, markers=("\n\n",)) == [turn.thought for turn in said]
        assert whole.answer == said[-1].answer
        assert FLAT.grade(task, FLAT.example(task)) == TURNS.grade(task, TURNS.example(task))


def test_work_is_read_from_left_to_right_and_keeps_last_digits():
    assert worked("3+8*2-4+5=?") == ["3+8=1", "1*2=2", "2-4=8", "8+5=3"]
    for task in tasks(30):
        assert TURNS.grade(task, TURNS.gold(task))["outcome"] == FLAT.grade(task, FLAT.gold(task))["outcome"] == 1
    assert not {task.prompt for task in tasks(500)} & {task.prompt for task in tasks(200, "test")}


@pytest.mark.parametrize("text", ["attempts:steps=1", "attempts:slip=2", "attempts:style=round"])
def test_attempts_that_cannot_be_are_refused(text):
    with pytest.raises(ValueError, match=r"attempts: (steps|slip|style) is"):
        source(text)


def small():
    """Its last three stages, small: pico now and then thinks, and each line of a chain is a unit."""
    lines = Earlier("collect", turns_of(segmenter=by_markers(markers=("\n",)), most=6))
    few = {"sampler": Independent(n=8, max_tokens=48), "tasks": 4}
    return Program(
        "small",
        (
            Stage("collect", MIND.plan[1].method.but("collect-small", **few), steps(1), task="chain"),
            Stage("turns", IN_TURNS.but("turns-small", feed=lines, tasks=2), steps(2), task="chain"),
            Stage("reinforce", MIND_GRPO.but("mind-small", update=AdamW(minibatch=2), **few), steps(1), task="chain"),
        ),
    )


@pytest.mark.slow
def test_thoughts_become_turns_that_are_learned_and_a_killed_stage_makes_the_same(tmp_path):
    recipe = Recipe(method=small(), task="chain", lr=3e-3, steps=4, eval_tasks=0, checkpoint_every=1, slots=32)
    staged.create(recipe, tmp_path / "run").train()
    stage = tmp_path / "run" / "2-turns"
    groups, _ = sampled(stage)
    said = [turns(r.text) for g in groups for r in g.rollouts]
    assert all(one and len(one) == 4 for one in said), "a turn for each of four lines"
    assert {g.role for g in groups} == {"demo"}
    lines = read_metrics(stage)
    assert lines[0]["bill"]["writer/decoded"] > 0, "what the policy stated is on the bill"

    shutil.rmtree(tmp_path / "run" / "3-reinforce")
    shutil.rmtree(stage / "checkpoints" / "000002")
    cut_metrics(stage / "metrics.jsonl", 1)
    (last,) = [file for file in (stage / "groups").iterdir() if "000001" in file.name]
    last.unlink()
    about = tmp_path / "run" / "program.json"
    durable.write(about, canonical({**json.loads(about.read_text()), "done": json.loads(about.read_text())["done"][:1]}).encode())
    staged.resume(tmp_path / "run", say=lambda _: None, method=small()).train()
    assert read_metrics(stage)[1]["digest"] == lines[1]["digest"], "made again by the weights that wrote the traces"


def test_what_tells_the_arms_of_a_claim_apart_is_the_reduction_alone():
    for claim in (LENGTHS, TOKENS):
        one, other = (claim.arm(name).method for name in claim.compare)
        named = {key for key, value in one.describe().items() if value != other.describe()[key]}
        assert named == {"signals"}
        assert one.signals["policy"].but(reduce=other.signals["policy"].reduce) == other.signals["policy"]


def test_a_demonstration_in_turns_is_written_as_it_is_read():
    assert turns(written([Turn("1", "2"), Turn("", "3")])) == [Turn("1", "2"), Turn("", "3")]
