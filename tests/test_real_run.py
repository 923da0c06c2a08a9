"""The page of the real run holds what its record gives, and what the page counts is counted right."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "real-run.md"


def test_the_table_on_the_page_is_what_the_record_gives():
    from strop.report import seeds

    assert f"```\n{seeds.text(json.loads(PAGE.with_suffix('.json').read_text()))}\n```" in PAGE.read_text()


@pytest.fixture
def operations(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return runpy.run_path(str(ROOT / "scripts" / "operations.py"))


def test_every_problem_has_an_operation_and_its_worked_answer_chooses_it(operations):
    problems = runpy.run_path(str(ROOT / "scripts" / "make_problems.py"))["problems"]
    for row in (row for part in problems() for row in part):
        assert operations["chose"](row["question"], row["answer"]), row


@pytest.mark.parametrize(
    ("reply", "right"),
    [("13 – 6 = 6", True), ("6 - 13", True), ("13 * 6 = 78", False), ("Jun has 13", False), ("13 - 5 = 8", False), ("", False)],
)
def test_another_operation_or_other_numbers_are_not_the_right_one(operations, reply, right):
    assert operations["chose"]("Jun wants 13 books and has 6. How many more books does Jun need?", reply) is right
    with pytest.raises(ValueError, match="no form"):
        operations["chose"]("How are you?", reply)
