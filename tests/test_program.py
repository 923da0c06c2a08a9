"""Programs: stages of methods as one value, and as one directory of runs."""

import gc
import gzip
import json
import re
import shutil

import pytest
from kills import CURVED, OWN, PROGRAM

from strop import directory, run, saved, staged
from strop.cli import main
from strop.commands.train import _graded
from strop.directory import RunError, read_metrics
from strop.identity import explain
from strop.lab.tabular import Table, TabularPolicy, engine
from strop.method import Method
from strop.methods import PROGRAMS, method, named
from strop.methods.cascade import CASCADE, COLLECT, MPO
from strop.methods.grpo import GRPO
from strop.metrics import digest
from strop.program import Program, Repeat, Stage, rest, share, steps, when
from strop.recipe import Recipe
from strop.seams.credit import group_centered
from strop.seams.feed import Demos
from strop.seams.objective import cross_entropy
from strop.seams.part import part
from strop.seams.recorded import Earlier, right_ones
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher
from strop.seams.update import AdamW, Still
from strop.tasks import DEFAULT_TASK, source

TABLE = Table(tasks=8, vocab=4, length=3, share=0.3)
LEARN = GRPO.but("learn", credit=(group_centered(),), update=AdamW(lr=0.05, clip_norm=None, minibatch=4), tasks=8)
SAMPLE = COLLECT.but(tasks=8)
IMITATE = Method(
    "imitate",
    credit=(),
    feed=Earlier("collect", right_ones()),
    signals={"teacher": Signal(method("rft").signals["teacher"].objective, means("token"), on=teacher)},
    update=AdamW(lr=0.02, clip_norm=None),
    tasks=8,
)
THREE = (Stage("collect", SAMPLE, steps(2)), Stage("imitate", IMITATE, steps(3)), Stage("learn", LEARN, rest()))


def recipe(stages, **changes):
    return Recipe(method=Program("three", stages), task="table", model="table", steps=4, checkpoint_every=2, max_tokens=3, **changes)


def parts(seed=0):
    return {"policy": TabularPolicy(TABLE.tasks, TABLE.language, seed=seed), "source": TABLE, "engine": engine}


def made(place, stages=THREE, **changes):
    one = staged.create(recipe(stages, **changes), place, **parts())
    one.train()
    return one


@part(gives="done")
def reached(outcome, *, level=0.5):
    return outcome[-1] >= level


# The value.


