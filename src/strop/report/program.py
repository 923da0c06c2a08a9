"""A program as one HTML page: its stages with what each cost and left, the curves over all of them, and a link to the page of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from strop import directory as folder
from strop.bill import computed
from strop.report import page


def write(directory: Path, target: Path) -> Path:
    title, body = content(directory)
    target.write_text(page.document(title, body), encoding="utf-8")
    return target


def content(directory: Path) -> tuple[str, str]:
    """Its title, and its sections as HTML."""
    about, lines, result = folder.read_program(directory), folder.read_metrics(directory), folder.read_result(directory)
    resolved = about["resolved"]
    title = f"{resolved['method']} on {resolved['task']}"
    rows = stages(directory)
    said = f"{escape(directory.name)} · program {escape(about['fingerprint']['program'])} · "
    said += f"{len(about['done'])} of {_count(about)} stages done"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=dim>{said} · {len(lines)} steps</p>",
        page.section("Held out", page.before_after(result)),
        page.section("Stages", _stages(rows)),
        page.section("Bill by stage", _bills(rows)),
        page.section("Curves", page.curves(lines, result)),
        page.section("Recipe", page.pairs(about["recipe"]) + "<h3>Program</h3>" + page.pre(json.dumps(about["program"], indent=1))),
        page.section("Made with", page.pairs(about["versions"])),
    ]
    return title, "\n".join(body)


def stages(directory: Path) -> list[dict[str, Any]]:
    """Of each stage that was begun: its method, steps, what ended it, seconds, its own bill, rewards and pairs at its two ends."""
    about = folder.read_program(directory)
    ended = {entry["place"]: entry["why"] for entry in about["done"]}
    found: list[dict[str, Any]] = []
    before: Mapping[str, int] = {}
    for place in folder.stages(directory):
        lines = folder.read_metrics(place)
        bill = lines[-1]["bill"] if lines else before
        found.append(
            {
                "stage": place.name,
                "method": folder.read_about(place)["resolved"]["method"],
                "steps": len(lines),
                "ended": ended.get(place.name, "on its way"),
                "seconds": round(sum(line["t"]["seconds"] for line in lines), 1),
                "reward": _ends(lines, "reward"),
                "preferred": _ends([line.get("pairs", {}) for line in lines], "preferred"),
                "bill": {kind: count for kind, count in (Counter(bill) - Counter(before)).items() if count},
            }
        )
        before = bill
    return found


def text(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[str]], list[str]]:
    """The rows as a table shows them, and its head: who, how long, and what it came to. A column that no stage fills is left out."""
    columns = {
        "stage": [row["stage"] for row in rows],
        "method": [row["method"] for row in rows],
        "steps": [f"{row['steps']} ({row['ended']})" for row in rows],
        "seconds": [f"{row['seconds']:.0f}" for row in rows],
        **{name: [_arrow(row[name]) for row in rows] for name in ENDS if any(row[name] is not None for row in rows)},
        "positions": [f"{sum(count for kind, count in row['bill'].items() if computed(kind)):,}" for row in rows],
    }
    return [list(row) for row in zip(*columns.values(), strict=True)], list(columns)


ENDS = {"reward": "reward", "preferred": "share of pairs preferred"}
"""What is told of a stage's first and last steps."""


def _stages(rows: Sequence[Mapping[str, Any]]) -> str:
    linked, (told, columns) = [], text(rows)
    for row, cells in zip(rows, told, strict=True):
        first = f'<a href="{escape(row["stage"])}/report.html">{escape(row["stage"])}</a>'
        linked.append(f"<tr><td>{first}</td>{''.join(f'<td class=n>{escape(cell)}</td>' for cell in cells[1:])}</tr>")
    head = "".join(f"<th>{name}</th>" for name in columns)
    ends = " and ".join(said for name, said in ENDS.items() if name in columns)
    note = f"<p class=dim>{ends}: mean of the first and of the last fifth of the stage's steps</p>" if ends else ""
    return f"<table><tr>{head}</tr>{''.join(linked)}</table>{note}" if rows else "<p class=dim>none begun</p>"


def _bills(rows: Sequence[Mapping[str, Any]]) -> str:
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["bill"]))
    cells = [(row["stage"], *(f"{row['bill'].get(kind, 0):,}" for kind in kinds)) for row in rows]
    return page.table(cells, ("positions", *kinds)) if kinds else ""


def _ends(lines: Sequence[Mapping[str, Any]], name: str) -> list[float] | None:
    known = [line[name] for line in lines if line.get(name) is not None]
    if not known:
        return None
    some = max(len(known) // 5, 1)
    return [sum(known[:some]) / some, sum(known[-some:]) / some]


def _arrow(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.3f} → {ends[1]:.3f}"


def _count(about: Mapping[str, Any]) -> int:
    return sum(one["times"] * len(one["stages"]) if "times" in one else 1 for one in about["program"]["stages"])
