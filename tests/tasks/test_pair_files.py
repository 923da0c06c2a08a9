"""Files of pairs: what a row may be, and what is refused."""

import json
import re

import pytest

from strop.cli import main
from strop.tasks import source
from strop.tasks.table import INSTRUCTION, PairTable

ROWS = [{"prompt": f"{i} + 1 = ?", "chosen": f"<answer>{i + 1}</answer>", "rejected": "no idea"} for i in range(40)]


def written(place, rows):
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source(f"jsonl:{place},grader=exact")


def test_a_file_of_pairs_is_a_source_whose_tasks_carry_them(tmp_path):
    table = written(tmp_path / "pairs.jsonl", ROWS)
    assert isinstance(table, PairTable)
    assert table.sizes["train"] + table.sizes["test"] == 40
    task = table.task("train", 0, 0)
    assert task.needs["rejected"] == "no idea"
    assert INSTRUCTION not in task.prompt, "nothing asks for an answer's form: the texts are what they are"
    assert table.gold(task) == task.needs["chosen"]
    assert table.ungraded
    assert table.grade(task, "anything") == {"outcome": None}


def test_rows_with_an_answer_besides_are_graded_by_it(tmp_path):
    table = written(tmp_path / "pairs.jsonl", [{**row, "answer": str(i + 1)} for i, row in enumerate(ROWS)])
    task = table.task("train", 0, 0)
    assert not table.ungraded
    assert table.grade(task, f"<answer>{task.needs['answer']}</answer>")["outcome"] == 1.0
    assert task.prompt.endswith(INSTRUCTION)


def test_a_text_may_be_a_list_of_one_message(tmp_path):
    rows = [{**row, "chosen": [{"role": "assistant", "content": row["chosen"]}]} for row in ROWS]
    assert written(tmp_path / "pairs.jsonl", rows).task("train", 0, 0).needs["chosen"].startswith("<answer>")


def test_two_equal_texts_are_no_pair_and_are_counted(tmp_path):
    table = written(tmp_path / "pairs.jsonl", [*ROWS, {"prompt": "same?", "chosen": "a", "rejected": "a"}])
    assert table.contents()["left_out"] == {"hold the same text twice": 1}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "?", "answer": "3"}, "row 41 of pairs.jsonl has no fields 'chosen' and 'rejected', which the first row has"),
        ({"prompt": "?", "chosen": "", "rejected": "b"}, "field 'chosen' must be a text that is not empty"),
        ({"prompt": "?", "chosen": "a", "rejected": 3}, "field 'rejected' must be a text that is not empty, got '3'"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "field 'prompt' must be a text"),
        ({"prompt": "?", "chosen": [{"content": "a"}, {"content": "b"}], "rejected": "b"}, "holds 2 messages"),
        ({"chosen": "a", "rejected": "b"}, "has no field 'prompt'"),
        ({"prompt": "?", "chosen": "\ud800", "rejected": "b"}, "half a character"),
    ],
)
def test_a_row_that_is_no_pair_is_refused_by_its_number(tmp_path, row, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        written(tmp_path / "pairs.jsonl", [*ROWS, row])


def test_a_file_of_equal_texts_holds_no_pairs(tmp_path):
    with pytest.raises(ValueError, match="has no pairs: its 1 rows hold the same text twice"):
        written(tmp_path / "pairs.jsonl", [{"prompt": "?", "chosen": "a", "rejected": "a"}])


@pytest.mark.parametrize(
    ("method", "task", "words"),
    [
        ("grpo", ["--data", "pairs.jsonl", "--grader", "exact"], "holds pairs and no answers, so no reply to its questions can be graded"),
        ("dpo", ["--task", "chain"], "source 'chain' has no pairs"),
    ],
)
def test_a_method_and_data_that_do_not_fit_are_refused_before_a_model_is_loaded(tmp_path, method, task, words, capsys, monkeypatch):
    written(tmp_path / "pairs.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "--method", method, *task])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_pairs_of_a_file_are_learned_from_and_looked_at_before_and_after(tmp_path, capsys, monkeypatch):
    written(tmp_path / "pairs.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    main(["train", "--method", "dpo", "--data", "pairs.jsonl", "--grader", "exact", "--steps", "3", "--tasks", "4", "--out", "run"])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["after"]["margin"] > result["before"]["margin"]
    assert "rise of likelier" in capsys.readouterr().out
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["pairs"]["count"] == 4
    assert line["rollouts"] == 0, "nothing was tried"
