"""A prover by search, and what it is good for here: to try a statement's negation.

It goes by the shape of what is to be proven, splits on what is not decided, solves equations for names that stand in them alone, and looks
for witnesses among small numbers. `steps` bounds it, whatever it meets. What it finds is a term, which the kernel checks like anybody's:
nobody has to trust the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from strop.proofs.kernel import Kernel, Proof, Refused, proves
from strop.proofs.logic import (
    FALSE,
    TRUE,
    Arith,
    Bind,
    Equal,
    False_,
    Formula,
    Num,
    Op,
    Prop,
    Term,
    Var,
    closed,
    denied,
    free,
    named,
    no,
    numeric,
    quantified,
    value,
)

STEPS = 500
"""Of a search: valuations that are tried, and sequents that are looked at."""
NUMBERS = (0, 1, -1, 2, -2, 3, -3)
"""What is tried for a number, in this order."""
Fact = tuple[Proof, Formula]
"""A term that says itself what it proves, and that."""
Poly = dict[Any, int]


class Out(Exception):
    """No steps are left."""


def proven(goal: Formula, steps: int = STEPS) -> Proof | None:
    """A term that proves it; none where none was found. An open statement is closed."""
    search = Search(steps)
    try:
        found = search.prove([], closed(goal))
    except (Out, Refused, RecursionError):
        return None
    return found if found is not None and not proves(found, closed(goal)) else None


def refuted(statement: Formula, steps: int = STEPS, close: bool = True) -> Proof | None:
    """A term that proves a statement's negation, so that the statement is false; none where none was found. With `close=False` it is denied
    as it stands, and its free variables are those of the negation."""
    return proven(denied(statement, close), steps)


# ------------------------------------------------------------------------------------------------ values


def holds(a: Formula, at: Mapping[str, Any]) -> bool:
    """Of what has no quantifiers, where all names have values."""
    match a:
        case Prop(name):
            return at[name]
        case Equal(left, right):
            return value(left, at) == value(right, at)
        case Op("->", left, right):
            return not holds(left, at) or holds(right, at)
        case Op("&", left, right):
            return holds(left, at) and holds(right, at)
        case Op(_, left, right):
            return holds(left, at) or holds(right, at)
        case _:
            return False


def conjuncts(a: Formula) -> list[Formula]:
    return [*conjuncts(a.left), *conjuncts(a.right)] if isinstance(a, Op) and a.op == "&" else [a]


# ------------------------------------------------------------------------------------------------ equations


def alone(poly: Poly, among: Sequence[str]) -> tuple[str, int] | None:
    """A name that stands in a polynomial once, times 1 or -1, and that coefficient."""
    for name in among:
        there = [monomial for monomial in poly if any(x == name for x, _ in monomial)]
        if there == [((name, 1),)] and abs(poly[there[0]]) == 1:
            return name, poly[there[0]]
    return None


def term(poly: Poly) -> Term:
    """A polynomial as a term."""
    found: Term | None = None
    for monomial, times in sorted(poly.items()):
        factors: list[Term] = [Var(name) for name, power in monomial for _ in range(power)]
        if abs(times) != 1 or not factors:
            factors.insert(0, Num(abs(times)))
        one = factors[0]
        for factor in factors[1:]:
            one = Arith("*", one, factor)
        found = (one if times > 0 else Arith("-", Num(0), one)) if found is None else Arith("+" if times > 0 else "-", found, one)
    return found or Num(0)


@dataclass
class Known:
    """An equation as a polynomial that is 0, and of which given ones it is the sum: by number the share of each."""

    poly: Poly
    shares: dict[int, Poly]


class Rings:
    """Sums and products of polynomials, metered by a kernel of its own."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.rest = list[Known]()
        self.of, self.plus, self.times = self.kernel.polynomial, self.kernel.plus, self.kernel.times

    def solved(self, poly: Poly, known: Known, name: str, sign: int) -> tuple[Poly, Poly]:
        """(a polynomial without a name that stands alone in a known one, the share of the known one in the difference)."""
        rest = self.plus({}, {m: v for m, v in known.poly.items() if m != ((name, 1),)}, -sign)  # what the name equals
        left, share = Poly(), Poly()
        for monomial, times in poly.items():
            power = next((p for x, p in monomial if x == name), 0)
            bare: Poly = {tuple((x, p) for x, p in monomial if x != name): times}
            powers: list[Poly] = [{(): 1}]
            for _ in range(power):
                powers.append(self.times(powers[-1], rest))
            left = self.plus(left, self.times(bare, powers[-1]), 1)
            for k in range(power):
                part = self.times(bare, powers[k])
                share = self.plus(share, self.times(part, {((name, power - 1 - k),): 1} if power - 1 - k else {(): 1}), sign)
        return left, share

    def combined(self, goal: Poly, facts: Sequence[Poly]) -> tuple[Poly, dict[int, Poly]]:
        """(what is left of a polynomial, the shares of the known ones in what is gone). `rest` is what is left of those."""
        known = [Known(poly, {at: {(): 1}}) for at, poly in enumerate(facts)]
        shares = dict[int, Poly]()
        while known:
            at = next((n for n, k in enumerate(known) if alone(k.poly, sorted({x for m in k.poly for x, _ in m}))), None)
            if at is None:
                break
            one = known.pop(at)
            name, sign = alone(one.poly, sorted({x for m in one.poly for x, _ in m})) or ("", 1)
            goal, share = self.solved(goal, one, name, sign)
            shares = self.added(shares, one.shares, share, 1)
            for other in known:
                other.poly, share = self.solved(other.poly, one, name, sign)
                other.shares = self.added(other.shares, one.shares, share, -1)
        self.rest = known
        return goal, shares

    def added(self, to: dict[int, Poly], shares: dict[int, Poly], times: Poly, sign: int) -> dict[int, Poly]:
        found = dict(to)
        for at, share in shares.items():
            found[at] = self.plus(found.get(at, {}), self.times(share, times), sign)
        return found


