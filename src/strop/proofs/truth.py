"""Whether a statement is true, by z3: a judge that shares nothing with the prover."""

from __future__ import annotations

from functools import cache
from typing import Any

from strop.proofs.logic import Arith, Bind, Equal, Formula, Num, Op, Prop, Term, Var, closed, numeric, quantified

WORK = 1_000_000
"""What z3 may spend on a statement, in a unit of its own: no clock, so that it says the same on every machine."""
QUANTIFIED = WORK // 10
"""And on one with quantifiers within, of which it knows soon or never."""


@cache
def z3() -> Any:
    try:
        import z3 as found
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the truth of statements needs the module 'z3': pip install 'strop[proofs]'", name="z3") from None
    return found


def true(statement: Formula, work: int | None = None) -> bool | None:
    """Whether it holds, for all values of what is free in it; None where z3 cannot say."""
    goal = closed(statement)
    while isinstance(goal, Bind) and goal.op == "all":
        goal = goal.body
    there = z3().Context()  # of its own: what was asked before would turn the search, and with it what is found in time
    if isinstance(goal, Equal):  # no polynomial but 0 is 0 for all integers, and z3 writes each in one way
        return bool(z3().is_true(z3().simplify(said(Arith("-", goal.left, goal.right), there) == 0, som=True)))
    solver = z3().Solver(ctx=there)
    solver.set("rlimit", work or (QUANTIFIED if quantified(goal) else WORK))
    solver.add(z3().Not(said(goal, there)))
    return {"unsat": True, "sat": False}.get(str(solver.check()))


def said(a: Formula | Term, there: Any = None) -> Any:
    """A formula or a term in z3's words, in one of its contexts."""
    match a:
        case Num(value):
            return z3().IntVal(value, there)
        case Var(name):
            return z3().Int(name, there)
        case Arith(op, left, right):
            one, other = said(left, there), said(right, there)
            return one + other if op == "+" else one - other if op == "-" else one * other
        case Prop(name):
            return z3().Bool(name, there)
        case Equal(left, right):
            return said(left, there) == said(right, there)
        case Op(op, left, right):
            return {"->": z3().Implies, "&": z3().And, "|": z3().Or}[op](said(left, there), said(right, there))
        case Bind(op, name, body):
            var = said(Var(name) if numeric(name) else Prop(name), there)
            return (z3().ForAll if op == "all" else z3().Exists)([var], said(body, there))
        case _:
            return z3().BoolVal(False, there)
