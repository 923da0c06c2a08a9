"""Pieces and sessions: how they end, what they keep, and that nobody's fault is anybody else's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from strop.sandbox import Rules, Sandbox, Session
from strop.sandbox.box import CODE, plain
from strop.sandbox.cell import SandboxError
from strop.sandbox.trial import tried

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")


def everyone_below(pid: int) -> set[int]:
    """All processes below one, whichever of its threads started them."""
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(child) for child in children.read_text().split()}
    return found.union(*(everyone_below(child) for child in found))


@pytest.mark.parametrize(
    ("code", "ended", "out", "error"),
    [
        ("print(2 ** 10)", "finished", "1024\n", ""),
        ("x = 1", "finished", "", ""),
        ("print(1)\n1 / 0", "raised", "1\n", "ZeroDivisionError: division by zero"),
        ("if", "raised", "", "SyntaxError"),
        ("input()", "raised", "", "EOFError"),
        ("x = bytearray(1 << 40)", "raised", "", "MemoryError"),
        ("f = lambda: f()\nf()", "raised", "", "RecursionError"),
        ("print('a'); raise SystemExit(3)", "exited", "a\n", "SystemExit: 3"),
        ("import os; os._exit(3)", "exited", "", "status 3"),
        ("print('first')\nwhile True: pass", "time", "first\n", "killed after 0.2 s"),
        ("import time; time.sleep(9)", "time", "", "killed after"),
        ("while True: print('x' * 1000)", "output", "xxxx", "65536 bytes"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "", "SIGSEGV"),
        ("x = '''" + "y" * CODE + "'''", "forbidden", "", f"{CODE} characters"),
        ("import os; print(open(os.devnull, 'w').write('x'))", "finished", "1\n", ""),
        ("print('\\ud800')", "finished", "\\ud800\n", ""),
        ("print('\ud800')", "raised", "", "surrogates"),
        ("import sys; sys.stdout = None\nclass E(Exception):\n    def __str__(self): raise E\nraise E", "raised", "", "E"),
        ("import sys; sys.stdout.close(); sys.stderr.close()", "finished", "", ""),
        ("import os\nfor n in range(300):\n    try: os.close(n)\n    except OSError: pass", "exited", "", ""),
        ("import asyncio\nasync def f(): return 5\nprint(asyncio.run(f()))", "finished", "5\n", ""),
        ("import pickle\nclass A: x = 7\nprint(pickle.loads(pickle.dumps(A())).x)", "finished", "7\n", ""),
    ],
)  # fmt: skip
def test_how_a_piece_ends(box, code, ended, out, error):
    ran = box.run(code)
    assert ran.ended == ended
    assert ran.out == out if ended != "output" else len(ran.out) == 65536
    assert error in ran.error
    assert not ran.ours
    assert box.run("print('next')").out == "next\n"


def test_an_error_is_shown_from_the_codes_own_first_line_on(box):
    error = box.run("def f():\n    return 1 / 0\nf()").error
    assert error.splitlines()[1].startswith('  File "<piece 1>", line 3')
    assert "    return 1 / 0" in error
    assert "zygote" not in error


def test_no_control_character_comes_back(box):
    ran = box.run("print('\\x1b[2J\\x07\\u202e\\x9b1m\\ttab'); raise ValueError('\\x1b]0;title\\x07')")
    assert ran.out == "\\x1b[2J\\x07\\u202e\\x9b1m\ttab\n"
    assert ran.error.endswith("ValueError: \\x1b]0;title\\x07")
    assert plain("\r\0é\n") == "\\r\\x00é\n"


def test_bytes_that_are_no_text_come_back_as_text(box):
    assert box.run("import os; os.write(1, b'\\xff\\xfe ok')").out == "�� ok"


def test_what_is_drawn_and_hashed_repeats_in_another_sandbox(box):
    code = "import random; print(random.random(), hash('text'), {'b', 'a', 'c'}, __import__('time').tzname)"
    with Sandbox(box.rules) as other:
        assert other.run(code) == box.run(code) == box.run(code)


def test_the_value_of_a_last_expression_is_shown_where_rules_say_so(walled):
    with Sandbox(Rules(echo=True)) as notebook:
        assert notebook.run("x = 20\nx + 1").out == "21\n"
        assert notebook.run("x = 1\nNone").out == ""


SEARCH = """
import ctypes, os
libc = ctypes.CDLL(None)
secret = bytes(range(0x61, 0x7B))[::-1] * 3
near, found, (reading, writing) = id(secret) & ~4095, 0, os.pipe()
for page in range(near - (6 << 20), near + (6 << 20), 4096):
    if libc.write(writing, ctypes.c_void_p(page), 4096) == 4096:  # unmapped memory is an error, and no crash
        found += os.read(reading, 4096).count(secret)
