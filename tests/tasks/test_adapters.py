"""Adapters: rows become tasks or a named fault; train and test never share a prompt; gold scores 1."""

from __future__ import annotations

import importlib.util
import json
import os

import pytest

from strop.commands.check import others
from strop.seams.source import split_of
from strop.tasks import adapters, blind, parse, source
from strop.tasks.adapters import adapter
from strop.tasks.worker import MissingExtra, close_all

needs_gym = pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="needs strop[gym]")


@pytest.fixture(scope="module", autouse=True)
def no_worker_is_left():
    yield
    close_all()


@pytest.fixture
def write(tmp_path):
    def written(*rows, name="data.jsonl"):
        file = tmp_path / name
        file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
        return str(file)

    return written


def sums(count, **more):
    return [{"prompt": f"What is {n} + {n}?", "answer": 2 * n, **more} for n in range(count)]


def every(table, split, seed=0):
    return [table.task(split, seed, index) for index in range(table.sizes[split])]


# ---------------------------------------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>hm <answer>1</answer></think> so <answer> 2 </answer>", "2"),
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{2}", "2"),
        ("<answer>1</answer><answer>2</answer>", None),
        ("<think>so \\boxed{1}, but wait", None),
        ("<answer>1", None),
        ("\\boxed{1", None),
        ("it is 2", None),
        ("", None),
        (f"<answer>{'1' * 9000}</answer>", None),
    ],
)
def test_strict_parse(text, answer):
    assert parse.strict(text)[0] == answer
    assert bool(parse.strict(text)[1]) == (answer is None)


@pytest.mark.parametrize(
    ("text", "answer", "loose"),
    [
        ("<answer>2", "2", False),
        ("\\boxed{3} I think", "3", False),
        ("work\nThe answer is: **7**", "7", True),
        ("work\nso 7", "so 7", True),
        ("<think>a</think>", "<think>a", True),
        ("", "", True),
    ],
)
def test_lenient_parse(text, answer, loose):
    assert parse.lenient(text) == (answer, loose)


# ------------------------------------------------------------------------------------------------- rows


def test_rows_are_dealt_to_two_splits_once_each(write):
    table = adapter("jsonl", write(*sums(100)) + ",grader=exact")
    train, test = every(table, "train"), every(table, "test")
    assert table.size == len(train) > len(test) > 0
    assert len({t.id for t in train + test}) == 100
    assert all(split_of(t.id) == split for split, tasks in (("train", train), ("test", test)) for t in tasks)


def test_a_prompt_is_never_on_both_sides(write):
    twice = sums(60) + sums(60) + [{**row, "answer": -1} for row in sums(60)]
    table = adapter("jsonl", write(*twice) + ",grader=exact")
    train, test = every(table, "train"), every(table, "test")
    assert len(train) + len(test) == 120  # equal rows are one task, another answer makes another
    assert not {t.prompt for t in train} & {t.prompt for t in test}


def test_a_seed_is_an_order_and_a_pass_visits_all(write):
    table = adapter("jsonl", write(*sums(50)) + ",grader=exact")
    one, other = every(table, "train", seed=1), every(table, "train", seed=2)
    assert one == every(table, "train", seed=1) != other
    assert {t.id for t in one} == {t.id for t in other}
    assert {table.task("train", 1, len(one) + n).id for n in range(len(one))} == {t.id for t in one}


def test_columns_mark_and_instruction_are_options(write):
    path = write(*[{"question": f"q{n}", "solution": f"work\n#### {n}"} for n in range(20)])
    table = adapter("jsonl", path + ",prompt=question,answer=solution,after=####,grader=exact,instruct=no")
    task = table.task("train", 0, 0)
    assert task.prompt == f"q{task.needs['answer']}"
    assert table.grade(task, table.gold(task))["outcome"] == 1.0


