"""Scorers in worker processes: hostile answers write nothing, siblings go on, errors are incidents and never zeros."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from strop.tasks.worker import Limits, MissingExtra, Pool, WorkerError

EVALUATING = '''
import ctypes, _socket

def evaluate(item):
    """A scorer as careless as some that people use: it swallows errors, too."""
    try:
        return eval(item["answer"])
    except ValueError:
        return 0.0

libc = ctypes.CDLL(None)
native = {name: getattr(libc, name) for name in ("open", "mkdir", "socket", "fork", "kill", "unlink")}
'''
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's lock is Linux's")


@pytest.fixture(scope="module")
def careless(tmp_path_factory):
    file = tmp_path_factory.mktemp("scorer") / "careless.py"
    file.write_text(EVALUATING)
    with Pool(f"{file}:evaluate", Limits(wall=1.5, memory=256 << 20), size=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def math():
    pytest.importorskip("math_verify")
    with Pool("math", Limits(wall=3), size=1) as pool:
        yield pool


def incident(pool: Pool, answer: str) -> str:
    outcome = pool.one({"answer": answer, "gold": "42"})
    assert outcome.value is None, outcome
    return outcome.incident


def test_a_value_comes_back(careless):
    assert [o.value for o in careless.score([{"answer": a} for a in ("0", "0.5", "1", "True")])] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}, 'w')",
        "__import__('os').mkdir({path!r})",
        "__import__('os').open({path!r}, 0o101)",
        "__import__('pathlib').Path({path!r}).write_text('x')",
        "__import__('os').system('touch ' + {path!r})",
        "__import__('subprocess').run(['touch', {path!r}])",
        "__import__('sqlite3').connect({path!r})",
    ],
)
def test_an_answer_that_writes_is_an_incident_and_writes_nothing(careless, tmp_path, code):
    path = tmp_path / "written"
    assert "tried" in incident(careless, code.format(path=str(path)))
    assert not path.exists()


def test_an_answer_cannot_empty_or_remove_a_file(careless, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("here")
    for code in (
        "open({path!r}, 'w')",
        "open({path!r}, 'r+')",
        "__import__('os').remove({path!r})",
        "__import__('os').truncate({path!r}, 0)",
    ):
        assert "tried" in incident(careless, code.format(path=str(kept)))
    assert kept.read_text() == "here"


@linux
def test_native_code_is_stopped_by_the_kernel(careless, tmp_path):
    path = tmp_path / "written"
    if not careless.isolation()["seccomp"]:
        pytest.skip("this kernel has no seccomp")
    for call in (
        f"native['open']({str(path).encode()!r}, 0o101, 0o777)",
        f"native['mkdir']({str(path).encode()!r}, 0o777)",
        "native['socket'](2, 1, 0)",
        "native['fork']()",
        "native['kill'](1, 0)",
    ):
        assert "tried a forbidden system call" in incident(careless, call)
    assert not path.exists()


@linux
def test_an_answer_reads_none_of_the_users_files(careless, tmp_path):
    (tmp_path / "key").write_text("secret")
    read = f"len(open({str(tmp_path / 'key')!r}).read())"
    if not careless.isolation()["landlock"]:
        pytest.skip("this kernel has no Landlock")
    assert "PermissionError" in incident(careless, read)
    assert "PermissionError" in incident(careless, f"len(__import__('os').listdir({str(tmp_path)!r}))")
    assert "PermissionError" in incident(careless, "len(open('/proc/self/environ').read())")
    assert careless.one({"answer": "__import__('colorsys').ONE_THIRD"}).value == pytest.approx(1 / 3), "its libraries it does read"


@linux
def test_limits_cannot_be_raised_again(careless):
    assert "forbidden" in incident(careless, "__import__('resource').setrlimit(1, (9, 9))")
    assert careless.one({"answer": "float(max(__import__('resource').getrlimit(1)))"}).value == 0.0


@pytest.mark.parametrize(
    "code",
    [
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "globals()['_socket'].socket()",
        "__import__('urllib.request').request.urlopen('http://localhost')",
    ],
)
def test_a_network_attempt_fails_as_an_incident(careless, code):
    assert "tried" in incident(careless, code)


@pytest.mark.parametrize("code", ["sum(iter(int, 1))", "9**9**9**9**9", "__import__('time').sleep(99)"])
def test_an_endless_answer_is_killed_at_the_wall(careless, code):
    began = time.monotonic()
    assert "within 1.5 s" in incident(careless, code)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("float('nan')", "returned nan"),
        ("float('inf')", "returned inf"),
        ("7", "returned 7"),
        ("None", "returned None"),
        ("'text'", "returned text|raised|ValueError"),
        ("1/0", "ZeroDivisionError"),
        ("bytearray(1 << 40)", "address-space"),
        ("__import__('os')._exit(0)", "ended early"),
        ("__import__('os').abort()", "tried|SIGABRT"),
        ("(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
    ],
)
def test_a_fault_is_an_incident_and_never_a_zero(careless, code, why):
    if code == "'text'":
        assert careless.one({"answer": code}).incident  # float('text') raises outside the scorer's own try
        return
    import re

    assert re.search(why, incident(careless, code))


def test_environment_and_folder_are_empty_and_nothing_leaks_to_the_next_answer(careless):
    assert careless.one({"answer": "len(__import__('os').environ)"}).value == 0
    assert careless.one({"answer": "len(__import__('os').listdir('.'))"}).value == 0
    assert careless.one({"answer": "globals().update(evaluate=lambda item: 1.0) or 0.25"}).value == 0.25
    assert [careless.one({"answer": "0"}).value for _ in range(4)] == [0.0] * 4


def test_a_print_is_no_reply(careless):
    assert careless.one({"answer": "print('{\"value\": 1.0}') or 0.0"}).value == 0.0


def test_siblings_of_killed_answers_go_on_in_order(careless):
    answers = ["1", "__import__('time').sleep(99)", "0.5", "__import__('os')._exit(1)", "0", "__import__('os').fork()", "1"]
    assert [o.value for o in careless.score([{"answer": a} for a in answers])] == [1.0, None, 0.5, None, 0.0, None, 1.0]


def test_a_worker_that_dies_is_replaced(careless):
    alone = Pool(careless.kind, Limits(wall=1.5), size=1)
    with alone:
        assert alone.one({"answer": "1"}).value == 1.0
        worker = alone._idle.get()
        assert worker is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        alone._idle.put(worker)
        assert alone.one({"answer": "1"}).value == 1.0
        assert not os.path.exists(worker.folder)


def test_a_worker_that_dies_of_its_item_is_an_incident_and_replaced(tmp_path):
    file = tmp_path / "dying.py"
    file.write_text("import os\ndef f(item):\n    os.kill(os.getppid(), 9) if item['answer'] == 'die' else None\n    return 1.0\n")
    with Pool(f"{file}:f", Limits(wall=1.5), size=1) as pool:
        assert [o.value for o in pool.score([{"answer": a} for a in ("a", "die", "b")])] == [1.0, None, 1.0]


def test_a_worker_is_replaced_after_its_share_of_items(careless):
    with Pool(careless.kind, Limits(items=2), size=1) as pool:
        kept = [pool.one({"answer": "1"}).value for _ in range(5)]
        assert kept == [1.0] * 5
        worker = pool._idle.get()
        assert worker is not None
        assert worker.served == 1
        pool._idle.put(worker)


def test_a_batch_that_nobody_waits_for_does_not_hold_up_the_end(careless, tmp_path):
    program = f"""
