"""Statements over three to five variables, and what one edit of their meaning makes of them.

    rewritten    (~p | q) & r <-> (p -> q) & r       a formula, and the same after laws of logic
    chained      (p -> q) & (q -> ~r) & p -> ~r      premises that lead on to a conclusion
    rings        (x + 2*y)*z = z*x + 2*(y*z)         an expression, and the same after laws of arithmetic
    given        x = y + z & w = x*y -> w = …        equations, and what follows by putting one into the other
    there        all x y. ex z. 2*z + x = x + 4*y    a number that is there for all others

An edit changes one node: a connective, a sign, a number, a name, the way of an arrow, a quantifier. Whether it makes a true statement
false is for z3 to say: many edits do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

from strop.proofs.logic import FALSE, Arith, Bind, Equal, Formula, Num, Op, Prop, Term, Var, bound, closed, free, iff, no, numeric
from strop.proofs.truth import true

TRIES = 200


# ------------------------------------------------------------------------------------------------ true ones


def rewritten(rng: random.Random) -> Formula:
    names = rng.sample("pqrst", rng.randint(3, 5))
    one = shaped(rng, names, rng.randint(len(names), 6))
    other = one
    for _ in range(rng.randint(2, 4)):
        other = law_somewhere(rng, other)
    kind = rng.randrange(3)
    if kind == 0:
        return iff(one, other)
    beside = literal(rng, names)
    return Op("->", one, Op("|", other, beside)) if kind == 1 else Op("->", Op("&", beside, one), other)


def shaped(rng: random.Random, names: list[str], leaves: int) -> Formula:
    """A formula in which every name stands, as long as there are leaves for it."""
    said = [literal(rng, [name]) for name in (names * 3)[:leaves]]
    rng.shuffle(said)
    while len(said) > 1:
        at = rng.randrange(len(said) - 1)
        said[at : at + 2] = [Op(rng.choice("&|&|-").replace("-", "->"), said[at], said[at + 1])]
    return said[0]


def literal(rng: random.Random, names: list[str]) -> Formula:
    name = Prop(rng.choice(names))
    return no(name) if rng.random() < 0.3 else name


def law_somewhere(rng: random.Random, a: Formula) -> Formula:
    """The same by one law of logic, at some place where one applies."""
    places = [(path, to) for path, node in nodes(a) if isinstance(node, (Op, Prop)) for to in laws(node)]
    path, to = rng.choice(places)
    return put_at(a, path, to)


def laws(a: Formula) -> list[Formula]:
    """What a formula is equivalent to, by one law."""
    match a:
        case Op("->", Op("&", b, c), right) if right == FALSE:
            return [Op("|", no(b), no(c))]
        case Op("->", Op("|", b, c), right) if right == FALSE:
            return [Op("&", no(b), no(c))]
        case Op("->", _, right) if right == FALSE:
            return []
        case Op("->", b, c):
            return [Op("->", no(c), no(b)), Op("|", no(b), c)]
        case Op("&", b, Op("|", c, d)):
            return [Op("&", Op("|", c, d), b), Op("|", Op("&", b, c), Op("&", b, d))]
        case Op("|", b, Op("&", c, d)):
            return [Op("|", Op("&", c, d), b), Op("&", Op("|", b, c), Op("|", b, d))]
        case Op("&", b, c):
            return [Op("&", c, b), no(Op("|", no(b), no(c)))]
        case Op("|", b, c):
            return [Op("|", c, b), Op("->", no(b), c)]
        case Prop():
            return [no(no(a))]
        case _:
            return []


def chained(rng: random.Random) -> Formula:
    names = rng.sample("pqrst", rng.randint(3, 5))
    links = [literal(rng, [name]) for name in names]
    steps: list[Formula] = [Op("->", a, b) for a, b in pairwise(links)]
    if rng.random() < 0.5:
        at = rng.randrange(len(steps))
        steps[at] = Op("|", no(links[at]), links[at + 1])
    goal: Formula = Op("->", links[0], links[-1])
    if rng.random() < 0.5:
        steps, goal = [*steps, links[0]], links[-1]
    elif rng.random() < 0.5:
        goal = Op("->", no(links[-1]), no(links[0]))
    rng.shuffle(steps)
    premises = steps[0]
    for one in steps[1:]:
        premises = Op("&", premises, one)
    return Op("->", premises, goal)


def rings(rng: random.Random) -> Formula:
    names = rng.sample("uvwxyz", rng.randint(3, 4))
    one = Arith("*", linear(rng, names[: 2 + (len(names) > 3)]), linear(rng, names[1:]))
    if rng.random() < 0.5:
        one = Arith(rng.choice("+-"), one, linear(rng, names))
    other: Term = one
    for _ in range(rng.randint(2, 5)):
        other = ring_law_somewhere(rng, other)
    return Equal(one, other)


def linear(rng: random.Random, names: list[str]) -> Term:
    """A sum of names, each times a number."""
    found: Term | None = None
    for name in names:
        times = rng.choice((1, 1, 2, 3))
        one = Var(name) if times == 1 else Arith("*", Num(times), Var(name))
        found = one if found is None else Arith(rng.choice("++-"), found, one)
    return found or Num(0)


def ring_law_somewhere(rng: random.Random, a: Term) -> Term:
    places = [(path, to) for path, node in nodes(a) if isinstance(node, Arith) for to in ring_laws(node)]
    if not places:
        return a
    path, to = rng.choice(places)
    return put_at(a, path, to)


def ring_laws(a: Arith) -> list[Term]:
    match a:
        case Arith("*", b, Arith(("+" | "-") as op, c, d)):
            return [Arith(op, Arith("*", b, c), Arith("*", b, d)), Arith("*", Arith(op, c, d), b)]
        case Arith("*", Arith(("+" | "-") as op, c, d), b):
            return [Arith(op, Arith("*", c, b), Arith("*", d, b)), Arith("*", b, Arith(op, c, d))]
        case Arith("+", b, Arith("+", c, d)):
            return [Arith("+", Arith("+", b, c), d)]
        case Arith("-", b, c):
            return [Arith("+", b, Arith("*", Arith("-", Num(0), Num(1)), c))] if not isinstance(b, Num) else []
        case Arith(("+" | "*") as op, b, c):
            return [Arith(op, c, b)]
        case _:
            return []


def given(rng: random.Random) -> Formula:
    a, b, c, d, e = rng.sample("uvwxyz", 5)
    first, more = linear(rng, [b, c]), rng.random() < 0.5
    premises: Formula = Equal(Var(a), first)
    second = Arith(rng.choice("+*"), Var(a), Var(rng.choice((b, c))))
    if more:
        premises = Op("&", premises, Equal(Var(d), second))
    left = Arith(rng.choice("+*-"), Var(d if more else a), linear(rng, [b, e] if rng.random() < 0.5 else [c]))
    right: Term = swapped(swapped(left, d, second), a, first) if more else swapped(left, a, first)
    for _ in range(rng.randint(1, 3)):
        right = ring_law_somewhere(rng, right)
    return Op("->", premises, Equal(left, right))


def swapped(a: Term, name: str, by: Term) -> Term:
    for path, node in nodes(a):
        if node == Var(name):
            a = put_at(a, path, by)
    return a


def there(rng: random.Random) -> Formula:
    *outer, z = rng.sample("uvwxyz", rng.randint(3, 4))
    times = rng.choice((1, 1, 1, 2))
    right = linear(rng, outer)
    one: Term = Var(z) if times == 1 else Arith("*", Num(times), Var(z))
    other = right if times == 1 else Arith("*", Num(times), right)
    if rng.random() < 0.5:
        beside = linear(rng, outer[:2])
        one, other = Arith("+", one, beside), Arith("+", other, beside)
    return bound("all", sorted(outer), Bind("ex", z, Equal(one, other)))


KINDS: dict[str, tuple[Callable[[random.Random], Formula], float]] = {
    "rewritten": (rewritten, 0.3),
    "chained": (chained, 0.2),
    "rings": (rings, 0.2),
    "given": (given, 0.2),
    "there": (there, 0.1),
}
"""Each with its share."""


# ------------------------------------------------------------------------------------------------ edits


def nodes(a: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """All nodes with the way to each."""
    found = [(path, a)]
    for f in fields(a):
        below = getattr(a, f.name)
        if hasattr(below, "__dataclass_fields__"):
            found += nodes(below, (*path, f.name))
    return found


def put_at(a: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    return replace(a, **{path[0]: put_at(getattr(a, path[0]), path[1:], by)})


def edits(a: Any, names: list[str]) -> list[Any]:
    """What one edit may make of a node."""
    match a:
        case Op("->", left, right) if right == FALSE:
            return [left]
        case Op("->", left, right):
            return [Op("->", right, left), Op("&", left, right), Op("->", no(left), right), Op("->", left, no(right))]
        case Op(op, left, right):
            return [Op("|" if op == "&" else "&", left, right)]
        case Prop(name):
            return [no(a), *(Prop(other) for other in names if not numeric(other) and other != name)]
        case Arith("*", left, right):
            return [Arith("+", left, right)]
        case Arith(op, left, right):
            return [Arith("-" if op == "+" else "+", left, right), Arith("*", left, right)]
        case Num(value):
            return [Num(value + 1), *([Num(value - 1)] if value else [])]
        case Var(name):
            return [Var(other) for other in names if numeric(other) and other != name]
        case Equal(left, right):
            return [no(a), Equal(left, Arith("+", right, Num(1)))]
        case Bind("ex", name, body):
            return [Bind("all", name, body)]
        case _:
            return []


def edited(rng: random.Random, a: Formula) -> Formula:
    """A statement after one edit of its meaning."""
    names = sorted({node.name for _, node in nodes(a) if isinstance(node, (Prop, Var))})
    places = [(path, to) for path, node in nodes(a) for to in edits(node, names)]
    path, to = rng.choice(places)
    return put_at(a, path, to)


def statement(rng: random.Random, sound: bool = True, kind: str = "") -> tuple[Formula, str]:
    """(a statement, its kind): true, or a true one after an edit that makes it false, as z3 says. Half are written open."""
    kind = kind or rng.choices([*KINDS], [share for _, share in KINDS.values()])[0]
    for _ in range(TRIES):
        found = KINDS[kind][0](rng)
        if len({x for x in free(found)}) < 3 and kind != "there":
            continue
        if not sound:
            found = edited(rng, found)
        if true(found) is sound:
            return (closed(found) if rng.random() < 0.5 else found), kind
    raise ValueError(f"no {'true' if sound else 'false'} statement of the kind {kind} in {TRIES} tries")
