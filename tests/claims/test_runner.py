"""The runner on a language model: small runs, real files, a kill."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from strop import claims
from strop.claims import runner
from strop.claims.claim import Arm, Claim, HeldOut
from strop.claims.trace import held_out, held_out_when
from strop.lab.tabular import Table, TabularPolicy, engine
from strop.methods.grpo import GRPO
from strop.methods.ppo import PPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.recipe import Recipe
from strop.report import claim as page

from .test_claim import PLAIN, claim


def small(**changes):
    recipe = PLAIN["recipe"].but(lr=1e-3, checkpoint_every=2)
    return claim(**{"recipe": recipe, "held_out": HeldOut(tasks=4, samples=2, at=(0.0, 1.0), max_tokens=8), **changes})


def test_a_claim_is_run_recorded_and_read_back(tmp_path):
    told = []
    keeping = replace(small().held_out, replies=True)
    record = runner.run(small(held_out=keeping), tmp_path, "quick", tell=lambda *said: told.append(said))
    assert record["verdict"] == "direction only"
    assert record["why_void"] == []
    assert len(record["differences"]) == 2 == len(record["seeds"])
    assert {"claim", "verdict", "effect", "interval", "seeds", "budgets"} <= record.keys()
    for spent in record["budgets"].values():
        assert spent["decoded"] >= 60
        assert spent["trained"] > spent["decoded"]
    assert json.loads((runner.home(small(), "quick", tmp_path) / "record.json").read_text())["effect"] == record["effect"]
    assert [arm for arm, _, share in told if share >= 1] == ["large", "none"] * 2
    drawn = page.render(record)
    assert drawn.count("<svg") == 2
    assert "larger-step: direction only" in drawn
    made = sorted((tmp_path / "runs").glob("*/eval/[0-9]*.json"))
    assert len(made) == 8, "two arms, two seeds, before and after"
    kept = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/eval/replies-*.json")]
    assert len(kept) == 8
    assert all(len(told["texts"]) == 2 and told["needs"] for replies in kept for told in replies)
    assert "texts" not in json.dumps(record)
    for path in (tmp_path / "runs").glob("*/eval/values-*.json"):
        each, means = (json.loads(place.read_text()) for place in (path, path.with_name(path.name.removeprefix("values-"))))
        assert len(each["tasks"]) == 4
        assert {name: sum(values) / 4 for name, values in each["values"].items()} == pytest.approx(means["means"])
    assert len(list((tmp_path / "runs").glob("*/eval/values-*.json"))) == 8


@pytest.mark.slow
def test_a_finished_run_is_not_run_again_and_a_killed_one_goes_on(tmp_path, monkeypatch):
    whole = runner.run(small(), tmp_path / "whole", "quick")
    arm = small().arms[0]
    place = runner.run_place(small(), arm, 0, "quick", tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        runner.run_arm(small(), arm, 0, "quick", place, tell=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert not (place / "arm.json").exists()
    again = runner.run(small(), tmp_path / "cut", "quick")
    assert again["curves"] == whole["curves"]
    assert again["budgets"]["large"]["decoded"] == whole["budgets"]["large"]["decoded"]
    monkeypatch.setattr("strop.run.create", lambda *_, **__: pytest.fail("a finished run was begun again"))
    assert runner.run(small(), tmp_path / "cut", "quick")["differences"] == whole["differences"]


@pytest.mark.slow  # four trainings
def test_arms_that_are_one_method_give_identical_curves(tmp_path):
    record = runner.run(small(), tmp_path, "quick")
    assert record["differences"] == [0.0, 0.0], "GRPO against GRPO under another name: the same tasks, seeds and weights"


@pytest.mark.slow  # the full profile
def test_a_mechanism_that_is_off_makes_the_claim_void(tmp_path):
    record = runner.run(small(checks=(replace(PLAIN["checks"][0], least=1000),)), tmp_path, "full")
    assert record["verdict"] == "void"
    assert any("mechanism off: it stepped (large, seed 0:" in why for why in record["why_void"])


@pytest.mark.slow  # two trainings of two stages
def test_an_arm_that_is_a_program_is_evaluated_by_the_method_of_its_stage(tmp_path):
    stages = (Stage("warm", GRPO, steps(1), task="chain"), Stage("rest", GRPO, rest(), task="chain"))
    arms = (Arm("large", Program("both", stages)), replace(small().arms[1], method=Program("none", stages[::-1][:1])))
    record = runner.run(small(arms=arms), tmp_path, "quick", seeds=1)
    assert [told for told in record["why_void"] if "held" in told] == []
    assert {len(seen) for each in record["evaluations"].values() for seen in each.values()} == {2}, "before and after"


@pytest.mark.slow
def test_a_measure_that_does_not_reach_the_budget_makes_it_void(tmp_path):
    early = HeldOut(tasks=2, samples=1, at=(0.0,), max_tokens=8)
    record = runner.run(small(measure=held_out(name="mean"), held_out=early), tmp_path, "quick")
    assert record["verdict"] == "void"
    assert "unequal budgets: the measure of large, seed 0 covers [0, 0]" in record["why_void"][0]


@pytest.mark.slow
def test_a_run_that_ends_before_its_budget_makes_it_void(tmp_path):
    record = runner.run(small(recipe=small().recipe.but(steps=2)), tmp_path, "quick")
    assert any("unequal budgets: large, seed 0 spent" in why for why in record["why_void"])


class Leaky:
    """A source whose held-out tasks are its training tasks."""

    name, size = "leaky", None

    def __init__(self):
        from strop.tasks import source

        self.inner = source("chain")

    def task(self, split, seed, index):
        return self.inner.task("train", 0, index)

    def grade(self, task, text):
        return self.inner.grade(task, text)

    def gold(self, task):
        return self.inner.gold(task)


@pytest.mark.slow
def test_tasks_that_are_trained_on_and_tested_on_make_it_void(tmp_path):
    record = runner.run(small(), tmp_path, "quick", world=lambda recipe, directory: {"source": Leaky()})
    assert record["verdict"] == "void"
    assert any("train and test share" in why for why in record["why_void"])


@pytest.mark.slow
def test_seeds_that_reach_nothing_make_it_void(tmp_path, monkeypatch):
    whole = Claim.recipe_of
    monkeypatch.setattr(Claim, "recipe_of", lambda self, arm, seed, profile: whole(self, arm, 0, profile))  # the planted bug
    record = runner.run(small(), tmp_path / "lost", "quick")
    assert record["verdict"] == "void"
    assert any("seeds 0 and 1 of large gave identical curves: the seed reached nothing" in why for why in record["why_void"])
    assert not any("identical" in why for why in runner.run(small(random=False), tmp_path / "meant", "quick")["why_void"])


def test_two_seeds_whose_shares_agree_by_chance_are_two_and_what_depends_on_no_run_is_no_measure():
    def told(curves, digests):
        traces = {seed: SimpleNamespace(lines=[{"digest": digest}]) for seed, digest in enumerate(digests)}
        return runner._frozen(small(), {"large": traces}, {"large": dict(enumerate(curves))})

    same = [(0.0, 0.0), (60.0, 0.5)]
    assert told([same, same, [(60.0, 0.4)]], ["a", "b", "c"]) == []
    assert "seeds 0 and 2 of large" in told([same, [(60.0, 0.4)], same], ["a", "b", "a"])[0]
    assert "all 3 seeds of large" in told([same] * 3, ["a", "b", "c"])[0]


TAUGHT = Recipe(method=SFT, task="mentions:people=20", steps=3, tasks=2, lr=1e-3, checkpoint_every=2, eval_tasks=0, slots=16)


@pytest.mark.slow
def test_the_arms_of_a_seed_start_from_the_base_it_made_once(tmp_path, monkeypatch):
    record = runner.run(small(base=TAUGHT), tmp_path, "quick")
    assert record["why_void"] == []
    places = sorted((tmp_path / "runs").iterdir())
    assert [p.name.partition("-")[0] for p in places] == ["base", "base", "large", "large", "none", "none"]
    for seed in (0, 1):
        starts = {(p / "initial").read_text() for p in places if p.name.endswith(f"-{seed}") and not p.name.startswith("base")}
        assert starts == {record["base"][seed]}, "both arms, and the digest in the record is the weights they began with"
    assert record["base"][0] != record["base"][1]
    assert record["budgets"]["base"]["trained"] > 0
    assert "base" in page.render(record)
    monkeypatch.setattr("strop.run.create", lambda *_, **__: pytest.fail("a finished run was begun again"))
    monkeypatch.setattr("strop.run.resume", lambda *_, **__: pytest.fail("a finished base was gone on with"))
    assert runner.run(small(base=TAUGHT), tmp_path, "quick")["base"] == record["base"]


@pytest.mark.slow
def test_one_base_may_serve_all_seeds(tmp_path):
    record = runner.run(small(base=TAUGHT, base_seeds="one"), tmp_path, "quick")
    assert record["why_void"] == []
    assert record["base_seeds"] == "one"
    assert list(record["base"]) == [0]
    starts = {(place / "initial").read_text() for place in (tmp_path / "runs").iterdir() if not place.name.startswith("base")}
    assert starts == {record["base"][0]}
    assert small(base=TAUGHT, base_seeds="one").fingerprint != small(base=TAUGHT).fingerprint
    with pytest.raises(ValueError, match="a base is made for `each` seed, or `one` for all"):
        small(base_seeds="one")


@pytest.mark.slow
def test_a_base_that_was_cut_or_damaged_is_gone_on_with_and_ends_the_same(tmp_path):
    one = small(base=TAUGHT)
    whole = runner.run_base(one, 0, tmp_path / "whole")
    assert whole is not None

    def kill(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_base(one, 0, tmp_path / "cut", tell=kill)
    again = runner.run_base(one, 0, tmp_path / "cut")
    assert again is not None
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    (again / "model.safetensors").write_bytes(b"torn")
    assert runner.run_base(one, 0, tmp_path / "cut") == again
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_claim_without_a_base_asks_for_the_runs_it_always_asked_for(tmp_path):
    arm = small().arms[0]
    assert runner.run_base(small(), 0, tmp_path) is None
    assert runner.run_place(small(), arm, 0, "quick", tmp_path) != runner.run_place(small(base=TAUGHT), arm, 0, "quick", tmp_path)
    assert "base" not in small().describe()
    assert small(base=TAUGHT).fingerprint != small(base=TAUGHT.but(steps=4)).fingerprint


def table(recipe, directory):
    return {"policy": TabularPolicy(SOURCE.tasks, SOURCE.language, seed=1), "source": SOURCE, "engine": engine}


SOURCE = Table(tasks=4, vocab=3, length=2)


def in_a_world(**changes):
    recipe = Recipe(task="table", model="table", tasks=4, group=4, max_tokens=2, steps=40, lr=0.1, checkpoint_every=100)
    return claim(recipe=recipe, world=table, **changes)


def test_a_claim_may_bring_a_world_of_its_own(tmp_path):
    record = runner.run(in_a_world(), tmp_path, "quick")
    assert record["why_void"] == []
    assert (runner.run_place(in_a_world(), in_a_world().arms[0], 0, "quick", tmp_path) / "checkpoints").exists()
    assert in_a_world().fingerprint != claim(recipe=in_a_world().recipe).fingerprint
    assert in_a_world().describe()["world"].endswith("test_runner.table")
    elsewhere = claim(recipe=in_a_world().recipe)
    assert runner.run_place(elsewhere, elsewhere.arms[0], 0, "quick", tmp_path) != runner.run_place(
        in_a_world(), in_a_world().arms[0], 0, "quick", tmp_path
    ), "the same recipe in another world is another run"


def test_arms_start_from_the_same_weights_whatever_heads_they_add(tmp_path):
    headed = Arm("headed", PPO, control="a head, which starts at weights of its own")
    record = runner.run(in_a_world(arms=(PLAIN["arms"][0], headed), compare=("large", "headed")), tmp_path, "quick")
    assert record["why_void"] == []


def test_a_level_is_read_on_the_line_between_two_evaluations_and_never_reached_is_inconclusive(tmp_path):
    def evaluated(*pairs):
        said = tuple({"spent": 10 * i, "means": {"mean": x, "distinct": y}} for i, (x, y) in enumerate(pairs))
        return type("Trace", (), {"held_out": said})()

    measure = held_out_when(name="distinct", other="mean", reaches=0.5)
    assert measure.on({"trace": evaluated((0.2, 2.0), (0.4, 1.5), (0.8, 0.7), (0.4, 0.1), (0.9, 0.0))}) == [(40.0, pytest.approx(1.3))]
    assert measure.on({"trace": evaluated((0.6, 2.0), (0.7, 1.5))}) == [], "it began above"
    assert measure.on({"trace": evaluated((0.2, 2.0), (0.4, 1.5))}) == [], "it stayed below"
    never = in_a_world(measure=held_out_when(name="length", other="mean", reaches=2.0))
    record = runner.run(never, tmp_path, "full")
    assert record["verdict"] == "inconclusive"
    assert record["absent"][0] == "large, seed 0: no value"


OWN = """
from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import held_out
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.seams.part import part


