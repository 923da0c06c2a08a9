"""What runs behind walls is skipped, with the reason, where this machine cannot have them, and fails where it could and they are broken."""

import shutil
import subprocess

import pytest

from strop.sandbox import Rules, Sandbox, SandboxError, locks
from strop.sandbox.trial import held, tried


@pytest.fixture(scope="session")
def walled():
    try:
        return held()
    except SandboxError:
        said = f"no wall holds here: {tried()}"
    if locks.landlock_abi():
        pytest.fail(f"this kernel has Landlock, and {said}")
    pytest.skip(said)


@pytest.fixture(scope="module")
def box(walled):
    with Sandbox(Rules(cpu=0.2, wall=0.6, memory=128 << 20), at_once=2) as box:
        yield box


@pytest.fixture(scope="session")
def celled(walled):
    if walled.level == "cell":
        return
    nothing = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--", "true"]
    if shutil.which("bwrap") and subprocess.run(nothing, capture_output=True).returncode == 0:
        pytest.fail(f"bubblewrap works here, and the cell does not: {walled.why}")
    pytest.skip(f"no cell here: {walled.why}")


@pytest.fixture(scope="session")
def locked(walled):
    if tried()["l"]:
        pytest.skip(f"no locks here: {tried()['l']}")
