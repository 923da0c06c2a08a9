"""What is given up once it is seen is not trained: B of each rollout by hand, the gate, and turns that are dealt out anew."""

import asyncio
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from strop.check.growing import Script
from strop.directory import cut_metrics, read_commit, read_metrics
from strop.experiments.b_score import (
    AGAIN,
    ASKED,
    BY_HISTORY,
    DEALT,
    SINGLE,
    TALKS,
    TURNS,
    dealt,
    favourite,
    histories,
    stays,
    tells_apart,
    valid,
)
from strop.methods.b_score import B_SCORE, repeated
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Scores, Segment, Task
from strop.run import create, resume
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.engine import Node, called
from strop.seams.gate import AtMost, decide
from strop.seams.update import AdamW
from strop.tasks import source
from strop.tasks.habits import asked_about

HABITS = source("habits")


@dataclass
class Teller(Script):
    """An engine that says what it is told to, in the order in which it is asked."""

    says: list[str] = field(default_factory=list)
    renderer: object = None

    async def _written(self, node, path, most, sampling, keep, number):
        tokens = self.renderer.reply(self.says[number - 1])
        segment = Segment("action", tokens, called(path), Author(self.name, 0, sampling), tuple(-1.0 for _ in tokens))
        return Node(segment, node, path, node.root, 0, "finished", node.length + len(tokens))


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


def said(letters):
    return [f"<answer>{letter}</answer>" if letter != "-" else "well" for letter in letters]


def graded(renderer, single, talk, **how):
    task = Task("*K3 abcd", {"options": [*"abcd"]}, "habits")
    group = Group(task, tuple(Rollout((), f"g/{i}", text=text) for i, text in enumerate(said(single))), id="g")
    engine = Teller(says=said(talk), renderer=renderer)
    ctx = Ctx(0, Progress(), HABITS, {"actor": Handle(engine, renderer)}, None)
    return asyncio.run(repeated([group], ctx, **how))


def test_b_of_each_rollout_by_hand(renderer):
    found = graded(renderer, "aaab", "abcdaabb", turns=8, talks=1)
    assert [found.get(f"g/{i}", "b") for i in range(4)] == [0.75 - 3 / 8] * 3 + [0.25 - 3 / 8]
    assert not found.reasons


def test_two_conversations_are_held_at_once_and_count_alike(renderer):
    found = graded(renderer, "aaaa", "abab", turns=2, talks=2)
    assert found.get("g/0", "b") == pytest.approx(0.5), "one says a twice, the other b"


def test_invalid_answers_are_no_habit_and_are_told(renderer):
    found = graded(renderer, "a-ab", "a-b-", turns=4, talks=1)
    assert [found.get(f"g/{i}", "b") for i in range(4)] == pytest.approx([2 / 3 - 1 / 2, 0.0, 2 / 3 - 1 / 2, 1 / 3 - 1 / 2])
    assert set(found.reasons.values()) == {"2 of 4 repeated answers are invalid"}
    nothing = graded(renderer, "aa", "--", turns=2, talks=1)
    assert [nothing.get(f"g/{i}", "b") for i in range(2)] == [0.0, 0.0]
    assert nothing.incidents == (), "the policy's fault is no fault of ours"


def test_the_gate_leaves_habits_in_the_statistics_and_trains_the_others():
    rollouts = tuple(Rollout((), f"r{i}") for i in range(4))
    group = Group(Task("x", {}, "s"), rollouts, id="g")
    scores = Scores({f"r{i}": {"b": b} for i, b in enumerate((0.5, 0.2, -0.1, None))})
    rewards = {f"r{i}": 1.0 for i in range(4)}
    fates = decide((AtMost("b", most=0.2),), group, rewards, scores)
    assert [fates[f"r{i}"].kind for i in range(4)] == ["context", "keep", "keep", "keep"]
    assert fates["r0"].why == "b above 0.2"
    assert decide((AtMost("b", 0.2, fate="drop"),), group, rewards, scores)["r0"].kind == "drop"
    with pytest.raises(ValueError, match="which nobody grades here"):
        decide((AtMost("c"),), group, rewards, scores)
    with pytest.raises(ValueError, match="context or drop, not 'keep'"):
        AtMost(fate="keep")


