"""The seams of a method: what a part at each may read and give, its protocol, strop's own parts.

Examples:
    strop parts                           the seams
    strop parts credit                    one of them; also part, batch, records, recipe, metrics
    strop parts credit group_centered     a part: constants, formula, what is said of it
    strop parts --page docs/reference     all of it as pages of Markdown, with examples/own/ quoted
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from strop.cli import Usage, answer, say, table


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("seam", nargs="?", metavar="SEAM", help="show this one")
    parser.add_argument("part", nargs="?", metavar="PART", help="show this part or record of it")
    parser.add_argument("--page", type=Path, metavar="DIR", help="write every page into this directory")
    parser.add_argument("--examples", type=Path, default=Path("examples/own"), metavar="DIR", help="files that pages quote [examples/own]")


def run(args: argparse.Namespace) -> int:
    from strop.reference.seams import SEAMS
    from strop.reference.source import first, prose

    if args.page is not None:
        return _write(args)
    if args.seam is None:
        rows = [{"seam": name, "stands": seam.stands, "about": first(prose(seam.about))} for name, seam in SEAMS.items()]
        text = table([[r["seam"], r["about"]] for r in rows], ["seam", "what it is"])
        answer(args, {"seams": rows}, text.replace("`", "") + "\n\nalso: part, batch, records, recipe, metrics")
        return 0
    return _part(args) if args.part else _seam(args)


def _seam(args: argparse.Namespace) -> int:
    from strop.reference import pages
    from strop.seams.part import nearest

    if args.seam not in pages.names():
        raise Usage(f"no seam {args.seam!r}. {nearest(args.seam, pages.names())}")
    page = pages.page(args.seam)
    answer(args, pages.plain_data(page), pages.plain(page))
    return 0


def _part(args: argparse.Namespace) -> int:
    from strop.reference.seams import SEAMS, shared
    from strop.seams.part import Part, nearest

    if args.seam not in SEAMS:
        raise Usage(f"no seam {args.seam!r} has parts. {nearest(args.seam, SEAMS)}")
    found: dict[str, Any] = {thing.name if isinstance(thing, Part) else thing.__name__: thing for thing in shared()[args.seam]}
    if args.part not in found:
        raise Usage(f"{args.seam} has no part {args.part!r}. {nearest(args.part, found)}")
    thing = found[args.part]
    text = thing.help() if isinstance(thing, Part) else _record(thing)
    value = {"name": args.part, "module": thing.__module__, "says": text}
    if isinstance(thing, Part):
        value |= {"reads": thing.reads, "gives": thing.gives, "grain": thing.grain, "needs": thing.needs, "constants": thing.constants}
        value |= {"formula": thing.says()}
    answer(args, value, text)
    return 0


def _record(thing: type) -> str:
    from strop.reference.source import members

    said = [f"  {m.written}\n      {m.says}".rstrip() for m in members(f"{thing.__module__}:{thing.__name__}") if not m.called]
    return "\n".join([inspect.cleandoc(thing.__doc__ or ""), "", *said])


def _write(args: argparse.Namespace) -> int:
    from strop.reference import pages

    if not args.examples.is_dir():
        raise Usage(
            f"no directory {str(args.examples)!r}: pages quote the files in it. Run where strop's sources are, or name it: --examples"
        )
    args.page.mkdir(parents=True, exist_ok=True)
    made = pages.files(args.examples)
    for name, text in made.items():
        (args.page / name).write_text(text, encoding="utf-8")
    say(f"{len(made)} files")
    answer(args, {"written": [str(args.page / name) for name in made]}, "\n".join(str(args.page / name) for name in made))
    return 0