@pytest.mark.parametrize("worked", ["#### {}", "so\n#### {}", "so\r\n#### {}\r\n"])
def test_gsm8ks_mark_is_found_wherever_its_line_stands(write, worked):
    table = adapter("jsonl", write(*[{"prompt": f"q{n}", "answer": worked.format(n)} for n in range(3)]) + ",grader=exact")
    assert sorted(task.needs["answer"] for task in table.splits["train"] + table.splits["test"]) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"prompt": "q", "reply": 1}, r"row 3 of data\.jsonl has no field 'answer'; it has: prompt, reply.*,answer=FIELD"),
        ({"prompt": "", "answer": 1}, r"row 3 of data\.jsonl: field 'prompt' must be a text that is not empty"),
        ({"prompt": ["q"], "answer": 1}, r"row 3 .*field 'prompt'"),
        ({"prompt": "q", "answer": None}, r"row 3 .*field 'answer' must be a text or a number, got 'None'"),
        ({"prompt": "q", "answer": [1]}, r"row 3 .*field 'answer'"),
        ([1, 2], r"row 3 of data\.jsonl is no object with fields but list"),
        ('{"prompt": "q", ', r"row 3 of data\.jsonl is not JSON"),
        ("[" * 100_000, r"row 3 of data\.jsonl is not JSON: maximum recursion depth"),
        ('{"prompt": "q", "answer": 1, "answer": 2}', r"row 3 of data\.jsonl is not JSON: it has two fields 'answer'"),
        ('{"prompt": "%s", "answer": 1}' % ("x" * 4_000_000), r"row 3 of data\.jsonl has more than 4,000,000 bytes"),
        ({"prompt": "q", "answer": float("nan")}, r"row 3 .*must be a text or a number, got 'nan'"),
        ('{"prompt": "q", "answer": 1e999}', r"row 3 .*must be a text or a number, got 'inf'"),
        ({"prompt": "q \ud800", "answer": 1}, r"row 3 of data\.jsonl holds '\\ud800', half a character"),
        (
            {"prompt": "q", "answer": "3 + 4 = 7\n#### 7"},
            r"row 3 of data\.jsonl: the answer stands behind GSM8K's mark '####' and that of row 1",
        ),
    ],
)
def test_a_bad_row_is_named(write, bad, says):
    with pytest.raises(ValueError, match=says):
        adapter("jsonl", write(*sums(2), bad, *sums(1)) + ",grader=exact")


def test_a_row_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "data.jsonl").write_bytes(b'{"prompt": "q", "answer": 1}\n{"prompt": "\xff", "answer": 1}\n')
    with pytest.raises(ValueError, match=r"row 2 of data\.jsonl is not UTF-8: its byte 0xff at 12 is none there"):
        adapter("jsonl", f"{tmp_path / 'data.jsonl'},grader=exact")
    (tmp_path / "data.jsonl").write_text('{"prompt": "q", "answer": 1}\n', encoding="utf-16")
    with pytest.raises(ValueError, match=r"row 1 of data\.jsonl is not UTF-8"):
        adapter("jsonl", f"{tmp_path / 'data.jsonl'},grader=exact")


@pytest.mark.parametrize("written", ["utf-8-sig", "windows"])
def test_a_mark_at_the_beginning_and_windows_line_ends_are_no_part_of_a_row(written, tmp_path):
    rows = "".join(json.dumps(row) + "\n" for row in sums(3))
    data = rows.encode("utf-8-sig") if written == "utf-8-sig" else rows.replace("\n", "\r\n").encode()
    (tmp_path / "data.jsonl").write_bytes(data)
    assert adapter("jsonl", f"{tmp_path / 'data.jsonl'},grader=exact").rows == 3


def test_other_bad_input_is_refused_in_words(write, tmp_path):
    path = write(*sums(2))
    for rest, says in [
        (f"{path},grader=exactly", "grader is 'math' or 'exact'"),
        (f"{path},promt=q", "no option 'promt'. Did you mean 'prompt'"),
        (f"{path},prompt=a,prompt=b", "given twice"),
        (f"{write(name='empty.jsonl')},grader=exact", r"empty\.jsonl has no rows"),
        (",grader=exact", "needs a name or a path"),
    ]:
        with pytest.raises(ValueError, match=says):
            adapter("jsonl", rest)
    with pytest.raises(FileNotFoundError, match="no such file"):
        adapter("jsonl", str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ValueError, match="no adapter 'csv'"):
        adapter("csv", path)


def test_a_split_without_rows_says_so(write):
    table = adapter("jsonl", write(*sums(1)) + ",grader=exact")
    empty = "test" if table.sizes["train"] else "train"
    with pytest.raises(ValueError, match=f"none of them falls into '{empty}'"):
        table.task(empty, 0, 0)


@pytest.mark.parametrize(
    ("module", "rest"), [("math_verify", "jsonl:{}"), ("reasoning_gym", "rg:chain_sum"), ("pyarrow", "parquet:{},grader=exact")]
)
def test_a_missing_extra_names_its_install_line(write, monkeypatch, module, rest):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else find(name, *a))
    with pytest.raises(MissingExtra, match=r"pip install 'strop\[(math|gym|data)\]'"):
        source(rest.format(write(*sums(2))))


# ---------------------------------------------------------------------------------------------- grading


