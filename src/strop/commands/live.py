"""Progress on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strop.cli import say

SHOWN = 12
"""Steps in the live table."""

HEAD = ("step", "reward", "pass", "lenient", "length", "entropy", "spread", "grad", "s/step", "tok/s")


def cells(line: dict[str, Any]) -> list[str]:
    """One metrics line as the table shows it."""
    seconds = line.get("t", {}).get("seconds")
    written = sum(each.get("rollouts", 0) * (each.get("length") or 0) for each in (line, *line.get("roles", {}).values()))
    values = [line.get(name) for name in ("reward", "outcome", "lenient")]
    shown = [str(line["step"]), *("-" if v is None else f"{v:.3f}" for v in values)]
    shown += ["-" if line.get("length") is None else f"{line['length']:.1f}", f"{line.get('entropy', 0):.3f}"]
    shown += ["-" if line.get("spread") is None else f"{line['spread']:.2f}", f"{line.get('grad_norm', 0):.2f}"]
    return [*shown, f"{seconds:.2f}" if seconds else "-", f"{written / seconds:.0f}" if seconds else "-"]


class Live:
    """The last steps of a run, and when it will be done."""

    def __init__(self, steps: int, lines: Sequence[dict[str, Any]] = (), terminal: bool | None = None):
        self.steps, self.lines = steps, list(lines)[-SHOWN:]
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.fresh: list[float] = []
        self.shown: Any = None
        self.drawn = False

    def __enter__(self) -> Live:
        if self.terminal:
            from rich.console import Console
            from rich.live import Live as Screen

            self.shown = Screen(self.draw(), console=Console(stderr=True), refresh_per_second=4)
            self.shown.__enter__()
        else:
            say("  ".join(name.rjust(7) for name in HEAD))
        return self

    def __exit__(self, *why: Any) -> None:
        if self.shown is not None:
            self.shown.__exit__(*why)

    def above(self, plain: str, rich: Any = None) -> None:
        """Something to read above the table."""
        if self.shown is not None:
            self.shown.console.print(plain if rich is None else rich, markup=False, highlight=False)
        else:
            say(plain)

    def first(self, directory: Path) -> None:
        """The first batch as tokens, once."""
        from strop.report import tokens

        shown = tokens.read(directory) if not self.lines and not self.drawn else []
        if shown:
            self.drawn = True
            self.above(tokens.marked(shown), tokens.coloured(shown) if self.shown is not None else None)

    def show(self, line: dict[str, Any]) -> None:
        for name, said in line.get("warnings", {}).items():
            self.above(f"warning at step {line['step']}: {name}: {said}")
        self.lines = [*self.lines, line][-SHOWN:]
        self.fresh.append(line.get("t", {}).get("seconds") or 0.0)
        if self.shown is not None:
            self.shown.update(self.draw())
        else:
            say("  ".join(cell.rjust(7) for cell in cells(line)))

    def left(self) -> float | None:
        """Seconds to the last step, at the pace of the last few."""
        recent = self.fresh[-5:]
        if not recent or not self.lines:
            return None
        return (self.steps - 1 - self.lines[-1]["step"]) * sum(recent) / len(recent)

    def draw(self) -> Any:
        from rich.table import Table

        left = self.left()
        done = self.lines[-1]["step"] + 1 if self.lines else 0
        title = f"step {done} of {self.steps}" + ("" if left is None else f", about {left:.0f} s left")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in HEAD:
            table.add_column(name, justify="right")
        for line in self.lines:
            table.add_row(*cells(line))
        return table


class Progress:
    """`with Progress("evaluate") as tell: tell(done, all)`: one line that is rewritten on a terminal, written once elsewhere."""

    def __init__(self, what: str, of: str = "tasks"):
        self.what, self.of, self.terminal, self.last = what, of, sys.stderr.isatty(), 0.0

    def __enter__(self) -> Callable[[int, int], None]:
        self.started = time.perf_counter()
        return self.tell

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            end = f"{self.what} ({time.perf_counter() - self.started:.1f} s)"
            print(f"\r\033[K{end}" if self.terminal else end, file=sys.stderr, flush=True)

    def tell(self, done: int, count: int) -> None:
        now = time.perf_counter()
        if self.terminal and now - self.last > 0.1:
            self.last = now
            print(f"\r\033[K{self.what}: {done} of {count} {self.of}", end="", file=sys.stderr, flush=True)
