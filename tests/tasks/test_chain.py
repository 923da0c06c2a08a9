import re

from strop.tasks.chain import Chain, lines


def test_every_value_on_the_way_fits_two_digits_and_precedence_agrees():
    for index in range(300):
        task = Chain(steps=6).task("train", 0, index)
        values = [int(line.rpartition("=")[2]) for line in lines(task)]
        assert all(1 <= value <= 99 for value in values)
        numbers = [int(n) for n in re.findall(r"[0-9]+", task.prompt)]
        operators = re.findall(r"[-+*]", task.prompt)
        assert "*" not in operators[1:]
        usual = numbers[0] * numbers[1] if operators[0] == "*" else numbers[0] + (1 if operators[0] == "+" else -1) * numbers[1]
        usual += sum(number if operator == "+" else -number for operator, number in zip(operators[1:], numbers[2:], strict=True))
        assert usual == values[-1] == task.needs["answer"]


def test_the_answer_is_a_whole_number_in_digits():
    where = Chain()
    task = where.task("train", 0, 0)
    answer = task.needs["answer"]
    assert where.grade(task, f"<answer>+{answer}</answer>")["outcome"] == 1.0
    assert where.grade(task, f"<answer>{answer}.0</answer>").reason == "not a whole number"
    assert where.grade(task, f"<answer>{answer + 1}</answer>").reason == f"wrong: {answer + 1}"


def test_lenient_reads_the_last_number_and_no_piece_of_another():
    where = Chain()
    task = where.task("train", 0, 0)
    answer = task.needs["answer"]
    assert where.grade(task, f"first 7, then = {answer}.")["lenient"] == 1.0
    assert where.grade(task, f"{answer} or maybe {answer + 1}")["lenient"] == 0.0
    assert where.grade(task, f"12{answer}")["lenient"] == 0.0
    assert where.grade(task, f"0.{answer}")["lenient"] == 0.0
