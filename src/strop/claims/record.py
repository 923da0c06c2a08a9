"""Records: what a claim's run leaves for readers and for the table of verdicts. One JSON file each, under `claims/records/`."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.claims.trace import Trace

SHIPPED = Path(__file__).parent / "records"
"""Records of full profiles, one file a claim, shipped with the package."""


def bill(traces: Sequence[Trace]) -> dict[str, float]:
    """Mean positions per run by kind and policy, discarded ones included, and seconds."""
    from statistics import fmean

    bills: list[dict[str, int]] = [trace.lines[-1]["bill"] if trace.lines else {} for trace in traces]
    kinds = sorted({kind for each in bills for kind in each})
    said: dict[str, float] = {kind: fmean(each.get(kind, 0) for each in bills) for kind in kinds}
    return {**said, "steps": fmean(len(trace.lines) for trace in traces), "seconds": round(fmean(t.about["seconds"] for t in traces), 2)}


@cache
def code() -> str:
    """A hash of the package's own source: what ran, whatever version it calls itself."""
    total = hashlib.sha256()
    package = Path(__file__).parent.parent
    for file in sorted(package.rglob("*.py")):
        total.update(file.relative_to(package).as_posix().encode())
        total.update(file.read_bytes())
    return total.hexdigest()[:12]


def here() -> dict[str, Any]:
    """Versions and machine of this process."""
    import torch

    from strop.directory import versions

    machine = {"cpus": os.cpu_count(), "threads": torch.get_num_threads(), "processor": processor(), "system": platform.system()}
    return {"versions": versions(), "machine": machine}


def processor() -> str:
    info = Path("/proc/cpuinfo")
    named = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    return named[0] if named else platform.processor() or platform.machine()


def shipped() -> dict[str, dict[str, Any]]:
    """Committed records by claim."""
    found = (json.loads(path.read_text()) for path in sorted(SHIPPED.glob("*.json")))
    return {made["claim"]: made for made in found}


def verdicts(place: Path = SHIPPED) -> dict[str, str]:
    """Committed verdicts by claim. A record has a key a line, these near its head: the rest, thousands of numbers, is left unread."""
    heads = (path.read_text(encoding="utf-8").partition('\n"why_void":')[0] for path in sorted(place.glob("*.json")))
    return {_line("claim", head): _line("verdict", head) for head in heads}


def _line(key: str, head: str) -> str:
    found = re.search(rf'^"{key}": "(.*)",?$', head, re.M)
    if found is None:
        raise ValueError(f"a record in {SHIPPED} has no line for its {key}")
    return found[1]


def verdict_of(claim: str) -> str:
    return verdicts().get(claim, "not run")
