"""Train again on the rollouts that a run recorded: the same recipe, which must give the same bits, or another method.

Examples:
    strop replay runs/chain-grpo-1                      the same weights, shown digest by digest
    strop replay runs/chain-grpo-1 --method dr-grpo     another method on the identical rollouts
    strop replay runs/chain-grpo-1 --method mine.py     the method of a file, or of FILE.py:NAME
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Interrupted, answer, say
from strop.commands import check, recipes, train

if TYPE_CHECKING:
    from strop.loop import Run


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of the run whose rollouts are learned from")
    parser.add_argument("--method", metavar="NAME", help="another method: a name, FILE.py[:NAME], a run, a sum [its own]")
    parser.add_argument("--unchecked", action="store_true", help="do not look at parts of your own first (`strop check`)")
    parser.add_argument("--out", metavar="DIR", help="the replay's directory [RUN-replay-N or RUN-METHOD-N]")


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    origin = Path(args.run)
    work = _made(origin, args.method, args.out, args.unchecked)
    try:
        if args.method is None:
            answer(args, *_same(work, origin))
        else:
            with train.stopping() as asked:
                answer(args, *train.work(work, started, asked))
    except KeyboardInterrupt as stop:
        raise Interrupted(train.go_on(work.directory)) from stop
    except Exception as error:
        error.add_note(train.go_on(work.directory))
        raise
    return 0


def _made(origin: Path, method: str | None, out: str | None, unchecked: bool) -> Run:
    from strop.directory import as_threaded, check_policy, read_about
    from strop.recipe import Recipe
    from strop.replay import plan
    from strop.run import create
    from strop.saved import brought

    check_policy(origin, read_about(origin))
    parts = brought(origin)
    wanted = None if method is None else recipes.method(method)
    if wanted is not None:
        check.before(Recipe(method=wanted), unchecked=unchecked)
    made = plan(origin, wanted, parts.pop("method", None))
    if method is None:
        as_threaded(origin)
    directory = Path(out) if out else _free(origin, re.sub(r"[^\w@.+-]+", "-", wanted.name.replace(" + ", "+")) if wanted else "replay")
    work = create(made.recipe, directory, recording=made.recording, past=made.past, **parts)
    say(f"{directory}: {work.method.name} ({work.method.fingerprint}) on the {made.recording.steps} recorded steps of {origin}")
    for note in made.notes:
        say(f"note: {note}")
    return work


def _free(origin: Path, word: str) -> Path:
    """Beside the run, with the first number that is free."""
    number = 1
    while (place := origin.with_name(f"{origin.name}-{word}-{number}")).exists():
        number += 1
    return place


def _same(work: Run, origin: Path) -> tuple[dict[str, Any], str]:
    """The replay of a run's own recipe, and whether its lines are the run's."""
    from strop.commands.live import Live
    from strop.directory import read_metrics
    from strop.lab.bisect import bisect

    with Live(work.until, []) as live:
        work.train(show=live.show)
    found = bisect(origin, work.directory)
    line = read_metrics(work.directory)[-1]
    value = {"run": str(origin), "replay": str(work.directory), "steps": work.step, "digest": line["digest"], **found.to_json()}
    said = [found.text(), ""]
    said += [f"{name:10} {value}" for name, value in line["digest"].items()] + ["", f"replay  {work.directory}"]
    return value, "\n".join(said)