import contextlib, threading, time
from strop.tasks.worker import Limits, pool
items = [{{"answer": "__import__('time').sleep(99)"}}] * 50
def abandoned():
    with contextlib.suppress(Exception):  # its pool is closed under it when the program ends
        pool({careless.kind!r}, Limits(wall=20)).score(items)
threading.Thread(target=abandoned, daemon=True).start()
time.sleep(2)
"""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert time.monotonic() - began < 15
    assert ended.stderr == b""
    assert os.listdir(tmp_path) == []


def test_a_scorer_that_cannot_be_loaded_says_why(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such luck')")
    with Pool(f"{tmp_path / 'broken.py'}:f", size=1) as pool, pytest.raises(WorkerError, match="no such luck"):
        pool.one({})
    (tmp_path / "needy.py").write_text("import a_module_nobody_has")
    with Pool(f"{tmp_path / 'needy.py'}:f", size=1) as pool, pytest.raises(MissingExtra, match="a_module_nobody_has"):
        pool.one({})


def test_limits_are_checked():
    with pytest.raises(ValueError, match=r"Limits\.wall must be above 0"):
        Limits(wall=0)


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [("1/2", "0.5", 1), (r"\frac{1}{2}", "1/2", 1), ("1,000", "1000", 1), ("x^2+1", "1+x^2", 1), ("42", "41", 0), ("42", "no idea", 0)],
)
def test_math_verify_compares_expressions(math, gold, answer, value):
    assert math.one({"gold": gold, "answer": answer}).value == value


def test_math_verify_survives_hostile_answers(math, tmp_path):
    path = tmp_path / "written"
    assert math.one({"gold": "42", "answer": f"__import__('pathlib').Path({str(path)!r}).write_text('x')"}).value in (0.0, None)
    assert not path.exists()
    assert "within 3 s" in incident(math, "9^{9^{9^{9^9}}}")
    assert math.one({"gold": "42", "answer": "42"}).value == 1.0


def test_a_gold_that_cannot_be_read_is_an_incident(math):
    assert "gold" in math.one({"gold": "", "answer": "42"}).incident
