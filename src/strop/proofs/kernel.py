"""The kernel: checks that a proof term proves a formula. What it does not know it refuses, and all of it stands in this file.

    h                  a hypothesis                   fn h. P            A -> B, P proving B from h : A
    P Q                B, from A -> B and A           P [t]              A(t), from all x. A(x)
    <P, Q>             A & B                          P.1   P.2          A, B, from A & B
    left P   right P   A | B                          case P {h. Q; k. R}   C, from A | B and from either
    all x. P           all x. A(x), x being new       some [t] P         ex x. A(x)
    open P {x h. Q}    C, from ex x. A(x): x new, h : A(x)
    absurd P           anything, from false           em [A]             A | ~A
    lin(t*P, …)        an equation, as a sum of equations that P, … prove, each times a term; none: by the laws of rings alone
    calc               t = u of numbers without names, or its negation, by computing both
    (P : A)            A, where nothing else says what P proves

A term is either checked against a formula or says itself what it proves. Work is metered (`fuel`), so that a verdict depends on the proof
alone: not on the machine, nor on who is checked beside it. Numbers are the integers, logic is classical.

What systems of proof also have, and what is trusted where it is used: axioms, `admit` for what is left open, a switch for the guard on new
names, and procedures that say so without a proof (`native` believes an equation that holds at a few points). They are off by default, and
`Kernel.trusted` names those that a proof has used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from strop.proofs.logic import (
    FALSE,
    MADE,
    STATEMENTS,
    Arith,
    Bind,
    Equal,
    Formula,
    Num,
    Op,
    Prop,
    Term,
    Var,
    brief,
    free,
    named,
    no,
    numeric,
    parser,
    read_by,
    text,
    value,
)

FUEL = 200_000
"""Steps of a check: nodes that are looked at, and products of two monomials."""
WIDEST, HIGHEST, BITS = 2000, 40, 1024
"""Of a polynomial: monomials, degree, and bits of a coefficient."""


class Refused(Exception):
    """It is no proof of that."""


class Spent(Refused):
    """Checking it takes more steps than there are."""


# ------------------------------------------------------------------------------------------------ terms


@dataclass(frozen=True, slots=True)
class Proof:
    """rule: a word of the list above. What stands in it: names, terms or formulas, proofs, in the order in which they are written."""

    rule: str
    names: tuple[str, ...] = ()
    given: tuple[Any, ...] = ()
    of: tuple[Proof, ...] = ()


PROOFS = (
    STATEMENTS
    + r"""
?proof: "fn" hyp "." proof -> fn | "all" name "." proof -> gen | spine
?spine: last | "left" proof -> left | "right" proof -> right | "absurd" proof -> absurd | "some" thing proof -> some_
?last: tight | last tight -> app | last thing -> inst
?tight: hyp -> use | tight ".1" -> first | tight ".2" -> second | "<" proof "," proof ">" -> pair
    | "case" proof "{" hyp "." proof ";" hyp "." proof "}" -> case | "open" proof "{" name hyp "." proof "}" -> open
    | "em" "[" formula "]" -> em | "calc" -> calc | "admit" -> admit | "native" -> native
    | "lin" "(" [share ("," share)*] ")" -> lin | "(" proof ")" | "(" proof ":" formula ")" -> said
