"""Statements: propositions and whole numbers, with quantifiers over both; read from text, written, closed, denied.

    all p q. p & q -> q & p            p to t are propositions, u to z numbers, each with digits behind: p, q2, x17
    (x + y)*x = x*x + x*y              an open statement is meant for all values of its free variables
    ex x. all y. x*y = 0

`->` and `<->` bind weakest and to the right, then `|`, `&`, `~`. `~A` is `A -> false`, `A <-> B` is `(A -> B) & (B -> A)`, `true` is
`false -> false`, and `t != u` is `~t = u`: they are ways of writing, and the kernel knows only what is below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

LONGEST = 1 << 16
"""Characters of a text that is read at all."""
DEEPEST = 200
"""Of a formula or a proof: how deep it may be nested."""
DIGITS = 18
"""Of a number."""


class Unread(ValueError):
    """A text that is no statement, or no proof."""


@dataclass(frozen=True, slots=True)
class Num:
    value: int


@dataclass(frozen=True, slots=True)
class Var:
    """A number that has a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Arith:
    """op: + - *"""

    op: str
    left: Term
    right: Term


Term = Num | Var | Arith


@dataclass(frozen=True, slots=True)
class Prop:
    """A proposition that has a name."""

    name: str


@dataclass(frozen=True, slots=True)
class False_:
    """What has no proof."""


@dataclass(frozen=True, slots=True)
class Equal:
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Op:
    """op: -> & |"""

    op: str
    left: Formula
    right: Formula


@dataclass(frozen=True, slots=True)
class Bind:
    """op: all ex. Whether over propositions or numbers, its name says."""

    op: str
    name: str
    body: Formula


Formula = Prop | False_ | Equal | Op | Bind
FALSE = False_()
TRUE = Op("->", FALSE, FALSE)


def no(a: Formula) -> Formula:
    return Op("->", a, FALSE)


def iff(a: Formula, b: Formula) -> Formula:
    return Op("&", Op("->", a, b), Op("->", b, a))


def numeric(name: str) -> bool:
    """Whether it names a number; else a proposition."""
    return name[0] in "uvwxyz"


def named(name: str) -> Term | Formula:
    return Var(name) if numeric(name) else Prop(name)


def value(a: Term, at: Mapping[str, Any]) -> int:
    """What a term comes to where its names have these values."""
    match a:
        case Num(number):
            return number
        case Var(name):
            return at[name]
        case Arith(op, left, right):
            one, other = value(left, at), value(right, at)
            return one + other if op == "+" else one - other if op == "-" else one * other


# ------------------------------------------------------------------------------------------------ free variables


def free(a: Formula | Term) -> frozenset[str]:
    """Names that no quantifier binds."""
    match a:
        case Prop(name) | Var(name):
            return frozenset((name,))
        case Op(_, left, right) | Arith(_, left, right) | Equal(left, right):
            return free(left) | free(right)
        case Bind(_, name, body):
            return free(body) - {name}
        case _:
            return frozenset()


def quantified(a: Formula) -> bool:
    """Whether a quantifier stands in it."""
    return isinstance(a, Bind) or (isinstance(a, Op) and (quantified(a.left) or quantified(a.right)))


def closed(a: Formula) -> Formula:
    """What an open statement means: for all values of what is free in it."""
    return bound("all", sorted(free(a)), a)


def bound(op: str, names: list[str], a: Formula) -> Formula:
    for name in reversed(names):
        a = Bind(op, name, a)
    return a


def denied(a: Formula, close: bool = True) -> Formula:
    """Its negation, by De Morgan: closed first, since of `p | q` and its open negation neither holds for all p and q. With `close=False`
    that step is left out."""
    return _denied(closed(a) if close else a)


def _denied(a: Formula) -> Formula:
    match a:
        case Bind(op, name, body):
            return Bind("ex" if op == "all" else "all", name, _denied(body))
        case Op("->", left, False_()):
            return left
        case Op("->", left, right):
            return Op("&", left, _denied(right))
        case Op("&", left, right):
            return Op("|", _denied(left), _denied(right))
        case Op("|", left, right):
            return Op("&", _denied(left), _denied(right))
        case _:
            return no(a)


def below(node: Any) -> Iterator[Any]:
    """What stands directly in a node."""
    for f in fields(node):
        value = getattr(node, f.name)
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(one, "__dataclass_fields__"):
                yield one


def depth(node: Any) -> int:
    """How deep it is nested; it needs no stack of Python's. What is written once may stand for much, which is Unread."""
    deepest, seen, waiting = 0, 0, [(node, 1)]
    while waiting:
        one, at = waiting.pop()
        deepest, seen = max(deepest, at), seen + 1
        if seen > 2 * LONGEST:
            raise Unread("it stands for too much: each `<->` writes both its sides twice")
        waiting += [(part, at + 1) for part in below(one)]
    return deepest


def brief(a: Any, most: int = 60) -> str:
    """The beginning of it, for who reads an error. What is very large is not written at all."""
    waiting, seen = [a], 0
    while waiting and seen < 10 * most:
        waiting += below(waiting.pop())
        seen += 1
    return "a formula of many signs" if waiting else text(a)[:most]


# ------------------------------------------------------------------------------------------------ written

BINDS = {"<->": 1, "->": 2, "|": 3, "&": 4, "~": 5, "=": 6, "+": 7, "-": 7, "*": 8}


def text(a: Formula | Term) -> str:
    """As it is read again."""
    return _text(a, 0)


