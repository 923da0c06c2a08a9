"""Coq behind the same gates: twelve attacks, hostile replies, a prover that hangs or is killed costs its own proof alone."""

import os
import signal
import time
from pathlib import Path

import pytest

from strop.lab.proofs import attacked
from strop.proofs.attacks import ATTACKS, FALSE_ONES
from strop.proofs.coq import Coq, assumed, spelled, there
from strop.proofs.gates import verdict, verdicts, weighed
from strop.proofs.logic import closed, read
from strop.sandbox.cell import SandboxError
from strop.sandbox.strangers import enclosed


def cell():
    """Whether there is Coq and a cell for it."""
    try:
        command, environment = enclosed(["/bin/true"])
    except SandboxError:
        return False
    return os.spawnvpe(os.P_WAIT, command[0], command, environment) == 0


coq_there = pytest.mark.full
"""What asks a real Coq: `.ci/full` installs it, and without one these fail. Scan, audit and gates are tested without, here and beside."""
GOOD = [
    ("p & q -> q & p", "Proof. tauto. Qed."),
    ("p | ~p", "Proof. intros p. destruct (classic p); [left | right]; assumption. Qed."),
    ("(x + y)*x = x*x + y*x", "Proof. intros. ring. Qed."),
    ("ex x. x*x = 9", "Proof.\n  exists 3.\n  reflexivity.\nQed."),
    ("p -> q -> p & q", "Proof. intros. split.\n- assumption.\n- { assumption. }\nQed."),
]

ATTACKED = [
    (said, attack.coq(spelled(closed(read(said))))) for attack in ATTACKS if attack.name not in ("huge", "late") for said in FALSE_ONES[:1]
]


@pytest.fixture(scope="module")
def coq():
    assert there(), "no coqtop: apt install coq bubblewrap"
    with Coq(seconds=30, walls=cell()) as one:
        yield one


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Proof. Admitted.", "TACTICS"),
        ("Proof. admit. Qed.", "admit proves nothing"),
        ("Proof. intros; give_up. Qed.", "give_up proves nothing"),
        ("Proof. tauto. Qed. Axiom a : False. Qed.", "TACTICS"),
        ("Proof. Axiom a : False. exact a. Qed.", "Axiom is no tactic"),
        ("Proof. intros. { Set Guard Checking. tauto. } Qed.", "Set is no tactic"),
        ("Proof. - Unset Guard Checking. tauto. Qed.", "Unset is no tactic"),
        ("Proof. all: Abort. Qed.", "Abort is no tactic"),
        ("Proof. (* Qed. *) tauto. Qed.", "has no place"),
        ('Proof. idtac "x". tauto. Qed.', "has no place"),
        ("Proof. #[local] Axiom a : False. Qed.", "has no place"),
        ("Proof. tauto. Qed. Theorem b : True. Proof. tauto. Qed.", "TACTICS"),
        ("Proof. ｔauto. Qed.", "ASCII"),
        ("tauto.", "TACTICS"),
    ],
)
def test_the_scan_by_hand(said, why):
    assert why in Coq().scan(said)


def test_good_scripts_pass_the_scan():
    assert [Coq().scan(said) for _, said in GOOD] == [""] * len(GOOD)


def test_what_an_audit_says_is_read_whole():
    assert assumed("Closed under the global context\n\n") == ()
    assert assumed("Fetching opaque proofs from disk\n\nAxioms:\nclassic : forall P : Prop,\n  P \\/ ~ P\na : False\n") == ("classic", "a")
    assert assumed("Axioms:\nwrong is assumed to be guarded.\n") == ("wrong is assumed to be guarded.",)
    assert assumed("") == ("what its audit does not say",), "silence is no proof here"


def test_a_statement_as_coq_writes_it():
    assert spelled(closed(read("p & x = 2"))) == "(forall p : Prop, (forall x : Z, (p /\\ (x = 2%Z))))"