@part(gives="number")
def stepped(trace) -> float:
    return float(len(trace.lines))


KEEN = Claim(
    "keen", mechanism="A larger step", consequence="moves the weights further", regime="on chain with pico", method="grpo",
    recipe=Recipe(task="chain", tasks=2, group=2, max_tokens=8, lr=1e-3, steps=50, slots=16, checkpoint_every=2),
    base=Recipe(method=SFT, task="mentions:people=20", steps=STEPS, tasks=2, lr=1e-3, checkpoint_every=2, eval_tasks=0, slots=16),
    arms=(Arm("large", GRPO), Arm("none", GRPO.but("still", tasks=3), control="no step"), Arm("read", GRPO, control="the same run")),
    compare=("large", "none"), measure=held_out(name="pass@1"), threshold=0.0, refuted_if="it does not",
    profiles={"quick": Profile((0, 1), "60 decoded", 1), "full": Profile((0, 1, 2, 3), "60 decoded", 1)},
    checks=(Check("it stepped", stepped(), "large", 1),),
    held_out=HeldOut(tasks=4, samples=2, at=(1.0,), max_tokens=8),
)
"""


@pytest.mark.slow
def test_two_processes_say_how_far_each_run_is_and_each_once(tmp_path):
    (tmp_path / "keen.py").write_text(OWN.replace("STEPS", "3"))
    (name,) = claims.of_file(str(tmp_path / "keen.py"))
    one = claims.named(name)
    told = []
    record = runner.run(one, tmp_path, "quick", jobs=2, tell=lambda *said: told.append(said))
    assert record["seeds"] == [0, 1]
    ends = {(arm, seed) for arm, seed, share in told if share >= 1}
    assert ends == {(arm, seed) for arm in ("base", "large", "none") for seed in (0, 1)}
    assert len(ends) == runner.runs_of(one, "quick")
    assert any(0 < share < 1 for arm, _, share in told if arm == "base")
    for seed in (0, 1):
        base_ended, *_ = (n for n, (arm, s, share) in enumerate(told) if (arm, s) == ("base", seed) and share >= 1)
        assert base_ended < min(n for n, (arm, s, _) in enumerate(told) if arm != "base" and s == seed)
    assert {"large", "none", "read"} < record["budgets"].keys(), "and the third was read of the first's run"


@pytest.mark.slow
def test_worker_processes_end_with_a_process_that_was_killed(tmp_path):
    (tmp_path / "keen.py").write_text(OWN.replace("STEPS", "100000"))
    command = [sys.executable, "-m", "strop", "claim", "run", "keen.py", "--jobs", "2", "--unchecked", "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as asked:
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("out/runs/base*/metrics.jsonl"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        asked.kill()
    grown = [path.stat().st_size for path in tmp_path.glob("out/runs/base*/metrics.jsonl")]
    until = time.monotonic() + 30
    while True:
        time.sleep(2)
        now = [path.stat().st_size for path in tmp_path.glob("out/runs/base*/metrics.jsonl")]
        if now == grown:
            break
        assert time.monotonic() < until, "the workers train on"
        grown = now


@pytest.mark.slow
def test_a_run_that_fails_in_a_worker_process_is_told_and_those_behind_it_are_not_begun(tmp_path):
    (tmp_path / "failing.py").write_text(
        OWN.replace("STEPS", "1").replace('"keen"', '"failing"').replace('task="mentions:people=20"', 'task="mentions:people=-1"')
    )
    (name,) = claims.of_file(str(tmp_path / "failing.py"))
    with pytest.raises(ValueError, match="people"):
        runner.run(claims.named(name), tmp_path, "quick", jobs=2)
    assert not list(tmp_path.glob("runs/large*"))
