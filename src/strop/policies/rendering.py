"""Chat templates written by others, rendered where they can be stopped.

A template is a program: sandboxed jinja2 keeps it from files and from Python's insides, not from looping for ever or from filling the
memory. So it is rendered in a process of its own, which has a deadline and a limit of memory and is killed at either. This file is client
and program: run by its path it imports nothing of strop, and answers one line of JSON with one.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

DEADLINE = 5.0
"""Seconds for one conversation; it takes well under a millisecond."""
MEMORY = 1 << 30


class Unrendered(ValueError):
    """A template that gave no text, and why."""


class Rendering:
    """The process that renders; started when first needed, and again after a template that had to be stopped."""

    def __init__(self, deadline: float = DEADLINE):
        self.deadline, self._lock, self._owner = deadline, threading.Lock(), os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def __call__(self, template: str, messages: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> str:
        """The conversation as the template writes it; `values` are all of its other variables."""
        return self._ask({"template": template, "messages": list(messages), "values": dict(values)})

    def variables(self, template: str) -> set[str]:
        """Every name that the template reads and that somebody else has to give. jinja2 compiles it for that, and compiling computes."""
        return set(self._ask({"template": template}))

    def _ask(self, question: dict[str, Any]) -> Any:
        asked = json.dumps(question)
        with self._lock:
            if self._owner != os.getpid():  # forked: the process belongs to the parent
                self._process, self._owner = None, os.getpid()
            try:
                process = self._process = self._process or _started()
                said = _answer(process, asked, self.deadline)
            except BaseException:
                self._end()
                raise
        if "refused" in said:
            raise Unrendered(said["refused"])
        return said["given"]

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # pyright: ignore[reportOptionalMemberAccess]


def _started() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-s", "-P", "-B", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    _answer(process, json.dumps([os.path.abspath(entry) for entry in sys.path if entry]), 60.0)  # jinja2 is imported
    return process


def _answer(process: subprocess.Popen[bytes], line: str, seconds: float) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    said, until = b"", time.monotonic() + seconds
    try:
        rest = memoryview(line.encode() + b"\n")
        while rest:
            rest = rest[os.write(process.stdin.fileno(), rest) :]
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if (left := until - time.monotonic()) <= 0 or not waiting.select(left):
                    raise Unrendered(f"it did not end within {seconds:g} s and was stopped")
                if not (part := os.read(process.stdout.fileno(), 1 << 16)):
                    raise Unrendered("it ended the process that rendered it")
                said += part
    except BrokenPipeError:
        raise Unrendered("it ended the process that rendered it") from None
    return json.loads(said)


# ------------------------------------------------------------------------------------------- the program


def language() -> Any:
    """jinja2 as transformers sets it up for chat templates."""
    from datetime import datetime

    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag that transformers adds: what stands in it is a reply."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own way

        def parse(self, parser: Any) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **how)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    made.filters["tojson"] = tojson
    made.globals |= {"raise_exception": raise_exception, "strftime_now": lambda form: datetime.now().strftime(form)}
    return made


def main() -> None:
    sys.path[:] = json.loads(sys.stdin.readline())
    from jinja2 import meta

    made, compiled = language(), dict[str, Any]()
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, 2 * DEADLINE)  # ends this process where nobody is left to do so
        try:
            if "messages" not in asked:
                read = meta.find_undeclared_variables(made.parse(asked["template"]))
                said = {"given": sorted(read - made.globals.keys())}
            else:
                if asked["template"] not in compiled:
                    compiled.clear()
                    compiled[asked["template"]] = made.from_string(asked["template"])
                said = {"given": compiled[asked["template"]].render(messages=asked["messages"], **asked["values"])}
        except MemoryError:
            said = {"refused": f"it needs more than {MEMORY >> 20} MiB of memory"}
        except Exception as error:
            said = {"refused": (str(error).strip().splitlines() or [type(error).__name__])[0][:200]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
