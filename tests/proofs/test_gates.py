"""The released rule counts attacks as proofs, the gates none, and 500 good proofs all; a place in a batch changes no score."""

from dataclasses import replace
from math import comb
from random import Random

import pytest

from strop.lab.proofs import attacked
from strop.proofs.attacks import ATTACKS, FALSE_ONES, OTHER
from strop.proofs.gates import Goal, Reply, asked, released, released_batch, verdict, weighed
from strop.proofs.kernel import written
from strop.proofs.logic import LONGEST, read
from strop.proofs.made import KINDS
from strop.proofs.search import proven
from strop.proofs.session import KERNEL, Lines
from strop.proofs.truth import true


def test_twelve_attacks():
    rows = {row["attack"]: row for row in attacked(KERNEL)}
    assert len(rows) == len(ATTACKS) == 12
    assert all(true(read(said)) is False for said in FALSE_ONES)
    assert all(row["gates"] == 0 for row in rows.values())
    assert {name for name, row in rows.items() if row["released"] == 0} == {"admit"}, "a hole is seen where a warning stands beside it"
    assert all(row["released"] == row["of"] for name, row in rows.items() if name != "admit")


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one.name not in ("late", "huge")], ids=lambda one: one.name)
def test_behind_the_scan_the_other_gates_hold_alone(attack):
    for said in FALSE_ONES:
        found = weighed(KERNEL, KERNEL.ask(read(said), attack.kernel(said)))
        assert found.score == 0
        assert found.gate in ("goal", "audit")


def test_five_hundred_good_proofs_all_pass():
    rng = Random(0)
    for _ in range(500):
        said = KINDS[rng.choice([*KINDS])][0](rng)
        found = proven(said)
        assert found is not None
        assert verdict(KERNEL, said, f"proof {written(found)}") == (1.0, "", "")


# The released rule, by hand.


@pytest.mark.parametrize(
    ("reply", "counts"),
    [
        (Reply("", None), True),
        (Reply("", ()), True),
        (Reply("", (), hole=True), True),
        (Reply("", None, hole=True), True),
        (Reply("", (("warning", "a hole"),), hole=True), False),
        (Reply("", (("warning", "unused"),)), True),
        (Reply("", (("warning", "unused"), ("error", "no"))), False),
        (Reply("", None, ended="late"), False),
        (Reply("", None, ended="lost"), True),
    ],
)
def test_the_released_rule_by_hand(reply, counts):
    assert released(reply) is counts


def test_a_batch_as_released_depends_on_its_order_and_a_verdict_does_not():
    right = [(read("p -> p"), "proof all p. fn a. a"), (read("x + y = y + x"), "proof all x. all y. lin()")]
    square = f"({'*'.join(['(x + y + z + w)'] * 6)})*h"
    checker = Lines(fuel=3000)
    slow = (read("x = y -> x*z*w = y*z*w"), f"proof all w. all x. all y. all z. fn h. lin({', '.join([square] * 6)})")
    assert checker.ask(*slow).ended == "late"
    files = [right[0], slow, right[1]]
    scores = {}
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        scores[order] = [released_batch(checker, [files[at] for at in order])[order.index(n)] for n in (0, 1, 2)]
        assert [verdict(checker, *files[at]).score for at in order] == [[1, 0, 1][at] for at in order]
    assert scores == {(0, 1, 2): [True, False, False], (1, 0, 2): [False, False, False], (2, 0, 1): [True, False, True]}


class Script:
    """A checker that gives these replies, one after the other."""

    name, allowed = "script", frozenset({"classic"})

    def __init__(self, *replies):
        self.replies = list(replies)

    def scan(self, said):
        return ""

    def ask(self, statement, said):
        return self.replies.pop(0)


def test_a_reply_that_is_anothers_is_asked_for_again_and_a_lost_checker_is_nobodys_score():
    said = read("p -> p")
    own, other = asked(said, "x"), asked(OTHER, "x")
    good = Reply(own, goal=Goal(True, ("classic",)))
    assert verdict(Script(Reply(other), good), said, "x").score == 1
    assert verdict(Script(replace(good, of=other), replace(good, of=other)), said, "x")[::2] == (None, "whose")
    assert verdict(Script(Reply(own, ended="lost"), good), said, "x").score == 1
    assert verdict(Script(Reply(own, ended="lost"), Reply(own, ended="lost")), said, "x").score is None
    assert verdict(Script(Reply(own, ended="late")), said, "x").gate == "error"
    assert verdict(Script(Reply(own, ended="crashed"), good), said, "x").score == 1, "it may have been killed"
    crashed = Script(Reply(own, ended="crashed"), Reply(own, ended="crashed"))
    assert verdict(crashed, said, "x") == (0.0, "it ends the checker, 2 times", "error"), "who cannot prove does not withdraw"
    assert verdict(Script(Reply(own, ended="crashed"), Reply(own, ended="lost")), said, "x").score is None
    assert verdict(Script(replace(good, goal=Goal(True, ("classic", "cheat")))), said, "x") == (0.0, "it rests on cheat", "audit")
    assert verdict(Script(replace(good, goal=Goal(False))), said, "x").gate == "goal"
    assert verdict(Script(replace(good, goal=None)), said, "x").gate == "goal"


@pytest.mark.parametrize(
    ("said", "gate"),
    [
        ("", "size"),
        (" \n ", "size"),
        ("p" * (LONGEST + 1), "size"),
        ("proof all p. fn a. a\nproof all p. fn a. a", "scan"),
        ("proof all p. fn a. a ```", "error"),
        ("proof all p. fn a. a b", "error"),
        ("proof", "scan"),
        ("proof " + "fn a. " * 3000 + "a", "error"),
        ("proof " + "(" * 3000, "error"),
        ("proof \x00", "error"),
        ("proof native", "scan"),
        ("axiom a : p", "scan"),
        ("proof em[" + "p <-> " * 40 + "p]", "error"),
        ("axiom a : " + "p <-> " * 40 + "p", "scan"),
    ],
)
def test_bad_replies(said, gate):
    assert verdict(KERNEL, read("p -> p"), said)[::2] == (0.0, gate)


def test_a_check_has_its_own_steps():
    assert verdict(Lines(fuel=3), read("p -> p"), "proof all p. fn a. a").why == "it takes more than its time"


def test_pass_at_k_is_the_closed_form_that_subsamples_only_estimate():
    from strop.evaluate import pass_at_k

    rng = Random(1)
    for n, c, k in ((32, 5, 8), (8, 1, 8), (100, 3, 10), (16, 0, 4)):
        exact = 1 - comb(n - c, k) / comb(n, k)
        assert pass_at_k(n, c, k) == pytest.approx(exact)
        drawn = [any(i < c for i in rng.sample(range(n), k)) for _ in range(300)]
        assert sum(drawn) / 300 == pytest.approx(exact, abs=0.1)
