"""Write a run as one self-contained HTML page: curves, tripwires, held-out results, rollouts to read, recipe, bill. Several runs of one
recipe that differ in their seed: a table over seeds, and their curves in one picture.

Examples:
    strop report runs/chain-grpo-1
    strop report runs/chain-grpo-1 --watch         the page of a run that goes on, in a browser on this machine
    strop report runs/a-1 runs/a-2 runs/a-3        over seeds; the picture is seeds.png
"""

from __future__ import annotations

import argparse
import errno
from pathlib import Path

from strop.cli import Usage, answer, say

PORT = 8642


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's directory, or several")
    parser.add_argument("--out", metavar="FILE", help="the page [RUN/report.html]; of several runs the picture [seeds.png]")
    parser.add_argument("--watch", action="store_true", help="serve the page on 127.0.0.1 and follow the run, until Ctrl-C")
    parser.add_argument("--port", type=int, metavar="N", help=f"where --watch serves it; 0 takes a free one [{PORT}]")


def run(args: argparse.Namespace) -> int:
    directory = Path(args.runs[0])
    if len(args.runs) > 1:
        return _seeds(args)
    if args.watch:
        return _watch(args, directory)
    if args.port is not None:
        raise Usage("--port is where --watch serves the page: add --watch")
    from strop.directory import PROGRAM
    from strop.report import curve, page, program

    made = program if (directory / PROGRAM).exists() else page
    target = made.write(directory, Path(args.out) if args.out else directory / "report.html")
    picture = curve.write(directory, directory / "curve.png")
    value = {"run": str(directory), "report": str(target), "curve": str(picture), "bytes": target.stat().st_size}
    answer(args, value, f"{target}\n{picture}")
    return 0


def _seeds(args: argparse.Namespace) -> int:
    from strop.report import seeds

    if args.watch or args.port is not None:
        raise Usage("--watch and --port follow one run: name one")
    found = seeds.facts([Path(run) for run in args.runs])
    picture = seeds.picture(found, Path(args.out or "seeds.png"))
    answer(args, found, f"{seeds.text(found)}\n\n{picture}")
    return 0


def _watch(args: argparse.Namespace, directory: Path) -> int:
    from strop.report import follow

    if args.out:
        raise Usage("--watch serves the page and writes none: leave --out away")
    port = PORT if args.port is None else args.port
    if not 0 <= port < 1 << 16:
        raise Usage(f"--port {port}: a port is a number from 0 (a free one) to 65535")
    try:
        server = follow.Server(directory, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise Usage(f"port {port} of 127.0.0.1 cannot be had: {error.strerror}. Name another with --port N; 0 takes a free one.") from error
    answer(args, {"run": str(directory), "address": server.address}, server.address)
    say(f"follows {directory}, on this machine alone; Ctrl-C ends it")
    with server:
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say()
    return 0
