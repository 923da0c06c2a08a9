"""`python -m strop.sandbox`: what holds on this machine. `--escapes` tries every way out behind each wall, as the table of docs/sandbox.md.

`--page PATH` puts that table between its marks in a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strop.sandbox.box import Ran, Server, plain, ran_of
from strop.sandbox.cell import Cell, SandboxError
from strop.sandbox.escapes import ESCAPES, Escape, bait
from strop.sandbox.rules import Rules
from strop.sandbox.trial import held, tried

COLUMNS = {"": "neither", "c": "the cell alone", "l": "the locks alone", "cl": "both"}
MARKS = ("<!-- escapes -->\n", "<!-- /escapes -->\n")
TRYING = Rules(cpu=2.0, wall=3.0, memory=256 << 20)


def outcomes(walls: str, rules: Rules = TRYING, *, session: bool = False) -> dict[str, Ran]:
    """Every escape, each behind a server of its own: as a single piece, or as the first of a session."""
    found: dict[str, Ran] = {}
    cell = Cell(rules, walls)
    try:
        with bait() as baited:
            for escape in ESCAPES:
                server = Server(cell.server(waiting=8 if session else 0), rules.wall + 30.0)
                try:
                    found[escape.name] = ran_of(server.execute(baited.code(escape), keep=session))
                finally:
                    server.channel.close()
    finally:
        cell.close()
    return found


def got_out(ran: Ran) -> bool:
    return "OUT" in ran.out


def how(escape: Escape, ran: Ran) -> str:
    """In a word or two: what it met."""
    if got_out(ran):
        return "**gets out**"
    if ran.ended == "raised":
        return ran.error.splitlines()[-1].partition(":")[0]
    return {"finished": "nothing there", "forbidden": "killed", "exited": "ends"}.get(ran.ended, ran.ended)


def table(columns: dict[str, dict[str, Ran]]) -> str:
    """As Markdown: a row an escape, a column a wall."""
    rows = [f"| {escape.name} | " + " | ".join(how(escape, columns[walls][escape.name]) for walls in COLUMNS) + " |" for escape in ESCAPES]
    return "\n".join(["| tried | " + " | ".join(COLUMNS.values()) + " |", "|---|---|---|---|---|", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m strop.sandbox", description=__doc__)
    parser.add_argument("--escapes", action="store_true", help="try every way out behind each wall (20 s)")
    parser.add_argument("--page", type=Path, help="the page that gets the table")
    args = parser.parse_args()
    try:
        found = held(Rules(weakest="open"))
        print(f"level {found.level}, Landlock ABI {found.landlock}" + (f": {found.why}" if found.why else ""))
        for wall, why in tried().items():
            print(f"{COLUMNS[wall]}: {plain(why) or 'holds'}")
        if args.escapes or args.page:
            shown = table({walls: outcomes(walls) for walls in COLUMNS})
            if args.page:
                before, _, rest = args.page.read_text().partition(MARKS[0])
                args.page.write_text(before + MARKS[0] + shown + MARKS[1] + rest.partition(MARKS[1])[2])
            print(shown)
    except SandboxError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