@pytest.mark.slow  # a second
def test_a_run_scores_b_once_however_often_it_is_killed(tmp_path):
    small = {"steps": 2, "tasks": 2, "group": 4, "max_tokens": 8, "eval_tasks": 0, "checkpoint_every": 2, "slots": 16}
    method = B_SCORE.but("b-score-small", graders=(repeated(turns=3, talks=1, max_tokens=8),), update=AdamW())
    create(Recipe(method=method, task="skewed", **small), tmp_path / "run").train()
    first, second = read_metrics(tmp_path / "run")
    assert first["b"] is not None
    committed = read_commit(tmp_path / "run", 1)
    above = [unit for unit, channels in committed["scores"]["values"].items() if channels["b"] > 0.2]
    assert above
    assert all(committed["fates"][unit][0] == "context" for unit in above)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000002")
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 1)
    resume(tmp_path / "run", method=method).train()
    again = read_metrics(tmp_path / "run")[1]
    assert {**again, "t": 0} == {**second, "t": 0}


def test_it_is_grpo_with_a_grader_and_a_gate():
    assert B_SCORE.parent == GRPO
    assert B_SCORE.idea == ("graders", "gate")
    assert B_SCORE.gate == (AtMost("b", most=0.2),)


# ---------------------------------------------------------------------------------------------- the claim


def test_dealt_turns_are_the_same_ones_in_conversations_as_long_as_they_were():
    tasks = [source("habits:once=0.0").task("train", 0, i) for i in range(32)]
    found = dealt(tasks, random.Random(0))

    def turns(tasks):
        return Counter(turn for t in tasks for turn in zip(t.needs["asked"], t.needs["said"], strict=True))

    assert turns(found) == turns(tasks)
    assert [len(t.needs["said"]) for t in found] == [len(t.needs["said"]) for t in tasks]
    assert all(t.prompt == t.needs["asked"][0] for t in found)
    names = [len({text[1:3] for text in t.needs["asked"]}) / len(t.needs["asked"]) for t in found]
    assert sum(names) / len(names) > 0.8, "few turns of a conversation are about one question"
    assert {len({text[1:3] for text in t.needs["asked"]}) for t in tasks} == {1}


@pytest.mark.slow  # a second
def test_both_arms_learn_the_same_turns_from_rows_of_the_same_kinds(tmp_path):
    small = {"steps": 1, "tasks": 4, "eval_tasks": 0, "checkpoint_every": 1}
    said = {}
    for method in (AGAIN, DEALT):
        create(Recipe(method=method, task="habits", **small), tmp_path / method.name).train()
        groups = [Group.from_json(g) for g in read_commit(tmp_path / method.name, 0)["groups"]]
        rows = [row for g in groups for r in g.rollouts for row in r.rows]
        assert {s.kind for row in rows for s in row.segments} == {"prompt", "teacher", "observation"}
        said[method.name] = Counter(s.tokens for row in rows for s in row.segments if s.kind == "teacher"), sum(len(r.tokens) for r in rows)
    assert said[AGAIN.name] == said[DEALT.name]


def trace(questions):
    """Of questions (kind, what is said alone, what in conversations)."""
    needs = [{"kind": kind, "options": [*"abcd"]} for kind, *_ in questions]
    texts = [[*said(single), *(text for talk in talks for text in said(talk))] for _, single, talks in questions]
    replies = [{"needs": n, "texts": t} for n, t in zip(needs, texts, strict=True)]
    return SimpleNamespace(replies=(replies,), held_out=({"spent": 7.0},))


def test_the_measure_by_hand():
    alone, balanced, kept = "a" * 15 + "bcdbb", "abcdabcdab", "a" * 10
    surer = "a" * 18 + "bc"
    questions = [("habit", alone, [balanced] * TALKS), ("known", surer, [kept] * TALKS), ("known", alone, [kept, "b" * 10] * (TALKS // 2))]
    found = trace(questions)
    read = histories(found)
    assert [(len(one.single), [len(t) for t in one.talks]) for one, _ in read] == [(SINGLE, [TURNS] * TALKS)] * 3
    assert [one.b["a"] for one, _ in read] == pytest.approx([0.75 - 0.3, 0.9 - 1, 0.75 - 0.5])
    assert tells_apart(of="b").on({"trace": found}) == [(7.0, 1.0)]
    assert tells_apart(of="single").on({"trace": found}) == [(7.0, 0.75)], "by being low"
    assert valid.on({"trace": found}) == 1
    assert stays.on({"trace": found}) == 1
    assert favourite.on({"trace": found}) == 0.75
    assert ASKED.group_size == SINGLE + TALKS * TURNS
    assert BY_HISTORY.held_out.tasks == len(asked_about(HABITS.questions, "test")), "each of them once"
    spoilt = trace([("habit", "-" * 10 + alone[:10], [balanced] * TALKS), questions[1]])
    assert valid.on({"trace": spoilt}) == pytest.approx(1 - 10 / (2 * ASKED.group_size))
    assert replace(ASKED, n=1).group_size == 30
