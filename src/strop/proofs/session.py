"""A read-eval-print loop around the kernel, with all that such a loop has: what a verdict must withstand stands here, not in the kernel.

    theorem goal : p -> p            opens a goal; what is free in it is closed
    proof all p. fn a. a             closes it with a term
    abort                            drops it
    axiom a : p                      from now on
    notation & |                     from now on a statement's first is read as the second
    load native                      a procedure that says so without a proof
    set guard off                    new names need not be new
    set warnings off

A line is a command. A file's lines go through until one is wrong. Where nothing is to be said nothing is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from strop.proofs.gates import NAME, Goal, Reply, asked
from strop.proofs.kernel import FUEL, Kernel, Refused, Spent, proof
from strop.proofs.logic import LONGEST, Formula, Unread, closed, read, text

LEMMA = re.compile(r"[a-o][0-9]*")
SIGN = re.compile(r"[a-z][0-9]*(?![a-z])|[^\sa-z0-9()]+")


@dataclass(frozen=True)
class Lines:
    """The checker around strop's kernel. A verdict costs `fuel` steps at most."""

    fuel: int = FUEL
    name: str = "kernel"
    allowed: frozenset[str] = frozenset()

    def scan(self, said: str) -> str:
        """A proof is one line that says so, without what is trusted."""
        lines = [line.strip() for line in said.strip().splitlines()]
        if len(lines) != 1 or not lines[0].startswith("proof "):
            return "a proof is one line, `proof TERM`"
        found = re.search(r"\b(admit|native)\b", said)
        return f"{found[0]} proves nothing" if found else ""

    def ask(self, statement: Formula, said: str) -> Reply:
        of = asked(statement, said)
        if len(said) > LONGEST:
            return Reply(of, ended="lost")
        session = Session(self.fuel)
        try:
            for line in (f"theorem {NAME} : {text(statement)}", *said.splitlines()):
                session.does(line.strip())
        except (Spent, MemoryError):
            return Reply(of, ended="late")
        except (Refused, Unread, RecursionError) as why:
            session.messages.append(("error", str(why) or "it is nested too deep"))
        return Reply(of, tuple(session.messages) or None, session.hole, session.goal(statement))


@dataclass
class Session:
    """What a file has said so far."""

    fuel: int
    messages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    hole: bool = False
    open: tuple[str, Formula] | None = None
    lemmas: dict[str, tuple[Formula, tuple[str, ...]]] = field(default_factory=dict[str, tuple[Formula, tuple[str, ...]]])
    """What stands by name, and what each rests on."""
    notations: dict[str, str] = field(default_factory=dict[str, str])
    guard: bool = True
    warnings: bool = True
    plugins: bool = False

    def does(self, line: str) -> None:
        """One command; an error is raised."""
        word, _, rest = line.partition(" ")
        name, _, said = (piece.strip() for piece in rest.partition(":"))
        match word:
            case "":
                pass
            case "theorem" | "axiom" if word == "axiom" or self.open is None:
                if name in self.lemmas:
                    raise Refused(f"{name} stands already")
                if word == "axiom":
                    self.lemmas[name] = self.reads(said), (f"axiom {name}",)
                else:
                    self.open = name, self.reads(said)
            case "proof":
                self.proves(rest)
            case "abort":
                self.open = None
            case "notation" if len(rest.split()) == 2:
                old, new = rest.split()
                self.notations[old] = new
            case "load" if rest == "native":
                self.plugins = True
            case "set" if rest in ("guard off", "guard on"):
                self.guard = rest == "guard on"
            case "set" if rest in ("warnings off", "warnings on"):
                self.warnings = rest == "warnings on"
            case _:
                raise Refused(f"not understood: {line[:60]!r}")

    def reads(self, said: str) -> Formula:
        """A statement, as it is meant by now."""
        return closed(read(SIGN.sub(lambda found: self.notations.get(found[0], found[0]), said)))

    def proves(self, said: str) -> None:
        if self.open is None:
            raise Refused("there is nothing to prove")
        name, goal = self.open
        lemmas = {n: f for n, (f, _) in self.lemmas.items() if LEMMA.fullmatch(n)}
        kernel = Kernel(lemmas, self.fuel, frozenset(n for n, (_, rests) in self.lemmas.items() if rests), self.guard, self.plugins)
        kernel.check(proof(said), goal)
        self.fuel = kernel.fuel
        self.hole |= "admit" in kernel.trusted
        if "admit" in kernel.trusted and self.warnings:
            self.messages.append(("warning", f"{name} has a hole"))
        self.lemmas[name], self.open = (goal, tuple(sorted(kernel.trusted))), None

    def goal(self, statement: Formula) -> Goal | None:
        """The theorem under the name, once all is said."""
        if NAME not in self.lemmas:
            return None
        found, rests = self.lemmas[NAME]
        return Goal(Kernel().same(found, closed(statement)), rests)


KERNEL = Lines()
