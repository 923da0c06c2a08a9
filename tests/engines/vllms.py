"""A real vLLM for tests: one server for all of them, started with VLLM_PYTHON or .venv-vllm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python() -> str | None:
    """The Python of an environment with vLLM. One that is named is taken at its word: what was asked for fails, it is not left out."""
    usual = ROOT / ".venv-vllm" / "bin" / "python"
    return os.environ.get("VLLM_PYTHON") or (str(usual) if usual.exists() else None)


NEEDED = pytest.mark.skipif(
    python() is None,
    reason="no vLLM here: set VLLM_PYTHON to the Python of an environment that has it, or make .venv-vllm (see docs/vllm.md)",
)
"""Of tests that need a vLLM: they are left out where nobody named one and none is there. `.ci/full` names one."""
