from fractions import Fraction

import pytest

from strop.records import Task
from strop.tasks.countdown import Countdown, evaluate, solve


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
