"""Statements are read as they are written; the kernel takes proofs and refuses what is none; the search finds what it takes."""

import random
from itertools import product
from typing import Any

import pytest

from strop.proofs.kernel import FUEL, Kernel, Spent, proof, proves, written
from strop.proofs.logic import DEEPEST, LONGEST, Bind, Equal, Num, Op, Unread, Var, brief, closed, denied, free, read, text, value
from strop.proofs.made import KINDS, edited, statement
from strop.proofs.search import Rings, holds, proven, refuted, term
from strop.proofs.truth import true


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("all p q. p<->q|r", "all p q. p <-> q | r"),
        ("~~p -> (q -> r) & true", "~~p -> (q -> r) & true"),
        ("(p & q) & ~(all q. q)", "(p & q) & ~(all q. q)"),
        ("x - (y - z) != 2*(x+1)*y", "x - (y - z) != 2*(x + 1)*y"),
        ("ex x. all y. x*y = 0 -> p", "ex x. all y. x*y = 0 -> p"),
    ],
)
def test_a_statement_is_read_as_it_is_written(said, again):
    assert text(read(said)) == again
    assert read(again) == read(said)


@pytest.mark.parametrize(
    "said", ["", "p &", "x = p", "p q", "9" * 30 + " = x", "~" * (DEEPEST + 1) + "p", "p | " * LONGEST, "all. p", "p <-> " * 60 + "p"]
)
def test_what_is_no_statement_is_unread(said):
    with pytest.raises(Unread):
        read(said)


def test_an_open_statement_is_closed_before_it_is_denied():
    said = read("p -> q")
    assert free(said) == {"p", "q"}
    assert text(denied(said)) == "ex p q. p & ~q"
    assert text(denied(said, close=False)) == "p & ~q"
    assert refuted(said) is not None
    assert refuted(said, close=False) is None, "of p & ~q for all p and q there is no proof"
    assert text(denied(read("all x. ex y. x = y & p"))) == "ex p x. all y. x != y | ~p"


RIGHT = [
    ("p & q -> q & p", "all p. all q. fn h. <h.2, h.1>"),
    ("p | ~p", "all p. em[p]"),
    ("p | q -> q | p", "all p. all q. fn h. case h {a. right a; b. left b}"),
    ("~ all p q. p -> q", "fn h. h [true] [false] (fn a. a)"),
    ("(x + y)*x = x*x + x*y", "all x. all y. lin()"),
    ("x = y + 1 -> x*x = y*y + 2*y + 1", "all x. all y. fn h. lin((x + y + 1)*h)"),
    ("ex x. x*x = 9", "some [3] calc"),
    ("(ex x. x = 1) -> ex y. y + 1 = 2", "fn h. open h {z k. some [z] lin(1*k)}"),
    ("x = x + 1 -> p", "all p. all x. fn h. absurd (calc : 1 != 0) (lin((0 - 1)*h))"),
    ("(all y. ex x. x != y) -> ex x. x != z", "all z. fn h. h [z]"),
]
WRONG = [
    ("p -> q", "all p. all q. fn h. h", "is proven where"),
    ("p -> q", "all p. all q. fn h. k", "no hypothesis"),
    ("p -> q", "all p. all q. admit", "trusts in admit"),
    ("x*x = x", "all x. native", "proves no"),
    ("x + y = y", "all x. all y. lin()", "differ by more"),
    ("1 = 2", "calc", "is wrong"),
    ("1 != 1", "calc", "is wrong"),
    ("x = y", "all x. all y. calc", "has names in it"),
    ("(ex x. x = 1) -> all y. y = 1", "fn h. all y. open h {y k. k}", "not new"),
    ("(ex x. x = 1) -> all y. y = 1", "fn h. open h {y k. all y. k}", "not new"),
    ("(all y. ex x. x != y) -> ex x. x != x", "fn h. all z. h [z]", "proves no"),
    ("(all y. ex x. x != y) -> all x. ex x. x != x", "fn h. all x. h [x]", "is proven where"),
    ("(all p. p) -> q", "all q. fn h. h [1]", "stands for p"),
    ("all x. p", "all p. all q. em[q]", "stands for x"),
    ("p -> p & p", "all p. fn h. <h, h.1>", "no conjunction"),
    ("p", "fn h. h", "proves no"),
    ("(ex x. x = 1) -> all x z. x = 1", "fn h. open h {x k. (all y. all y. k : all y y. x = 1)}", "is proven where"),
]


@pytest.mark.parametrize(("said", "term"), RIGHT)
def test_a_proof_is_taken_and_of_nothing_else(said, term):
    assert proves(proof(term), closed(read(said))) == ""
    assert proof(written(proof(term))) == proof(term)
    others = [other for other, _ in RIGHT if other != said]
    assert all(proves(proof(term), closed(read(other))) for other in others)


