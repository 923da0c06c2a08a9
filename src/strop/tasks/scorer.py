"""The program inside a scoring worker: imports a third-party scorer once, then forks one locked process per answer.

It is run by path (`python scorer.py`), imports nothing of strop, and speaks JSON lines: requests on stdin,
replies on stdout. Two kinds of code run here and they are kept apart:

    server   trusted: imports the scorer, makes problems, prepares what the grader needs; no network
    child    untrusted: one forked process per answer, locked by `lock` before it sees the answer, gone afterwards

So an answer that is executed by its scorer cannot reach the next answer. `worker` documents what is guaranteed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import select
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from strop.sandbox import locks
else:  # by its place: this program imports nothing of strop
    _spec = importlib.util.spec_from_file_location("locks", os.path.join(os.path.dirname(__file__), "..", "sandbox", "locks.py"))
    locks = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(locks)

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
        writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (isinstance(flags, int) and flags & locks.WRITING)
        return f"open {str(path)[:80]!r} for writing" if writes else ""
    return event if event.startswith(REFUSED) else ""


def lock(memory: int, cpu: int) -> None:
    """Give up everything an answer has no use for. What is still tried afterwards ends the process, with the attempt's name."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if what := forbidden(event, args):
            reply({"incident": f"the scorer ran code of the answer that tried: {what}"})

    mapped = locks.mapped()
    read = [*locks.libraries(), *locks.packages(), os.getcwd(), "/dev/null", "/dev/urandom"]
    os.environ.clear()
    locks.die_with_parent()
    locks.limits(mapped and mapped + memory, cpu=cpu, fsize=0, nproc=0, nofile=64)
    locks.landlock(read)
    if locks.known():
        locks.seccomp(locks.program(locks.known(), strict=True))
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
    locks.powerless()
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
    return scorer, {"ready": True, "network_namespace": alone, **probe()}


def probe() -> dict[str, Any]:
    """What the kernel takes of a child, tried in one: seccomp, and Landlock's ABI."""
    child = os.fork()
    if child == 0:
        abi = locks.landlock(locks.libraries())
        os._exit(abi << 1 | bool(locks.known() and locks.seccomp(locks.program(locks.known(), strict=True))))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"seccomp": status > 0 and bool(status & 1), "landlock": max(0, status) >> 1}


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