def test_exact_grader_compares_text_up_to_white_space(write):
    table = adapter("jsonl", write({"prompt": "q", "answer": "a  b"}, {"prompt": "r", "answer": "a  b"}) + ",grader=exact")
    task = (table.splits["train"] + table.splits["test"])[0]
    assert dict(table.grade(task, "<answer>a b</answer>")) == {"outcome": 1.0, "lenient": 1.0}
    assert dict(table.grade(task, "so the answer is a b")) == {"outcome": 0.0, "lenient": 1.0}
    assert table.grade(task, "so the answer is a b").reason == "no <answer> and no closed \\boxed{}"
    assert dict(table.grade(task, "")) == {"outcome": 0.0, "lenient": 0.0}
    assert table.grade(task, "<answer>ab</answer>").reason == "not the same text"


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("18", ["18.", "\\$18", "$18", "$18.00", "$18$", "\\$18 \\text{ a day}", "\\text{18}", "\\(18\\)"], ["\\$81", "1.8"]),
        ("1,080", ["1080", "\\$1,080", "1{,}080."], ["1.080"]),
        ("-5", ["\u22125", "-\\$5", "-5."], ["5"]),
        (1e-7, ["0.0000001", "1/10000000"], ["1", "7"]),
        ("The answer is $\\frac{1}{2}$", ["0.5", "\\frac12."], ["2"]),
    ],
)
def test_math_grader_reads_numbers_as_models_write_them(write, gold, right, wrong):
    pytest.importorskip("math_verify")
    table = adapter("jsonl", write({"prompt": "q", "answer": gold}))
    task = (table.splits["train"] + table.splits["test"])[0]
    said = [form % answer for answer in right + wrong for form in ("<answer>%s</answer>", "\\boxed{%s}")]
    assert [marks["outcome"] for marks in table.grade_many([(task, text) for text in said])] == [1.0] * 2 * len(right) + [0.0] * 2 * len(
        wrong
    )


def test_math_grader_reads_strictly_and_leniently_and_reports_the_endless(write):
    pytest.importorskip("math_verify")
    table = adapter("jsonl", write({"prompt": "half?", "answer": "\\frac{1}{2}"}))
    task = (table.splits["train"] + table.splits["test"])[0]
    texts = [
        table.gold(task),
        "\\boxed{0.5}",
        "So the total is 1/2.",
        "<answer>2</answer>",
        "<answer>9^{9^{9^{9^9}}}</answer>",
        "9!!!!!! \\boxed{9!!!!!!",
    ]
    marks = table.grade_many([(task, text) for text in texts])
    assert [m["outcome"] for m in marks] == [1.0, 1.0, 0.0, 0.0, None, 0.0]
    assert [m["lenient"] for m in marks][:5] == [1.0, 1.0, 1.0, 0.0, None]
    assert [i.channel for i in marks[4].incidents] == ["outcome", "lenient"]
    assert "killed" in marks[4].incidents[0].why


# ------------------------------------------------------------------------------------------------ files


def test_parquet_rows(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist(sums(30, extra="x")), file)
    table = source(f"parquet:{file},grader=exact")
    assert sum(table.sizes.values()) == 30
    with pytest.raises(ValueError, match=r"row 1 of data\.parquet has no field 'question'; it has: prompt, answer, extra"):
        source(f"parquet:{file},prompt=question,grader=exact")
    pq.write_table(pa.Table.from_pylist([*sums(4), {"prompt": "q", "answer": None}]), file)
    with pytest.raises(ValueError, match=r"row 5 of data\.parquet"):
        source(f"parquet:{file},grader=exact")
    file.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        source(f"parquet:{file},grader=exact")


def test_hugging_face_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": datasets.Dataset.from_list(sums(30))}).save_to_disk(str(tmp_path / "sums"))
    table = source(f"hf:{tmp_path / 'sums'},grader=exact")
    assert sum(table.sizes.values()) == 30
    task = table.task("train", 0, 0)
    assert table.grade(task, table.gold(task))["outcome"] == 1.0
    with pytest.raises(ValueError, match=r"no split 'dev'; it has: train"):
        source(f"hf:{tmp_path / 'sums'},split=dev,grader=exact")
    with pytest.raises(ValueError, match=r"row 1 of sums\[train\] has no field 'q'"):
        source(f"hf:{tmp_path / 'sums'},prompt=q,grader=exact")


# ---------------------------------------------------------------------------------------- reasoning-gym