print(found)
"""


def test_nothing_of_a_piece_is_left_for_the_next(box):
    """Neither names, files nor memory: the next piece looks through its heap for what the one before it knew."""
    knows = "import json\njson.kept = ''.join(map(chr, range(0x7A, 0x60, -1))) * 4\nopen(0, closefd=False)"
    session, _ = box.go_on(Session(), knows)
    assert int(box.go_on(session, SEARCH)[1].out) > int(box.run(SEARCH).out), "the search finds what there is"
    alone = box.run(SEARCH)
    secret = "".join(map(chr, range(0x7A, 0x60, -1))) * 40
    assert box.run(f"import json; json.kept = {secret!r}; print(len(json.kept))").out == "1040\n"
    assert box.run(SEARCH) == alone
    assert box.run("import json, os; print(hasattr(json, 'kept'), os.listdir('.'))").out == "False []\n"


def test_a_session_is_a_value_that_can_be_gone_on_from_twice(box):
    first, _ = box.go_on(Session(), "import random\nrandom.seed(7)\nx = [1]")
    second, ran = box.go_on(first, "x.append(2); print(x, random.random())")
    other, again = box.go_on(first, "x.append(3); print(x, random.random())")
    assert ran.out.replace("2]", "3]") == again.out
    assert ran.out.startswith("[1, 2]")
    assert second != other
    assert second.at(1) == first
    third, last = box.go_on(second, "print(x)")
    assert last.out == "[1, 2]\n"
    assert len(third.pieces) == 3


def test_a_piece_that_raises_stays_said_and_one_that_is_killed_does_not(box):
    session, _ = box.go_on(Session(), "x = 1")
    raised, ran = box.go_on(session, "x = 2\n1 / 0")
    assert ran.ended == "raised"
    assert box.go_on(raised, "print(x)")[1].out == "2\n"
    for code, ended in (("x = 3\nwhile True: pass", "time"), ("x = 4; import os; os._exit(0)", "exited"), ("raise SystemExit", "exited")):
        same, ran = box.go_on(session, code)
        assert (ran.ended, same) == (ended, session)
    assert box.go_on(session, "print(x)")[1].out == "1\n"


def test_the_files_of_a_session_belong_to_its_state(box, celled):
    """All processes of a session share one folder; a state whose files another one changed is said again elsewhere."""
    begun, _ = box.go_on(Session(name="files"), "open('f', 'w').write('one')")
    changed, _ = box.go_on(begun, "open('f', 'a').write(' two')")
    _, killed = box.go_on(changed, "open('f', 'a').write(' three')\nwhile True: pass")
    assert killed.ended == "time"
    read = "print(open('f').read())"
    assert box.go_on(begun, read)[1].out == "one\n"
    assert box.go_on(changed, read)[1].out == "one two\n"
    assert box.go_on(begun, read)[1].out == "one\n"


def test_more_sessions_than_may_wait_are_said_again(walled):
    with Sandbox(Rules(cpu=0.5, wall=2.0), sessions=2, waiting=2) as own:
        begun = {name: own.go_on(Session(name=name), f"x = {name!r}")[0] for name in "abcd"}
        assert len(own._trees) == 2
        assert [own.go_on(session, "print(x)")[1].out for session in begun.values()] == ["a\n", "b\n", "c\n", "d\n"]
        long = begun["a"]
        for number in range(5):
            long, _ = own.go_on(long, f"x += str({number})")
        assert own.go_on(long.at(1), "print(x)")[1].out == "a\n"
        assert own.go_on(long, "print(x)")[1].out == "a01234\n"


def test_a_session_whose_processes_are_gone_is_said_again(box):
    session, _ = box.go_on(Session(name="again"), "x = 40")
    session, _ = box.go_on(session, "x += 1")
    for _, server in list(box._trees.values()):
        server.channel.close()
    longer, ran = box.go_on(session, "print(x + 1)")
    assert ran.out == "42\n"
    assert len(longer.pieces) == 3


def test_a_session_that_answers_otherwise_when_said_again_is_our_fault(box):
    session, _ = box.go_on(Session(name="differs"), "import os; print(os.urandom(8))")
    for _, server in list(box._trees.values()):
        server.channel.close()
    same, ran = box.go_on(session, "print(1)")
    assert (ran.ended, ran.ours, same) == ("differs", True, session)
    assert "piece 1" in ran.error


def test_a_session_that_breaks_its_own_process_is_its_own_fault(box):
    broken = "import socket\ndef no(*_): raise OSError\nsocket.socket.recvmsg = no\nprint('bent')"
    session, ran = box.go_on(Session(name="bent"), broken)
    assert ran.out == "bent\n"
    for _ in range(2):
        _, ran = box.go_on(session, "print(1)")
        assert ran.ended in ("crashed", "exited")
        assert not ran.ours
    assert box.run("print(1)").out == "1\n"


def test_sessions_of_different_names_share_no_process(box):
    one, _ = box.go_on(Session(name="one"), "x = 1")
    two, _ = box.go_on(Session(name="two"), "x = 1")
    trees = [server for name, server in box._trees.values() if name in ("one", "two")]
    assert len(trees) == 2
    assert one.pieces == two.pieces


def test_coroutines_wait_without_threads_of_their_own(box):
    async def many():
        return await asyncio.gather(*(box.arun(f"print({n} ** 2)") for n in range(12)), box.ago_on(Session(), "x = 1"))

    *rans, (session, _) = asyncio.run(many())
    assert [int(ran.out) for ran in rans] == [n**2 for n in range(12)]
    assert len(session.pieces) == 1


@linux
def test_a_worker_that_is_killed_loses_nobody_elses(box):
    """Its own piece is executed again, once, by another server; what runs beside it goes on."""
    found = {}

    def ask(name, code):
        found[name] = box.run(code)

    threads = [
        threading.Thread(target=ask, args=each) for each in (("slow", "import time; time.sleep(0.4); print('slow')"), ("quick", "print(1)"))
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    zygote = box._cell.process.pid
    victims = [pid for pid in everyone_below(zygote) | {zygote} if pid != zygote]
    os.kill(max(victims), signal.SIGKILL)  # the youngest: the slow piece, its mold or its server
    for thread in threads:
        thread.join()
    assert found["quick"].out == "1\n"
    assert found["slow"].ended in ("finished", "memory")
    assert box.run("print(2)").out == "2\n"


@linux
def test_where_memory_runs_out_the_sandbox_goes_first(box):
    box.run("print(1)")
    inside = everyone_below(box._cell.process.pid) | ({box._cell.process.pid} if not box.held.forks else set())
    said = set()
    for pid in inside:
        with contextlib.suppress(OSError):  # the piece is buried after its answer is out
            said.add(int(Path(f"/proc/{pid}/oom_score_adj").read_text()))
    assert len(inside) >= 3
    assert said == {1000}


@linux
def test_a_cell_that_is_killed_is_made_again(walled):
    with Sandbox(Rules(cpu=0.5, wall=2.0)) as own:
        session, _ = own.go_on(Session(), "x = 1")
        assert own.run("print(1)").ok
        zygote = own._cell.process.pid
        for pid in [*everyone_below(zygote), zygote]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        assert own.run("print(2)").out == "2\n"
        assert own.go_on(session, "print(x)")[1].out == "1\n"


def test_a_closed_sandbox_leaves_nothing_and_says_so(walled):
    from strop.sandbox import SandboxError

    own = Sandbox(Rules())
    own.run("print(1)")
    own.go_on(Session(), "x = 1")
    zygote = own._cell.process.pid
    below = everyone_below(zygote) if sys.platform == "linux" else set()
    own.close()
    own.close()
    gone(below)
    with pytest.raises(SandboxError, match="closed"):
        own.run("print(1)")


def gone(pids, seconds=5.0):
    until = time.monotonic() + seconds
    while alive := [pid for pid in pids if _running(pid)]:
        assert time.monotonic() < until, f"still there: {alive}"
        time.sleep(0.02)


def _running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


KILLED = """
import sys, threading
from strop.sandbox import Rules, Sandbox, Session, trial
trial.tried = lambda: TRIED
box = Sandbox(Rules(cpu=20.0, wall=60.0, weakest="open"), at_once=3)
session, _ = box.go_on(Session(), "x = 1")
threading.Thread(target=box.run, args=("while True: pass",), daemon=True).start()
threading.Thread(target=box.go_on, args=(session, "import time; time.sleep(50)"), daemon=True).start()
box.run("print(1)")
print("ready", flush=True)
threading.Event().wait()
"""


@linux
@pytest.mark.slow
def test_twenty_kills_leave_no_process(walled):
    for _ in range(20):
        parent = subprocess.Popen([sys.executable, "-c", KILLED.replace("TRIED", repr(tried()))], stdout=subprocess.PIPE, text=True)
        assert parent.stdout.readline() == "ready\n"
        time.sleep(0.05)
        pids = everyone_below(parent.pid)
        assert len(pids) >= 6
        parent.kill()
        parent.wait()
        parent.stdout.close()
        gone(pids)


@pytest.mark.slow
def test_a_session_that_forks_behind_our_back_stays_within_its_own(box, celled):
    bomb = (
        "import ctypes, platform, time\nlibc = ctypes.CDLL(None, use_errno=True)\nmade = 0\n"
        "for _ in range(200):\n    pid = libc.syscall(220 if platform.machine() == 'aarch64' else 56, 0x8011, 0, 0, 0, 0)\n"
        "    if pid == 0:\n        time.sleep(30)\n    if pid < 0:\n        break\n    made += 1\nprint(made)"
    )
    session, ran = box.go_on(Session(name="bomb"), bomb)
    assert ran.ended == "finished"
    assert int(ran.out) < 32
    assert box.run("print(1)").out == "1\n"
    assert box.go_on(Session(name="other"), "print(2)")[1].out == "2\n"
    assert not box.go_on(session, "print(3)")[1].ours


@pytest.mark.slow
def test_a_module_that_a_cell_cannot_see_is_said_and_why_where_the_python_stands_in_its_tmp(walled, monkeypatch, tmp_path):
    (tmp_path / "only_outside.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Sandbox(Rules(modules=("only_outside",))) as box, pytest.raises(SandboxError, match=r"'only_outside'$"):
        box.run("1")
    monkeypatch.setattr(sys, "prefix", "/tmp/project/.venv")
    with Sandbox(Rules(modules=("only_outside",))) as box, pytest.raises(SandboxError, match="stands in /tmp/project"):
        box.run("1")


@pytest.mark.slow
def test_libraries_work_behind_both_walls(walled):
    with Sandbox(Rules(modules=("numpy",), cpu=5.0, memory=1 << 30)) as box:
        assert (
            box.run("import numpy as np; print(int(np.arange(10).sum()), np.linalg.inv(np.eye(2)).tolist())").out
            == "45 [[1.0, 0.0], [0.0, 1.0]]\n"
        )
        drawn = "import numpy as np; print(np.random.rand())"
        assert box.run(drawn) == box.run(drawn)
        for name in ("strop", "locks", "server", "piece"):
            assert "ModuleNotFoundError" in box.run(f"import {name}").error
