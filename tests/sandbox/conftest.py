"""Skips with the reason where this machine has no wall; what runs at the level `open` or refuses runs everywhere."""

import pytest

from strop.sandbox import Rules, Sandbox, SandboxError
from strop.sandbox.trial import held, tried


@pytest.fixture(scope="session")
def walled():
    try:
        return held()
    except SandboxError:
        pytest.skip(f"no wall holds here: {tried()}")


@pytest.fixture(scope="module")
def box(walled):
    with Sandbox(Rules(cpu=0.2, wall=0.6, memory=128 << 20), at_once=2) as box:
        yield box


@pytest.fixture(scope="session")
def celled(walled):
    if walled.level != "cell":
        pytest.skip(f"no cell here: {walled.why}")


@pytest.fixture(scope="session")
def locked():
    if tried()["l"]:
        pytest.skip(f"no locks here: {tried()['l']}")