@pytest.mark.parametrize(("said", "term", "why"), WRONG)
def test_what_is_no_proof_is_refused_in_words(said, term, why):
    assert why in proves(proof(term), closed(read(said)))


def test_a_bound_name_steps_aside_for_what_is_put_under_it():
    body = read("ex y. x = y + 1")
    assert text(Kernel().put(body, "x", term_of("y"))) == "ex y0. y = y0 + 1"
    assert Kernel().same(read("all x. ex y. x = y"), read("all z. ex x. z = x"))
    assert not Kernel().same(read("all x. ex y. x = y"), read("all x. ex x. x = x"))
    assert not Kernel().same(read("all x. x = y"), read("all y. y = y"))
    assert not Kernel().same(read("all y y. x = x"), read("all x z. x = x"))
    assert not Kernel().same(read("all y y. x = 1"), read("all x z. x = 1"))


def numbered(a, bound=()) -> str:
    """A formula with its bound names as how many binders lie between: two are one where these texts are."""
    match a:
        case Bind(op, name, body):
            return f"({op} {numbered(body, (name, *bound))})"
        case Equal(left, right):
            return f"{numbered(left, bound)}={numbered(right, bound)}"
        case Op(op, left, right):
            return f"({numbered(left, bound)}{op}{numbered(right, bound)})"
        case _:
            return str(bound.index(a.name)) if a.name in bound else a.name


def some(rng, deep):
    """A formula over three names, whose binders shadow one another."""
    if not deep or rng.random() < 0.2:
        return Equal(Var(rng.choice("xyz")), Var(rng.choice("xyz")))
    if rng.random() < 0.8:
        return Bind("all", rng.choice("xyz"), some(rng, deep - 1))
    return Op("&", some(rng, deep - 1), some(rng, deep - 1))


def test_formulas_are_one_where_their_binders_say_so_however_they_shadow_one_another():
    rng = random.Random(0)
    pairs = [(some(rng, 3), some(rng, 3)) for _ in range(6000)]
    alike = [numbered(a) == numbered(b) for a, b in pairs]
    assert 20 < sum(alike) < 6000
    assert [Kernel().same(a, b) for a, b in pairs] == alike


POWER = "*".join(["(x + y + z + w)"] * 12)


DEAR = [f"lin({', '.join([f'({POWER})*h'] * 60)})", f"lin(({'*'.join(['9' * 18] * 30)})*h)", f"lin(({'*'.join([POWER] * 4)})*h)"]


@pytest.mark.parametrize("term", DEAR)
def test_no_proof_costs_more_than_its_steps(term):
    with pytest.raises(Spent):
        Kernel(fuel=FUEL).check(proof(f"fn h. {term}"), read("x = y -> x*z = y*z"))


def test_doubling_is_paid_for_where_it_is_looked_at():
    kernel, one, other = Kernel(), read("p & p"), read("p & p")
    for _ in range(64):
        one, other = kernel.put(read("p & p"), "p", one), kernel.put(read("p & p"), "p", other)
    assert brief(one) == "a formula of many signs"
    with pytest.raises(Spent):
        kernel.same(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_truth_search_and_kernel_agree(kind):
    rng = random.Random(f"proofs {kind}")
    for sound in (True, False):
        for _ in range(6):
            said, _ = statement(rng, sound, kind)
            assert read(text(said)) == said
            assert true(said) is sound
            assert (proven(said) is not None) is sound, "the search is complete on these, and the kernel sound"
            assert refuted(said) is None or not sound


def test_truth_is_that_of_the_table():
    rng = random.Random(7)
    for _ in range(30):
        said = edited(rng, statement(rng, True, "rewritten")[0])
        while isinstance(said, Bind):
            said = said.body
        names = sorted(free(said))
        table = all(holds(said, dict(zip(names, values, strict=True))) for values in product((True, False), repeat=len(names)))
        assert true(said) is table


def term_of(said) -> Any:
    """The left side of an equation."""
    found = read(f"{said} = 0")
    assert isinstance(found, Equal)
    return found.left


def test_sums_of_equations_hold_by_their_values():
    rings, rng = Rings(), random.Random(3)
    known, goal = rings.of(term_of("x - (y*y + 3*z)")), rings.of(term_of("x*x*w + x"))
    left, shares = rings.combined(goal, [known])
    assert not any(name == "x" for monomial in left for name, _ in monomial)
    for _ in range(5):
        at = {name: rng.randint(-5, 5) for name in "wxyz"}
        one, rest, share, other = (value(term(poly), at) for poly in (goal, left, shares[0], known))
        assert one == rest + share * other


def test_a_number_of_many_digits_is_refused():
    assert term_of("5") == Num(5)
    with pytest.raises(Unread, match="more than 18 digits"):
        read(f"x = {'1' * 19}")