def test_a_program_is_what_was_saved_of_it():
    for program in (CASCADE, PROGRAM, Program("again", (Repeat(2, THREE[:1]), Stage("learn", LEARN, share(0.5), keeps=("curriculum",))))):
        back = saved.program(json.loads(json.dumps(program.to_json())))
        assert back == program
        assert back.fingerprint == program.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"until": steps(3)},
        {"until": share(0.5)},
        {"begins": "initial"},
        {"pace": 0.5},
        {"task": "chain"},
        {"method": LEARN.but(tasks=9)},
        {"name": "other"},
    ],
)
def test_whatever_a_stage_says_is_part_of_what_a_program_is(changed):
    fields = {"name": "learn", "method": LEARN, "until": rest(), **changed}
    other = Program("three", (*THREE[:2], Stage(**fields)))
    assert other.fingerprint != Program("three", THREE).fingerprint


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Program("none", ()), "has no stages"),
        (lambda: Stage("Two Words", LEARN, rest()), "cannot be called 'Two Words'"),
        (lambda: Stage("last", LEARN, rest()), "cannot be called 'last'"),
        (lambda: Stage("one", "grpo", rest()), "its method is a Method, got 'grpo'"),
        (lambda: Stage("one", LEARN, 3), "it ends by steps(n), share(x), rest() or when(part, at_most=n), got 3"),
        (lambda: Stage("one", LEARN, rest(), keeps=("weights",)), "keeps 'weights'"),
        (lambda: steps(0), "at least 1"),
        (lambda: share(1.5), "(0, 1]"),
        (lambda: when(group_centered(), at_most=3), "needs a part that gives 'done'"),
        (lambda: Program("p", (THREE[2], Stage("two", LEARN, rest(), begins="lern"))), "Did you mean 'learn'"),
        (lambda: Program("p", (Stage("one", LEARN, rest(), keeps=("optimiser",)),)), "is the first, so there is no optimiser to keep"),
        (lambda: Program("p", (THREE[1],)), "reads the groups of 'collect'. No stage stands before it."),
        (lambda: Program("p", (THREE[0], THREE[0])), "two stages are called 'collect'. What is done again is Repeat"),
        (lambda: CASCADE + GRPO, "only methods can be added"),
        (lambda: GRPO + CASCADE, "only methods can be added"),
        (lambda: method("cascade"), "is a program of 3 stages, and one method is asked for here"),
        (lambda: Method("idle", signals={}, credit=()), "A stage that only samples says so: update=Still()"),
    ],
)
def test_what_is_no_program_is_refused_in_words(build, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        build()


def test_stages_divide_steps_or_a_budget():
    whole = recipe((Stage("a", LEARN, share(0.25)), Stage("b", LEARN, rest())), seed=1)
    first, second = whole.program.plan
    assert [whole.stage(first).steps, whole.stage(second, made=1).steps] == [1, 3]
    paid = whole.but(budget="1000 decoded")
    assert [paid.stage(first).budget, paid.stage(second, spent=260).budget] == ["250 decoded", "1000 decoded"]
    assert paid.stage(Stage("c", LEARN, steps(7))).steps == 7


def test_the_bundled_models_pace_goes_into_each_stage():
    one = Recipe(method=Program("two", (Stage("a", LEARN, steps(1)), Stage("b", LEARN, steps(1), pace=0.5))))
    assert [one.stage(stage, model="elsewhere").lr for stage in one.program.plan] == [3e-4, 1.5e-4]
    assert one.but(model="elsewhere").stage(one.program.plan[0]).lr is None


# The directory.


def test_weights_noise_bill_and_ledger_go_on_and_each_stage_is_an_ordinary_run(tmp_path):
    one = made(tmp_path / "p")
    places = directory.stages(tmp_path / "p")
    assert [place.name for place in places] == ["1-collect", "2-imitate", "3-learn"]
    first, second, third = (read_metrics(place) for place in places)
    assert [len(lines) for lines in (first, second, third)] == [2, 3, 4]
    assert [line["step"] for line in third] == [0, 1, 2, 3]
    assert {line["digest"]["weights"] for line in first} == {first[0]["digest"]["weights"]}, "sampling moves nothing"
    assert first[0]["digest"]["weights"] != second[-1]["digest"]["weights"] != third[-1]["digest"]["weights"]
    assert first[-1]["bill"]["trained"] == 0 < second[-1]["bill"]["trained"] < third[0]["bill"]["trained"]
    assert third[0]["bill"]["decoded"] > first[-1]["bill"]["decoded"] == second[-1]["bill"]["decoded"] > 0
    ledger = json.loads(gzip.decompress((places[2] / "groups" / "000003.json.gz").read_bytes()))["ledger"]
    assert sum(ledger["trials"].values()) == (2 + 4) * 8 * 8, "demonstrations are no trials"
    lines = read_metrics(tmp_path / "p")
    assert [line["step"] for line in lines] == list(range(9))
    assert [line["stage"] for line in lines] == ["1-collect"] * 2 + ["2-imitate"] * 3 + ["3-learn"] * 4
    assert [done.why for done in one.done] == ["steps"] * 3
    alone = run.create(Recipe(method=LEARN, task="table", model="table", steps=1, max_tokens=3), tmp_path / "alone", **parts())
    alone.train()
    assert read_metrics(tmp_path / "alone")[0]["digest"]["groups"] != third[0]["digest"]["groups"], "noise goes on"


def test_a_stage_begins_with_whom_it_says_and_keeps_what_it_says(tmp_path):
    stages = (
        Stage("a", LEARN, steps(2)),
        Stage("kept", LEARN, steps(1), keeps=("optimiser", "curriculum")),
        Stage("anew", LEARN, steps(1), begins="a"),
        Stage("first", LEARN, steps(1), begins="initial"),
    )
    made(tmp_path / "p", stages)
    lasts = [sorted((p / "checkpoints").iterdir())[-1] for p in directory.stages(tmp_path / "p")]
    states = [json.loads((last / "state.json").read_text())["state"] for last in lasts]
    assert [state["curriculum"]["drawn"] for state in states] == [16, 24, 8, 8]
    abouts = [directory.read_about(p)["stage"] for p in directory.stages(tmp_path / "p")]
    assert [about["model"] for about in abouts] == ["", "1-a/checkpoints/000002", "1-a/checkpoints/000002", "initial"]
    assert [about["number"] for about in abouts] == [0, 2, 3, 4]
    assert abouts[1]["optimiser"] == "1-a/checkpoints/000002"


@pytest.mark.parametrize("kept", [False, True])
def test_a_reference_is_what_a_stage_begins_with_or_goes_on(tmp_path, kept):
    loss = Signal(cross_entropy(), means("token"), on=teacher)
    taught = Method("taught", feed=Demos(), credit=(), signals={"teacher": loss}, reference=True, update=AdamW(), tasks=2)
    stages = [Stage(name, taught, steps(1), keeps=("reference",) if kept and name != "a" else ()) for name in "abc"]
    begun = staged.create(Recipe(method=Program("p", tuple(stages)), task="chain", lr=1e-2, eval_tasks=0), tmp_path / "p")
    seen = []
    for stage in begun.runs():
        seen.append((digest(stage.learner.reference.parameters()), stage.digest_weights()))
        stage.train()
    (first, _), *later = seen
    assert first == seen[0][1]
    assert [frozen == first for frozen, _ in later] == [kept, kept]
    assert [frozen == weights for frozen, weights in later] == [not kept, not kept]


def test_a_stage_ends_when_its_part_says_so_or_at_most_after_so_many_steps(tmp_path):
    soon, never = reached(level=0.0), reached(level=2.0)
    one = made(tmp_path / "p", (Stage("soon", LEARN, when(soon, at_most=3)), Stage("never", LEARN, when(never, at_most=2))))
    assert [(done.steps, done.why) for done in one.done] == [(1, "when"), (2, "steps")]


def test_a_part_that_reads_what_no_line_has_is_refused_by_name(tmp_path):
    @part(gives="done")
    def odd(rewards):
        return True

    with pytest.raises(ValueError, match=r"reads rewards, which no metrics line has\. Did you mean 'reward'"):
        when(odd, at_most=2).done([{"reward": 1.0}])


def test_a_budget_that_is_spent_early_leaves_the_later_stages_unrun_and_says_so(tmp_path):
    said = []
    stages = (Stage("a", LEARN, steps(50)), Stage("b", LEARN, steps(2)), Stage("c", LEARN, rest()))
    one = staged.create(recipe(stages, budget="300 decoded"), tmp_path / "p", said.append, **parts())
    one.train()
    assert [done.why for done in one.done] == ["budget", "unrun", "unrun"]
    assert "stage 2-b is not run: nothing of the budget is left for it" in said
    assert one.spent >= 1


def test_a_share_of_the_budget_is_what_the_stage_itself_spends(tmp_path):
    one = made(tmp_path / "p", (Stage("a", LEARN, share(0.5)), Stage("b", LEARN, rest())), budget="600 decoded")
    spent = [done.bill["decoded"] for done in one.done]
    assert 300 <= spent[0] < 600 <= spent[1]


def test_a_stages_progress_is_its_own_whatever_is_left_of_the_budget(tmp_path):
    stages = (Stage("a", LEARN, steps(2)), Stage("b", LEARN, rest()))
    one = staged.create(recipe(stages, budget="2000 decoded").but(steps=100), tmp_path / "p", **parts())
    fractions = {"1-a": [], "2-b": []}
    for stage in one.runs():
        stage.train(show=lambda line, stage=stage: fractions[stage.directory.name].append(stage.context().progress.fraction))
    assert fractions["1-a"] == [0.5, 1.0]
    assert 0 < fractions["2-b"][0] < 0.5
    assert fractions["2-b"][-1] == 1.0


def test_stages_that_repeat_read_the_latest_of_a_name(tmp_path):
    made(tmp_path / "p", (Repeat(2, (THREE[0], Stage("imitate", IMITATE, steps(1)))),))
    last = directory.read_about(tmp_path / "p" / "4-imitate")["stage"]
    assert last["stages"]["collect"] == "3-collect"


def test_a_program_that_is_done_or_was_moved_is_opened_again(tmp_path):
    made(tmp_path / "p")
    gc.collect()  # its locks go with it
    shutil.move(tmp_path / "p", tmp_path / "q")
    again = staged.resume(tmp_path / "q", lambda said: None, method=Program("three", THREE), **parts())
    assert again.finished
    assert again.step == 9
    again.train()
    assert len(read_metrics(tmp_path / "q")) == 9


@pytest.mark.parametrize("torn", ["the line that says a stage is done", "the next stage, half begun", "its last checkpoint"])
def test_what_a_kill_between_two_stages_leaves_is_made_whole(tmp_path, torn):
    made(tmp_path / "whole")
    one = staged.create(recipe(THREE), tmp_path / "p", **parts())
    runs = one.runs()
    next(runs).train()
    if torn == "the next stage, half begun":
        next(runs)
        (tmp_path / "p" / "2-imitate" / "recipe.json").unlink()
    elif torn == "its last checkpoint":
        shutil.rmtree(tmp_path / "p" / "1-collect" / "checkpoints" / "000002")
    del one, runs
    gc.collect()
    staged.resume(tmp_path / "p", lambda said: None, method=Program("three", THREE), **parts()).train()
    whole, again = ([{**line, "t": 0} for line in read_metrics(tmp_path / name)] for name in ("whole", "p"))
    assert again == whole


def test_another_program_does_not_go_on_with_it(tmp_path):
    made(tmp_path / "p")
    with pytest.raises(RunError, match="was made by program"):
        staged.resume(tmp_path / "p", lambda said: None, method=Program("three", THREE[:2]), **parts())


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_an_earlier_stage_whose_groups_are_gone_or_changed_is_not_learned_from(tmp_path, harm):
    one = staged.create(recipe(THREE), tmp_path / "p", **parts())
    runs = one.runs()
    next(runs).train()
    second = next(runs)
    file = tmp_path / "p" / "1-collect" / "groups" / "000001.json.gz"
    record = json.loads(gzip.decompress(file.read_bytes()))
    record["groups"][0]["rollouts"][0]["text"] = "better"
    file.unlink()
    if harm == "changed":
        file.write_bytes(gzip.compress(json.dumps(record).encode()))
    with pytest.raises(RunError, match="is gone, and" if harm == "gone" else "was changed since"):
        second.train()


def test_a_stage_that_finds_nothing_says_what_there_was(tmp_path):
    nothing = Table(tasks=8, vocab=4, length=3, share=0.02)
    given = {**parts(), "source": nothing}
    one = staged.create(recipe((Stage("collect", SAMPLE.but(tasks=1), steps(1)), *THREE[1:]), seed=5), tmp_path / "p", **given)
    with pytest.raises(ValueError, match=r"right_ones finds nothing in stage 'collect': 1 groups with 0 right rollouts, 8 wrong"):
        one.train()


@pytest.mark.parametrize(("changes", "words"), [({"swarm": "home"}, "without a swarm"), ({"ahead": 1}, "without steps ahead")])
def test_what_does_not_go_with_stages_is_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        staged.create(recipe(THREE, **changes), tmp_path / "p", **parts())
    assert not (tmp_path / "p").exists()


# By name, in a terminal.


def test_lists_name_the_tasks_of_the_stages_and_not_the_one_that_no_stage_has(tmp_path, capsys):
    made(tmp_path / "tables")
    assert staged.create(Recipe(method="rstar2"), tmp_path / "tools").lock
    main(["runs", str(tmp_path), "--json"])
    assert [row["task"] for row in json.loads(capsys.readouterr().out)["runs"]] == ["table", "sums"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_tasks_of_every_stage_give_what_its_method_reads(name):
    program = named(name)
    for stage in program.plan:
        _graded(stage.method, source(stage.task or DEFAULT_TASK))


def test_a_program_stands_beside_the_methods(capsys):
    assert named("cascade") is CASCADE
    agents = (
        "webexplorer",
        "webresearcher-stream",
        "agentscaler",
        "agentscaler-clean",
        "agentfounder",
        "mcp-bench-servers",
        "scalecua",
        "webweaver",
        "webweaver-released",
        "websailor",
        "vibe-agentic",
        "memento",
        "doctoragent-rl",
        "doctoragent-rl-released",
    )
    assert {*PROGRAMS} == {
        "cascade",
        "arm",
        "ampo-bargain",
        "mind",
        "rstar2",
        "resum",
        "svs-equations",
        "parallel-r1",
        "parallel-r1-unseen",
        "pathfinder-walks",
        "reer",
        "moose-chem2",
        "flex-judge",
        "formalmath-proofs",
        "lifelong",
        "lifelong-released",
        *agents,
    }
    main(["methods"])
    assert "stages: collect (collect), prefer (mpo-on-own), reinforce (gspo-wide)" in capsys.readouterr().out
    main(["explain", "cascade"])
    shown = capsys.readouterr().out
    assert "a program of 3 stages" in shown
    assert [line for line in shown.splitlines() if line.startswith("====")] == [
        "==================== stage 1, collect: collect, 4 steps",
        "==================== stage 2, prefer: mpo-on-own, 16 steps",
        "==================== stage 3, reinforce: gspo-wide, what is left of the budget",
    ]
    assert shown.count("\n") == explain(CASCADE).count("\n") + 4
    assert shown.count("4 steps") == 1
    assert shown.count("32 tasks a step are sampled, graded and committed, and no weight moves") == 1, "what a stage does that only samples"


def test_what_differs_between_pair_methods_is_a_signal(capsys):
    main(["diff", "mpo", "dpo"])
    shown = capsys.readouterr().out
    assert "signals.quality" in shown
    assert "running = (earlier_sum + sum(value_R, batch, active(rollout)))" in shown


OWN_FILE = """
from strop.methods.cascade import COLLECT
from strop.methods.grpo import GRPO
from strop.program import Program, Stage, steps
from strop.seams.sampler import Independent
from strop.seams.update import AdamW

SMALL = GRPO.but("small", sampler=Independent(n=4, max_tokens=12), update=AdamW(minibatch=2), tasks=4)
LOOK = COLLECT.but("look", sampler=Independent(n=2, max_tokens=8), tasks=2)
PLAN = Program("plan", (Stage("look", LOOK, steps(1)), Stage("small", SMALL, steps(2))))
"""


def test_a_program_of_ones_own_is_trained_stopped_resumed_shown_and_evaluated(tmp_path, capsys, monkeypatch):
    file = tmp_path / "plan.py"
    file.write_text(OWN_FILE)
    monkeypatch.chdir(tmp_path)
    main(["train", "--method", "plan.py", "--out", "p", "--eval-tasks", "4", "--eval-samples", "2"])
    shown = capsys.readouterr()
    assert "stage 2 of 2, small: small, 2 steps" in shown.err
    assert re.search(r"1-look +look +1 \(steps\)", shown.out)
    assert (tmp_path / "p" / "report.html").read_text().count("1-look/report.html") == 1
    shutil.rmtree(tmp_path / "p" / "2-small")
    about = json.loads((tmp_path / "p" / "program.json").read_text())
    about["done"] = about["done"][:1]
    (tmp_path / "p" / "program.json").write_text(json.dumps(about))
    before = (tmp_path / "p" / "result.json").read_bytes()
    file.write_text("")  # a resumed program is made of what it kept
    main(["train", "--resume", "p"])
    again = json.loads((tmp_path / "p" / "result.json").read_text())
    assert again["after"] == json.loads(before)["after"]
    main(["runs", "."])
    assert re.search(r"p +plan ", capsys.readouterr().out)
    main(["report", "p"])
    with pytest.raises(SystemExit):
        main(["train", "--resume", "p/1-look"])
    assert "is a stage of the program p: go on with that, --resume p" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--method", "cascade", "--track", "tensorboard"], "--track follows one run, and a program has one for each stage"),
        (["--method", "cascade + dapo"], "only methods can be added"),
        (["--method", "cascad"], "Did you mean 'cascade'"),
        (["--method", "cascade", "--tasks", "8"], "its idea is a clip"),
    ],
)
def test_a_wrong_line_is_answered_before_anything_is_written(given, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", *given, "--out", "p"])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_the_methods_of_the_killed_program_are_what_they_seem():
    assert isinstance(PROGRAM.plan[0].method.update, Still)
    assert OWN.signals == MPO.signals
    assert CURVED.curriculum.low == 0.1
