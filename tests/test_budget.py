"""A budget is counted in positions, whoever computed them."""

import pytest

from strop import pico
from strop.bill import spend
from strop.directory import read_metrics
from strop.recipe import Recipe
from strop.run import create, resume


def small(**changes) -> Recipe:
    base = {"task": "chain", "model": str(pico.path()), "steps": 20, "tasks": 2, "group": 2, "max_tokens": 8, "slots": 16}
    return Recipe(**{**base, "eval_tasks": 0, "checkpoint_every": 2, "lr": 1e-4, **changes})


def test_a_run_ends_with_the_first_step_that_spends_its_budget(tmp_path):
    run = create(small(budget="100 decoded"), tmp_path / "run")
    run.train()
    spent = [spend(line["bill"], "decoded") for line in read_metrics(tmp_path / "run")]
    assert spent[-1] >= 100 > spent[-2]
    assert run.finished
    assert run.step < 20
    assert (tmp_path / "run" / "checkpoints" / f"{run.step:06d}").exists(), "the end is kept, whatever the step"


def test_the_unit_of_a_budget_is_every_position_unless_it_is_named(tmp_path):
    run = create(small(budget="600"), tmp_path / "run")
    run.train()
    last = read_metrics(tmp_path / "run")[-1]["bill"]
    assert spend(last) == sum(count for name, count in last.items() if name != "copied") >= 600


def test_what_a_reference_and_a_value_head_measure_is_billed_under_their_names(tmp_path):
    run = create(small(method="ppo", steps=2), tmp_path / "run")
    run.train()
    bill = read_metrics(tmp_path / "run")[-1]["bill"]
    assert bill["measured"] == bill["reference/measured"] > 0
    assert bill["trained"] == bill["measured"], "one epoch: every row is measured once and trained once"


def test_progress_goes_by_the_budget_and_a_resumed_run_ends_at_the_same_step(tmp_path):
    whole = create(small(budget="150 decoded"), tmp_path / "whole")
    seen = []
    whole.train(show=lambda line: seen.append(whole.context().progress.fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    cut = create(small(budget="150 decoded"), tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(show=lambda line: (_ for _ in ()).throw(KeyboardInterrupt()) if line["step"] == 2 else None)
    again = resume(tmp_path / "cut", say=lambda _: None)
    again.train()
    assert (again.step, again.digest_weights()) == (whole.step, whole.digest_weights())
    lines = [[{k: v for k, v in line.items() if k != "t"} for line in read_metrics(tmp_path / name)] for name in ("whole", "cut")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(("budget", "words"), [("many", "whole number"), ("0 decoded", "whole number"), ("10 decodd", "'decoded'")])
def test_a_budget_that_cannot_be_read_is_refused(budget, words):
    with pytest.raises(ValueError, match=words):
        small(budget=budget)