@coq_there
def test_good_proofs_pass(coq):
    assert [verdict(coq, read(s), said) for s, said in GOOD] == [(1.0, "", "")] * len(GOOD)
    assert [verdict(coq, read("p -> q"), said).score for _, said in GOOD] == [0.0] * len(GOOD)


@coq_there
def test_twelve_attacks_on_coq(coq):
    rows = attacked(coq, FALSE_ONES[:3])
    assert len(rows) == len(ATTACKS)
    assert all(row["gates"] == 0 for row in rows)
    assert sum(row["released"] > 0 for row in rows) >= 9
    assert {row["ends at"] for row in rows if row["attack"] != "late"} <= {"size", "scan", "goal", "audit", "error"}, "each was heard"
    for said in FALSE_ONES[:2]:  # and where nothing is scanned
        for attack in ATTACKS:
            if attack.name not in ("huge", "late"):
                heard = coq.ask(read(said), attack.coq(spelled(closed(read(said)))))
                assert weighed(coq, heard).gate in ("error", "goal", "audit"), attack.name


@coq_there
def test_a_proof_that_ends_the_prover_is_its_own_fault_and_one_that_cannot_begin_is_ours(coq, monkeypatch):
    said = "Proof. intros. pose (Nat.mul 100000 100000) as n. vm_compute in n. Qed."
    assert verdict(coq, read("p -> q"), said)[::2] == (0.0, "error")
    assert verdict(coq, read(GOOD[0][0]), GOOD[0][1]).score == 1
    monkeypatch.setattr("strop.proofs.coq.BOOT", 0.01)
    with Coq(walls=cell()) as slow:
        assert verdict(slow, read(GOOD[0][0]), GOOD[0][1]).score is None


@coq_there
def test_a_prover_that_hangs_costs_its_own_proof_and_order_changes_nothing(coq):
    with Coq(seconds=1.5, walls=cell()) as coq:
        assert verdict(coq, read(GOOD[0][0]), GOOD[0][1]).score == 1
        hangs = (read("p -> q"), "Proof. repeat (pose 0). Qed.")
        files = [(read(GOOD[0][0]), GOOD[0][1]), hangs, (read(GOOD[1][0]), GOOD[1][1]), (read("p -> q"), "Proof. tauto. Qed.")]
        for order in ((0, 1, 2, 3), (1, 3, 0, 2)):
            assert [verdict(coq, *files[at]).score for at in order] == [[1, 0, 1, 0][at] for at in order]
        assert coq.begun == 3


@coq_there
def test_many_at_once_are_judged_as_each_alone(coq):
    bad = [("p -> q", "Proof. tauto. Qed."), ("p -> q", "Proof. Admitted."), ("p -> p", ""), ("p -> p", "Proof. intros. Qed.")]
    files = [(read(s), said) for s, said in (*GOOD, *bad, GOOD[0], *ATTACKED)]
    found = verdicts(coq, files)
    assert found == [verdict(coq, *file) for file in files]
    assert [one.score for one in found] == [1.0] * len(GOOD) + [0.0] * len(bad) + [1.0] + [0.0] * len(ATTACKED)
    assert verdicts(coq, files[::-1]) == found[::-1]


def children(pid):
    """Processes below one."""
    found = [int(one) for task in Path(f"/proc/{pid}/task").glob("*") for one in (task / "children").read_text().split()]
    return [*found, *(below for one in found for below in children(one))]


@coq_there
def test_twenty_kills_leave_no_process_and_change_no_score(coq):
    seen = set()
    with Coq(seconds=30, walls=cell()) as coq:
        for at in range(20):
            statement, said = GOOD[at % len(GOOD)]
            assert verdict(coq, read(statement), said).score == 1
            assert coq.process is not None
            own = coq.process.pid
            below = children(own)
            seen |= {own, *below}
            os.kill(below[-1] if below and at % 2 else own, signal.SIGKILL)
        assert coq.begun == 20
    until = time.monotonic() + 10
    while left := [pid for pid in seen if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.05)
