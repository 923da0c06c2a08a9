"""Proofs: which attacks a checker lets through, and what a negation filter drops of true statements and of false ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from strop.proofs.attacks import ATTACKS, FALSE_ONES, tried
from strop.proofs.coq import Coq, spelled
from strop.proofs.gates import Checker
from strop.proofs.logic import Bind, Formula, closed, free, numeric, quantified, read
from strop.proofs.search import NUMBERS, holds, proven, refuted

FILTERS = {
    "negation": "its negation is proven",
    "itself": "the statement itself is proven",
    "unproven": "the statement itself is not proven",
    "open": "its negation is proven, without being closed first",
}


class Tried(NamedTuple):
    """A statement, and whether a proof was found: of its negation; of itself; of its negation as it stands, its variables left free."""

    statement: Formula
    true: bool
    negation: bool
    itself: bool
    open: bool

    def dropped(self, by: str) -> bool:
        """Whether a filter leaves it out."""
        return {"negation": self.negation, "itself": self.itself, "open": self.open, "unproven": not self.itself}[by]


@lru_cache(maxsize=1 << 14)
def look(statement: Formula, true: bool, steps: int) -> Tried:
    """What a search makes of a statement."""
    closing, itself, left_open = refuted(statement, steps), proven(statement, steps), refuted(statement, steps, close=False)
    return Tried(statement, true, closing is not None, itself is not None, left_open is not None)


def by_values(statement: Formula) -> bool | None:
    """Whether it holds at all values that are tried: of propositions all, of numbers a few small ones. None for one with quantifiers
    within, which no value decides. It shares nothing with z3."""
    goal = closed(statement)
    while isinstance(goal, Bind) and goal.op == "all":
        goal = goal.body
    if quantified(goal):
        return None
    names = sorted(free(goal))
    every = product(*(NUMBERS[:5] if numeric(name) else (True, False) for name in names))
    return all(holds(goal, dict(zip(names, values, strict=True))) for values in every)


def shares(those: Iterable[Tried], by: str) -> tuple[float, float]:
    """Of the false statements and of the true ones, the shares that are dropped."""
    found = [[one.dropped(by) for one in those if one.true is sound] for sound in (False, True)]
    false, sound = (sum(said) / max(len(said), 1) for said in found)
    return false, sound


def filtered(count: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """What each filter drops of so many statements, half of them false."""
    from strop.tasks.proofs import Proofs

    source = Proofs(false=0.5)
    tasks = [source.task("train", seed, index) for index in range(count)]
    those = [look(source.statement(task), task.needs["true"], steps) for task in tasks]
    dropped = {said: shares(those, by) for by, said in FILTERS.items()}
    return {"statements": count, "false": sum(not one.true for one in those), "steps": steps, "dropped": dropped}


def attacked(checker: Checker, statements: Iterable[str] = FALSE_ONES) -> list[dict[str, Any]]:
    """Of each attack, on so many false statements, how often it is counted as a proof, and at which gate it ends."""
    rows = list[dict[str, Any]]()
    for attack in ATTACKS:
        found = [
            tried(checker, attack, read(s), attack.coq(spelled(closed(read(s)))) if isinstance(checker, Coq) else attack.kernel(s))
            for s in statements
        ]
        ends = ", ".join(sorted({one.gated.gate for one in found} - {""}))
        passed = sum(one.gated.score == 1 for one in found)
        rows.append(
            {"attack": attack.name, "released": sum(one.released for one in found), "gates": passed, "of": len(found), "ends at": ends}
        )
    return rows
