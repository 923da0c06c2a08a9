"""Every file that a user hands over or that strop goes on from, damaged at random: it is read, or refused in one line of strop's own;
never a traceback, never a wait, never an answer that the damage made up."""

import copy
import gzip
import json
import math
import shutil
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from strop import shape, tracking
from strop.claims.record import SHIPPED
from strop.claims.trace import read as trace_of
from strop.cli import explain, main
from strop.commands import recipes
from strop.commands.claim import measured
from strop.commands.judge import Line, before, read, summary
from strop.recipe import Recipe
from strop.records import canonical
from strop.seams.judge import Form
from strop.tasks import adapters

PHASES = (Phase.generate,)
"""Where one example is long, none is made smaller."""
SECONDS = 5
"""That one reading may take."""
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.just(10**400), st.just(math.inf), st.just(math.nan), st.text(max_size=9),
    st.just([]), st.just([1]), st.just({}), st.just({"a": 1}), st.just("../../etc"), st.just("\ud800"), st.just([[[[0]]]]),
)  # fmt: skip


def places(value, at=()):
    """Every place of a value of JSON; of a long list its ends."""
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for i in sorted({0, len(value) - 1}) if value else ():
            yield from places(value[i], (*at, i))


@st.composite
def changed(draw, value):
    """The value with one place deleted, doubled or put in another's stead."""
    at = draw(st.sampled_from(list(places(value))))
    if not at:
        return draw(ODD)
    made = copy.deepcopy(value)
    inside = made
    for key in at[:-1]:
        inside = inside[key]
    match draw(st.sampled_from(["put", "put", "delete", "double"])):
        case "delete":
            del inside[at[-1]]
        case "double" if isinstance(inside, list):
            inside.append(inside[at[-1]])
        case _:
            inside[at[-1]] = draw(ODD)
    return made


@st.composite
def torn(draw, data):
    """The bytes cut, with some of them changed, or with others in front or in between."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    more = draw(st.sampled_from([b"\x00", b"\xff", b"\xef\xbb\xbf", b"[" * 20_000, b"\r\n", b"NaN", b'"', b"9" * 5000, b"{}"]))
    match draw(st.sampled_from(["cut", "put", "change", "utf-16", "packed", "empty"])):
        case "cut":
            return data[:at]
        case "put":
            return data[:at] + more + data[at:]
        case "change":
            return data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
        case "utf-16":
            return data.decode(errors="replace").encode("utf-16")
        case "packed":
            return gzip.compress(data)
        case _:
            return b""


def one_line(read, *names):
    """Reads, or is refused in one line that names the file, or the place in it; in time."""
    began = time.process_time()
    try:
        found, wrong = read(), None
    except Exception as error:
        found, wrong = None, error
    assert time.process_time() - began < SECONDS
    if wrong is not None:
        said = explain(wrong)
        assert said is not None, f"a traceback: {type(wrong).__name__}: {wrong}"
        assert len(said.strip().splitlines()) == 1, said
        assert any(name in said for name in names), said
    return found


def bytes_of(value):
    """As Python writes it: with NaN and halves of characters, which JSON has not."""
    return json.dumps(value).encode()


ROWS = [{"prompt": f"what is {n} + 1?", "answer": n + 1, "more": [n]} for n in range(3)]
PAIRS = [{"prompt": f"{n} + 1 =", "chosen": f"{n + 1}", "rejected": [{"role": "assistant", "content": "0"}]} for n in range(3)]
REPLIES = [{"prompt": f"{n} + 1 =", "replies": [f"{n + 1}", "0"]} for n in range(3)]
RECIPE = {"method": "dapo", "task": "chain:steps=2", "steps": 3, "lr": 1e-4, "group": 4, "shots": 1}
LINES = [Line(n, "what?", ("1", "0"), f"hash {n}") for n in range(2)]
ANSWERS = [{"shown": [0, 1], "verdicts": [[1, 0]], "said": ["<verdict>A</verdict>"], "unread": 0}] * 2
VERDICTS = [{"line": line.number, "hash": line.hash, "scores": [1.0, 0.0], "answers": ANSWERS} for line in LINES]


def table(kind):
    return lambda file: adapters.adapter(kind, f"{file},grader=exact").task("train", 0, 0).prompt


def judged(file):
    how = {"form": Form("pair"), "votes": 1, "orders": 2, "tries": 3, "deadline": 9.0, "seed": 0, "policy": "judge=pico"}
    return read(file, how)


def recipe(file):
    return recipes.settled(Recipe(), recipes.read_data(file), file.parent)


def lines(values):
    return b"".join(bytes_of(value) + b"\n" for value in values)


def as_kept(values):
    """As strop writes it, where it can be written so."""
    try:
        return b"".join(canonical(value).encode() + b"\n" for value in values)
    except (ValueError, UnicodeEncodeError):
        return lines(values)


FILES = {
    "rows.jsonl": (ROWS, lines, table("jsonl")),
    "pairs.jsonl": (PAIRS, lines, table("jsonl")),
    "replies.jsonl": (REPLIES, lines, judged),
    "verdicts.jsonl": (VERDICTS, as_kept, lambda file: summary("pair", True, LINES, before(file, LINES))),
    "recipe.json": (RECIPE, bytes_of, recipe),
    "recipe.toml": (RECIPE, lambda said: "".join(f"{k} = {json.dumps(v)}\n" for k, v in said.items()).encode(), recipe),
}
"""What a user hands over: what it holds, how that is written, and who reads it."""


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_of_the_users_is_read_or_refused_in_a_line(name, data, tmp_path):
    value, write, reader = FILES[name]
    damage = changed(value) if name != "recipe.toml" and data.draw(st.booleans()) else torn(write(value))
    found = data.draw(damage)
    try:
        written = found if isinstance(found, bytes) else write(found)
    except TypeError:  # no longer lines at all
        written = bytes_of(found)
    (tmp_path / name).write_bytes(written)
    one_line(lambda: reader(tmp_path / name), name, *RECIPE, "method", "task")


# What strop goes on from.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two steps, told to a tracker."""
    place = tmp_path_factory.mktemp("made") / "run"
    small = ["--tasks", "2", "--group", "2", "--max-tokens", "6", "--eval-tasks", "2", "--eval-samples", "1", "--checkpoint-every", "1"]
    main(["train", "--steps", "2", *small, "--out", str(place)])
    tracking.settle(place, ["tensorboard"])
    return place


