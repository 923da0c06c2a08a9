"""proofs: prove a statement, with a term that the kernel checks (`strop/proofs/`).

    (p -> q) & (q -> ~r) -> p -> ~r      ->   <answer>proof all p. all q. all r. fn a. fn b. a.2 (a.1 b)</answer>
    x = y + 1 -> x*y = y*y + y           ->   <answer>proof all x. all y. fn a. lin((y)*a)</answer>

`outcome` is the verdict through all gates. `released` is the released rule's for the same text: what it counts and the gates do not is a
hole, and whoever is trained on it may find it. A share `false` of the statements are true ones after one edit that makes them false, as a
translator's slip might: nobody can prove them, and a negation filter finds most.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache

from strop.proofs.gates import released, verdict
from strop.proofs.kernel import written
from strop.proofs.logic import LONGEST, Formula, closed, read, text
from strop.proofs.made import KINDS, statement
from strop.proofs.search import proven
from strop.proofs.session import KERNEL
from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, loose_answers, strict_answer, within

SEARCH = 2000
"""Steps for a proof that is shown."""
OPEN = "proof "
"""How what is written begins."""


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

        return draw(self, split, seed, index, make, same=lambda task: text(closed(read(task.needs["statement"]))))

    def statement(self, task: Task) -> Formula:
        """What is to be proven."""
        return read(task.needs["statement"])

    def grade(self, task: Task, text: str) -> Graded:
        asked = self.statement(task)
        said, why = strict_answer(text, LONGEST)
        outcome, why, _ = (0.0, why, "") if said is None else verdict(KERNEL, asked, said)
        loose = next(iter(loose_answers(text, LONGEST)), "")
        lenient = outcome or verdict(KERNEL, asked, loose if loose.startswith(OPEN) else OPEN + loose).score
        counted = said is not None and released(KERNEL.ask(asked, said))
        return Graded({"outcome": outcome, "lenient": lenient, "released": float(counted)}, why)

    def gold(self, task: Task) -> str | None:
        found = proven(self.statement(task), SEARCH)
        return None if found is None else answered(OPEN + written(found))


@lru_cache(maxsize=1 << 14)
def stated(source: Proofs, split: Split, seed: int, index: int) -> Task:
    """A task of a source: whether what it states is true took z3 a while."""
    return source.stated(split, seed, index)
