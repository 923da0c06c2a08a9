"""The flipped mix at equal tokens, its control by chance, and what the claims read."""

from collections import Counter
from statistics import fmean
from types import SimpleNamespace

import pytest

from strop.directory import read_metrics
from strop.experiments.infra import CODE, CODE_ASKED, DOMAINS, HARD, MEMBERS, MIX, TASK, DealtShares, accuracy, alike, arm, share
from strop.methods.infra import INFRA, LEVELS, mixed
from strop.recipe import Recipe
from strop.run import create, resume

SMALL = TASK.replace("16000", "600")


def of(shares, domain):
    return [shares[f"{domain} {n}"] for n in LEVELS[domain]]


def test_the_flip_keeps_each_domains_tokens_and_turns_its_difficulty():
    shares = INFRA.curriculum.shares
    assert of(shares, "chain") == of(shares, "stacks")[::-1] == [0, 1, 1, 2]
    assert mixed((1, 1, 1, 1), (1, 1, 1, 1)).shares.keys() == shares.keys()


def test_the_control_divides_between_easiest_and_hardest_by_chance_and_leaves_what_is_asked():
    deals = [DealtShares().of(seed).shares for seed in range(200)]
    for domain in DOMAINS:
        for deal in deals:
            easy, middle, hard, hardest = of(deal, domain)
            assert middle == hard == 1
            assert easy + hardest == 2
            assert min(easy, hardest) >= 0
        assert fmean(of(deal, domain)[0] for deal in deals) == pytest.approx(1, abs=0.1)
    assert deals == [DealtShares().of(seed).shares for seed in range(200)]
    assert len({of(deal, "chain")[0] == of(deal, "stacks")[0] for deal in deals}) == 1


def test_both_claims_read_the_same_runs_at_levels_whose_share_no_arm_changes():
    assert MIX.arms == CODE.arms
    for one in MIX.arms[:1] + MIX.arms[2:]:
        assert of(one.method.curriculum.shares, "chain")[1:3] == of(one.method.curriculum.shares, "stacks")[1:3] == [1, 1]
    assert (*LEVELS["chain"][2:3], *LEVELS["stacks"][1:3]) == (HARD, *CODE_ASKED)


def test_accuracy_is_read_off_the_tasks_of_a_level(tmp_path):
    values = [float(member == ("chain", 5) or member == ("stacks", 3)) for _ in range(4) for member in MEMBERS]
    values[MEMBERS.index(("chain", 5))] = 0.0
    trace = SimpleNamespace(held_out=[{"spent": 9}], values=[{"values": {"pass@1": values}}])
    assert accuracy(domain="chain", levels=(5,)).on({"trace": trace}) == [(9.0, 0.75)]
    assert accuracy(domain="stacks", levels=(2, 3)).on({"trace": trace}) == [(9.0, 0.5)]


def test_a_run_gives_the_shares_of_tokens_and_goes_on_as_if_it_had_not_been_killed(tmp_path):
    from strop.claims.trace import Trace

    recipe = Recipe(
        method=arm("infra-small", DealtShares()), model="seedling:layers=1,hidden=16", task=SMALL, steps=12, lr=1e-3, eval_tasks=0
    )
    create(recipe, tmp_path / "run").train()
    lines = read_metrics(tmp_path / "run")
    trace = Trace("random", 0, tmp_path / "run", "trained", {})
    assert alike().on({"trace": trace}) > 0.95
    dealt = DealtShares().of(0).shares
    for name, due in dealt.items():
        assert share(of=name).on({"trace": trace}) == pytest.approx(due / 8, abs=0.03)
    half = create(recipe, tmp_path / "half")
    for _ in range(5):
        half.advance()
    del half
    resume(tmp_path / "half", say=lambda _: None, method=recipe.method).train()
    assert [line["digest"] for line in read_metrics(tmp_path / "half")] == [line["digest"] for line in lines]
    assert Counter(trace.state["curriculum"]["seen"].keys()) == Counter(name for name, due in dealt.items() if due)
