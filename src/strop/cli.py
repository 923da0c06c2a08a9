"""The command line. Results go to stdout, progress to stderr; a user's mistake is one message and exit code 2.

Nothing heavy is imported before a command needs it, so `strop --help` answers at once.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unicodedata import east_asian_width

from strop import __version__

COMMANDS = {
    "train": ("strop.commands.train", "train a model, with a held-out evaluation before and after"),
    "eval": ("strop.commands.eval", "score a model or a run on held-out tasks"),
    "judge": ("strop.commands.judge", "ask a judge about replies in a file: win rates, position bias, cost"),
    "export": ("strop.commands.export", "write what a run learned as a Hugging Face directory with a model card"),
    "export-data": ("strop.commands.export_data", "write what a run sampled as JSON lines: rollouts, pairs, right texts"),
    "tokens": ("strop.commands.tokens", "add tokens to a model: tags and labels that it writes as one token each"),
    "methods": ("strop.commands.lists:methods", "list the methods, or show one"),
    "explain": ("strop.commands.identity:explain", "print what a method computes, with every constant"),
    "diff": ("strop.commands.identity:diff", "print how two methods differ"),
    "parts": ("strop.commands.parts", "the seams of a method: what a part may read and give, strop's own parts"),
    "world": ("strop.commands.world", "worlds: list them, play one by hand, look whether one keeps its promises"),
    "check": ("strop.commands.check", "look at parts of your own before they are trained"),
    "claim": ("strop.commands.claim", "list, show or run claims: experiments that could refute a method"),
    "papers": ("strop.commands.papers", "the catalogue of papers in English and Korean, and what strop has of each"),
    "tasks": ("strop.commands.lists:tasks", "list the task sources, or show examples of one"),
    "tripwires": ("strop.commands.lists:tripwires", "list what training watches for"),
    "runs": ("strop.commands.lists:runs", "list the runs of a directory"),
    "lab": ("strop.commands.lab", "studies that train nothing: a gradient's exact bias, single against repeated answers"),
    "report": ("strop.commands.report", "write a run as one HTML page"),
    "track": ("strop.commands.track", "copy a run's metrics to a tracker: what it does not have yet"),
    "replay": ("strop.commands.replay", "train again on a run's recorded rollouts, with its method or another"),
    "microscope": ("strop.commands.microscope", "compare methods' gradients on one recorded batch"),
    "bisect": ("strop.commands.bisect", "say where two runs part, and what did it"),
    "plan": ("strop.commands.plan", "say what a recipe needs of memory, before anything is loaded"),
    "doctor": ("strop.commands.doctor", "check this machine and installation"),
}

MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory", "bad allocation")


STOPPED = 130
"""Exit code of a command that Ctrl-C ended."""


class Usage(ValueError):
    """A command line that cannot be understood."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what to type to go on."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; leaves with SystemExit when its exit code is not 0."""
    _wait_asleep_when_busy()
    code = _guarded(list(sys.argv[1:] if argv is None else argv))
    if code == STOPPED and argv is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C while the process ends has nothing left to stop
    if code:
        raise SystemExit(code)


def _wait_asleep_when_busy() -> None:
    """OpenMP's threads spin while they wait for each other, which on a machine with more work than cores keeps
    off the very thread they wait for and makes decoding over ten times slower. Read when torch is imported; the number of threads stays."""
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1):
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _guarded(argv: list[str]) -> int:
    try:
        return dispatch(argv)
    except KeyboardInterrupt as stop:
        say(f"\nstopped. {stop}".rstrip())
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, SystemExit) as error:
        from strop import own

        if os.environ.get("STROP_DEBUG") or (isinstance(error, SystemExit) and not own.blamed(error)):
            raise  # the second: --help
        message = explain(error)
        if message is None:
            raise
        say(f"strop: {message}")
        for note in getattr(error, "__notes__", ()):
            say(note)
        return 2


def explain(error: BaseException) -> str | None:
    """What a user is told instead of a traceback; None where the fault is ours."""
    text = str(error).strip()
    fault = error.__cause__ or error if type(error).__name__ == "PartError" else error  # a part's own memory may end too
    if isinstance(fault, MemoryError) or (isinstance(fault, RuntimeError) and any(m in text.lower() for m in MEMORY)):
        return (
            f"out of memory ({(text.splitlines() or ['MemoryError'])[0][:160]}). Lower one of these: --token-budget (tokens in one "
            "training pass), --slots (rows decoded at once), --cache (positions kept for prompts), or --group and --max-tokens. "
            "`strop plan` with the same flags says what takes most."
        )
    if isinstance(error, RecursionError) and "JSON" in text:
        return "a file of JSON is nested too deeply to be read: it is damaged, or not what its name says. Copy it again."
    if "No space left on device" in text:  # whoever writes: safetensors has an error of its own
        return "the disk is full. Make room, or name a place on another one: --out DIR"
    if isinstance(error, OSError):
        return f"{error.strerror or text}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, ModuleNotFoundError):
        return text if "pip install" in text else f"{text}. It belongs to an extra: pip install 'strop[math,data,gym]'."
    if isinstance(error, (ValueError, NotImplementedError)) or type(error).__name__ == "Tripped":
        return text
    from strop import own

    if where := own.blamed(error):
        return f"{where}: {type(error).__name__}: {text}"
    return None


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"strop {__version__}")
        return 0
    command, args = understood(argv)
    return command.run(args) or 0


def understood(argv: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """The command a line names and what it would be run with; a line that says neither is refused."""
    argv = [" ".join(argv[:2]), *argv[2:]] if " ".join(argv[:2]) in COMMANDS else argv
    name = argv[0]
    if name not in COMMANDS:
        raise Usage(f"no command {name!r}. {_nearest(name, COMMANDS)}")
    return _read(name, COMMANDS[name], argv[1:])


def _read(name: str, where: tuple[str, str], rest: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """A command, or what its first word names where it is several (`STUDIES`), each with flags of its own."""
    target, about = where
    module_name, _, attribute = target.partition(":")
    module = import_module(module_name)
    command = getattr(module, attribute) if attribute else module
    studies: dict[str, tuple[str, str]] = getattr(command, "STUDIES", {})
    if studies and rest and not rest[0].startswith("-"):
        if rest[0] not in studies:
            raise Usage(f"strop {name} has no {rest[0]!r}. {_nearest(rest[0], studies)}")
        return _read(f"{name} {rest[0]}", studies[rest[0]], rest[1:])
    parser = Parser(prog=f"strop {name}", description=inspect.cleandoc(command.__doc__ or about), allow_abbrev=False, formatter_class=Help)
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="one JSON object, to stdout or to FILE")
    command.add(parser)
    return command, parser.parse_args(rest)


def overview() -> str:
    lines = ["strop: post-training of reasoning models", "", "usage: strop COMMAND [--help] …", ""]
    lines += [f"  {name:11} {about}" for name, (_, about) in COMMANDS.items()]
    lines += ["", "Every command takes --json [FILE]. With no arguments, `strop train` trains the bundled model on the default task."]
    return "\n".join(lines)


class Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=110)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line with the nearest known flag."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
            first = unknown[0].partition("=")[0]
            raise Usage(f"{self.prog} has no {'flag' if first.startswith('-') else 'argument'} {first!r}. {_nearest(first, flags)}")
        return found

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{self.prog}: {message}. See {self.prog} --help.")


def _nearest(name: str, known: Iterable[str]) -> str:
    from strop.seams.part import nearest

    return nearest(name, known)


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def answer(args: argparse.Namespace, value: dict[str, Any] | list[Any], text: str) -> None:
    """The result: text on stdout, or the JSON object there, or the object in a file and the text on stdout."""
    if args.json is None:
        print(text)
        return
    from strop.records import finite

    body = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    if args.json == "-":
        print(body)
        return
    print(text)
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    Path(args.json).write_text(body + "\n")


def table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> str:
    """Columns in plain text; numbers to the right."""
    cells = [[_cell(c) for c in row] for row in rows]
    widest = [max(width(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) and bool(rows) for i in range(len(head))]
    put = [[_put(c, w, n) for c, w, n in zip(row, widest, numeric, strict=True)] for row in [list(head), *cells]]
    return "\n".join("  ".join(row).rstrip() for row in put)


def width(text: str) -> int:
    """Columns on a terminal: a Hangul syllable takes two."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _put(cell: str, wide: int, right: bool) -> str:
    space = " " * (wide - width(cell))
    return space + cell if right else cell + space


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
