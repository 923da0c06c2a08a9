"""What holds is tried, what does not is refused with the ways out, and each wall alone is tried against all that should not get through."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from strop.sandbox import Rules, Sandbox, SandboxError, cell, held
from strop.sandbox.__main__ import COLUMNS, MARKS, got_out, main, outcomes, table
from strop.sandbox.escapes import ESCAPES
from strop.sandbox.trial import Held, tried

PAGE = Path(__file__).parent.parent.parent / "docs" / "sandbox.md"


def standing(monkeypatch, failing, abi=7):
    from strop.sandbox import trial as module

    monkeypatch.setattr(module, "tried", lambda: failing)
    monkeypatch.setattr(module.locks, "landlock_abi", lambda: abi)
    monkeypatch.setattr(module.locks, "known", lambda: "x86_64")


def test_both_walls_are_the_cell_and_one_is_the_locks(monkeypatch):
    standing(monkeypatch, {"c": "", "l": ""})
    assert held() == Held("cell", 7)
    standing(monkeypatch, {"c": "bubblewrap is not installed", "l": ""})
    assert held() == Held("locks", 7, "bubblewrap is not installed")
    assert held().to_json() == {"level": "locks", "landlock": 7, "why": "bubblewrap is not installed"}


def test_without_landlock_the_cell_says_that_it_hides_files_alone(monkeypatch):
    standing(monkeypatch, {"c": "", "l": "it does not hold: a file of the host is read"}, abi=0)
    assert held().level == "cell"
    assert "no Landlock" in held().why


def test_locks_that_do_not_hold_though_the_kernel_has_them_leave_no_cell(monkeypatch):
    standing(monkeypatch, {"c": "", "l": "it does not hold: a connection by TCP"})
    with pytest.raises(SandboxError, match="a connection by TCP"):
        held()


def test_open_is_refused_with_the_ways_out_unless_it_is_asked_for_by_name(monkeypatch):
    standing(monkeypatch, {"c": "bubblewrap is Linux's", "l": "Landlock and seccomp are Linux's"}, abi=0)
    with pytest.raises(SandboxError) as refused:
        Sandbox()
    for way_out in ("bubblewrap is Linux's", "apt-get install bubblewrap", "5.13", "--sandbox open"):
        assert way_out in str(refused.value)
    with Sandbox(Rules(weakest="open", wall=5.0)) as box:
        assert box.held.level == "open"
        assert box.run("print(6 * 7)").out == "42\n"


def test_a_stronger_weakest_is_refused_too(monkeypatch):
    standing(monkeypatch, {"c": "no user namespaces", "l": ""})
    with pytest.raises(SandboxError, match="no user namespaces"):
        held(Rules(weakest="cell"))


@pytest.mark.parametrize(
    ("rules", "why"),
    [({"wall": 0}, "wall must be above 0"), ({"weakest": "none"}, "one of cell, locks, open"), ({"modules": "json"}, "several names"),
     ({"output": 1 << 20}, "at most")],
)  # fmt: skip
def test_rules_are_checked(rules, why):
    with pytest.raises(ValueError, match=why):
        Rules(**rules)


def test_a_module_that_is_not_installed_is_refused_with_the_way_out():
    with pytest.raises(SandboxError, match="a_module_nobody_has"):
        cell.places(("a_module_nobody_has",))


def test_what_runs_inside_stands_beside_what_starts_it():
    assert all((cell.HERE / name).is_file() for name in cell.INSIDE)


def test_of_the_host_only_interpreter_and_libraries_are_seen(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "key").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = cell.places(("json", "mine"))
    assert str(tmp_path / "mine") in found.read, "a module's own folder"
    assert str(tmp_path) not in found.read, "and not what stands beside it"
    assert not [path for path in found.read if path in ("/", "/usr", "/home", "/etc", "/root")]


def test_the_walls_of_this_machine_were_tried(walled):
    """Not by versions: `tried` runs every quick escape behind each wall alone, and says what got out."""
    assert walled.level in ("cell", "locks")
    assert tried()["l"] == "" or walled.landlock == 0


def test_the_command_says_what_holds(walled, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["strop.sandbox"])
    main()
    assert capsys.readouterr().out.startswith(f"level {walled.level}, Landlock ABI {walled.landlock}")


@functools.cache
def tried_out(walls):
    return outcomes(walls)


@pytest.mark.slow
@pytest.mark.parametrize("walls", COLUMNS, ids=lambda walls: COLUMNS[walls])
def test_escapes(walls, walled):
    """Each wall holds what it says; without walls the baits can be had, so the escapes are real."""
    if walls and any(tried()[wall] for wall in walls):
        pytest.skip(f"not here: {tried()}")
    found = tried_out(walls)
    out = {escape.name for escape in ESCAPES if got_out(found[escape.name])}
    if walls:
        assert out == {escape.name for escape in ESCAPES if not set(walls) & set(escape.held)}
    elif os.getuid() == 0:
        assert {escape.name for escape in ESCAPES if escape.walls} <= out
    assert not [name for name, ran in found.items() if ran.ours]


@pytest.mark.slow
def test_a_session_is_held_as_a_single_piece_is(walled):
    """Though its processes may fork: by the one call that their driver makes."""
    found = outcomes(walled.walls, session=True)
    open_ones = {escape.name for escape in ESCAPES if not set(walled.walls) & set(escape.held)}
    assert {name for name, ran in found.items() if got_out(ran)} == open_ones
    assert not [name for name, ran in found.items() if ran.ours]


@pytest.mark.slow
def test_the_page_shows_the_table_that_its_command_prints(celled, locked):
    if os.getuid() != 0:
        pytest.skip("the page's table is root's: without walls nobody else has a root's powers")
    assert PAGE.read_text().partition(MARKS[0])[2].partition(MARKS[1])[0] == table({walls: tried_out(walls) for walls in COLUMNS})


@pytest.mark.slow
def test_without_bubblewrap_one_wall_is_left_and_sessions_go_on(locked, tmp_path):
    program = """
from strop.sandbox import Rules, Sandbox, Session
with Sandbox(Rules(cpu=0.5, wall=2.0)) as box:
    print(box.held.level, box.held.why)
    first, _ = box.go_on(Session(), "x = 1")
    second, ran = box.go_on(first, "x += 1; print(x)")
    other, again = box.go_on(first, "x += 10; print(x)")
    _, killed = box.go_on(second, "while True: pass")
    _, after = box.go_on(second, "print(x)")
    print(ran.out.strip(), again.out.strip(), killed.ended, after.out.strip())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "PATH": str(tmp_path)}
    )
    assert ended.stdout == "locks bubblewrap is not installed\n2 11 time 2\n"
