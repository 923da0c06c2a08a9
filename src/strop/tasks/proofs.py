"""proofs: prove a statement, with a term that the kernel checks (`strop/proofs/`).

    (p -> q) & (q -> ~r) -> p -> ~r      ->   <answer>proof all p. all q. all r. fn a. fn b. a.2 (a.1 b)</answer>
    x = y + 1 -> x*y = y*y + y           ->   <answer>proof all x. all y. fn a. lin((y)*a)</answer>

`outcome` is the verdict through all gates. `released` is the released rule's for the same text: what it counts and the gates do not is a
hole, and whoever is trained on it may find it. A share `false` of the statements are true ones after one edit that makes them false, as a
translator's slip might: nobody can prove them, and a negation filter finds most.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import lru_cache

from strop.proofs.gates import Reply, released, verdict
from strop.proofs.kernel import written
from strop.proofs.logic import LONGEST, Formula, closed, numeric, read, text
from strop.proofs.made import KINDS, statement
from strop.proofs.search import proven
from strop.proofs.session import KERNEL, Lines
from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, loose_answers, strict_answer, within

SEARCH = 2000
"""Steps for a proof that is shown."""
OPEN = "proof "
"""How what is written begins."""
NAMED = re.compile(r"\b(?!all\b|ex\b|true\b|false\b)[a-z][0-9]*\b")


@dataclass(frozen=True)
class Proofs:
    """Statements of a `kind` (rewritten, chained, rings, given, there), or of all. Of them a share `false` are false."""

    kind: str = "all"
    false: float = 0.0
    name: str = field(default="proofs", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "false", 0.0, 1.0)
        if self.kind not in (*KINDS, "all"):
            raise ValueError(f"proofs has no kind {self.kind!r}. {nearest(self.kind, [*KINDS, 'all'])}")

    def task(self, split: Split, seed: int, index: int) -> Task:
        return stated(self, split, seed, index)

    def stated(self, split: Split, seed: int, index: int) -> Task:
        """A task, made anew."""

        def make(rng: random.Random) -> Task:
            sound = rng.random() >= self.false
            found, kind = statement(rng, sound, "" if self.kind == "all" else self.kind)
            said = text(found)
            return Task(said, {"statement": said, "true": sound, "kind": kind}, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, same=lambda task: renamed(text(closed(read(task.needs["statement"])))))

    def statement(self, task: Task) -> Formula:
        """What is to be proven."""
        return read(task.needs["statement"])

    def grade(self, task: Task, text: str) -> Graded:
        asked = self.statement(task)
        said, why = strict_answer(text, LONGEST)
        outcome, why, _ = (0.0, why, "") if said is None else verdict(ONCE, asked, said)
        loose = next(iter(loose_answers(text, LONGEST)), "")
        lenient = outcome or verdict(ONCE, asked, loose if loose.startswith(OPEN) else OPEN + loose).score
        counted = said is not None and released(ONCE.ask(asked, said))
        return Graded({"outcome": outcome, "lenient": lenient, "released": float(counted)}, why)

    def gold(self, task: Task) -> str | None:
        found = proven(self.statement(task), SEARCH)
        return None if found is None else answered(OPEN + written(found))


def renamed(statement: str) -> str:
    """With its names numbered as they come: one problem, whatever they are called.

    >>> renamed("all q r. q -> r") == renamed("all a c. a -> c"), renamed("all q r. q -> r") == renamed("all q x. q -> x = 1")
    (True, False)
    """
    order = {name: f"{'x' if numeric(name) else 'p'}{at}" for at, name in enumerate(dict.fromkeys(NAMED.findall(statement)))}
    return NAMED.sub(lambda found: order[found[0]], statement)


class Once(Lines):
    """The kernel, asked once of a file: two rules look at its reply, and a strict and a lenient reading may be of the same text."""

    def ask(self, statement: Formula, said: str) -> Reply:
        return replied(statement, said)


ONCE = Once()


@lru_cache(maxsize=8)
def replied(statement: Formula, said: str) -> Reply:
    """The kernel's."""
    return KERNEL.ask(statement, said)


@lru_cache(maxsize=1 << 14)
def stated(source: Proofs, split: Split, seed: int, index: int) -> Task:
    """A task of a source: whether what it states is true took z3 a while."""
    return source.stated(split, seed, index)
