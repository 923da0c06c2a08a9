"""Two contracts: what is imitated, what is paid for under each, a policy as the user, and where the contracts are closer."""

from dataclasses import replace
from typing import Any, NamedTuple, cast

import pytest

from strop.claims.runner import run_place
from strop.claims.trace import Trace
from strop.experiments.vibe_agentic import CONTRACTS, mended, not_mended, used, where_closer
from strop.method import Method
from strop.methods.vibe_agentic import IMITATED, REWARDED, SHORT, VIBE_AGENTIC
from strop.recipe import Recipe
from strop.run import create
from strop.seams.asked import Asked
from strop.seams.episode import Played
from strop.seams.update import Still
from strop.seams.world import Call
from strop.worlds.repair import Repair

SMALL: dict[str, Any] = {"tasks": 2, "eval_tasks": 0, "slots": 32, "steps": 1}
SOME = REWARDED.but("vibe-agentic-some", sampler=replace(SHORT, n=2, turns=2))


def test_both_experts_are_imitated(tmp_path):
    run = create(Recipe(method=IMITATED, task="repair:contract=either", **{**SMALL, "tasks": 4}), tmp_path / "run")
    run.train()
    assert run.bill.total["calls"] == 2 + 6 + 2 + 7, "asked and edited; so three times; run and guessed; run to the end"


@pytest.mark.parametrize("contract", ["ask", *(pytest.param(name, marks=pytest.mark.slow) for name in ("run", "both"))])
def test_repairs_are_paid_for_under_each_contract(tmp_path, contract):
    run = create(Recipe(method=SOME, task=f"repair:contract={contract}", **SMALL), tmp_path / "run")
    run.train()
    assert run.bill.total["decoded"] > 0
    assert VIBE_AGENTIC.plan[1].method is REWARDED


class Expert(NamedTuple):
    """A world's own, in the policy's place."""

    world: Repair

    def __call__(self, state: Any, turn: int) -> str | Call:
        return self.world.expert(state)


def test_a_policy_may_be_the_user_and_has_a_bill_of_its_own(tmp_path):
    world = replace(one := Repair().seating(("user",)), user=replace(one.user, max_tokens=4, tries=1))
    asking = Played(Expert(world), replace(SHORT, n=1, turns=1))
    method = Method("asking", sampler=asking, policies={"user": Asked("initial")}, environment=world, credit=(), signals={}, update=Still())
    run = create(Recipe(method=method, task="repair:contract=ask,kind=hidden", **SMALL), tmp_path / "run")
    run.train()
    assert (run.bill.total["calls"], run.bill.total["decoded"]) == (2, 0)
    assert 0 < run.bill.total["user/decoded"] <= 2 * 4
    with pytest.raises(ValueError, match="asks the policy 'user', which it does not have"):
        SOME.but("vibe-agentic-nobody", environment=world)


def trace(**means: float) -> Trace:
    class Ended:
        held_out = ({"spent": 7, "means": means},)
        replies = ([{"needs": {"where": "ask_hidden"}, "texts": [text]} for text in (">ask b\nbs\n>edit b 2", ">edit b 2")],)

    return cast(Trace, Ended())


@pytest.mark.parametrize(
    ("means", "suited", "other"),
    [
        ({"ask_hidden": 0.9, "run_hidden": 0.1, "run_bugs": 0.6, "ask_bugs": 0.5}, 0.6, 0.5),
        ({"ask_hidden": 0.3, "run_hidden": 0.4, "run_bugs": 0.6, "ask_bugs": 0.5}, 0.3, 0.4),
    ],
)
def test_the_contracts_are_compared_where_they_are_closer(means, suited, other):
    there = trace(**means, other_hidden=0.2)
    assert where_closer().on({"trace": there}) == [(7.0, suited)]
    assert where_closer(suited=False).on({"trace": there}) == [(7.0, other)]
    assert mended(contract="run", kind="bugs").on({"trace": there}) == 0.6
    assert not_mended(contract="other", kind="hidden").on({"trace": there}) == 0.8
    assert used(where="ask_hidden", call="ask").on({"trace": there}) == 0.5


def test_all_arms_are_one_policy_that_is_read_in_three_ways(tmp_path):
    assert len({run_place(CONTRACTS, arm, 0, "full", tmp_path) for arm in CONTRACTS.arms}) == 1
    assert len({str(arm.reads) for arm in CONTRACTS.arms}) == 3
