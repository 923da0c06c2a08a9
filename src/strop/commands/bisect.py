"""Say where two runs part: the first step and stage that differs, and the part, constant or machine that did it.

Example:
    strop bisect runs/chain-grpo-1 runs/chain-grpo-2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strop.cli import answer


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN_A", help="a run's directory")
    parser.add_argument("second", metavar="RUN_B", help="another run's directory")


def run(args: argparse.Namespace) -> int:
    from strop.lab.bisect import bisect

    found = bisect(Path(args.first), Path(args.second))
    answer(args, {"first": args.first, "second": args.second, **found.to_json()}, found.text())
    return 0
