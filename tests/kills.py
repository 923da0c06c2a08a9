"""One warm process that starts runs, kills them with SIGKILL, resumes them, and prints what came out as JSON.

    python tests/kills.py write 0 10               kills number 0 to 9 inside writes, fsyncs and renames
    python tests/kills.py update 0 5 flowrl        of a method with a head, between updates
    python tests/kills.py write 0 10 two-players   of two policies that are trained together, as tables
    python tests/kills.py sample 0 10 windowed     of episodes whose rows are summarised by the policy and begun again
    python tests/kills.py sample 0 8 guest         of somebody else's program, which asks a desk
    python tests/kills.py program 0 20             inside the writes of a program of four stages, at boundaries too
    python tests/kills.py program 0 20 lifelong    of one whose stages train two players in turns

Every run is a fork of this process, so a kill is a real one and costs no second import of torch. One thread: a
fork of a process whose thread pool is running would hang.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from strop import durable, own, staged
from strop.directory import read_metrics, read_program, stages
from strop.loop import Run
from strop.method import Method
from strop.methods.cascade import MPO
from strop.methods.grpo import GRPO
from strop.methods.lifelong import COLLECT as COLLECT_ATTACKS
from strop.methods.lifelong import turns
from strop.program import Program, Repeat, Stage, steps, when
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create, resume
from strop.seams.attacks import Attacks, closed_enough
from strop.seams.context import Handle
from strop.seams.curriculum import Band
from strop.seams.episode import Episodes
from strop.seams.objective import row_ratio
from strop.seams.recorded import Earlier, correctness_pairs
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.update import AdamW, Still
from strop.seams.window import Own, Summarised
from strop.seams.world import Reply, Said, Seat
from strop.serving.guest import Guest
from strop.tasks.duel import Goals
from strop.worlds.duel import Ruling

STEPS = 5


def recipe(model: str, method: str | Method) -> Recipe:
    sizes = {"tasks": 4, "group": 4, "max_tokens": 12, "eval_tasks": 0, "checkpoint_every": 2, "slots": 16}
    return Recipe(method=method, task="chain", model=model, steps=STEPS, seed=3, lr=1e-3, **sizes)


COLLECT = Method("collect", sampler=Independent(n=6, max_tokens=24), credit=(), signals={}, update=Still(), tasks=6)
OWN = MPO.but("own", feed=Earlier("collect", correctness_pairs(most=4)), tasks=4)
CURVED = GRPO.but("curved", curriculum=Band(low=0.1, high=0.9), tasks=4, update=AdamW(minibatch=2))
PROGRAM = Program(
    "four",
    (
        Stage("collect", COLLECT, steps(2)),
        Stage("prefer", OWN, steps(3)),
        Stage("easy", CURVED, steps(2)),
        Stage("more", CURVED, steps(2), keeps=("optimiser", "curriculum")),
    ),
)


PLAYERS = own.loaded(Path(__file__).parent.parent / "examples" / "two_players.py")


@dataclass(frozen=True)
class Nods:
    """A world that answers the same to everything."""

    def start(self, task: Task, seat: Seat) -> int:
        return 0

    async def reply(self, state: int, said: Said, ask: Mapping[str, Handle]) -> tuple[int, Reply]:
        return state + 1, Reply("go on")


WINDOWED = GRPO.but(
    "windowed",
    environment=Nods(),
    sampler=Episodes(n=4, turns=5, max_tokens=12, observation=10, window=Summarised(Own(most=6, ask="so?"), limit=80)),
    signals={"policy": Signal(row_ratio(), reduce=means("group", "row"))},
)


GUEST = GRPO.but(
    "guest",
    sampler=Guest(
        (sys.executable, "-I", "-S", str(Path(__file__).parent / "serving" / "guests.py"), "nods"),
        n=4,
        turns=3,
        max_tokens=12,
        context=256,
        repeats="exact",
    ),
)
OURS = {made.name: made for made in (WINDOWED, GUEST)}


def begin(model: str, method: str, directory: Path) -> Run:
    if method == PLAYERS.TWO.name:
        return create(recipe("tables", PLAYERS.TWO).but(lr=0.1), directory, **PLAYERS.tables(3))
    return create(recipe(model, OURS.get(method, method)), directory)


def go_on(method: str, directory: Path) -> Run:
    parts = {"method": PLAYERS.TWO, **PLAYERS.tables(3)} if method == PLAYERS.TWO.name else {}
    parts |= {"method": OURS[method]} if method in OURS else {}
    return resume(directory, say=lambda _: None, **parts)


def whole_program(model: str, program: Program = PROGRAM) -> Recipe:
    return Recipe(method=program, task="chain:steps=1", model=model, lr=1e-3, seed=3, eval_tasks=0, checkpoint_every=2, slots=16)


@dataclass(frozen=True)
class Arena(Goals):
    """A judge who goes by an attempt's letters, so that a model which was taught nothing gets through now and then."""

    def judged(self, task: Task, attack: str, reply: str) -> Ruling:
        return Ruling(False, f"<score>{1 + 3 * (sum(map(ord, attack)) % 8 == 1)}</score>")

    def gold(self, task: Task) -> str:
        return "no"


