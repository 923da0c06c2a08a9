"""Coq as a checker: one `coqtop` in a cell, kept warm, that goes back to where it stood after every proof.

It knows integers (ZArith, Lia) and classical logic; `classic` is the one axiom that a proof may rest on, by what `Print Assumptions` says.
A statement is written for it anew, and the theorem is compared with a definition that stands before the reply. The end of what is read is
a word by chance that nobody can have written, so a reply is to its own file or to none. Each proof has `seconds` of its own: a process that
does not answer in them is ended and made again, which costs that proof alone. Debian: `apt install coq`.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from strop.proofs.gates import NAME, Goal, Reply, asked
from strop.proofs.logic import LONGEST, Arith, Bind, Equal, Formula, Num, Op, Prop, Term, Var, closed, numeric
from strop.sandbox.cell import SandboxError
from strop.sandbox.strangers import enclosed

BEGINS = "Require Import ZArith Lia Classical. Open Scope Z_scope.\n"
ROOM = 2 << 20
"""Kibibytes of memory of a process."""
HEADS = frozenset(("Proof", "Qed"))
"""Commands that a reply may hold; tactics begin with a small letter."""
STATE = re.compile(r"<prompt>[^<]* < (\d+) \|")
UNPROVEN = re.compile(r"\b(?:admit|give_up|native_compute|native_cast_no_check)\b")
ERROR = re.compile(r"^(?:Error:|Syntax error|Anomaly|.*\bError:)", re.MULTILINE)
CONFIGURED = ("/etc/ocamlfind.conf",)
"""What it reads beside its own folders."""
BOOT = 60.0
"""Seconds to begin."""


class Gone(Exception):
    """The process is no more, or does not answer."""


def there() -> bool:
    """Whether Coq is installed."""
    return shutil.which("coqtop") is not None


def spelled(a: Formula | Term) -> str:
    """A statement, or a term, as Coq writes it."""
    match a:
        case Prop(name) | Var(name):
            return name
        case Num(value):
            return f"{value}%Z" if value >= 0 else f"({value})%Z"
        case Arith(op, left, right):
            return f"({spelled(left)} {op} {spelled(right)})%Z"
        case Equal(left, right):
            return f"({spelled(left)} = {spelled(right)})"
        case Op(op, left, right):
            return f"({spelled(left)} {({'&': '/' + chr(92), '|': chr(92) + '/', '->': '->'})[op]} {spelled(right)})"
        case Bind(op, name, body):
            return f"({'forall' if op == 'all' else 'exists'} {name} : {'Z' if numeric(name) else 'Prop'}, {spelled(body)})"
        case _:
            return "False"


@dataclass
class Coq:
    """A warm `coqtop`. It begins when it is first asked, and `close` ends it."""

    seconds: float = 10.0
    """For one proof."""
    walls: bool = True
    """Behind the walls of a cell for strangers' programs; without, it runs as you do."""
    name: str = "coq"
    allowed: frozenset[str] = frozenset(("classic",))
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    begun: int = field(default=0, init=False)
    """Processes that were made."""
    base: str = field(default="", init=False, repr=False)
    """The state where every proof begins."""
    at: str = field(default="", init=False, repr=False)
    """And where it stands."""

    # -------------------------------------------------------------------------------------------- a verdict

    def scan(self, said: str) -> str:
        """`Proof. …tactics… Qed.`, without comments, texts, or any other command."""
        if found := next((sign for sign in ("(*", "*)", '"', "#[", "`") if sign in said), ""):
            return f"{found} has no place in a proof"
        if not said.isascii():
            return "a proof is written in ASCII"
        words = said.split()
        if words[:1] != ["Proof."] or words[-1:] != ["Qed."] or said.count("Qed") != 1:
            return "a proof is `Proof. TACTICS. Qed.`"
        for sentence in re.split(r"\.(?:\s+|$)", said):
            head = re.sub(r"^(?:[-+*{}\s]|\d+\s*:|all\s*:|par\s*:|!\s*:)+", "", sentence)
            if head[:1].isupper() and head not in HEADS:
                return f"{head.split()[0]} is no tactic"
            if found := UNPROVEN.search(head):
                return f"{found[0]} proves nothing"
        return ""

    def ask(self, statement: Formula, said: str) -> Reply:
        of, said_of_it = asked(statement, said), spelled(closed(statement))
        if len(said) > LONGEST:
            return Reply(of, ended="lost")
        try:
            self._warm()
        except (TimeoutError, Gone, OSError):
            self.close()
            return Reply(of, ended="lost")
        until = time.monotonic() + self.seconds
        try:
            self._hears(f"Definition strop_says : Prop := {said_of_it}.\n", until)
            told = self._hears(f"Theorem {NAME} : {said_of_it}.\n{said}\n", until)
            same = self._hears(f"Definition strop_same : strop_says := {NAME}.\n", until)
            rests = self._hears("Print Assumptions strop_same.\n", until)
            self._hears(f"BackTo {self.base}.\n", until)
        except TimeoutError:
            self.close()
            return Reply(of, ended="late")
        except (Gone, OSError):
            self.close()
            return Reply(of, ended="crashed")
        errors = [("error", line) for line in told.splitlines() if ERROR.match(line)]
        warned = [("warning", line) for line in told.splitlines() if line.startswith("Warning:")]
        goal = None
        if "strop_same is defined" in same:
            goal = Goal(True, assumed(rests))
        elif "was not found" not in same:
            goal = Goal(False)
        return Reply(of, tuple(errors + warned) or None, f"{NAME} is declared" in told, goal)

    def asks(self, files: Sequence[tuple[Formula, str]]) -> list[Reply]:
        """Of files that were scanned, each what `ask` says of it. The audit walks through all that a proof rests on, down to the library,
        so it is one for all that go through; where it names what is not allowed, or something is wrong, a file is asked for alone."""
        same = dict[int, str]()
        rests: tuple[str, ...] = ()
        try:
            self._warm()
            for at, (statement, said) in enumerate(files):
                until, before, name = time.monotonic() + self.seconds, self.at, f"strop_{secrets.token_hex(8)}"
                self._hears(f"Definition {name}_says : Prop := {spelled(closed(statement))}.\n", until)
                told = self._hears(f"Theorem {name} : {spelled(closed(statement))}.\n{said}\n", until)
                if f"{name}_same is defined" in self._hears(f"Definition {name}_same : {name}_says := {name}.\n", until):
                    same[at] = f"{name}_same"
                if at not in same or ERROR.search(told):
                    same.pop(at, None)
                    self._hears(f"BackTo {before}.\n", until)
            if same:
                until = time.monotonic() + self.seconds
                self._hears(f"Definition strop_all := ({', '.join([*same.values(), 'I'])}).\n", until)
                rests = assumed(self._hears("Print Assumptions strop_all.\n", until))
            self._hears(f"BackTo {self.base}.\n", time.monotonic() + self.seconds)
        except (TimeoutError, Gone, OSError):
            self.close()
            same = {}
        good = {*rests} <= self.allowed
        return [Reply(asked(*file), goal=Goal(True, rests)) if good and at in same else self.ask(*file) for at, file in enumerate(files)]

    # -------------------------------------------------------------------------------------------- the process

    def _warm(self) -> None:
        """A process that stands where every proof begins."""
        if self.process is not None and self.process.poll() is None:
            return
        self.close()
        if not there():
            raise SandboxError("Coq is not installed: apt install coq")
        argv = ["/bin/sh", "-c", f'ulimit -v {ROOM}; exec "$0" "$@"', shutil.which("coqtop") or "coqtop", "-q", "-emacs"]
        seen = [one for one in CONFIGURED if os.path.exists(one)]
        command, environment = enclosed(argv, read=seen) if self.walls else (argv, dict(os.environ))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        self.begun += 1
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        os.set_blocking(self.process.stdin.fileno(), False)
        self._hears(BEGINS, time.monotonic() + BOOT)
        self.base = self.at

    def _hears(self, said: str, until: float) -> str:
        """What it answers to this, until a word by chance comes back."""
        assert self.process is not None
        to, back = self.process.stdin, self.process.stdout
        assert to is not None
        assert back is not None
        word = f"strop_{secrets.token_hex(8)}"
        waiting, found = f"{said}Locate {word}.\n".encode(errors="replace"), bytearray()
        end = f"No object of basename {word}".encode()
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            readable, writable, _ = select.select([back], [to] if waiting else [], [], left)
            if writable:
                try:
                    waiting = waiting[os.write(to.fileno(), waiting[:4096]) :]
                except BlockingIOError:
                    continue
            if readable:
                piece = os.read(back.fileno(), 1 << 16)
                if not piece:
                    raise Gone
                found += piece
                if len(found) > 16 * LONGEST:
                    raise TimeoutError
                if (at := found.find(end)) >= 0 and b"</prompt>" in found[at:]:
                    break
        text = found.decode(errors="replace")
        self.at = STATE.findall(text)[-1]
        return re.sub(r"<prompt>.*?</prompt>|</?(?:warning|infomsg)>", "", text[: text.find(end.decode())])

    def close(self) -> None:
        """End it, and whatever it began."""
        if (process := self.process) is None:
            return
        self.process = None
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Coq:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def assumed(said: str) -> tuple[str, ...]:
    """What `Print Assumptions` names: all of it, also what nobody expects there."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith((" ", "Axioms:", "Fetching opaque proofs"))]
    if any("Closed under the global context" in line for line in lines):
        return ()
    return tuple(line.partition(":")[0].strip() or line.strip() for line in lines) or ("what its audit does not say",)
