"""Programs on a stack: what is written as work is what a machine does, and the domains share their lines."""

import re
from itertools import pairwise
from statistics import fmean

from strop.tasks.chain import Chain, lines
from strop.tasks.stacks import DEEPEST, WORD, Stacks, executed


def by_machine(prompt: str) -> int:
    """Letter by letter, with Python's own arithmetic."""
    stack, number = [], ""
    for letter in prompt.removesuffix("=?") + " ":
        if letter.isdigit():
            number += letter
            continue
        if number:
            stack.append(int(number))
            number = ""
        if letter in "+-*":
            right, left = stack.pop(), stack.pop()
            stack.append({"+": left + right, "-": left - right, "*": left * right}[letter])
        assert len(stack) <= DEEPEST
    (left,) = stack
    return left


def test_the_answer_is_what_a_machine_leaves_on_its_stack_and_every_line_holds():
    for steps in (1, 2, 4, 6, 9):
        source = Stacks(steps=steps)
        for index in range(60):
            task = source.task("train", 0, index)
            assert by_machine(task.prompt) == task.needs["answer"]
            work = source.gold(task).partition("<think>")[2].partition("</think>")[0].splitlines()
            assert len(work) == steps == task.meta["steps"]
            for line in work:
                left, sign, right, made = re.fullmatch(r"(\d+)([+*-])(\d+)=(\d+)", line).groups()
                assert 1 <= int(made) <= 99
                assert int(made) == {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(left), int(right))
            assert source.grade(task, source.gold(task)) == {"outcome": 1.0, "lenient": 1.0}


def test_operands_come_from_the_stack_and_not_from_the_line_before():
    def carried(works: list[list[str]]) -> float:
        return fmean(late.startswith(early.rpartition("=")[2]) for work in works for early, late in pairwise(work))

    programs = [Stacks(steps=4).task("train", 0, n).prompt for n in range(200)]
    assert 0.1 < carried([executed(WORD.findall(prompt))[0] for prompt in programs]) < 0.7
    assert carried([lines(Chain().task("train", 0, n)) for n in range(50)]) == 1