def duel(times: int = 2) -> Program:
    """Two players in turns, each stage of a step or two."""
    ends = {"attack": when(closed_enough(), at_most=2), "attacker": steps(1), "defender": steps(1)}
    small = COLLECT_ATTACKS.but(sampler=Attacks(n=3, max_tokens=6, reply=3), tasks=3)
    loop = turns(small, times=times).stages
    methods = {"attack": small, "attacker": loop[1].method.but(tasks=2), "defender": loop[2].method.but(tasks=2)}
    return Program("duel", (Repeat(times, tuple(replace(one, until=ends[one.name], method=methods[one.name], task="") for one in loop)),))


SOURCES: dict[str, Any] = {"duel": Arena()}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def countdown(n: int) -> Callable[[str], None]:
    """Kills at the n-th call."""
    left = [n]

    def count(_: str = "") -> None:
        if left[0] == 0:
            die()
        left[0] -= 1

    return count


def arm(run: Run, phase: str, n: int) -> None:
    if phase == "write":
        durable.watch(countdown(n))
    elif phase == "sample":
        tick, generate = countdown(n), run.engine.generate

        async def counted(*args, **kwargs):
            tick()
            return await generate(*args, **kwargs)

        run.engine.generate = counted
    else:  # of whoever learns last in a step
        tick, learner = countdown(n), [*run.pupils.values()][-1].learner
        apply = learner.apply

        def counted_apply(fraction: float) -> float:
            norm = apply(fraction)
            tick()
            return norm

        learner.apply = counted_apply


def child(work: Callable[[], None]) -> int:
    """Run it in a fork; 0, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            import traceback

            traceback.print_exception(error, file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(directory: Path) -> dict:
    lines = [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(directory)]
    last = sorted(p for p in (directory / "checkpoints").iterdir() if p.name.isdigit())[-1]
    return {"metrics": lines, "state": json.loads((last / "state.json").read_text()), "hash": (last / "hash").read_text()}


def groups(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("groups/*.gz"))}


def rows(found: Mapping[str, bytes]) -> int:
    """Of all committed rollouts, the most that one has."""
    records = [json.loads(gzip.decompress(data)) for data in found.values()]
    return max(len(rollout["rows"]) for record in records for group in record["groups"] for rollout in group["rollouts"])


def of_program(directory: Path) -> dict:
    """What came of each stage, and what program.json says of them."""
    return {"done": read_program(directory)["done"], **{place.name: outcome(place) for place in stages(directory)}}


def programs(first: int, last: int, program: Program = PROGRAM) -> None:
    """Kills spread over all writes of a program, from the one that began it on."""
    from strop import pico

    brought = {"source": SOURCES[program.name]} if program.name in SOURCES else {}
    model, base = str(pico.path()), Path(tempfile.mkdtemp())
    points = [0]

    def counted(_: str) -> None:
        points[0] += 1

    durable.watch(counted)
    begun = staged.create(whole_program(model, program), base / "whole", **brought)
    before = points[0]
    begun.train()
    durable.watch(None)
    wanted, results = of_program(base / "whole"), []
    for number in range(first, last):
        directory, at = base / f"program-{number}", before + (points[0] - before) * number // last

        def killed(directory: Path = directory, at: int = at) -> None:
            durable.watch(countdown(at))
            staged.create(whole_program(model, program), directory, **brought).train()

        def resumed(directory: Path = directory) -> None:
            staged.resume(directory, say=lambda _: None, method=program, **brought).train()

        code = child(killed)
        kept, done = groups(directory), [entry["place"] for entry in read_program(directory)["done"]]
        again = child(resumed)
        after = groups(directory)
        results.append(
            {
                "at": at,
                "killed": code == -signal.SIGKILL,
                "done": done,
                "committed": len(kept),
                "resumed": again == 0,
                "kept": all(after.get(name) == data for name, data in kept.items()),
                "equal": again == 0 and of_program(directory) == wanted,
            }
        )
    print(json.dumps(results))


def main(phase: str, first: int, last: int, method: str = "grpo") -> None:
    torch.set_num_threads(1)
    if phase == "program":
        programs(first, last, duel() if method == "lifelong" else PROGRAM)
        return
    from strop import pico

    model, base = str(pico.path()), Path(tempfile.mkdtemp())
    whole = base / "whole"
    begin(model, method, whole).train()  # here, so that no fork imports again what a run needs
    wanted, results = outcome(whole), []
    for number in range(first, last):
        directory = base / f"{phase}-{number}"
        # spread the kills over the run: writes happen ~15 a step, samples 16 a step (of turns 48 to 120), updates 1 a step
        apart = {WINDOWED.name: 60, GUEST.name: 25}.get(method, 8)
        at = {"write": 3 + 7 * number, "sample": 5 + apart * number, "update": number % STEPS}[phase]

        def killed(directory: Path = directory, at: int = at) -> None:
            run = begin(model, method, directory)
            arm(run, phase, at)
            run.train()

        code = child(killed)
        before = groups(directory)
        resumed = child(lambda directory=directory: go_on(method, directory).train())
        after = groups(directory)
        results.append(
            {
                "at": at,
                "killed": code == -signal.SIGKILL,
                "committed": len(before),
                "resumed": resumed == 0,
                "kept": all(after.get(name) == data for name, data in before.items()),
                "equal": resumed == 0 and outcome(directory) == wanted,
                "rows": rows(after),
            }
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
