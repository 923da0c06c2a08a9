"""A part's body cannot change while its version stays."""

from __future__ import annotations

import ast
import json
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from strop import lock
from strop.seams import body as bodies
from strop.seams.credit import leave_one_out
from strop.seams.objective import kl_to
from strop.seams.part import body

BODY = '''
"""A module."""
from dataclasses import dataclass
from typing import ClassVar
from torch import Tensor
from strop.seams.credit import kl_estimate
from strop.seams.part import part

SCALE: float = 2.0
"""A constant."""


def helper(x_T: Tensor) -> Tensor:
    """Helps."""
    return x_T * SCALE  # twice


@part(gives="credit_T", formula="credit_T = helped_by * {by}")
def earned(reward_T: Tensor, *, by: float = 1.0) -> Tensor:
    """Earns."""
    if by < 0:
        raise ValueError(f"by={by} is negative")
    return helper(kl_estimate(reward_T, "k1")) * by


@dataclass(frozen=True)
class Gate:
    """Lets through."""

    VERSION: ClassVar[int] = 1
    tolerance: float = 0.0
    """How far."""

    def __call__(self, value: float) -> bool:
        return value > self.tolerance

    def words(self) -> str:
        return "a gate"
'''


@pytest.fixture
def hashes(tmp_path):
    """(earned, Gate) of a module with this text."""

    def of(text: str) -> tuple[str, str]:
        name = f"locked_{len(list(tmp_path.iterdir()))}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = util.spec_from_file_location(name, path)
        module: Any = util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found = body(module.earned), body(module.Gate)
        del sys.modules[name]
        return found

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Earns."""', '"""Earns a lot."""'),
        ("  # twice", "  # two times"),
        ("x_T: Tensor) -> Tensor", "x_T) -> object"),
        ("is negative", "lies below zero"),
        ("helped_by * {by}", "twice * {by}"),
        ('return helper(kl_estimate(reward_T, "k1")) * by', "return (\n        helper(kl_estimate(reward_T, 'k1')) * by\n    )"),
        ('return "a gate"', 'return "the gate"'),
        ("ClassVar[int] = 1", "ClassVar[int] = 2"),
        ('"""How far."""', ""),
    ],
)
def test_what_changes_no_number_changes_no_hash(hashes, old, new):
    assert BODY.count(old) == 1
    assert hashes(BODY.replace(old, new)) == hashes(BODY)


@pytest.mark.parametrize(
    ("old", "new", "whose"),
    [
        ("by: float = 1.0", "by: float = 2.0", "earned"),
        ("SCALE: float = 2.0", "SCALE: float = 3.0", "earned"),
        ("return x_T * SCALE", "return x_T + SCALE", "earned"),
        ('"k1"', '"k3"', "earned"),
        ("if by < 0", "if by <= 0", "earned"),
        ('gives="credit_T"', 'gives="reward_T"', "earned"),
        ("tolerance: float = 0.0", "tolerance: float = 0.1", "Gate"),
        ("value > self.tolerance", "value >= self.tolerance", "Gate"),
    ],
)
def test_what_can_change_a_number_changes_the_hash_and_no_other(hashes, old, new, whose):
    assert BODY.count(old) == 1
    before, after = hashes(BODY), hashes(BODY.replace(old, new))
    assert (before[0] != after[0], before[1] != after[1]) == (whose == "earned", whose == "Gate")


def test_a_helper_of_another_seam_is_part_of_the_body(monkeypatch):
    before, other = body(kl_to), body(leave_one_out)
    definitions, _ = bodies._module("strop.seams.credit")
    text = ast.unparse(definitions["kl_estimate"]).replace("/ 2", "/ 3")
    monkeypatch.setitem(definitions, "kl_estimate", ast.parse(text).body[0])
    assert body(kl_to) != before
    assert body(leave_one_out) == other


def test_no_part_of_strop_changed_under_its_version():
    now, saved = lock.locked(), lock.saved()
    assert lock.unbumped(saved, now) == []
    assert saved == now, "a part is new, gone, or has a new version: python -m strop.lock"


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(lock, "FILE", tmp_path / "parts.lock")
    assert lock.main() == 0
    return lock.FILE


def test_refreshing_refuses_a_changed_body_at_the_same_version(file, capsys):
    data = json.loads(file.read_text())
    data["gae"] = [1, "0" * 16]
    file.write_text(json.dumps(data))
    assert lock.main() == 2
    assert "gae: its body changed, its version is still 1. Give it version 2" in capsys.readouterr().err
    assert json.loads(file.read_text()) == data


def test_refreshing_takes_a_changed_body_with_a_higher_version_and_new_and_removed_parts(file, capsys):
    data = json.loads(file.read_text())
    now = dict(data)
    data["gae"] = [0, "0" * 16]
    data["gone"] = [1, "0" * 16]
    del data["kl_to"]
    file.write_text(json.dumps(data))
    assert lock.main() == 0
    assert json.loads(file.read_text()) == now
    assert "2 new or changed: gae, kl_to" in capsys.readouterr().out


def test_an_f_string_is_locked_as_its_pieces_which_every_python_writes_alike():
    """3.12 writes back quotes inside f-strings as 3.11 cannot read them."""
    written = """def f(a):\n    return f'{a:>{5}}_{a!r}_{"x" if a else "y"}'"""
    said = bodies._normal(ast.parse(written).body[0])
    assert "('f-string', (a, -1, ('f-string', '>', (5, -1, ''))), '_', (a, 114, ''), '_', ('x' if a else 'y', -1, ''))" in said
