"""The first batch as tokens: who wrote each (prompt, action, forced, observation, teacher), and which are trained.

What is marked as trained is what the signals select, not what the rows ask for: the picture shows the mask in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from strop import shape
from strop.watch.first import NAME

COLOURS = {"prompt": "dim", "action": "green", "forced": "yellow", "observation": "cyan", "teacher": "magenta"}
MARKS = {"prompt": "P", "action": "A", "forced": "F", "observation": "O", "teacher": "T"}

Piece = tuple[str, str, bool]
"""(text of one token, kind of its segment, trained)."""


def read(directory: Path) -> list[dict[str, Any]]:
    path = directory / NAME
    return shape.read(path, shape.FIRST_BATCH) if path.exists() else []


def plain(text: str) -> str:
    """One printable piece: a line break is drawn, and a control character cannot reach the terminal."""
    return "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in text)


def runs(tokens: Sequence[Sequence[Any]]) -> list[tuple[str, str, bool]]:
    """Neighbouring tokens of one kind and one fate as one piece."""
    joined: list[tuple[str, str, bool]] = []
    for text, kind, trained in tokens:
        if joined and joined[-1][1:] == (kind, trained):
            joined[-1] = (joined[-1][0] + plain(text), kind, trained)
        else:
            joined.append((plain(text), kind, trained))
    return joined


def marked(shown: Sequence[Mapping[str, Any]]) -> str:
    """For a place without colours: P(…) A*(…), a star where it is trained."""
    lines = ["first batch (P prompt, A action, F forced, O observation, T teacher; * trained)"]
    for row in shown:
        said = " ".join(f"{MARKS[kind]}{'*' if trained else ''}({text})" for text, kind, trained in runs(row["tokens"]))
        lines.append(f"  {row['rollout']}: {'… ' if row['cut'][0] else ''}{said}{' …' if row['cut'][1] else ''}")
    return "\n".join(lines)


def coloured(shown: Sequence[Mapping[str, Any]]) -> Any:
    """For a terminal: a colour for each kind, tokens apart by shades, trained ones underlined."""
    from rich.text import Text

    text = Text("first batch  ")
    for kind, colour in COLOURS.items():
        text.append(f" {kind} ", colour)
    text.append("  ").append("trained", "underline")
    for row in shown:
        text.append(f"\n{row['rollout']}: ", "dim")
        for i, (piece, kind, trained) in enumerate(row["tokens"]):
            style = COLOURS[kind] + (" underline" if trained else "") + (" bold" if i % 2 else "")
            text.append(plain(piece), style)
    return text


def html(shown: Sequence[Mapping[str, Any]]) -> str:
    if not shown:
        return ""
    legend = " ".join(f"<span class='t {kind}'>{kind}</span>" for kind in COLOURS)
    made = [f"<p class=dim>{legend} <span class='t trained'>trained</span>: what the signals select</p>"]
    for row in shown:
        said = "".join(
            f"<span class='t {escape(kind)}{' trained' if trained else ''}'>{escape(plain(text))}</span>"
            for text, kind, trained in row["tokens"]
        )
        made.append(
            f"<p class=dim>{escape(row['rollout'])}</p><pre>{'… ' if row['cut'][0] else ''}{said}{' …' if row['cut'][1] else ''}</pre>"
        )
    return "".join(made)


STYLE = """
.t { border-radius: 2px; padding: 0 1px; }
.prompt { color: var(--dim); }
.action { background: #3b9b5e33; }
.forced { background: #c99a2e33; }
.observation { background: #2f9fb333; }
.teacher { background: #a04fc033; }
.trained { border-bottom: 2px solid var(--hot); }
"""