def _text(a: Formula | Term, outer: int) -> str:
    match a:
        case Prop(name) | Var(name):
            return name
        case Num(value):
            return str(value) if value >= 0 else f"(0 - {-value})"
        case False_():
            return "false"
        case Op("->", False_(), False_()):
            return "true"
        case Op("->", Equal(left, right), False_()):
            return _around(f"{_text(left, 6)} != {_text(right, 6)}", outer > 6)
        case Op("->", left, False_()):
            return f"~{_text(left, 5)}"
        case Op("&", Op("->", left, right), Op("->", other, one)) if left == one and right == other:
            return _around(f"{_text(left, 2)} <-> {_text(right, 1)}", outer > 1)
        case Op("->", left, right):
            return _around(f"{_text(left, 3)} -> {_text(right, 2)}", outer > 2)
        case Op(op, left, right):
            return _around(f"{_text(left, BINDS[op] + 1)} {op} {_text(right, BINDS[op])}", outer > BINDS[op])
        case Equal(left, right):
            return _around(f"{_text(left, 6)} = {_text(right, 6)}", outer > 6)
        case Arith(op, left, right):
            said = f"{_text(left, BINDS[op])}{op if op == '*' else f' {op} '}{_text(right, BINDS[op] + 1)}"
            return _around(said, outer > BINDS[op])
        case Bind(op, name, body):
            names = [name]
            while isinstance(body, Bind) and body.op == op:
                names.append(body.name)
                body = body.body
            return _around(f"{op} {' '.join(names)}. {_text(body, 0)}", outer > 0)


def _around(said: str, needed: bool) -> str:
    return f"({said})" if needed else said


# ------------------------------------------------------------------------------------------------ read

STATEMENTS = r"""
?formula: iff
    | "all" name+ "." formula           -> every
    | "ex" name+ "." formula            -> some
?iff: imp | imp "<->" (iff | quantified)  -> iff
?imp: or | or "->" (imp | quantified)     -> imp
?or: and | and "|" (or | quantified)      -> disj
?and: not | not "&" (and | quantified)    -> conj
?quantified: "all" name+ "." formula    -> every
    | "ex" name+ "." formula            -> some
?not: "~" (not | quantified) -> neg | atom
?atom: PROP -> prop | "true" -> true | "false" -> false | term "=" term -> equal | term "!=" term -> unequal | "(" formula ")"
?term: product | term "+" product -> plus | term "-" product -> minus
?product: factor | product "*" factor -> times
?factor: INT -> var | NUMBER -> num | "(" term ")"
name: PROP | INT
PROP: /[p-t][0-9]*(?![a-z0-9])/
INT: /[u-z][0-9]*(?![a-z0-9])/
NUMBER: /[0-9]+/
%ignore /[ \t\r\n]+/
"""


def lark() -> Any:
    """What reads by a grammar."""
    try:
        import lark as found
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading statements needs the module 'lark': pip install 'strop[proofs]'", name="lark") from None
    return found


MADE: dict[str, Any] = {
    "every": lambda given: bound("all", given[:-1], given[-1]),
    "some": lambda given: bound("ex", given[:-1], given[-1]),
    "iff": lambda given: iff(*given),
    "imp": lambda given: Op("->", *given),
    "disj": lambda given: Op("|", *given),
    "conj": lambda given: Op("&", *given),
    "neg": lambda given: no(*given),
    "prop": lambda given: Prop(str(given[0])),
    "true": lambda given: TRUE,
    "false": lambda given: FALSE,
    "equal": lambda given: Equal(*given),
    "unequal": lambda given: no(Equal(*given)),
    "plus": lambda given: Arith("+", *given),
    "minus": lambda given: Arith("-", *given),
    "times": lambda given: Arith("*", *given),
    "var": lambda given: Var(str(given[0])),
    "num": lambda given: Num(int(short(given[0]))),
    "name": lambda given: str(given[0]),
}
"""What each rule of the grammar makes of its parts."""


def short(digits: str) -> str:
    if len(digits) > DIGITS:
        raise Unread(f"a number of more than {DIGITS} digits")
    return digits


def parser(grammar: str, start: str, made: Mapping[str, Any]) -> Any:
    """Reads texts by a grammar. It needs no stack of Python's, so no nesting is too deep for it."""
    build = type("Build", (lark().Transformer,), {name: staticmethod(make) for name, make in made.items()})
    return lark().Lark(grammar, start=start, parser="lalr", transformer=build(), maybe_placeholders=False)


def read_by(parser: Any, said: str, what: str) -> Any:
    """What a text says; `Unread` where it is too long, too deep, or says nothing."""
    if len(said) > LONGEST:
        raise Unread(f"{what} of more than {LONGEST} characters")
    try:
        found = parser.parse(said)
    except lark().exceptions.VisitError as error:
        raise Unread(str(error.orig_exc)) from None
    except lark().exceptions.LarkError as error:
        raise Unread(f"no {what}: not understood at {said[getattr(error, 'pos_in_stream', None) or 0 :][:30]!r}") from None
    if depth(found) > DEEPEST:
        raise Unread(f"{what} nested deeper than {DEEPEST}")
    return found


@cache
def _statements() -> Any:
    return parser(STATEMENTS, "formula", MADE)


def read(said: str) -> Formula:
    """The statement that a text says.

    >>> text(read("all p. (p -> q) & ~ p | x+1 != 2*y"))
    'all p. (p -> q) & ~p | x + 1 != 2*y'
    """
    return read_by(_statements(), said, "statement")
