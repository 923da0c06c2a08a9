"""SvS by hand: a scripted policy solves, writes and solves what it wrote; groups, rewards and fates are those of the paper."""

import asyncio
import re
import shutil
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from unittest import mock

import pytest
from letters import Letters

from strop import saved
from strop.check.growing import _sampler as exam
from strop.claims.trace import Trace, question
from strop.directory import cut_metrics, read_metrics, sampled
from strop.learning import reward_of
from strop.methods.grpo import GRPO
from strop.methods.svs import SVS, SVS_SMALL, DropUnpaid, useful
from strop.recipe import Recipe
from strop.records import Scores, Segment, Task
from strop.report import page
from strop.run import create, resume
from strop.seams.context import Ctx, Progress
from strop.seams.engine import Node
from strop.seams.gate import decide
from strop.seams.reward import outcome
from strop.seams.role import Role
from strop.seams.sampler import Independent
from strop.seams.variants import VARIANT, WRITE, Variants, Window
from strop.tasks.equations import Equations, answer

SOLVE, SHORT = Independent(n=4, max_tokens=40), Independent(n=2, max_tokens=40)
HALF = Variants(SOLVE, SHORT, Window(0.25, 0.5), ask="write {}", between=("[", "]"))


class Actor:
    """A policy that says what a script holds for a prompt, in turn."""

    def __init__(self, script, limit):
        self.script, self.renderer, self.asked, self.engine = script, Letters(), [], SimpleNamespace(limit=limit)

    async def open(self, text, *, root):
        self.asked.append(text)
        return Node(Segment("prompt", self.renderer.prompt(text), "0"), None, (0,), root, 0, length=len(text))

    async def generate(self, node, *, max, stop=(), sampling=None, keep=True):
        path = node.next()
        said = self.script[self.renderer.text(node.tokens)]
        text = said[path[-1] % len(said)]
        segment = Segment("action", tuple(map(ord, text)), ".".join(map(str, path)))
        return Node(segment, node, path, node.root, 0, stop="finished", length=node.length + len(text))

    def text(self, node):
        return self.renderer.text(node.segment.tokens)


def grown(script, sampler=HALF, lost=(), limit=1000):
    """Groups of the task P, whose answer is R; texts in `lost` nobody can grade. And their scores, and what was asked."""
    actor, graded = Actor(script, limit), []

    async def grade(groups):
        graded.extend(g.id for g in groups)
        verdict = {r.id: {"outcome": None if r.text in lost else float(r.text.startswith("R"))} for g in groups for r in g.rollouts}
        return Scores(verdict)

    async def asked():
        groups = await sampler(Task("P", {"answer": "R"}, "s"), None, Ctx(0, Progress(), None, {"actor": actor}, grade, place="p#0"))
        return groups, await grade(groups) | await useful.on({"groups": groups, "ctx": None})

    groups, scores = asyncio.run(asked())
    return groups, scores, actor.asked


SCRIPT = {
    "P": ["R1", "no", "R2", "no"],
    "write R1": ["[Q1]", "[Q2]"],
    "write R2": ["nothing", "so [P] it is"],
    "Q1": ["R", "no", "no", "no"],
    "Q2": ["R", "R", "R", "R"],
}


def test_a_step_by_hand_solved_written_and_solved_again():
    groups, scores, asked = grown(SCRIPT)
    assert [(g.role, g.id) for g in groups] == [
        ("solve", "p#0"),
        (WRITE, "p#0/write/0"),
        (VARIANT, "p#0/write/0/0"),
        (VARIANT, "p#0/write/0/1"),
        (WRITE, "p#0/write/1"),
        (VARIANT, "p#0/write/1/1"),
    ]
    assert sorted(asked) == sorted(["P", "write R1", "write R2", "Q1", "Q2", "P"]), "the writer sees a solution alone"
    solve, first, one, two, second, copy = groups
    assert [g.task.prompt for g in (one, two, copy)] == ["Q1", "Q2", "P"]
    assert all(g.task.needs == solve.task.needs for g in groups), "the answer carries over"
    assert first.task == solve.task
    assert [r.keys["facts"] for r in first.rollouts] == [
        [{"problem": "Q1", "copy": False, "solved": 0.25}],
        [{"problem": "Q2", "copy": False, "solved": 1.0}],
    ]
    assert [r.keys["facts"][0]["copy"] for r in second.rollouts] == [False, True]

    rewards = reward_of(SVS, groups, scores, Progress())
    paid = {g.id: [rewards[r.id] for r in g.rollouts] for g in groups}
    assert paid == {
        "p#0": [1, 0, 1, 0],
        "p#0/write/0": [1, 0],
        "p#0/write/0/0": [1, 0, 0, 0],
        "p#0/write/0/1": [1, 1, 1, 1],
        "p#0/write/1": [0, 1],
        "p#0/write/1/1": [1, 0, 1, 0],
    }
    fates = {r: fate for g in groups for r, fate in decide(SVS.role(g.role).gate, g, rewards).items()}
    left = [g.id for g in groups if any(fates[r.id].kind == "keep" for r in g.rollouts)]
    assert left == [g.id for g in groups if g is not two], "a variant that all solve is flat; a writing group stays for one that earned"
    assert {fates[r.id].why for r in two.rollouts} == {"flat"}


