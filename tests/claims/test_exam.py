"""The runner examined through itself, on tables: planted effects are found, planted nulls are not.

Two arms that differ in their learning rate. Their true difference and its spread are measured on many seeds of their own;
every planted case is then the same runs judged against another threshold: a threshold the difference itself is a null, one
lower by the smallest detectable margin is an effect of the declared size.
"""

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from strop.claims import runner
from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.statistics import POWER, smallest_detectable
from strop.claims.trace import Trace, mean_so_far
from strop.lab.tabular import Table, TabularPolicy, engine
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.part import part

SOURCE = Table(tasks=4, vocab=3, length=2)
SEEDS = 4
BUDGET = "400 decoded"


@part(gives="number")
def moved(trace: Trace) -> float:
    """Updates that changed something."""
    return float(sum(line["grad_norm"] > 0 for line in trace.lines))


def world(recipe, directory):
    return {"policy": TabularPolicy(SOURCE.tasks, SOURCE.language, seed=1), "source": SOURCE, "engine": engine}


def rate(lr: float):
    return GRPO.but(f"grpo-{lr:g}", update=replace(GRPO.update, lr=lr, minibatch=None))


def claim(seeds: tuple[int, ...], threshold: float = 0.0) -> Claim:
    return Claim(
        "planted",
        mechanism="A larger step",
        consequence="raises the training outcome",
        regime="on tables",
        method="grpo",
        recipe=Recipe(task="chain", model="table", tasks=4, group=4, max_tokens=2, steps=40, checkpoint_every=100),
        arms=(Arm("large", rate(0.1)), Arm("small", rate(0.02), control="a fifth of the step")),
        compare=("large", "small"),
        measure=mean_so_far(name="outcome"),
        threshold=threshold,
        refuted_if="the outcome does not rise by the threshold",
        profiles={"full": Profile(seeds, BUDGET, 1)},
        checks=(Check("it learned", moved(), "large", least=2),),
    )


def differences(first: int, count: int, place) -> list[float]:
    """Paired differences of many seeds, from one run of the runner."""
    return runner.run(claim(tuple(range(first, first + count))), place, "full", world=world)["differences"]


def repeats(count: int, place, threshold: float) -> list[str]:
    seeds = [tuple(range(SEEDS * i, SEEDS * (i + 1))) for i in range(count)]
    return [runner.run(claim(s, threshold), place, "full", world=world)["verdict"] for s in seeds]


def exam(count: int, calibration: int, place) -> dict[str, list[str]]:
    many = differences(10_000, calibration, place)
    true, spread = fmean(many), stdev(many)
    margin = smallest_detectable([true - spread / math.sqrt(2), true + spread / math.sqrt(2)], SEEDS)
    return {name: repeats(count, place, true - size * margin) for name, size in (("null", 0.0), ("declared", 1.0), ("large", 1.5))}


def found(verdicts: list[str]) -> float:
    return sum(v == "supported" for v in verdicts) / len(verdicts)


@pytest.mark.full
def test_planted_effects_are_found_as_often_as_declared_and_planted_nulls_are_not(tmp_path, measured):
    verdicts = exam(200, 400, tmp_path)
    measured("\n".join(f"{name:9} {found(v):.3f} of {len(v)} supported" for name, v in verdicts.items()))
    assert abs(found(verdicts["declared"]) - POWER) <= 3 * math.sqrt(POWER * (1 - POWER) / 200)
    assert found(verdicts["large"]) >= 0.95
    assert verdicts["null"].count("supported") <= 10
    assert all(v != "void" for v in verdicts["null"])


@pytest.mark.full  # a minute of runs
def test_in_short_planted_effects_are_found_and_planted_nulls_are_not(tmp_path):
    """Twelve repeats: far from the full exam's numbers, near enough to catch a runner that always or never finds."""
    verdicts = exam(12, 40, tmp_path)
    assert verdicts["large"].count("supported") >= 9
    assert verdicts["null"].count("supported") <= 2


def test_too_few_seeds_are_inconclusive(tmp_path):
    record = runner.run(claim(tuple(range(4))), tmp_path, "full", seeds=1, world=world)
    assert record["verdict"] == "inconclusive"
    assert record["interval"] == [-math.inf, math.inf]
    written = json.loads((tmp_path / "planted-full" / "record.json").read_text())
    assert written["interval"] == [None, None], "any reader of JSON takes it"


def inert(**changes) -> Claim:
    """Two arms that differ in a constant which nobody feels: with one update a batch no ratio leaves 1."""
    signal = GRPO.signals["policy"]
    wide = rate(0.1).but("wide", idea=(), signals={"policy": signal.but(objective=signal.objective(clip_high=0.5))})
    arms = (Arm("large", rate(0.1)), Arm("wide", wide, control="a clip that is never felt"))
    return replace(claim((0, 1, 2, 3)), arms=arms, compare=("large", "wide"), **changes)


@pytest.mark.parametrize("design", [{"threshold": -0.1}, {"tie": True, "threshold": 0.1}], ids=["not worse", "a tie"])
def test_arms_that_end_alike_are_void_however_they_are_called(design, tmp_path):
    record = runner.run(inert(**design), tmp_path, "full", world=world)
    assert record["verdict"] == "void"
    assert any("large and wide have the same weights after each of" in why for why in record["why_void"])


def test_arms_that_differ_in_what_is_read_of_them_may_be_trained_alike(tmp_path):
    arms = (Arm("large", rate(0.1)), Arm("read", rate(0.1), control="its entropy", reads=mean_so_far(name="entropy")))
    record = runner.run(replace(claim((0, 1, 2, 3)), arms=arms, compare=("read", "large")), tmp_path, "full", world=world)
    assert record["why_void"] == []
    assert record["effect"] is not None
    assert len([*(tmp_path / "runs").iterdir()]) == 4, "a run a seed, read in two ways"


def test_arms_that_are_one_method_and_a_threshold_that_is_no_number_are_refused():
    same = (Arm("large", rate(0.1)), Arm("small", rate(0.1).but("another name"), control="nothing"))
    with pytest.raises(ValueError, match="which are one method"):
        replace(claim((0, 1, 2, 3)), arms=same)
    with pytest.raises(ValueError, match="its threshold is nan"):
        claim((0, 1, 2, 3), float("nan"))


def test_work_that_is_apart_at_an_equal_budget_is_said(tmp_path):
    many = rate(0.1).but("epochs", idea=(), update=replace(rate(0.1).update, epochs=4))
    arms = (Arm("large", rate(0.1)), Arm("epochs", many, control="four passes over a batch"))
    record = runner.run(replace(claim((0, 1, 2, 3)), arms=arms, compare=("large", "epochs")), tmp_path, "full", world=world)
    assert any("positions trained" in said for said in record["apart"])
