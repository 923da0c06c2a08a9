"""A run's directory without a run: what its page is made from."""

import gzip
import json

import pytest
from hostile import HOSTILE, record


@pytest.fixture
def run(tmp_path):
    (tmp_path / "groups").mkdir()
    parts = {"sampler": {"with": {"max_tokens": 8}}}
    about = {
        "recipe": {"task": HOSTILE, "model": "pico", "steps": 5},
        "resolved": {"method": "grpo", "task": "chain", "steps": 5, "seed": 0, "parts": parts},
    }
    about |= {
        "fingerprint": {"method": "abc", "recipe": "def"},
        "versions": {"torch": "2"},
        "threads": 2,
        "grade": "exact",
        "tripwires": [],
    }
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    lines = []
    for step in range(5):
        (tmp_path / "groups" / f"{step:06d}.json.gz").write_bytes(gzip.compress(json.dumps(record(step)).encode()))
        line = {"step": step, "reward": step / 5, "outcome": step / 5, "length": 9.0, "entropy": 0.5, "incidents": 1}
        lines.append(json.dumps({**line, "bill": {"decoded": 10 * step}}))
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    side = {"pass@1": 0.25, "pass@8": None, "greedy": 0.5, "interval": {"pass@1": [0.2, 0.3]}, "tasks": 4, "samples": 2}
    made = {"method": "grpo", "fingerprint": "abc", "task": "chain", "model": "pico", "seed": 0, "steps": 5, "seconds": 1.0, "bill": {}}
    (tmp_path / "result.json").write_text(
        json.dumps({**made, "before": side, "after": {**side, "pass@1": 0.5}, "base_at_temperature": {"0.3": 0.4}})
    )
    return tmp_path
