from fractions import Fraction
from itertools import permutations, product

import pytest

from strop.records import Task
from strop.tasks.countdown import Countdown, evaluate, form, solve, ways


@pytest.mark.parametrize(
    ("text", "value", "used"),
    [
        ("1+2*3", 7, [1, 2, 3]),
        ("(1+2)*3", 9, [1, 2, 3]),
        ("8-3-2", 3, [8, 3, 2]),
        ("8/4/2", 1, [8, 4, 2]),
        ("1/3*3", 1, [1, 3, 3]),
        ("2 × ( 3 − 1 ) ÷ 4", 1, [2, 3, 1, 4]),
        ("1/4", Fraction(1, 4), [1, 4]),
    ],
)
def test_expressions_are_computed_exactly(text: str, value: Fraction, used: list[int]):
    assert evaluate(text) == (value, used)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not an expression"),
        ("-1", "not an expression"),
        ("1 2", "not an expression"),
        ("2**3", "not an expression"),
        ("2//3", "not an expression"),
        ("1+", "not an expression"),
        ("1)", "not an expression"),
        ("1e9", "not an expression"),
        ("(1", "open parenthesis"),
        ("1/(2-2)", "divides by zero"),
        ("1234567", "six digits"),
        ("(" * 40 + "1" + ")" * 40, "deeper than 32"),
        ("1+" * 200 + "1", "more than 256"),
    ],
)
def test_anything_else_is_refused_in_words(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        evaluate(text)


def test_every_valid_answer_scores_and_every_number_counts_once():
    where = Countdown()
    task = Task("make 24: 3 5 9", {"numbers": [3, 5, 9], "target": 24}, "countdown")
    for right in ("3*5+9", "9+5*3", "(9+(3*5))"):
        assert where.grade(task, f"<answer>{right}</answer>")["outcome"] == 1.0
    assert where.grade(task, "<answer>24</answer>").reason == "does not use each number exactly once"
    assert where.grade(task, "<answer>3*5+9+3-3</answer>").reason == "does not use each number exactly once"
    assert where.grade(task, "<answer>3+5+9</answer>").reason == "wrong: 17"
    assert where.grade(task, "I get 9 + 3*5 = 24")["lenient"] == 1.0


def test_five_numbers_are_solved():
    numbers = [25, 7, 3, 13, 2]
    steps, text = solve(numbers, 97)
    assert evaluate(text)[0] == 97
    assert sorted(evaluate(text)[1]) == sorted(numbers)
    assert len(steps) == 4


def test_what_cannot_be_reached_is_said():
    with pytest.raises(ValueError, match="cannot be reached"):
        solve([1, 1], 9)


@pytest.mark.parametrize(
    ("one", "other"),
    [("3*5+9", "9+5*3"), ("8-(3-2)", "2+8-3"), ("(2+3)+4", "4+(3+2)"), ("8/(4/2)", "2*8/4"), ("(7-2)*3", "3*(7-2)"), ("((5))+1", "1+5")],
)
def test_operands_that_change_places_and_brackets_that_change_nothing_leave_the_form(one, other):
    assert form(one) == form(other)


@pytest.mark.parametrize(("one", "other"), [("2*2", "2+2"), ("8-3", "3-8"), ("8/4", "4/8"), ("(2+3)*4", "2+3*4"), ("6*4/2", "6*(4-2)")])
def test_another_computation_has_another_form(one, other):
    assert form(one) != form(other)


def test_the_ways_to_a_target_are_those_found_by_writing_every_expression_out():
    numbers, operators = (2, 3, 6), "+-*/"
    written: dict[Fraction, set] = {}
    for a, b, c in permutations(map(str, numbers)):
        for p, q in product(operators, repeat=2):
            for text in (f"({a}{p}{b}){q}{c}", f"{a}{p}({b}{q}{c})"):
                try:
                    written.setdefault(evaluate(text)[0], set()).add(form(text))
                except ValueError:
                    continue
    for target in range(1, 100):
        assert ways(numbers, target) == written.get(Fraction(target), set())
    assert ways(numbers, 12) == {form("2*3+6"), form("3*(6-2)")}


def test_tasks_may_ask_for_several_ways_to_their_target():
    source = Countdown(solutions=2)
    for index in range(20):
        task = source.task("train", 0, index)
        assert len(ways(task.needs["numbers"], task.needs["target"])) >= 2
        assert 1 not in task.needs["numbers"], "times one and divided by one are no two ways"
        assert source.form(source.gold(task)) in {str(way) for way in ways(task.needs["numbers"], task.needs["target"])}
    assert Countdown().task("train", 0, 0) == Countdown(solutions=1).task("train", 0, 0)
