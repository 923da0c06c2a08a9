"""The flipped mix at equal tokens, its control by chance, and what the claims read."""

from collections import Counter
from types import SimpleNamespace

import pytest

from strop.directory import read_metrics
from strop.experiments.infra import CODE, DOMAINS, FLIPPED, HARD, MEMBERS, MIDDLE, MIX, TASK, DealtShares, accuracy, alike, arm, share
from strop.methods.infra import INFRA, LEVELS, mixed
from strop.recipe import Recipe
from strop.run import create, resume

SMALL = TASK.replace("12000", "600")


def test_the_flip_keeps_each_domains_tokens_and_turns_its_difficulty():
    shares = INFRA.curriculum.shares
    assert {name: sum(s for kind, s in shares.items() if kind.startswith(name)) for name in DOMAINS} == {"chain": 3, "stacks": 3}
    assert [shares[f"chain {n}"] for n in LEVELS] == [shares[f"stacks {n}"] for n in LEVELS][::-1] == [0, 1, 2]
    assert mixed((1, 1, 1), (1, 1, 1)).shares.keys() == shares.keys()


def test_the_control_has_the_same_shares_in_each_domain_dealt_anew_for_each_seed():
    deals = [DealtShares(FLIPPED).of(seed).shares for seed in range(60)]
    for domain in DOMAINS:
        each = [tuple(deal[f"{domain} {n}"] for n in LEVELS) for deal in deals]
        assert {tuple(sorted(one)) for one in each} == {(0, 1, 2)}
        assert len(set(each)) == 6
    assert deals == [DealtShares(FLIPPED).of(seed).shares for seed in range(60)]


def test_what_is_asked_is_trained_by_no_arm():
    assert not {MIDDLE, HARD} & {*LEVELS}
    assert {(domain, level) for domain in DOMAINS for level in (MIDDLE, HARD)} <= {*MEMBERS}
    assert all(each.method.curriculum is not None for each in MIX.arms)
    assert MIX.arms == CODE.arms, "two readings of the same runs"


def test_accuracy_is_read_off_the_tasks_of_a_level(tmp_path):
    values = [float(member == ("chain", 5) or member == ("stacks", 3)) for _ in range(4) for member in MEMBERS]
    values[MEMBERS.index(("chain", 5))] = 0.0
    trace = SimpleNamespace(held_out=[{"spent": 9}], values=[{"values": {"pass@1": values}}])
    assert accuracy(domain="chain", levels=(5,)).on({"trace": trace}) == [(9.0, 0.75)]
    assert accuracy(domain="stacks", levels=(3, 5)).on({"trace": trace}) == [(9.0, 0.5)]


def test_a_run_gives_the_shares_of_tokens_and_goes_on_as_if_it_had_not_been_killed(tmp_path):
    from strop.claims.trace import Trace

    recipe = Recipe(
        method=arm("infra-small", DealtShares(FLIPPED)), model="seedling:layers=1,hidden=16", task=SMALL, steps=12, lr=1e-3, eval_tasks=0
    )
    create(recipe, tmp_path / "run").train()
    lines = read_metrics(tmp_path / "run")
    trace = Trace("random", 0, tmp_path / "run", "trained", {})
    assert alike().on({"trace": trace}) > 0.95
    dealt = DealtShares(FLIPPED).of(0).shares
    for name, due in dealt.items():
        assert share(of=name).on({"trace": trace}) == pytest.approx(due / 6, abs=0.03)
    half = create(recipe, tmp_path / "half")
    for _ in range(5):
        half.advance()
    del half
    resume(tmp_path / "half", say=lambda _: None, method=recipe.method).train()
    assert [line["digest"] for line in read_metrics(tmp_path / "half")] == [line["digest"] for line in lines]
    assert Counter(trace.state["curriculum"]["seen"].keys()) == Counter(name for name, due in dealt.items() if due)
