"""examples/add_a_method.py and docs/add-a-method.md: a method and a claim in a file of the user's own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "add_a_method.py"


def test_a_right_rollout_earns_a_tenth_and_a_wrong_one_minus_one():
    sys.path.insert(0, str(FILE.parent))
    from add_a_method import signed

    assert torch.equal(signed(torch.tensor([1.0, 0.0, 1.0]), right=0.1), torch.tensor([0.1, -1.0, 0.1]))


def test_every_line_of_code_on_the_page_stands_in_the_file_or_in_this_one():
    page = (ROOT / "docs" / "add-a-method.md").read_text()
    known = FILE.read_text() + Path(__file__).read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) >= 4
    for block in blocks:
        assert block.strip() in known, f"the page shows code that is nowhere:\n{block}"


@pytest.mark.full  # two processes, a whole quick profile
def test_a_claim_of_ones_own_file_runs_in_two_processes_and_leaves_a_record(tmp_path):
    command = [sys.executable, "-m", "strop", "claim", "run", str(FILE), "--jobs", "2", "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["claim"], record["verdict"], record["seeds"]) == ("w-reinforce-entropy", "direction only", [0, 1])
    assert record["effect"] is not None
    assert record["why_void"] == []
    assert {c["arm"] for c in record["checks"]} == {"weighted"}


def test_a_file_without_a_claim_and_a_claim_under_a_taken_name_are_refused(tmp_path):
    from strop.claims import of_file

    (tmp_path / "none.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="defines no claim"):
        of_file(str(tmp_path / "none.py"))
    text = FILE.read_text().replace('"w-reinforce-entropy"', '"cdas-spread"')
    (tmp_path / "taken.py").write_text(text)
    with pytest.raises(ValueError, match="a claim 'cdas-spread' already"):
        of_file(str(tmp_path / "taken.py"))