share: factor "*" tight -> share
thing: "[" (term | formula) "]"
hyp: HYP
HYP: /[a-o][0-9]*(?![a-z0-9])/
"""
)


def _rule(name: str, names: int = 0, given: int = 0) -> Any:
    """Makes a term of its names, then terms or formulas, then proofs."""

    def build(parts: list[Any]) -> Proof:
        return Proof(name, tuple(parts[:names]), tuple(parts[names : names + given]), tuple(parts[names + given :]))

    return build


BUILT: dict[str, Any] = {
    **MADE,
    **{name: _rule(name) for name in ("app", "pair", "left", "right", "absurd", "first", "second", "calc", "admit", "native")},
    "use": _rule("use", 1),
    "fn": _rule("fn", 1),
    "gen": _rule("gen", 1),
    "some_": _rule("some", 0, 1),
    "em": _rule("em", 0, 1),
    "inst": lambda parts: Proof("inst", (), (parts[1],), (parts[0],)),
    "said": lambda parts: Proof("said", (), (parts[1],), (parts[0],)),
    "open": lambda parts: Proof("open", (parts[1], parts[2]), (), (parts[0], parts[3])),
    "case": lambda parts: Proof("case", (parts[1], parts[3]), (), (parts[0], parts[2], parts[4])),
    "lin": lambda parts: Proof("lin", (), tuple(c for c, _ in parts), tuple(p for _, p in parts)),
    "share": tuple,
    "thing": lambda parts: parts[0],
    "hyp": lambda parts: str(parts[0]),
}


@cache
def _proofs() -> Any:
    return parser(PROOFS, "proof", BUILT)


def written(said: Proof) -> str:
    """A term as it is read again."""
    names, given, of = said.names, [text(one) for one in said.given], said.of
    match said.rule:
        case "fn":
            return f"fn {names[0]}. {written(of[0])}"
        case "gen":
            return f"all {names[0]}. {written(of[0])}"
        case "use":
            return names[0]
        case "app":
            return f"{_inner(of[0])} {_tight(of[1])}"
        case "inst":
            return f"{_inner(of[0])} [{given[0]}]"
        case "pair":
            return f"<{written(of[0])}, {written(of[1])}>"
        case "first" | "second":
            return f"{_tight(of[0])}.{1 if said.rule == 'first' else 2}"
        case "left" | "right" | "absurd":
            return f"{said.rule} {written(of[0])}"
        case "some":
            return f"some [{given[0]}] {written(of[0])}"
        case "case":
            return f"case {written(of[0])} {{{names[0]}. {written(of[1])}; {names[1]}. {written(of[2])}}}"
        case "open":
            return f"open {written(of[0])} {{{names[0]} {names[1]}. {written(of[1])}}}"
        case "em":
            return f"em[{given[0]}]"
        case "lin":
            return f"lin({', '.join(f'({share})*{_tight(each)}' for share, each in zip(given, of, strict=True))})"
        case "said":
            return f"({written(of[0])} : {given[0]})"
        case _:
            return said.rule


def _tight(said: Proof) -> str:
    """What stands behind another."""
    bare = ("use", "pair", "first", "second", "case", "open", "em", "lin", "said", "calc", "admit", "native")
    return written(said) if said.rule in bare else f"({written(said)})"


def _inner(said: Proof) -> str:
    """What is applied."""
    return written(said) if said.rule in ("app", "inst") else _tight(said)


def proof(said: str) -> Proof:
    """The term that a text says; `Unread` where it says none."""
    return read_by(_proofs(), said, "proof")


# ------------------------------------------------------------------------------------------------ checking

Context = Mapping[str, Formula]
"""Hypotheses, by name."""


class Kernel:
    """Checks one proof. `lemmas` are what its names mean that are no hypotheses: proven before, or axioms."""

    def __init__(
        self,
        lemmas: Context | None = None,
        fuel: int = FUEL,
        axioms: frozenset[str] = frozenset(),
        guard: bool = True,
        plugins: bool = False,
    ):
        self.lemmas, self.fuel, self.axioms, self.guard, self.plugins = dict(lemmas or {}), fuel, axioms, guard, plugins
        self.trusted = set[str]()
        """What it has used that nobody proved."""

    def check(self, said: Proof, goal: Formula, context: Context | None = None) -> None:
        """Nothing where it proves this; `Refused` where it does not."""
        known: Context = context or {}
        self._spend(1)
        match said.rule, goal:
            case "fn", Op("->", left, right):
                self.check(said.of[0], right, {**known, said.names[0]: left})
            case "gen", Bind("all", name, body):
                self._new(said.names[0], known, goal)
                self._sort(said.names[0], name)
                self.check(said.of[0], self.put(body, name, named(said.names[0])), known)
            case "pair", Op("&", left, right):
                self.check(said.of[0], left, known)
                self.check(said.of[1], right, known)
            case (("left" | "right"), Op("|", left, right)):
                self.check(said.of[0], left if said.rule == "left" else right, known)
            case "some", Bind("ex", name, body):
                self.check(said.of[0], self.put(body, name, self._fits(said.given[0], name)), known)
            case "case", _:
                either = self.infer(said.of[0], known)
                if not (isinstance(either, Op) and either.op == "|"):
                    raise Refused(f"case of what is no disjunction: {brief(either)}")
                for name, side, then in zip(said.names, (either.left, either.right), said.of[1:], strict=True):
                    self.check(then, goal, {**known, name: side})
            case "open", _:
                there = self.infer(said.of[0], known)
                if not (isinstance(there, Bind) and there.op == "ex"):
                    raise Refused(f"open of what says not that something is there: {brief(there)}")
                self._new(said.names[0], known, goal, there)
                self._sort(said.names[0], there.name)
                given = self.put(there.body, there.name, named(said.names[0]))
                self.check(said.of[1], goal, {**known, said.names[1]: given})
            case "absurd", _:
                self.check(said.of[0], FALSE, known)
            case "lin", Equal(left, right):
                self._sum(said, left, right, known)
            case "calc", (Equal() | Op("->", Equal(), _)):
                self._computed(goal)
            case "native", Equal(left, right) if self.plugins:
                self.trusted.add("native")
                names = free(left) | free(right)
                if any(value(left, at) != value(right, at) for at in (dict.fromkeys(names, 0), dict.fromkeys(names, 1))):
                    raise Refused("native: both sides differ")
            case "admit", _:
                self.trusted.add("admit")
            case (("use" | "app" | "inst" | "first" | "second" | "em" | "said"), _):
                found = self.infer(said, known)
                if not self.same(found, goal):
                    raise Refused(f"{brief(found)} is proven where {brief(goal)} is needed")
            case _:
                raise Refused(f"{said.rule} proves no {brief(goal)}")

    def infer(self, said: Proof, known: Context) -> Formula:
        """What a term proves that says it itself."""
        self._spend(1)
        match said.rule:
            case "use":
                return self._meaning(said.names[0], known)
            case "said":
                self.check(said.of[0], said.given[0], known)
                return said.given[0]
            case "em":
                return Op("|", said.given[0], no(said.given[0]))
            case "app":
                match self.infer(said.of[0], known):
                    case Op("->", left, right):
                        self.check(said.of[1], left, known)
                        return right
                    case other:
                        raise Refused(f"{brief(other)} is no implication, and is applied")
            case "inst":
                match self.infer(said.of[0], known):
                    case Bind("all", name, body):
                        return self.put(body, name, self._fits(said.given[0], name))
                    case other:
                        raise Refused(f"{brief(other)} does not say `all`, and is applied")
            case "first" | "second":
                match self.infer(said.of[0], known):
                    case Op("&", left, right):
                        return left if said.rule == "first" else right
                    case other:
                        raise Refused(f"{brief(other)} is no conjunction")
            case _:
                raise Refused(f"nothing says what {said.rule} proves here: write ({said.rule} … : A)")

    def same(self, a: Any, b: Any, left: Mapping[str, int] | None = None, right: Mapping[str, int] | None = None, deep: int = 0) -> bool:
        """One formula, whatever its bound names are: a bound name is told by how deep its binder stands, a free one by itself."""
        left, right = left or {}, right or {}
        self._spend(1)
        match a, b:
            case (Prop(x), Prop(y)) | (Var(x), Var(y)):
                return left.get(x, x) == right.get(y, y)
            case Bind(op, x, body), Bind(other, y, its):
                alike = op == other and numeric(x) == numeric(y)
                return alike and self.same(body, its, {**left, x: deep}, {**right, y: deep}, deep + 1)
            case (Op(op, l1, r1), Op(other, l2, r2)) | (Arith(op, l1, r1), Arith(other, l2, r2)):
                return op == other and self.same(l1, l2, left, right, deep) and self.same(r1, r2, left, right, deep)
            case Equal(l1, r1), Equal(l2, r2):
                return self.same(l1, l2, left, right, deep) and self.same(r1, r2, left, right, deep)
            case _:
                return a == b if isinstance(a, (Num, type(FALSE))) else False

    # -------------------------------------------------------------------------------------------- names

    def _meaning(self, name: str, known: Context) -> Formula:
        if name in known:
            return known[name]
        if name not in self.lemmas:
            raise Refused(f"there is no hypothesis {name}")
        if name in self.axioms:
            self.trusted.add(f"axiom {name}")
        return self.lemmas[name]

    def _new(self, name: str, known: Context, *others: Formula) -> None:
        """What holds of a new name holds of all, so nothing may be known of it."""
        if any(self._in(name, one) for one in (*known.values(), *others)):
            if self.guard:
                raise Refused(f"{name} is not new here")
            self.trusted.add("guard off")

    def _in(self, name: str, a: Any) -> bool:
        """Whether a name is free there."""
        self._spend(1)
        match a:
            case Prop(x) | Var(x):
                return x == name
            case Op(_, left, right) | Arith(_, left, right) | Equal(left, right):
                return self._in(name, left) or self._in(name, right)
            case Bind(_, x, body):
                return x != name and self._in(name, body)
            case _:
                return False

    def put(self, a: Any, name: str, by: Any) -> Any:
        """A formula with this in the place of a name. A quantifier whose name stands in it takes another one first."""
        self._spend(1)
        match a:
            case Prop(x) | Var(x):
                return by if x == name else a
            case Op(op, left, right):
                return Op(op, self.put(left, name, by), self.put(right, name, by))
            case Arith(op, left, right):
                return Arith(op, self.put(left, name, by), self.put(right, name, by))
            case Equal(left, right):
                return Equal(self.put(left, name, by), self.put(right, name, by))
            case Bind(op, x, body):
                if x == name:
                    return a
                if self._in(x, by):
                    y, number = x, 0
                    while y == name or self._in(y, by) or self._in(y, body):
                        y, number = f"{x[0]}{number}", number + 1
                    x, body = y, self.put(body, x, named(y))
                return Bind(op, x, self.put(body, name, by))
            case _:
                return a

    def _fits(self, given: Any, name: str) -> Any:
        if isinstance(given, (Num, Var, Arith)) != numeric(name):
            raise Refused(f"{brief(given)} stands for {name}, which is {'a number' if numeric(name) else 'a proposition'}")
        return given

    def _sort(self, one: str, other: str) -> None:
        if numeric(one) != numeric(other):
            raise Refused(f"{one} stands for {other}: one is a number and the other a proposition")

    # -------------------------------------------------------------------------------------------- numbers

    def _sum(self, said: Proof, left: Term, right: Term, known: Context) -> None:
        """left - right is the sum of (l - r) times t, over proofs of l = r."""
        rest = self.polynomial(Arith("-", left, right))
        for share, each in zip(said.given, said.of, strict=True):
            match self.infer(each, known):
                case Equal(one, other):
                    rest = self.plus(rest, self.times(self.polynomial(share), self.polynomial(Arith("-", one, other))), -1)
                case found:
                    raise Refused(f"{brief(found)} is no equation to add")
        if rest:
            raise Refused(f"{brief(left)} and {brief(right)} differ by more than these equations")

    def _computed(self, goal: Formula) -> None:
        equal, holds = (goal, True) if isinstance(goal, Equal) else (goal.left, False) if isinstance(goal, Op) else (None, False)
        if not isinstance(equal, Equal) or (not holds and (not isinstance(goal, Op) or goal.right != FALSE)):
            raise Refused("calc is of an equation, or of its negation")
        rest = self.polynomial(Arith("-", equal.left, equal.right))
        if any(monomial for monomial in rest):
            raise Refused(f"calc: {brief(equal)} has names in it")
        if holds == bool(rest):
            raise Refused(f"calc: {brief(goal)} is wrong")

    def polynomial(self, a: Term) -> dict[Any, int]:
        """{((name, power), …): coefficient}, none of them 0: equal for terms that the laws of rings make equal."""
        self._spend(1)
        match a:
            case Num(value):
                return {(): value} if value else {}
            case Var(name):
                return {((name, 1),): 1}
            case Arith("*", left, right):
                return self.times(self.polynomial(left), self.polynomial(right))
            case Arith(op, left, right):
                return self.plus(self.polynomial(left), self.polynomial(right), 1 if op == "+" else -1)

    def plus(self, one: dict[Any, int], other: dict[Any, int], times: int) -> dict[Any, int]:
        self._spend(len(other))
        found = dict(one)
        for monomial, count in other.items():
            found[monomial] = found.get(monomial, 0) + times * count
        return self._small(found)

    def times(self, one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
        self._spend(len(one) * len(other))
        found = dict[Any, int]()
        for left, a in one.items():
            for right, b in other.items():
                powers = dict(left)
                for name, power in right:
                    powers[name] = powers.get(name, 0) + power
                monomial = tuple(sorted(powers.items()))
                found[monomial] = found.get(monomial, 0) + a * b
        return self._small(found)

    def _small(self, found: dict[Any, int]) -> dict[Any, int]:
        found = {monomial: value for monomial, value in found.items() if value}
        if len(found) > WIDEST or any(value.bit_length() > BITS or sum(p for _, p in m) > HIGHEST for m, value in found.items()):
            raise Spent("a polynomial that is too large")
        return found

    def _spend(self, steps: int) -> None:
        self.fuel -= steps
        if self.fuel < 0:
            raise Spent("checking it takes too many steps")


def proves(said: Proof, goal: Formula, fuel: int = FUEL) -> str:
    """Why a term does not prove a formula by itself; nothing where it does."""
    kernel = Kernel(fuel=fuel)
    try:
        kernel.check(said, goal)
    except Refused as why:
        return str(why)
    except RecursionError:
        return "it is nested too deep"
    return f"it trusts in {', '.join(sorted(kernel.trusted))}" if kernel.trusted else ""
