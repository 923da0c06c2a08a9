"""The program inside a scoring worker: imports a third-party scorer once, then forks one locked process per answer.

It is run by path (`python scorer.py`), imports nothing of strop, and speaks JSON lines: requests on stdin,
replies on stdout. Two kinds of code run here and they are kept apart:

    server   trusted: imports the scorer, makes problems, prepares what the grader needs; no network
    child    untrusted: one forked process per answer, locked by `lock` before it sees the answer, gone afterwards

So an answer that is executed by its scorer cannot reach the next answer. `worker` documents what is guaranteed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import logging
import math
import os
import platform
import re
import resource
import select
import signal
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NoReturn

REPLY_FD = 3
REPLY_LIMIT = 1 << 20
"""Bytes read from a child at most, so that an endless reply ends too."""


# ---------------------------------------------------------------------------------------------- scorers


class Function:
    """`FILE.py:function`: the function takes the item and returns a value in [0, 1]. The file is trusted, its input is not."""

    def __init__(self, spec: str):
        path, _, name = spec.rpartition(":")
        module_spec = importlib.util.spec_from_file_location("scorer_function", path)
        if module_spec is None or module_spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        self.function: Callable[[dict[str, Any]], Any] = getattr(module, name)

    def prepare(self, item: dict[str, Any]) -> Any:
        return item

    def score(self, prepared: Any, item: dict[str, Any]) -> tuple[Any, str]:
        return self.function(item), ""


MATHS = re.compile(r"(?<!\\)\$.*(?<!\\)\$", re.DOTALL)
"""Between dollar signs; a single one, or one behind a backslash, is money."""


class Math:
    """math-verify: are two written expressions equal? Items: {answer, gold, loose}. Its own SIGALRM timeouts are off, ours hold.

    Both sides are read as if in a box, so that bare LaTeX counts; a loose answer is prose and searched first.
    A gold that cannot be read is an error of the data; {golds} scores 0 where one holds no expression, with its number as the reason.
    """

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self.lib: Any = importlib.import_module("math_verify")
        self.lib.verify(self._read("\\frac{1}{2}"), self._read("0.5"), timeout_seconds=None)  # fills parser caches before forking

    def _read(self, text: str, loose: bool = False) -> list[Any]:
        text = text.removesuffix(".")  # in a box it would make a number a word
        boxed = text if "\\boxed" in text or MATHS.search(text) else f"\\boxed{{{text}}}"
        for form in (text, boxed) if loose else (boxed, text):
            if read := self.lib.parse(form, parsing_timeout=None):
                return read
        return []

    def _expression(self, gold: str) -> bool:
        """Whether anything but its mere spelling could be compared with an answer."""
        return any(not isinstance(part, str) for part in self._read(gold))

    def prepare(self, item: dict[str, Any]) -> Any:
        return None

    def score(self, prepared: Any, item: dict[str, Any]) -> tuple[Any, str]:
        if "golds" in item:
            first = next((number for number, gold in enumerate(item["golds"]) if not self._expression(gold)), None)
            return float(first is None), "" if first is None else str(first)
        gold = self._read(str(item["gold"]))
        if not gold:
            raise ValueError(f"math-verify reads no expression in the gold answer {item['gold']!r}")
        answer = self._read(str(item["answer"]), item.get("loose", False))
        if not answer:
            return 0.0, "math-verify reads no expression in the answer"
        right = self.lib.verify(gold, answer, timeout_seconds=None, raise_on_error=True)
        return float(right), "" if right else "not equal"


class Gym:
    """reasoning-gym. Items are scored as {name, config, seed, answer}; the problem is made again from its seed.

    Entries hold tuples, dates and objects that JSON would change, and their graders read them: remaking is exact where
    a copy is not. `answer` (below) makes problems in the server, which is trusted code on trusted input.
    """

    KEPT = 64

    def __init__(self) -> None:
        factory = importlib.import_module("reasoning_gym").factory
        self.create, self.registry = factory.create_dataset, factory.DATASETS
        self.made: OrderedDict[str, tuple[Any, Any]] = OrderedDict()

    def make(self, item: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        key = json.dumps([item["name"], item["config"], item["seed"]], sort_keys=True)
        if key not in self.made:
            dataset = self.create(item["name"], **{**self._built(item), "seed": item["seed"], "size": 1})
            self.made[key] = (dataset, dataset[0])
        self.made.move_to_end(key)
        while len(self.made) > self.KEPT:
            self.made.popitem(last=False)
        return self.made[key]

    def _built(self, item: dict[str, Any]) -> dict[str, Any]:
        """The configuration; `composite` wants its parts as objects."""
        if item["name"] != "composite" or "datasets" not in item["config"]:
            return item["config"]
        part_of = importlib.import_module("reasoning_gym.composite").DatasetSpec
        return {**item["config"], "datasets": [part_of(**{"weight": 1, "config": {}, **part}) for part in item["config"]["datasets"]]}

    def answer(self, item: dict[str, Any]) -> Any:
        """Requests without model text: `names` of all datasets, `make` one problem, `check` a configuration."""
        if item["op"] == "names":
            return sorted(self.registry)
        if item["op"] == "check":
            return self._refusal(item)
        _, entry = self.make(item)
        return {"question": str(entry["question"]), "answer": self._gold(entry)}

    def _gold(self, entry: dict[str, Any]) -> str | None:
        """The entry's answer, or the example it keeps where many are right; None where it has neither."""
        examples = [entry["metadata"].get(key) for key in ("example_answer", "example_correct_answer", "possible_answer")]
        for answer in (entry["answer"], *examples):
            if answer is not None:
                return answer if isinstance(answer, str) else json.dumps(answer)
        return None

    def _refusal(self, item: dict[str, Any]) -> dict[str, Any]:
        """Why this name and configuration cannot be made; an empty `why` when they can."""
        if item["name"] not in self.registry:
            return {"why": "name", "known": sorted(self.registry)}
        fields = set(self.registry[item["name"]][1].__dataclass_fields__) - {"seed", "size"}
        if unknown := sorted(set(item["config"]) - fields):
            return {"why": "field", "unknown": unknown[0], "known": sorted(fields)}
        try:
            self.make(item)
        except Exception as error:
            return {"why": "value", "error": one_line(error)}
        return {"why": ""}

    def prepare(self, item: dict[str, Any]) -> Any:
        dataset, entry = self.make(item)
        if item.get("question", entry["question"]) != entry["question"]:
            raise ValueError("reasoning-gym makes another problem from this seed than it did; was it upgraded since the task was drawn?")
        return dataset, entry

    def score(self, prepared: Any, item: dict[str, Any]) -> tuple[Any, str]:
        dataset, entry = prepared
        value = float(dataset.score_answer(item["answer"], entry))
        return value, "" if value == 1.0 else "reasoning-gym's score"


