"""Write a run as one self-contained HTML page: curves, held-out results, rollouts to read, recipe, bill.

Example:
    strop report runs/chain-grpo-1
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strop.cli import answer


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's directory")
    parser.add_argument("--out", metavar="FILE", help="the page [RUN/report.html]")


def run(args: argparse.Namespace) -> int:
    from strop.report import curve, page

    directory = Path(args.run)
    target = page.write(directory, Path(args.out) if args.out else directory / "report.html")
    picture = curve.write(directory, directory / "curve.png")
    value = {"run": str(directory), "report": str(target), "curve": str(picture), "bytes": target.stat().st_size}
    answer(args, value, f"{target}\n{picture}")
    return 0