def test_no_problem_in_the_window_is_an_ordinary_step():
    for replies in (["no"] * 4, ["R"] * 4, ["R", "R", "R", "no"]):
        groups, _, asked = grown({"P": replies})
        assert [g.role for g in groups] == ["solve"]
        assert asked == ["P"]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("no brackets", "none"),
        ("[Q1", "not closed"),
        ("[]", "empty"),
        ("[Q1][Q2]", "two"),
        ("[~]", "a special token's name"),
        ("[" + "Q" * 60 + "]", "long"),
    ],
)
def test_what_is_no_problem_earns_nothing_and_nobody_is_asked_it(written, why):
    groups, scores, asked = grown(SCRIPT | {"write R1": [written], "write R2": [written]})
    assert [g.role for g in groups] == ["solve", WRITE, WRITE], why
    assert sorted(asked) == ["P", "write R1", "write R2"]
    rewards = reward_of(SVS, groups, scores, Progress())
    for group in groups[1:]:
        assert {rewards[r.id] for r in group.rollouts} == {0.0}
        assert {f.why for f in decide(SVS.role(WRITE).gate, group, rewards).values()} == {"unpaid"}


def test_what_the_model_has_no_room_for_is_not_asked():
    assert [g.role for g in grown(SCRIPT, limit=40 + len("write R1") - 1)[0]] == ["solve"], "no room for a question to the writer"
    groups, scores, _ = grown(SCRIPT | {"write R1": ["[QQQQQQQQQ]"], "write R2": ["no"]}, limit=48)
    assert [g.role for g in groups] == ["solve", WRITE, WRITE], "a problem that leaves no room for its solution"
    assert scores.get("p#0/write/0/0", "useful") == 0


def test_as_many_solutions_are_written_for_as_may_be_the_first_drawn():
    groups, _, _ = grown(SCRIPT, Variants(SOLVE, SHORT, Window(0.25, 0.5), most=1, ask="write {}", between=("[", "]")))
    assert [g.id for g in groups if g.role == WRITE] == ["p#0/write/0"]


def test_a_verdict_that_is_ours_to_give_leaves_no_score_and_says_so():
    _, scores, _ = grown(SCRIPT | {"Q1": ["?"]}, lost=("?",))
    assert scores.get("p#0/write/0/0", "useful") is None
    assert [i.why for i in scores.incidents] == ["no solution of the written problem could be graded"]
    assert scores.get("p#0/write/0/1", "useful") == 0
    groups, _, _ = grown(SCRIPT | {"P": ["?"]}, lost=("?",))
    assert len(groups) == 1


def paid(part, solved, copy=False):
    """What a written problem earns that so many of eight solve."""
    groups, _, _ = grown(SCRIPT)
    write = next(g for g in groups if g.role == WRITE)
    write.rollouts[0].keys["facts"][0].update(solved=solved / 8, copy=copy)
    return asyncio.run(part.on({"groups": [write], "ctx": None})).get(write.rollouts[0], "useful")


