"""Set up and start: needs Python 3.11 or later, nothing else.

    python3 start.py train          train the bundled model and show what it learned
    python3 start.py test           pass the tests (six minutes on two cores)
    python3 start.py setup          only set up the environment (`setup dev` for the tests' one)

Everything is installed into .venv beside this file, once. What follows `train` or `test` goes on to `strop train` or pytest.
Plain `torch` on Linux brings several gigabytes of CUDA; PyTorch's public CPU index has the small build, so that is asked
first. For a GPU: `pip install torch` into .venv yourself, then run this again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch>=2.9,<2.14"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def pip(*args: str, may_fail: bool = False) -> bool:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *args]
    done = subprocess.run(command, cwd=HERE, check=False, stderr=subprocess.PIPE if may_fail else None)
    if done.returncode and not may_fail:
        sys.exit(f"start.py: `{' '.join(command[2:])}` failed; its own message is above.")
    return done.returncode == 0


def setup(extra: str) -> None:
    """Once per content of pyproject.toml and extra."""
    stamp = VENV / f"installed{extra}"
    wanted = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"setting up .venv{extra} (about a minute)", file=sys.stderr)
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    has_torch = subprocess.run([str(PYTHON), "-c", "import torch"], check=False, capture_output=True).returncode == 0
    if not has_torch and not pip("--index-url", CPU_INDEX, "--retries", "1", "--timeout", "15", TORCH, may_fail=True):
        print("PyTorch's CPU index cannot be reached; trying the default one", file=sys.stderr)
        pip("torch==2.13.0")
    pip("-e", f".{extra}")
    stamp.write_text(wanted)


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Python should read why, not a traceback)
        sys.exit(f"start.py: strop needs Python 3.11 or later, this is {sys.version.split()[0]}")
    verb, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if verb == "train":
        setup("")
        return subprocess.run([str(PYTHON), "-m", "strop", "train", *rest], check=False).returncode
    if verb == "test":
        setup("[dev]")
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # a worker a core
        return subprocess.run(
            [str(PYTHON), "-m", "pytest", "-m", "not full and not slow", "-n", "auto", *rest], cwd=HERE, env=env, check=False
        ).returncode
    if verb == "setup":
        setup("[dev]" if "dev" in rest else "")
        return 0
    print(__doc__)
    return 0 if verb in ("-h", "--help", "help") else 2


if __name__ == "__main__":
    sys.exit(main())