# ------------------------------------------------------------------------------------------------ the search


def built(rule: str, *of: Proof | None, names: tuple[str, ...] = ()) -> Proof | None:
    """A term of others; none where one of them is none."""
    there = tuple(one for one in of if one is not None)
    return Proof(rule, names, (), there) if len(there) == len(of) else None


@dataclass
class Search:
    """One search."""

    steps: int
    named: int = field(default=0, init=False)

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Out

    def hypothesis(self) -> str:
        self.named += 1
        return "abcdefghijklmno"[(self.named - 1) % 15] + (str((self.named - 1) // 15) if self.named > 15 else "")

    def prove(self, facts: list[Fact], goal: Formula) -> Proof | None:
        """A term for a goal, from facts."""
        self.step()
        for said, fact in facts:
            if fact == goal:
                return said
        match goal:
            case Op("->", left, right):
                name = self.hypothesis()
                found = self.prove([*facts, (Proof("use", (name,)), left)], right)
                return found and Proof("fn", (name,), (), (found,))
            case Op("&", left, right):
                one = self.prove(facts, left)
                other = one and self.prove(facts, right)
                return built("pair", one, other)
            case Bind("all", name, body):
                new = fresh(name, [goal, *(fact for _, fact in facts)])
                found = self.prove(facts, Kernel().put(body, name, named(new)))
                return found and Proof("gen", (new,), (), (found,))
            case _:
                return self.by_facts(facts, goal)

    def by_facts(self, facts: list[Fact], goal: Formula) -> Proof | None:
        """What facts say is taken apart first."""
        for at, (said, fact) in enumerate(facts):
            others = [*facts[:at], *facts[at + 1 :]]
            match fact:
                case False_():
                    return said if goal == FALSE else Proof("absurd", (), (), (said,))
                case Op("&", left, right):
                    return self.prove([*others, (Proof("first", (), (), (said,)), left), (Proof("second", (), (), (said,)), right)], goal)
                case Op("|", left, right):
                    a, b = self.hypothesis(), self.hypothesis()
                    one = self.prove([*others, (Proof("use", (a,)), left)], goal)
                    other = one and self.prove([*others, (Proof("use", (b,)), right)], goal)
                    return built("case", said, one, other, names=(a, b))
                case Bind("ex", name, body):
                    new, h = fresh(name, [goal, *(f for _, f in facts)]), self.hypothesis()
                    found = self.prove([*others, (Proof("use", (h,)), Kernel().put(body, name, named(new)))], goal)
                    return found and Proof("open", (new, h), (), (said, found))
                case Op("->", left, right) if (known := next((p for p, f in facts if f == left), None)) is not None:
                    return self.prove([*others, (Proof("app", (), (), (said, known)), right)], goal)
                case _:
                    pass
        if isinstance(goal, Bind):
            return self.witnessed(facts, goal)
        return self.decided(facts, goal)

    def decided(self, facts: list[Fact], goal: Formula) -> Proof | None:
        """By cases, until every atom is known to hold or not."""
        atoms = dict[Formula, tuple[bool, Proof]]()
        for said, fact in facts:
            if isinstance(fact, (Prop, Equal)):
                atoms[fact] = True, said
            elif isinstance(fact, Op) and fact.right == FALSE and isinstance(fact.left, (Prop, Equal)):
                atoms[fact.left] = False, said
        truths = Truths(atoms, facts)
        if (found := truths.affirmed(goal)) is not None:
            return found
        for said, fact in facts:
            if (found := truths.denied(fact, said)) is not None:
                return found if goal == FALSE else Proof("absurd", (), (), (found,))
        if (found := truths.contradiction()) is not None:
            return found if goal == FALSE else Proof("absurd", (), (), (found,))
        undecided = next((a for one in (goal, *(f for _, f in facts)) for a in truths.open(one)), None)
        if undecided is None:
            return self.sides(facts, goal)
        a, b = self.hypothesis(), self.hypothesis()
        one = self.prove([*facts, (Proof("use", (a,)), undecided)], goal)
        other = one and self.prove([*facts, (Proof("use", (b,)), no(undecided))], goal)
        return built("case", Proof("em", (), (undecided,)), one, other, names=(a, b))

    def sides(self, facts: list[Fact], goal: Formula) -> Proof | None:
        """Of an `|` whose sides have quantifiers, either."""
        if not (isinstance(goal, Op) and goal.op == "|"):
            return None
        for side, way in ((goal.left, "left"), (goal.right, "right")):
            if (found := self.prove(facts, side)) is not None:
                return Proof(way, (), (), (found,))
        return None

    # -------------------------------------------------------------------------------------------- witnesses

    def witnessed(self, facts: list[Fact], goal: Formula) -> Proof | None:
        """Of `ex x y. A`: values that make A true where that can be computed; else such that A can be proven."""
        names, body = list[str](), goal
        while isinstance(body, Bind) and body.op == "ex":
            name = fresh(body.name, [goal, *map(named, names), *(f for _, f in facts)]) if body.name in names else body.name
            body = body.body if name == body.name else Kernel().put(body.body, body.name, named(name))
            names.append(name)
        if free(body) <= {*names} and not quantified(body):
            for at in self.valuations(names, body):
                self.step()
                if holds(body, at):
                    return self.given([*map(constant, (at[name] for name in names))], goal, facts)
            return None
        outer = sorted(free(body) - {*names})
        for values in self.candidates(names, outer, body):
            self.step()
            if (found := self.given(values, goal, facts)) is not None:
                return found
        return None

    def given(self, values: list[Any], goal: Formula, facts: list[Fact]) -> Proof | None:
        """The proof of `ex …` with these witnesses."""
        for one in values:
            assert isinstance(goal, Bind)
            goal = Kernel().put(goal.body, goal.name, one)
        found = self.prove(facts, goal)
        for one in reversed(values):
            found = found and Proof("some", (), (one,), (found,))
        return found

    def valuations(self, names: list[str], body: Formula) -> Iterator[dict[str, Any]]:
        """Values of names, small ones first; what an equation of the body says of a name that stands in it alone is computed."""
        rings, rest, rules = Rings(), list(names), list[tuple[str, Term]]()
        equations = [rings.of(Arith("-", one.left, one.right)) for one in conjuncts(body) if isinstance(one, Equal)]
        while equations:
            poly = equations.pop(0)
            if (found := alone(poly, [name for name in rest if numeric(name)])) is None:
                continue
            name, sign = found
            rest.remove(name)
            equals = rings.plus({}, {m: v for m, v in poly.items() if m != ((name, 1),)}, -sign)
            rules.append((name, term(equals)))
            equations = [rings.solved(other, Known(poly, {}), name, sign)[0] for other in equations]
        spread = sorted(product(*(NUMBERS if numeric(name) else (True, False) for name in rest)), key=cost) if len(rest) < 6 else ()
        for values in spread or islice(product(*(NUMBERS if numeric(name) else (True, False) for name in rest)), 5000):
            at: dict[str, Any] = dict(zip(rest, values, strict=True))
            for name, equals in reversed(rules):
                at[name] = value(equals, at)
            yield at

    def candidates(self, names: list[str], outer: list[str], body: Formula) -> Iterator[list[Any]]:
        """Terms and formulas to try: what an equation says a name must be, then what is small, and the names around."""
        rings, rules = Rings(), dict[str, Term]()
        for one in equations_in(body):
            poly = rings.of(Arith("-", one.left, one.right))
            if (found := alone(poly, [n for n in names if numeric(n) and n not in rules])) is not None:
                equals = rings.plus({}, {m: v for m, v in poly.items() if m != ((found[0], 1),)}, -found[1])
                if not any(x in names or x not in outer for m in equals for x, _ in m):
                    rules[found[0]] = term(equals)
            elif (whole := divided(poly, names)) is not None and not any(x not in outer for m in whole[1] for x, _ in m):
                rules.setdefault(whole[0], term(whole[1]))
        numbers = [Num(n) if n >= 0 else Arith("-", Num(0), Num(-n)) for n in NUMBERS[:5]]
        around: list[Any] = [Var(x) for x in outer if numeric(x)]
        props: list[Any] = [TRUE, FALSE, *(Prop(x) for x in outer if not numeric(x))]
        ways = [([rules[n]] if n in rules else []) + [*numbers, *around] if numeric(n) else props for n in names]
        for values in product(*ways):
            yield list(values)


def divided(poly: Poly, names: Sequence[str]) -> tuple[str, Poly] | None:
    """(name, what it equals) of `c*name + the rest`, where c divides all the rest."""
    for name in names:
        c = poly.get(((name, 1),), 0)
        others = {m: v for m, v in poly.items() if m != ((name, 1),)}
        if c and not any(x == name for m in others for x, _ in m) and all(v % c == 0 for v in others.values()):
            return name, {m: -v // c for m, v in others.items()}
    return None


def equations_in(a: Formula) -> Iterator[Equal]:
    match a:
        case Equal():
            yield a
        case Op(_, left, right):
            yield from equations_in(left)
            yield from equations_in(right)
        case Bind(_, _, body):
            yield from equations_in(body)
        case _:
            pass


def cost(values: Sequence[Any]) -> int:
    return sum(NUMBERS.index(v) if not isinstance(v, bool) else 0 for v in values)


def constant(v: Any) -> Any:
    return (TRUE if v else FALSE) if isinstance(v, bool) else Num(v) if v >= 0 else Arith("-", Num(0), Num(-v))


def fresh(name: str, among: Sequence[Formula | Term]) -> str:
    """A name that is free in none of these."""
    taken = frozenset[str]().union(*map(free, among))
    new, number = name, 0
    while new in taken:
        new, number = f"{name[0]}{number}", number + 1
    return new


class Truths:
    """What follows from atoms that are known to hold or not, and its proof."""

    def __init__(self, atoms: Mapping[Formula, tuple[bool, Proof]], facts: Sequence[Fact]):
        self.atoms = atoms
        self.equations = [(said, fact) for said, fact in facts if isinstance(fact, Equal)]

    def affirmed(self, a: Formula) -> Proof | None:
        """A term to be checked against it."""
        if (known := self.atoms.get(a)) is not None:
            return known[1] if known[0] else None
        match a:
            case Equal(left, right):
                return self.summed(left, right)
            case Op("&", left, right):
                one = self.affirmed(left)
                other = one and self.affirmed(right)
                return built("pair", one, other)
            case Op("|", left, right):
                if (found := self.affirmed(left)) is not None:
                    return Proof("left", (), (), (found,))
                found = self.affirmed(right)
                return found and Proof("right", (), (), (found,))
            case Op("->", left, right):
                name = under(a)
                if (found := self.denied(left, Proof("use", (name,)))) is not None:
                    return Proof("fn", (name,), (), (found if right == FALSE else Proof("absurd", (), (), (found,)),))
                found = self.affirmed(right)
                return found and Proof("fn", (name,), (), (found,))
            case _:
                return None

    def denied(self, a: Formula, said: Proof) -> Proof | None:
        """A term for false, from one that says itself that it proves this."""
        if (known := self.atoms.get(a)) is not None:
            return None if known[0] else Proof("app", (), (), (known[1], said))
        match a:
            case False_():
                return said
            case Equal(left, right):
                return self.nowhere(left, right, said)
            case Op("&", left, right):
                if (found := self.denied(left, Proof("first", (), (), (said,)))) is not None:
                    return found
                return self.denied(right, Proof("second", (), (), (said,)))
            case Op("|", left, right):
                name, other = under(left), under(right)
                one = self.denied(left, Proof("use", (name,)))
                two = one and self.denied(right, Proof("use", (other,)))
                return built("case", said, one, two, names=(name, other))
            case Op("->", left, right):
                given = self.affirmed(left)
                return given and self.denied(right, Proof("app", (), (), (said, given)))
            case _:
                return None

    def summed(self, left: Term, right: Term) -> Proof | None:
        """An equation as a sum of known ones."""
        rings = Rings()
        goal = rings.of(Arith("-", left, right))
        if not goal:
            return Proof("lin")
        found = rings.combined(goal, [rings.of(Arith("-", e.left, e.right)) for _, e in self.equations])
        if found[0]:
            return None
        return self.sum_of(found[1])

    def sum_of(self, shares: Mapping[int, Poly]) -> Proof:
        there = [(term(share), self.equations[at][0]) for at, share in sorted(shares.items()) if share]
        return Proof("lin", (), tuple(t for t, _ in there), tuple(p for _, p in there))

    def nowhere(self, left: Term, right: Term, said: Proof) -> Proof | None:
        """False from an equation whose sides differ by a number, known equations taken in."""
        rings = Rings()
        polys = [rings.of(Arith("-", e.left, e.right)) for _, e in self.equations]
        goal = rings.of(Arith("-", left, right))
        found = rings.combined(goal, polys)
        if [*found[0]] != [()]:
            return None
        # left - right = number + the shares of the others, so number = 0 is left - right less these
        less = [(term(rings.plus({}, share, -1)), self.equations[at][0]) for at, share in sorted(found[1].items()) if share]
        return self.impossible(found[0][()], [(Num(1), said), *less])

    def impossible(self, number: int, shares: Sequence[tuple[Term, Proof]]) -> Proof:
        """False from a sum of equations that says of a number that it is 0."""
        equal = Equal(constant(number), Num(0))
        summed = Proof("lin", (), tuple(t for t, _ in shares), tuple(p for _, p in shares))
        return Proof("app", (), (), (Proof("said", (), (no(equal),), (Proof("calc"),)), summed))

    def contradiction(self) -> Proof | None:
        """False from known equations that cannot hold together."""
        rings = Rings()
        rings.combined({}, [rings.of(Arith("-", e.left, e.right)) for _, e in self.equations])
        for one in rings.rest:
            if [*one.poly] == [()]:
                there = [(term(share), self.equations[at][0]) for at, share in sorted(one.shares.items()) if share]
                return self.impossible(one.poly[()], there)
        return None

    def open(self, a: Formula) -> Iterator[Formula]:
        """Atoms of which nothing is known, outside of quantifiers."""
        match a:
            case Prop():
                if a not in self.atoms:
                    yield a
            case Equal(left, right):
                settled = a in self.atoms or self.summed(left, right) is not None
                if not settled and self.nowhere(left, right, Proof("use", ("a",))) is None:
                    yield a
            case Op(_, left, right):
                yield from self.open(left)
                yield from self.open(right)
            case _:
                pass


def under(a: Formula) -> str:
    """A hypothesis that is used at once, and hides none that is needed under it."""
    return f"o{50 + height(a)}"


def height(a: Formula) -> int:
    return 1 + max(height(a.left), height(a.right)) if isinstance(a, Op) else 0
