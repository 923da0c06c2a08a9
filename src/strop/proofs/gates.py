"""Verdicts: whether a reply proves its statement. The rule that was released, and the gates.

A checker takes a file, which is the statement as a theorem called `goal` and behind it what was replied, and answers with a `Reply`, as a
read-eval-print loop of a prover does: where nothing is wrong it says nothing. `released` is the rule of FormalMATH's code: wrong is what
has an error among its messages, or messages and a hole; so silence is a proof. `verdict` asks one gate after the other:

    size       not empty, and not longer than is read
    scan       nothing but what a proof is written with: no axioms, no holes, no other notation, no switch, no plugin, no other theorem
    whose      the reply is to this file; another's, as one that comes late, is asked for again
    error      it goes through, within its own steps or seconds
    goal       there is a theorem `goal`, and it says what was asked
    audit      what the checker says that it rests on is allowed

Each reply is checked by itself, so neither its place in a batch nor what stands beside it changes its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from strop.proofs.logic import LONGEST, Formula
from strop.records import digest

NAME = "goal"
"""What the theorem is called that is to be proven."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The theorem that stands under the name in the end."""

    same: bool
    """It says what was asked."""
    rests: tuple[str, ...] = ()
    """What it rests on that nobody proved, by the checker's own audit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a checker says of a file."""

    of: str
    """Which file, by its hash."""
    messages: tuple[tuple[str, str], ...] | None = None
    """(severity, text). None: the reply has no messages, as of one where nothing was to be said."""
    hole: bool = False
    """Something was left open, and taken as proven."""
    goal: Goal | None = None
    ended: str = ""
    """late: it was ended when its time was up. crashed: the checker ended while it read this file. lost: it could not be asked. Empty:
    none of these."""


class Checker(Protocol):
    """A prover that takes files."""

    @property
    def name(self) -> str: ...

    @property
    def allowed(self) -> frozenset[str]:
        """What a proof may rest on."""
        ...

    def ask(self, statement: Formula, said: str) -> Reply:
        """Of the statement as a theorem, with what was said behind it. It comes back within its own time, whatever was said."""
        ...

    def scan(self, said: str) -> str:
        """What stands there that no proof is written with; nothing where all is well."""
        ...


class Verdict(NamedTuple):
    score: float | None
    """1 or 0; None where the checker failed, and not the proof."""
    why: str = ""
    gate: str = ""
    """Which gate it did not pass."""


def asked(statement: Formula, said: str) -> str:
    """The hash of a file."""
    return digest([repr(statement), ascii(said)])


def released(reply: Reply) -> bool:
    """Whether the code that was released counts a reply as a proof. A hole is looked for beside a message alone."""
    if reply.ended == "late":
        return False
    return not any(severity == "error" or reply.hole for severity, _ in reply.messages or ())


def released_batch(checker: Checker, files: Sequence[tuple[Formula, str]]) -> list[bool]:
    """Of a batch, as released: the first that is late ends the process, and whatever stands behind it counts as wrong without a look."""
    found = list[bool]()
    for statement, said in files:
        reply = checker.ask(statement, said)
        if reply.ended == "late":
            break
        found.append(released(reply))
    return found + [False] * (len(files) - len(found))


def verdict(checker: Checker, statement: Formula, said: str, tries: int = 2) -> Verdict:
    """Through all gates."""
    if not said.strip():
        return Verdict(0.0, "nothing was said", "size")
    if len(said) > LONGEST:
        return Verdict(0.0, f"more than {LONGEST} characters", "size")
    if why := checker.scan(said):
        return Verdict(0.0, why, "scan")
    why, crashes = "", 0
    for _ in range(tries):
        reply = checker.ask(statement, said)
        crashes += reply.ended == "crashed"
        if reply.of != asked(statement, said):
            why = "the reply was to another file"
        elif reply.ended in ("lost", "crashed"):
            why = "the checker was lost"
        else:
            return weighed(checker, reply)
    if crashes == tries:  # once it may have been killed from elsewhere; each time it is what it reads that ends it
        return Verdict(0.0, f"it ends the checker, {tries} times", "error")
    return Verdict(None, f"{why}, {tries} times", "whose")


def verdicts(checker: Checker, files: Sequence[tuple[Formula, str]]) -> list[Verdict]:
    """Of several, each what `verdict` says of it: a checker that has `asks` is asked for all at once."""
    clear = [at for at, (_, said) in enumerate(files) if said.strip() and len(said) <= LONGEST and not checker.scan(said)]
    asks = getattr(checker, "asks", None)
    replies = {} if asks is None else dict(zip(clear, asks([files[at] for at in clear]), strict=True))
    whole = {at for at, reply in replies.items() if reply.of == asked(*files[at]) and reply.ended not in ("lost", "crashed")}
    return [weighed(checker, replies[at]) if at in whole else verdict(checker, *files[at]) for at in range(len(files))]


def weighed(checker: Checker, reply: Reply) -> Verdict:
    """A reply to the right file."""
    if reply.ended:
        return Verdict(0.0, "it takes more than its time", "error")
    if wrong := next((text for severity, text in reply.messages or () if severity == "error"), ""):
        return Verdict(0.0, wrong, "error")
    if reply.goal is None:
        return Verdict(0.0, f"there is no theorem {NAME} in the end", "goal")
    if not reply.goal.same:
        return Verdict(0.0, f"the theorem {NAME} says something else", "goal")
    if more := sorted({*reply.goal.rests} - checker.allowed):
        return Verdict(0.0, f"it rests on {', '.join(more)[:100]}", "audit")
    return Verdict(1.0)
