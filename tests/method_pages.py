"""docs/methods/*.md: what is measured and generated in them. `python tests/method_pages.py` writes it anew.

A page is written by hand but for its blocks. A block begins with a line that says what it holds and ends with `<!-- end -->`:

    <!-- explain cdas -->        the method's formulas, as `strop explain` prints them
    <!-- diff grpo cdas -->      what differs, as `strop diff` prints it
    <!-- table stable_reinforce:kept -->  what this function of the method's experiments gives
    <!-- record cdas-spread -->  the record of a claim's full profile, as `strop claim show` prints it, and its picture
"""

from __future__ import annotations

import contextlib
import io
import re
from importlib import import_module
from pathlib import Path

from strop.claims.record import shipped
from strop.cli import main
from strop.commands.claim import measured
from strop.report.claim import picture

PAGES = Path(__file__).parent.parent / "docs" / "methods"
BLOCK = re.compile(r"<!-- (explain|diff|record|table) ([^>]*?) -->\n(?:(?:(?!<!-- ).)*<!-- end -->\n)?", re.S)


def said(*argv: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(list(argv))
    return out.getvalue().rstrip()


def block(kind: str, names: str) -> str:
    if kind == "table":
        module, _, function = names.partition(":")
        return getattr(import_module(f"strop.experiments.{module}"), function)()
    if kind != "record":
        return f"```\n$ strop {kind} {names}\n{said(kind, *names.split())}\n```"
    made = shipped().get(names)
    if made is None:
        return f"Not run yet: `strop claim run {names} --profile full`."
    return f"![{names}: {made['verdict']}]({names}.svg)\n\n```\n$ strop claim show {names}\n{measured(made)}\n```"


def filled(page: str) -> str:
    return BLOCK.sub(lambda found: f"<!-- {found[1]} {found[2]} -->\n{block(found[1], found[2])}\n<!-- end -->\n", page)


def files() -> dict[Path, str]:
    """Every page and picture as it should be."""
    pages = {path: path.read_text() for path in sorted(PAGES.glob("*.md"))}
    pictures = {
        PAGES / f"{found[2]}.svg": picture(shipped()[found[2]])
        for page in pages.values()
        for found in BLOCK.finditer(page)
        if found[1] == "record" and found[2] in shipped()
    }
    return {path: filled(page) for path, page in pages.items()} | pictures


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        print(path)