def load(kind: str) -> Any:
    return {"math": Math, "gym": Gym}[kind]() if kind in ("math", "gym") else Function(kind)


# ------------------------------------------------------------------------------------------------- lock

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# fmt: off
DENIED = {
    "x86_64": (
        76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 132, 133, 188, 189, 190, 197, 198, 199, 235, 258, 259,
        260, 261, 263, 264, 265, 266, 268, 280, 285, 304, 316,  # change, create or remove files and their attributes
        41, 42, 43, 44, 46, 49, 50, 53, 288,  # sockets
        56, 57, 58, 59, 322, 62, 129, 200, 234, 297, 101, 310, 311,  # new processes, signals, other processes' memory
        29, 30, 64, 68, 240, 241, 319, 321, 155, 160, 161, 164, 165, 166, 167, 169, 175, 176, 227, 272, 308, 313,  # shared memory, admin
    ),
    "aarch64": (
        5, 6, 7, 14, 15, 16, 33, 34, 35, 36, 37, 38, 45, 46, 47, 52, 53, 54, 55, 88, 265, 276,
        198, 199, 200, 201, 202, 203, 206, 211, 242,
        220, 221, 281, 129, 130, 131, 138, 240, 117, 270, 271,
        180, 181, 186, 190, 194, 196, 279, 280, 39, 40, 41, 51, 97, 105, 106, 112, 142, 164, 170, 224, 268, 273,
    ),
}
# fmt: on
DENIED_EVERYWHERE = (424, 425, 426, 427, 428, 429, 430, 432, 434, 435, 437, 438, 442, 452)
"""pidfd, io_uring, mount calls, clone3, openat2, fchmodat2: numbered alike on both."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CONDITIONAL = {
    "x86_64": ((2, 1, WRITING), (257, 2, WRITING), (302, 2, 0xFFFFFFFF)),
    "aarch64": ((56, 2, WRITING), (261, 2, 0xFFFFFFFF)),
}
"""(call, argument, bits): refused when the argument has one of the bits: open for writing, prlimit that sets."""


def seccomp_program(machine: str) -> list[tuple[int, int, int, int]]:
    """A BPF filter (code, jump if true, jump if false, constant) that kills the process at a denied system call."""
    load_word, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow = (give, 0, 0, 0x80000000), (give, 0, 0, 0x7FFF0000)
    program = [(load_word, 0, 0, 4), (equal, 1, 0, ARCHITECTURES[machine]), kill, (load_word, 0, 0, 0)]
    program += [(at_least, 0, 1, 0x40000000), kill]  # the x32 numbering of the same calls
    for call in (*DENIED[machine], *DENIED_EVERYWHERE):
        program += [(equal, 0, 1, call), kill]
    for call, argument, bits in CONDITIONAL[machine]:
        program += [(equal, 0, 4, call), (load_word, 0, 0, 16 + 8 * argument), (any_bit, 0, 1, bits), kill, allow]
    return [*program, allow]


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def install_seccomp() -> bool:
    """Have the kernel kill this process when it writes, connects, forks or signals. False where that is not available."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES or sys.maxsize < 2**32:
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in seccomp_program(platform.machine()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Filter(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0


def leave_network() -> bool:
    """Enter an empty network namespace of our own. False where user namespaces are not allowed."""
    if sys.platform != "linux":
        return False
    new_user, new_net = 0x10000000, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(new_user | new_net) == 0


REFUSED = (
    *("subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "ftplib.", "http.", "urllib.", "smtplib.", "sqlite3.connect", "tempfile."),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.remove", "os.rename", "os.mkdir", "os.rmdir"),
    *("os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.startfile"),
)


def forbidden(event: str, args: tuple[Any, ...]) -> str:
    """Name of what an audited event would do, or nothing when it is harmless."""
    if event == "open":
        path, mode, flags = args
        writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (isinstance(flags, int) and flags & WRITING)
        return f"open {str(path)[:80]!r} for writing" if writes else ""
    return event if event.startswith(REFUSED) else ""


def limit(memory: int, cpu: int) -> None:
    """Kernel limits of this process: `memory` bytes of address space beyond what is mapped now, `cpu` seconds from now."""
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/statm") as pages:
            mapped = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    for name, value in (("CPU", cpu), ("FSIZE", 0), ("CORE", 0), ("NPROC", 0), ("NOFILE", 64)):
        if hasattr(resource, f"RLIMIT_{name}"):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def lock(memory: int, cpu: int) -> None:
    """Give up everything an answer has no use for. What is still tried afterwards ends the process, with the attempt's name."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if what := forbidden(event, args):
            reply({"incident": f"the scorer ran code of the answer that tried: {what}"})

    os.environ.clear()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the server
    limit(memory, cpu)
    install_seccomp()
    sys.addaudithook(refuse)


# ------------------------------------------------------------------------------------------------ child


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def reply(message: dict[str, Any]) -> NoReturn:
    """Say it and end, without running anything that is left to run."""
    os.write(REPLY_FD, json.dumps(message).encode()[:REPLY_LIMIT])
    os._exit(0)


def be_child(pipe: int, scorer: Any, prepared: Any, item: dict[str, Any], limits: dict[str, Any]) -> NoReturn:
    """Score one answer in this forked process and end it. A value that is no number in [0, 1] is an incident."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(0, 2)
    spare = os.dup2(pipe, 255)
    os.dup2(spare, REPLY_FD)
    os.closerange(REPLY_FD + 1, 1024)
    lock(limits["memory"], limits["cpu"])
    try:
        value, reason = scorer.score(prepared, item)
        value = None if value is None else float(value)
    except MemoryError:
        reply({"incident": "the scorer went over its address-space limit"})
    except BaseException as error:
        reply({"incident": f"the scorer raised {one_line(error)}"})
    if value is None or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        reply({"incident": f"the scorer returned {value}, not a number from 0 to 1"})
    reply({"value": value, "reason": reason})


def receive(pipe: int, child: int, wall: float) -> bytes | None:
    """What the child says until it closes the pipe; None when it had to be killed at its deadline."""
    said, deadline = b"", time.monotonic() + wall
    while len(said) < REPLY_LIMIT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            return None
        part = os.read(pipe, 65536)
        if not part:
            return said
        said += part
    os.kill(child, signal.SIGKILL)
    return None


def death(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return "the scorer ran code of the answer that tried a forbidden system call"
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return "the scorer went over its CPU or memory limit and was killed"
        return f"the scorer crashed with {signal.Signals(number).name}"
    return f"the scorer ended early with status {os.waitstatus_to_exitcode(status)}"


def in_child(scorer: Any, item: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    """Score one item in a locked child of its own."""
    try:
        prepared = scorer.prepare(item)
    except Exception as error:
        return {"incident": f"the scorer could not be prepared: {one_line(error)}"}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            be_child(writing, scorer, prepared, item, limits)
        finally:
            os._exit(70)
    os.close(writing)
    try:
        said = receive(reading, child, limits["wall"])
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if said is None:
        return {"incident": f"the scorer gave no value within {limits['wall']:g} s and was killed"}
    try:
        return json.loads(said)
    except ValueError:
        return {"incident": death(status)}


# ----------------------------------------------------------------------------------------------- server


def respond(scorer: Any, item: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    if "op" not in item:
        return in_child(scorer, item, limits)
    try:
        return {"value": scorer.answer(item), "reason": ""}
    except Exception as error:
        return {"incident": one_line(error)}


def start(first: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Import the scorer; the greeting says what holds, or which module is missing."""
    sys.path[:] = first["path"]
    alone = leave_network()
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MPLCONFIGDIR=os.getcwd())  # a fork keeps no threads
    try:
        scorer = load(first["kind"])
    except ModuleNotFoundError as error:
        return None, {"missing": error.name or str(error)}
    except Exception as error:
        return None, {"failed": one_line(error)}
    finally:
        os.environ.clear()
    gc.collect()
    gc.freeze()
    return scorer, {"ready": True, "network_namespace": alone, "seccomp": probe_seccomp()}


def probe_seccomp() -> bool:
    """Whether a child can be locked by the kernel, tried in one."""
    child = os.fork()
    if child == 0:
        os._exit(0 if install_seccomp() else 1)
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints on import is no reply
    scorer, greeting = start(json.loads(sys.stdin.readline()))
    print(json.dumps(greeting), file=channel)
    if scorer is None:
        return
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(respond(scorer, request["item"], request["limits"])), file=channel)


if __name__ == "__main__":
    main()
