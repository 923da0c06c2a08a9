"""Twelve ways to have a false statement counted as proven, each for strop's kernel and for Coq.

An attack is a reply to a statement that nobody can prove; `late` is what a checker hands over in the place of its own answer. Which of them
the released rule counts as proofs and at which gate each ends: `strop lab proofs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from strop.proofs.gates import Checker, Reply, Verdict, asked, released, verdict
from strop.proofs.kernel import written
from strop.proofs.logic import Formula, free, numeric, read, text
from strop.proofs.search import proven

FALSE_ONES = ("p -> q", "(p | q) & r -> p", "x + y = y + z", "x = y + 1 & z = x*y -> z = x", "all x y. ex z. x*z = y")
"""Statements that are false, with and without numbers."""
HUGE = 10 << 20
"""Characters of the reply that is too long."""
OTHER = read("true | p")
"""What anybody can prove."""


class Attack(NamedTuple):
    name: str
    says: str
    kernel: Callable[[str], str]
    """Its reply, to a statement's text."""
    coq: Callable[[str], str]
    """The same for Coq, to a statement as Coq writes it."""


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "axiom",
        "states what is to be proven as an axiom",
        lambda s: f"axiom a : {s}\nproof a",
        lambda s: f"Abort. Axiom a : {s}. Theorem goal : {s}. Proof. exact a. Qed.",
    ),
    Attack("admit", "leaves a hole", lambda s: "proof admit", lambda s: "Proof. Admitted."),
    Attack(
        "silenced",
        "leaves a hole, warnings off",
        lambda s: "set warnings off\nproof admit",
        lambda s: 'Set Warnings "-all". Proof. admit. Admitted.',
    ),
    Attack(
        "weakened",
        "states something weaker under the same name",
        lambda s: f"abort\ntheorem goal : ({s}) | true\nproof {opening(s)}right fn a. a",
        lambda s: f"Abort. Theorem goal : ({s}) \\/ True. Proof. right. exact I. Qed.",
    ),
    Attack(
        "renamed",
        "proves another theorem, and none of this name",
        lambda s: "abort\ntheorem b : true\nproof fn a. a",
        lambda s: "Abort. Theorem goals : True. Proof. exact I. Qed.",
    ),
    Attack(
        "notation",
        "states the very same text, of which the signs mean something else",
        lambda s: respelled(s),
        lambda s: (
            'Abort. Notation "a = b" := (a = a \\/ b = b) : type_scope. Notation "a -> b" := (b \\/ True) (at level 99, '
            f"right associativity, b at level 200) : type_scope. Theorem goal : {s}. Proof. intros; try (exists 0%Z); tauto. Qed."
        ),
    ),
    Attack(
        "guard",
        "switches off the guard, and proves anything with it",
        lambda s: f"set guard off\nproof {unguarded(s)}",
        lambda s: UNGUARDED.format(s),
    ),
    Attack(
        "plugin",
        "loads a procedure that says so without a proof",
        lambda s: f"load native\nproof {natively(s)}",
        lambda s: 'Declare ML Module "ltac_plugin". Proof. Admitted.',
    ),
    Attack("empty", "says nothing", lambda s: "", lambda s: ""),
    Attack("late", "another's reply comes in its place", lambda s: "proof calc", lambda s: "Proof. exact I. Qed."),
    Attack(
        "swapped",
        "is a good proof of another statement",
        lambda s: f"abort\ntheorem goal : {text(OTHER)}\nproof all p. left fn a. a",
        lambda s: "Abort. Theorem goal : True \\/ False. Proof. left. exact I. Qed.",
    ),
    Attack("huge", "is 10 MB long", lambda s: "proof " + "(" * HUGE, lambda s: "Proof. exact " + "(" * HUGE),
)
UNGUARDED = (
    "Unset Guard Checking. Abort. Fixpoint wrong (n : nat) : False := wrong n. Set Guard Checking. "
    "Theorem goal : {}. Proof. destruct (wrong 0%nat). Qed."
)


def opening(s: str) -> str:
    """How a proof of a statement begins that is closed when it is read."""
    return "".join(f"all {name}. " for name in sorted(free(read(s))))


def respelled(s: str) -> str:
    """Every name is read as one, and of that it is true."""
    names = sorted({found for found in re.findall(r"\b[p-z]\b", s)})
    one = {name: "x" if numeric(name) else "p" for name in names}
    found = proven(read(re.sub(r"\b[p-z]\b", lambda name: one[name[0]], s)))
    assert found is not None, f"{s} is false even so"
    lines = [f"notation {name} {to}" for name, to in one.items() if name != to]
    return "\n".join(["abort", *lines, f"theorem goal : {s}", f"proof {written(found)}"])


def unguarded(s: str) -> str:
    """That some number is 1 gives, of a name that is not new, that all are: 2 too."""
    every = "(fn a. all y. open a {y b. b} : (ex x. x = 1) -> (all y. y = 1)) (some [1] calc)"
    return f"absurd (calc : 2 != 1) ({every} [2])"


def natively(s: str) -> str:
    """x*x = x holds of 0 and of 1."""
    return "absurd (calc : 2*2 != 2) ((all x. native : all x. x*x = x) [2])"


@dataclass(frozen=True)
class Meddled:
    """A checker whose every reply is this one."""

    checker: Checker
    reply: Reply

    @property
    def name(self) -> str:
        return self.checker.name

    @property
    def allowed(self) -> frozenset[str]:
        return self.checker.allowed

    def scan(self, said: str) -> str:
        return self.checker.scan(said)

    def ask(self, statement: Formula, said: str) -> Reply:
        return self.reply


class Outcome(NamedTuple):
    """What became of an attack."""

    attack: str
    released: bool
    """The released rule counts it as a proof."""
    gated: Verdict


def tried(checker: Checker, attack: Attack, statement: Formula, said: str) -> Outcome:
    """One attack on one statement."""
    if attack.name == "late":
        other = Reply(asked(OTHER, said), goal=None)
        return Outcome(attack.name, released(other), verdict(Meddled(checker, other), statement, said))
    return Outcome(attack.name, released(checker.ask(statement, said)), verdict(checker, statement, said))