@needs_gym
def test_reasoning_gym_streams_are_disjoint_and_repeatable():
    stream = source("rg:chain_sum,min_terms=2,max_terms=2,min_digits=1,max_digits=1")
    train, test = ([stream.task(split, 0, n) for n in range(40)] for split in ("train", "test"))
    assert not {t.prompt for t in train} & {t.prompt for t in test}
    assert [stream.task("train", 0, n) for n in range(5)] == train[:5]
    assert all(split_of(t.id) == "test" for t in test)
    golds = stream.grade_many([(t, stream.gold(t)) for t in train])
    assert all(dict(g) == {"outcome": 1.0, "lenient": 1.0} for g in golds)


@needs_gym
def test_reasoning_gym_names_and_fields_are_checked():
    for rest, says in [
        ("chain_sums", "no data set 'chain_sums'. Did you mean.*chain_sum"),
        ("chain_sum,terms=3", "no field 'terms'. Did you mean"),
        ("chain_sum,min_terms=-3", "cannot be made with these values"),
    ]:
        with pytest.raises(ValueError, match=says):
            adapter("rg", rest)


EXECUTING = (
    *("binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication"),
    *("puzzle24", "simple_integration", "spiral_matrix", "string_insertion"),
)
"""Data sets of reasoning-gym whose scorers execute the answer."""


@needs_gym
@pytest.mark.full
@pytest.mark.parametrize("name", EXECUTING)
def test_hostile_answers_to_scorers_that_execute_them(name, tmp_path):
    target = tmp_path / "written"
    stream = adapter("rg", name)
    task = stream.task("train", 0, 0)
    writes = f"<answer>__import__('pathlib').Path({str(target)!r}).write_text('x')</answer>"
    endless = "<answer>9**9**9**9**9</answer>"
    for text, why in ((writes, "tried"), (endless, "killed")):
        marks = stream.grade(task, text)
        assert dict(marks) == {"outcome": None, "lenient": None}
        assert why in marks.incidents[0].why
    assert os.listdir(tmp_path) == []


@needs_gym
@pytest.mark.full
def test_gold_scores_one_in_every_registered_data_set_but_two():
    found = adapters.survey()
    assert {f.name: f.wrong for f in found if f.gold != 1.0} == dict.fromkeys(("boxnet", "rush_hour"), "reasoning-gym writes no solution")
    assert {f.name for f in found if f.executes} == set(EXECUTING)
    assert {f.name for f in found if blind.blindly(f.pays)} == set(BLIND)
    assert len(found) > 100


BLIND = ("coin_flip", "game_of_life_halting", "puzzle24")
"""Data sets of reasoning-gym whose graders pay for answers to nothing."""


@needs_gym
@pytest.mark.slow
@pytest.mark.parametrize("name", BLIND)
def test_a_data_set_whose_grader_pays_for_anything_is_refused_before_training(name, tmp_path, refused, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said = refused("train", "--task", f"rg:{name}", "--out", tmp_path / "run", "--steps", 0)
    assert "graded by reasoning-gym" in said
    assert "pays 1 for what answers nothing" in said
    assert not (tmp_path / "run").exists()
    assert others(source(f"pool:4:rg:{name}+chain")), "one of a pool is looked at too"


def test_an_answer_that_is_right_is_not_tried_as_a_wrong_one_and_a_grader_that_looks_pays_for_none(write):
    table = adapter("jsonl", write(*({"prompt": f"Is {n} odd?", "answer": "yes" if n % 2 else "no"} for n in range(24))) + ",grader=exact")
    tasks = [table.task("train", 0, index) for index in range(blind.TASKS)]
    tried = blind.attempts(tasks, [table.gold(task) for task in tasks])
    scores = [graded["outcome"] for graded in table.grade_many([(attempt.task, attempt.text) for attempt in tried])]
    assert len(tried) > 100
    assert blind.paid(list(zip(tried, scores, strict=True))) == {}
    assert blind.blindly({"'0'": (8, 8), "another task's answer": (31, 56), "'1'": (3, 3)}) == {"'0'": (8, 8)}


def test_a_word_is_compared_as_a_word_and_not_as_a_product_of_its_letters(tmp_path):
    rows = [{"prompt": f"Capital {i}?", "answer": "Paris" if i % 2 else "New York"} for i in range(16)]
    (tmp_path / "capitals.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = source(f"jsonl:{tmp_path / 'capitals.jsonl'}")
    task = next(t for i in range(where.size) if (t := where.task("train", 0, i)).needs["answer"] == "Paris")

    def scores(text):
        graded = where.grade(task, text)
        return graded["outcome"], graded["lenient"]

    assert scores("<answer>paris</answer>") == (1, 1)
    assert scores("<answer>Parsi</answer>") == (0, 0)
    assert scores("It is Paris.") == (0, 1)
    assert scores("It is Comparis.") == (0, 0)
