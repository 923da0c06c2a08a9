"""Write what a run sampled as a file of JSON lines, each with where it is from.

strop export-data RUN all.jsonl                  every rollout with its scores
strop export-data RUN pairs.jsonl --as pairs     right texts over wrong ones: strop train --method dpo --data pairs.jsonl
strop export-data RUN right.jsonl --as right     right texts
strop export-data RUN told.jsonl --as episodes   right episodes as messages: strop train --method sft-messages --data told.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from strop.cli import Usage, answer, table

KINDS = ("rollouts", "pairs", "right", "episodes")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's directory; of a program that of a stage")
    parser.add_argument("file", metavar="FILE", type=Path, help="where the lines go; not there yet")
    parser.add_argument("--as", dest="kind", choices=KINDS, default="rollouts", help="what a line is [rollouts]")
    parser.add_argument("--most", type=int, default=15, metavar="N", help="pairs of one group at the most [15]")


def run(args: argparse.Namespace) -> int:
    from strop import durable
    from strop.report import collected

    if args.most < 1:
        raise Usage(f"--most {args.most}: at least 1")
    if args.file.exists():
        raise Usage(f"{args.file} is there already. Name a file that is not.")
    made, left = collected.rows(Path(args.run), args.kind, args.most)
    if not made:
        told = "".join(f" {what}: {count}." for what, count in left.items())
        raise Usage(f"{args.run} sampled nothing that makes {args.kind}.{told} `strop report {args.run}` shows what it sampled.")
    args.file.parent.mkdir(parents=True, exist_ok=True)
    durable.write(args.file, b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for row in made))
    card = collected.card(made, args.kind) | left
    text = table([[name, value] for name, value in card.items()], ["", ""])
    said = {"file": str(args.file), "run": args.run, **card}
    answer(args, said, f"{args.file}: {len(made)} lines\n\n{text}")
    return 0
