"""FormalMATH: what is refuted is not trained on, what the released rule counts is a channel, and the claim's readings by hand."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from strop.claims.trace import Trace
from strop.cli import main
from strop.directory import read_metrics, sampled
from strop.experiments import formalmath
from strop.experiments.formalmath import ASKED, NEGATION, agrees, dropped, false_ones, left_open, smaller, standing, statements, true_kept
from strop.lab.proofs import Tried, look
from strop.methods.formalmath import FORMALMATH, FORMALMATH_RELEASED, Unrefuted, as_released
from strop.methods.grpo import GRPO
from strop.proofs.logic import read
from strop.proofs.search import refuted
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create
from strop.seams.sampler import Independent
from strop.tasks import source
from strop.tasks.chain import Chain

SOURCE = source("proofs:kind=chained,false=0.5")
ALL_FALSE = source("proofs:kind=chained,false=1.0")
CTX = cast("Any", SimpleNamespace(source=SOURCE, seed=3))


def test_the_curriculum_leaves_out_what_is_refuted_and_counts_it():
    one = Unrefuted()
    tasks, state = one.pick(6, one.init(SOURCE), CTX)
    assert all(task.needs["true"] for task in tasks), "every false statement of this kind is refuted"
    assert state["drawn"] == 6 + state["refuted"]
    assert state["refuted"] > 0
    again, later = one.pick(2, state, CTX)
    assert later["drawn"] > state["drawn"]
    assert {task.id for task in again}.isdisjoint(task.id for task in tasks)
    together, _ = one.pick(8, one.init(SOURCE), CTX)
    assert [task.id for task in together] == [task.id for task in (*tasks, *again)]
    weak, state = Unrefuted(steps=1).pick(6, one.init(SOURCE), CTX)
    assert state["refuted"] == 0
    assert not all(task.needs["true"] for task in weak)


def test_sources_without_statements_and_of_false_ones_alone_are_refused():
    with pytest.raises(ValueError, match="state nothing to deny"):
        Unrefuted().init(Chain())
    with pytest.raises(ValueError, match="in a row are false"):
        Unrefuted(most=5).pick(
            1, {"drawn": 0, "refuted": 0}, cast("Any", SimpleNamespace(source=source("proofs:kind=chained,false=1.0"), seed=0))
        )
    with pytest.raises(ValueError, match="both at least 1"):
        Unrefuted(steps=0)


def test_what_is_paid():
    released_R = torch.tensor([1.0, 0.0])
    assert as_released()(released_R).equal(released_R)
    assert FORMALMATH.reward == GRPO.reward
    assert FORMALMATH_RELEASED.curriculum == GRPO.curriculum


@pytest.mark.parametrize(
    ("said", "outcome", "lenient", "released"),
    [
        ("<answer>proof all p. fn a. a</answer>", 1, 1, 1),
        ("hm <answer>all p. fn a. a", 0, 1, 0),
        ("<answer>proof all p. fn a. b</answer>", 0, 0, 0),
        ("<answer></answer>", 0, 0, 1),
        ("<answer>abort</answer>", 0, 0, 1),
        ("<answer>proof admit</answer>", 0, 0, 0),
        ("<answer>set warnings off\nproof admit</answer>", 0, 0, 1),
        ("<answer>axiom a : p\nproof all p. fn b. a</answer>", 0, 0, 0),
        ("<answer>axiom a : p -> p\nproof a</answer>", 0, 0, 1),
        ("", 0, 0, 0),
        ("<answer>" * 5, 0, 0, 0),
    ],
)
def test_replies_by_hand(said, outcome, lenient, released):
    task = Task("p -> p", {"statement": "p -> p", "true": True, "kind": "chained"}, "proofs")
    assert source("proofs").grade(task, said) == {"outcome": outcome, "lenient": lenient, "released": released}


def test_ten_megabytes_are_a_reply_like_any_other():
    task = Task("p -> p", {"statement": "p -> p", "true": True, "kind": "chained"}, "proofs")
    assert source("proofs").grade(task, f"<answer>{'(' * (10 << 20)}</answer>")["outcome"] == 0


def test_sources_by_kind_and_what_is_no_kind():
    assert source("proofs:kind=there").task("test", 0, 0).needs["kind"] == "there"
    assert SOURCE.gold(Task("p -> q", {"statement": "p -> q", "true": False, "kind": "chained"}, "proofs")) is None
    with pytest.raises(ValueError, match="no kind 'chain'"):
        source("proofs:kind=chain")


def one(said, true, negation, itself):
    return Tried(read(said), true, negation, itself, False)


def test_the_measure_by_hand(monkeypatch, tmp_path):
    assert smaller(0.9, 0.02) == pytest.approx(1)
    assert smaller(0.45, 0.0) == pytest.approx(0.5)
    assert smaller(1.0, 0.04) == pytest.approx(0.5)
    first = (one("p -> q", False, True, False), one("p -> p", True, False, True))
    then = (one("q -> p", False, False, False), one("q -> q", True, True, False))
    monkeypatch.setattr(formalmath, "tried", lambda directory: (first, then))
    monkeypatch.setattr(Trace, "spent", (2, 4))
    trace = Trace("negation", 0, tmp_path, "decoded", {})
    monkeypatch.setattr(Trace, "places", [tmp_path])
    assert standing().on({"trace": trace}) == [(2.0, pytest.approx(1 / 0.9)), (4.0, pytest.approx(0.02 / 0.5))]
    assert standing(by="itself").on({"trace": trace})[0][1] == 0
    assert standing(by="unproven").on({"trace": trace})[1][1] == pytest.approx(0.04)
    assert [part.on({"trace": trace}) for part in (statements(), false_ones(), left_open(), agrees(), true_kept())] == [4, 0.5, 1, 1, 0.5]
    false, sound = dropped([*first, *then] * 50, "chance")
    assert {false, sound} <= {0, 0.5, 1}, "what is one statement is dropped alike"


def test_a_search_is_told_how_far_to_go():
    said = read("(p -> q) & (q -> r) -> r -> p")
    assert look(said, False, 200).negation
    assert not look(said, False, 1).negation
    assert refuted(said, 200) is not None


def test_a_run_trains_on_what_stands_and_the_claims_run_asks_each_statement(tmp_path):
    small = FORMALMATH.but("small", sampler=Independent(n=2), tasks=2)
    create(Recipe(method=small, task="proofs:kind=chained,false=0.5", steps=2, max_tokens=4, eval_tasks=0), tmp_path / "run").train()
    groups, _ = sampled(tmp_path / "run")
    assert all(group.task.needs["true"] for group in groups)
    assert {"outcome", "lenient", "released"} <= {*read_metrics(tmp_path / "run")[0]}
    asked = NEGATION.recipe.but(method=ASKED, steps=1, tasks=4, eval_tasks=0)
    create(asked, tmp_path / "asked").train()
    (step,) = formalmath.tried(tmp_path / "asked")
    assert len(step) == 4
    assert not any(one.true and one.negation for one in step)


def test_the_study_says_what_it_found(capsys):
    main(["lab", "proofs", "--statements", "20", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert len(said["attacks"]["kernel"]) == 12
    assert said["filter"]["dropped"]["its negation is proven"][1] == 0
    main(["lab", "proofs", "--statements", "10", "--steps", "50"])
    assert "ends at" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["lab", "proofs", "--steps", "0"])
