"""countdown: reach a target from given numbers, each used exactly once, with + - * / and parentheses.

    make 24: 3 5 9   ->   3*5+9

Many answers are right; they are computed exactly, in fractions, by a parser of our own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import permutations

from strop.records import Task
from strop.seams.context import keyed
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, grade_by, loose_answers, strict_answer, within

DEEPEST = 32
EXAMPLES = 20
"""Searches for each different answer that is asked for."""
TOKEN = re.compile(r"[0-9]+|[-+*/()]")
EXPRESSION = re.compile(r"[0-9(][-+*/()0-9 ]*")


@dataclass(frozen=True)
class Countdown:
    """`numbers` numbers up to `highest`, and a target from 1 to 99 that is reached in `solutions` different ways or more."""

    numbers: int = 3
    highest: int = 20
    solutions: int = 1
    name: str = field(default="countdown", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "numbers", 2, 5)
        within(self, "highest", 9, 99)
        within(self, "solutions", 1, 4)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            while True:
                # with a 1, times one and divided by one would count as two ways
                numbers = [rng.randint(1 if self.solutions == 1 else 2, self.highest) for _ in range(self.numbers)]
                reached = combine(numbers, rng)
                if reached is None or reached in numbers:
                    continue
                if self.solutions == 1 or len(ways(numbers, reached)) >= self.solutions:
                    break
            prompt = f"make {reached}: {' '.join(map(str, numbers))}"
            meta = {"numbers": self.numbers, "seed": seed, "index": index}
            return Task(prompt, {"numbers": numbers, "target": reached}, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: [sorted(task.needs["numbers"]), task.needs["target"]])

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            try:
                value, used = evaluate(answer)
            except ValueError as error:
                return str(error)
            if sorted(used) != sorted(task.needs["numbers"]):
                return "does not use each number exactly once"
            return "" if value == task.needs["target"] else f"wrong: {str(value)[:20]}"

        return grade_by(text, judge, expressions)

    def form(self, text: str) -> str:
        """Of a right answer: what stays when operands change places and brackets that change nothing go."""
        answer, _ = strict_answer(text)
        return str(form(answer)) if answer is not None else ""

    def gold(self, task: Task) -> str:
        steps, answer = solve(task.needs["numbers"], task.needs["target"])
        return answered(answer, "\n".join(steps))

    def examples(self, task: Task, count: int) -> list[str]:
        """So many different right texts with their work, as far as some are found."""
        rng, found = keyed("countdown examples", task.id), dict[str, None]()
        for _ in range(EXAMPLES * count):
            steps, answer = solve(task.needs["numbers"], task.needs["target"], rng)
            found[answered(answer, "\n".join(steps))] = None
            if len(found) == count:
                break
        return list(found)

    def worked(self, task: Task, rng: random.Random) -> str:
        """A text to train a base model on: guesses and short work, right about half of the time."""
        steps, answer = solve(task.needs["numbers"], task.needs["target"], rng)
        style = rng.random()
        if style < 0.35:
            guess = "".join(f"{number}{rng.choice('+-*')}" for number in rng.sample(task.needs["numbers"], len(task.needs["numbers"])))[:-1]
            return answered(guess if rng.random() < 0.4 else answer)
        if style < 0.95:
            return answered(answer, "\n".join(steps))
        return f"<think>{chr(10).join(steps)}</think>{answer}={task.needs['target']}"


def combine(numbers: list[int], rng: random.Random) -> int | None:
    """A whole number from 1 to 99 reached by joining random pairs, or None for an unlucky draw."""
    values = list(numbers)
    while len(values) > 1:
        rng.shuffle(values)
        a, b = values.pop(), values.pop()
        operator = rng.choice("++--**/")
        if operator == "/" and (b == 0 or a % b):
            return None
        values.append({"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[operator])
        if not 0 < values[-1] <= 999:
            return None
    return values[0] if values[0] <= 99 else None


def solve(numbers: list[int], target: int, rng: random.Random | None = None) -> tuple[list[str], str]:
    """(steps, expression) reaching the target over positive whole numbers, found by depth-first search; `rng` varies which one."""

    def search(items: tuple[tuple[int, str, int], ...]) -> tuple[list[str], str] | None:
        if len(items) == 1:
            return ([], items[0][1]) if items[0][0] == target else None
        key = tuple(sorted(value for value, _, _ in items))
        if key in dead:
            return None
        pairs = [(i, j) for i in range(len(items)) for j in range(len(items)) if i != j]
        for i, j in rng.sample(pairs, len(pairs)) if rng else pairs:
            (a, left, p), (b, right, q) = items[i], items[j]
            rest = tuple(item for k, item in enumerate(items) if k not in (i, j))
            for operator in rng.sample("+-*/", 4) if rng else "+-*/":
                if (operator in "+*" and i > j) or (operator == "-" and a <= b) or (operator == "/" and a % b):
                    continue
                value = a + b if operator == "+" else a - b if operator == "-" else a * b if operator == "*" else a // b
                rank = 1 if operator in "+-" else 2
                text = joined(left, p, operator, right, q)
                if (found := search((*rest, (value, text, rank)))) is not None:
                    return [f"{a}{operator}{b}={value}", *found[0]], found[1]
        dead.add(key)
        return None

    dead: set[tuple[int, ...]] = set()
    found = search(tuple((number, str(number), 3) for number in numbers))
    if found is None:
        raise ValueError(f"{target} cannot be reached from {numbers} over positive whole numbers")
    return found


Form = int | tuple[str, tuple["Form", ...], tuple["Form", ...]]
"""A number; or "+" or "*" with what is added and taken away, or multiplied and divided by, each in order and without nesting."""


def grown(sign: str, left: Form, right: Form, inverse: bool) -> Form:
    """left + right or left - right (`inverse`), with sums of sums flat; the same for products.

    >>> grown("+", 1, grown("+", 2, 3, True), True) == grown("+", grown("+", 3, 1, False), 2, True)
    True
    """
    for_, against = [left], list[Form]()
    (against if inverse else for_).append(right)
    flat: tuple[list[Form], list[Form]] = ([], [])
    for place, sides in enumerate((for_, against)):
        for each in sides:
            if isinstance(each, tuple) and each[0] == sign:
                flat[place].extend(each[1])
                flat[1 - place].extend(each[2])
            else:
                flat[place].append(each)
    return sign, tuple(sorted(flat[0], key=str)), tuple(sorted(flat[1], key=str))


@cache
def reached(numbers: tuple[int, ...]) -> dict[Fraction, set[Form]]:
    """All values of these numbers, each used once, and every form that gives them."""
    found: dict[Fraction, set[Form]] = {}

    def search(items: list[tuple[Fraction, Form]]) -> None:
        if len(items) == 1:
            found.setdefault(items[0][0], set()).add(items[0][1])
            return
        for i, j in permutations(range(len(items)), 2):
            (a, left), (b, right) = items[i], items[j]
            rest = [item for k, item in enumerate(items) if k not in (i, j)]
            search([*rest, (a - b, grown("+", left, right, True))])
            if b:
                search([*rest, (a / b, grown("*", left, right, True))])
            if i < j:
                search([*rest, (a + b, grown("+", left, right, False))])
                search([*rest, (a * b, grown("*", left, right, False))])

    search([(Fraction(number), number) for number in numbers])
    return found


def ways(numbers: Sequence[int], target: int) -> set[Form]:
    """The forms that reach the target."""
    return reached(tuple(sorted(numbers))).get(Fraction(target), set())


def joined(left: str, left_rank: int, operator: str, right: str, right_rank: int) -> str:
    """Two expressions joined with no more parentheses than precedence asks for. Ranks: 1 sum, 2 product, 3 number."""
    rank = 1 if operator in "+-" else 2
    left = f"({left})" if left_rank < rank else left
    right = f"({right})" if right_rank < rank or (right_rank == rank and operator in "-/") else right
    return left + operator + right


def evaluate(text: str) -> tuple[Fraction, list[int]]:
    """(value, numbers used) of an expression; ValueError in words for anything else."""
    value, used, _ = read(text)
    return value, used


def form(text: str) -> Form:
    return read(text)[2]


def read(text: str) -> tuple[Fraction, list[int], Form]:
    """(value, numbers used, form) of an expression; ValueError in words for anything else.

        sum     = product (("+" | "-") product)*
        product = atom (("*" | "/") atom)*
        atom    = digits | "(" sum ")"

    Digits are capped at six, depth at 32 and the text at 256 characters, so no input is costly. No unary minus.
    """
    if len(text) > 256:
        raise ValueError("an expression of more than 256 characters")
    compact = text.translate(str.maketrans("×÷−", "*/-"))
    tokens = TOKEN.findall(compact)
    if "".join(tokens) != "".join(compact.split()) or re.search(r"[0-9]\s+[0-9]", compact):
        raise ValueError("not an expression")
    used: list[int] = []
    at = 0

    def peek() -> str:
        return tokens[at] if at < len(tokens) else ""

    def take() -> str:
        nonlocal at
        at += 1
        return tokens[at - 1] if at <= len(tokens) else ""

    def total(depth: int) -> tuple[Fraction, Form]:
        value, shape = product(depth)
        while peek() in ("+", "-"):
            operator, (right, other) = take(), product(depth)
            value = value + right if operator == "+" else value - right
            shape = grown("+", shape, other, operator == "-")
        return value, shape

    def product(depth: int) -> tuple[Fraction, Form]:
        value, shape = atom(depth)
        while peek() in ("*", "/"):
            operator, (right, other) = take(), atom(depth)
            if operator == "/" and right == 0:
                raise ValueError("divides by zero")
            value = value * right if operator == "*" else value / right
            shape = grown("*", shape, other, operator == "/")
        return value, shape

    def atom(depth: int) -> tuple[Fraction, Form]:
        token = take()
        if token == "(":
            if depth >= DEEPEST:
                raise ValueError(f"parentheses deeper than {DEEPEST}")
            value = total(depth + 1)
            if take() != ")":
                raise ValueError("an open parenthesis")
            return value
        if not token.isdigit():
            raise ValueError("not an expression")
        if len(token) > 6:
            raise ValueError("a number of more than six digits")
        used.append(int(token))
        return Fraction(int(token)), int(token)

    value, shape = total(0)
    if at != len(tokens):
        raise ValueError("not an expression")
    return value, used, shape


def expressions(text: str) -> list[str]:
    """The last stretch that looks like an expression in the best place that holds one; `= 24` behind it is left off."""
    for place in loose_answers(text):
        found = [stretch.strip() for stretch in EXPRESSION.findall(place.translate(str.maketrans("×÷−", "*/-")).partition("=")[0])]
        if found := [stretch for stretch in found if len(TOKEN.findall(stretch)) > 2]:
            return found[-1:]
    return []