def test_the_window_of_the_paper_and_the_release_and_of_one_who_pays_for_any_answer():
    assert [paid(useful, n) for n in range(9)] == [0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert [paid(useful(strict=True), n) for n in range(9)] == [0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert [paid(useful(low=0.01, high=1.0), n) for n in range(9)] == [0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert paid(useful, 2, copy=True) == 1
    assert paid(useful(copies=False), 2, copy=True) == 0
    assert [Window(0.125, 0.5, strict).holds(rate) for strict in (False, True) for rate in (0.125, 0.25, 0.5)] == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]


def test_a_channel_that_only_a_role_reads_and_nobody_gives_is_refused_and_not_dropped():
    groups, scores, _ = grown(SCRIPT)
    wrong = SVS.but(roles={WRITE: Role(outcome.reading(outcome_R="usefull_R"))})
    with pytest.raises(ValueError, match=r"roles\.write\.reward 'outcome' reads the channel 'usefull', which nobody grades"):
        reward_of(wrong, groups, scores, Progress())


def test_it_passes_a_samplers_exam_and_says_what_it_is():
    assert [*exam("sampler", HALF, GRPO, Task("2+2", {}, "numbers"))] == []
    assert saved.load(SVS_SMALL.to_json()) == SVS_SMALL
    assert SVS.sampler.sized(4, 100) == Variants(Independent(n=4, max_tokens=100), Independent(n=4, max_tokens=512))
    assert DropUnpaid().refill == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Variants(most=0), "needs at least 1"),
        (lambda: Variants(ask="write"), "holds {} once"),
        (lambda: Variants(between=("", "]")), "between two texts"),
        (lambda: Variants(Independent(turns=2)), "in one turn"),
        (lambda: Window(0.5, 0.2), "its low end first"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_equations_are_solved_and_written():
    source = Equations(writing=0.5)
    numbers = count()
    tasks = [source.task("train", 0, next(numbers)) for _ in range(200)]
    asked = [t for t in tasks if "written" in t.needs]
    assert 60 < len(asked) < 140
    for task in asked:
        gold = source.gold(task)
        assert source.grade(task, gold)["outcome"] == 1
        assert answer(gold.partition("[")[2][:-1]) == task.needs["answer"]
        assert not source.grade(task, gold[:-1] + "0]")["outcome"]
        assert not source.grade(task, f"[x+1-1={int(task.needs['answer']) + 1}]")["outcome"]
    for hostile in ("", "[" * 10_000, "[x" + "+1" * 5_000 + "=1]", "[x+1+1=" + "9" * 5_000 + "]"):
        assert source.grade(asked[0], hostile)["outcome"] == 0


def test_a_run_writes_learns_and_goes_on_after_a_kill(tmp_path):
    thought = Variants(SOLVE, SHORT, Window(0.0, 1.0), most=1, ask="{}", between=("<think>", "</think>"))  # what pico writes anyway
    recipe = Recipe(method=SVS.but(sampler=thought), task="pool:8:chain", tasks=4, steps=2, lr=1e-4, eval_tasks=0)
    create(recipe, tmp_path / "run").train()
    lines = read_metrics(tmp_path / "run")
    groups, scores = sampled(tmp_path / "run")
    for role in (WRITE, VARIANT):
        mine = [r for g in groups if g.role == role for r in g.rollouts]
        assert len(mine) == sum(line["roles"][role]["rollouts"] for line in lines)
        assert mine, role
        assert all(scores.get(r, "useful") is not None for r in mine)
    assert "useful" not in lines[0], "a channel of another role says nothing of these rollouts"
    drawn = page.curves(lines, {})
    assert "roles.write.reward " in drawn
    assert "roles.variant.rollouts " in drawn
    assert {line["updates"] for line in lines} == {1}, "however much was written"
    assert sum(line["rollouts"] for line in lines) == 2 * 4 * 4, "curves speak of the problems alone"
    trace = Trace("svs", 0, tmp_path / "run", "decoded", {})
    assert trace.trained_on == {g.task.id for g in groups if g.role in ("solve", WRITE)}
    assert trace.wrote == {question(g.task.prompt) for g in groups if g.role == VARIANT}
    told = [replace(g, task=replace(g.task, meta={"written": 1999})) for g in groups if g.role == "solve"]
    with mock.patch.object(Trace, "records", return_value=[{"groups": [g.to_json() for g in told]}]):
        assert Trace("svs", 0, tmp_path / "run", "decoded", {}).trained_on == {g.task.id for g in told}, "whatever a source notes"
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000002")
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 1)
    resume(tmp_path / "run", method=recipe.method).train()
    again = read_metrics(tmp_path / "run")[1]
    assert {**again, "t": 0} == {**lines[1], "t": 0}
    assert again["t"]["replayed"]
