"""Copy a run's metrics to a tracker: every step that it does not have yet, however often this is called.

Examples:
    strop track runs/chain-grpo-1 tensorboard
    strop track runs/chain-grpo-1 wandb mlflow     after a run whose trackers had gone away
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strop import tracking
from strop.cli import Usage, answer


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's directory")
    parser.add_argument("tracker", nargs="+", metavar="NAME", help=f"of {', '.join(tracking.KINDS)}")


def run(args: argparse.Namespace) -> int:
    directory, kinds = Path(args.run), tracking.asked(args.tracker)
    if not (directory / "recipe.json").exists():
        raise Usage(f"{directory} holds no run (no recipe.json). `strop runs` lists the runs there are.")
    earlier = tracking.remembered(directory).get("kinds", [])
    tracking.begun(directory, [*earlier, *(kind for kind in kinds if kind not in earlier)], lambda said: None)
    mirrors = tracking.Mirrors(directory, kinds)
    mirrors.end()
    done, about = mirrors.to_json(), tracking.remembered(directory)
    lines = [f"{kind}: {one['failed'] or str(one['logged']) + ' steps logged'}" for kind, one in done.items()]
    answer(args, done, "\n".join(f"{line}; {tracking.where(directory, line.partition(':')[0], about)}" for line in lines))
    return 1 if any(one["failed"] for one in done.values()) else 0