KEPT = {
    "recipe.json": ("explain", "runs", "report", "export-data", "bisect"),
    "metrics.jsonl": ("runs", "report", "export-data", "bisect"),
    "groups/000001.json.gz": ("report", "export-data"),
    "result.json": ("runs", "report"),
    "first_batch.json": ("report",),
    "track/about.json": (),
    "eval/before.json": (),
}
"""What stands in a run, and the commands that read it and take no second."""
SLOW = ("train", "eval", "export", "replay", "microscope")


def content(file):
    data = file.read_bytes()
    data = gzip.decompress(data) if file.suffix == ".gz" else data
    return [json.loads(line) for line in data.splitlines()] if file.suffix == ".jsonl" else json.loads(data)


def written(file, value):
    data = lines(value) if file.suffix == ".jsonl" and isinstance(value, list) else bytes_of(value)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def told(run, other, command, capsys):
    """A command on a run: its exit code, and what it said on stderr; a traceback is raised."""
    argv = {
        "runs": ["runs", run.parent],
        "bisect": ["bisect", run, other],
        "export-data": ["export-data", run, run.parent / "all.jsonl"],
        "export": ["export", run, run.parent / "exported"],
        "train": ["train", "--resume", run, "--steps", 3],
        "eval": ["eval", run, "--tasks", 1, "--samples", 1],
        "replay": ["replay", run, "--out", run.parent / "again"],
        "microscope": ["microscope", run, "--step", 1, "--methods", "grpo"],
    }.get(command, [command, run])
    capsys.readouterr()
    began, code = time.process_time(), 0
    try:
        main([str(word) for word in argv])
    except SystemExit as stop:
        code = stop.code
    assert time.process_time() - began < 12 * SECONDS
    return code, capsys.readouterr().err


def damaged(data, made, names, commands, tmp_path, capsys):
    name = data.draw(st.sampled_from(names))
    there = tmp_path / "there"
    shutil.rmtree(there, ignore_errors=True)
    run = shutil.copytree(made, there / "run")
    if data.draw(st.booleans()):
        written(run / name, data.draw(changed(content(run / name))))
    else:
        (run / name).write_bytes(data.draw(torn((run / name).read_bytes() if name.endswith(".gz") else bytes_of(content(run / name)))))
    for command in commands(name):
        code, said = told(run, made, command, capsys)
        assert code in (0, 1, 2)
        assert code != 2 or [line for line in said.splitlines() if line.startswith("strop: ")], said
    if name == "track/about.json":
        one_line(lambda: tracking.remembered(run), name)


@pytest.mark.slow  # half a minute
@settings(
    max_examples=30,
    phases=PHASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_what_stands_in_a_run_is_read_or_refused_by_every_command_that_only_looks(data, made, tmp_path, capsys):
    damaged(data, made, list(KEPT), lambda name: KEPT[name], tmp_path, capsys)


@pytest.mark.full  # minutes
@settings(max_examples=30, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_stands_in_a_run_is_read_or_refused_by_every_command_that_goes_on(data, made, tmp_path, capsys):
    damaged(data, made, [name for name in KEPT if name != "first_batch.json"], lambda name: SLOW, tmp_path, capsys)


def test_a_tracker_whose_state_is_damaged_is_not_taken_for_a_new_one(made, tmp_path):
    run = shutil.copytree(made, tmp_path / "run")
    (run / "track" / "about.json").write_text("{")
    with pytest.raises(shape.Damaged, match=r"track/about.json cannot be read.*put it back, or delete it"):
        tracking.settle(run, ["tensorboard"])


RECORD = json.loads((SHIPPED / "treepo-saving.json").read_text())
LOOK = {"step": 3, "spent": 9, "means": {"mean": 0.5, "pass@1": None}}
ARM = {"initial": "abc", "seconds": 1.5, "tested": ["a"], "asked": ["b"], "code": "c"}


@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_claims_record_is_shown_or_refused_in_a_line(data, tmp_path):
    small = {name: value for name, value in RECORD.items() if name != "curves"}
    file = tmp_path / "record.json"
    file.write_bytes(data.draw(torn(bytes_of(small)) if data.draw(st.booleans()) else changed(small).map(bytes_of)))
    one_line(lambda: measured(shape.read(file, shape.RECORD)), "record.json")


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_an_arm_left_is_read_or_refused_in_a_line(data, tmp_path):
    (tmp_path / "eval").mkdir(exist_ok=True)
    for name, value in {"arm.json": ARM, "eval/000003.json": LOOK}.items():
        (tmp_path / name).write_bytes(data.draw(torn(bytes_of(value)) if data.draw(st.booleans()) else changed(value).map(bytes_of)))
    trace = one_line(lambda: trace_of(tmp_path, "one", 0, Recipe(budget="9 decoded")), "arm.json")
    one_line(lambda: trace and [said["means"].get("mean") for said in trace.held_out], "000003.json")
