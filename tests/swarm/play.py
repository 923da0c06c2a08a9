"""A swarm at work on this machine: trainers as `strop train` starts them, some killed and coming back, some of its members liars.

    python -m tests.swarm.play --seeds 0 1 2 --out runs/swarm        six processes, twice a seed: with two liars and without; the table

Each play leaves its facts in OUT/SEED-liars.json or OUT/SEED-honest.json and is not played again; the table is made of what is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TASK = "chain"
PLACES = ("missed", "queued", "waiting", "drawn", "flat", "expired", "lost")
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Trainer:
    name: str
    directory: Path
    flags: list[str]
    dies_at: int | None = None
    """Killed when so many of its steps are on record, and started again two seconds later."""
    process: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)
    back_at: float | None = None
    ended: float | None = None

    def begin(self) -> None:
        again = (self.directory / "recipe.json").exists()
        flags = ["--resume", str(self.directory)] if again else [*self.flags, "--out", str(self.directory)]
        self.back_at = None
        with open(self.directory.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "strop", "train", *flags], env=ENV, stdout=log, stderr=log)

    @property
    def steps(self) -> int:
        path = self.directory / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def look(self, now: float) -> None:
        if self.back_at is not None:
            if now >= self.back_at:
                self.begin()
            return
        assert self.process is not None
        if self.dies_at is not None and not self.deaths and self.steps >= self.dies_at:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.deaths.append(self.steps)
            self.back_at = now + 2
        elif self.process.poll() is not None and self.ended is None:
            said = self.directory.with_suffix(".log").read_text()[-2000:]
            assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}:\n{said}"
            self.ended = now

    def line(self) -> dict[str, Any]:
        return json.loads((self.directory / "metrics.jsonl").read_bytes().splitlines()[-1])


def ports(count: int) -> list[int]:
    found = [socket.socket() for _ in range(count)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return numbers


def play(out: Path, seed: int, rounds: int, trainers: int = 4, deaths: int = 2, liars: int = 2, seconds: float = 300) -> dict[str, Any]:
    """One swarm from its first trainer's start to its last one's end; what everybody's books said then."""
    out.mkdir(parents=True, exist_ok=True)
    name, entries = f"play-{seed}-{os.getpid()}", [f"tcp/127.0.0.1:{port}" for port in ports(2)]
    made: list[Trainer] = []
    for at in range(trainers):
        listen = entries[at] if at < 2 else "tcp/127.0.0.1:0"
        known = [flag for entry in entries if entry != listen for flag in ("--peer", entry)]
        size = ["--group", "6" if at % 2 == 0 else "4", "--max-tokens", "48", "--slots", "64"]
        flags = ["--method", "swarm", "--swarm", name, "--listen", listen, *known, "--task", TASK, "--steps", str(rounds), *size]
        flags += ["--share", "3/3", "--seed", str(100 * seed + at), "--eval-tasks", "0", "--checkpoint-every", "5"]
        dies = rounds // 4 + 2 * (trainers - 1 - at) if at >= trainers - deaths else None
        made.append(Trainer(f"trainer {at}", out / f"trainer-{at}", flags, dies))
    began, tellers = time.monotonic(), []
    for trainer in made:
        trainer.begin()
    try:
        for at in range(liars):
            how = [name, entries[0], str(seconds), str(out / f"liar-{at}"), TASK, *(["flooding"] if at else [])]
            command = [sys.executable, "-m", "tests.swarm.liars", *how]
            with open(out / f"liar-{at}.log", "wb") as log:
                tellers.append(subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=log))
        while any(trainer.ended is None for trainer in made):
            assert time.monotonic() - began < seconds, f"not done after {seconds:g} s: {[(t.name, t.steps) for t in made]}"
            for trainer in made:
                trainer.look(time.monotonic())
            time.sleep(0.05)
        told = []
        for teller in tellers:
            teller.send_signal(signal.SIGINT)
            said = [json.loads(line) for line in teller.communicate(timeout=20)[0].splitlines()]
            told.append(said[0] | said[-1])
    finally:
        for process in [*tellers, *(trainer.process for trainer in made)]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "trainers": [
            {"name": t.name, "directory": str(t.directory), "deaths": t.deaths, "ended": round((t.ended or 0) - began, 1)} | _facts(t)
            for t in made
        ],
        "liars": told,
    }


def _facts(trainer: Trainer) -> dict[str, Any]:
    lines = [json.loads(line) for line in (trainer.directory / "metrics.jsonl").read_bytes().splitlines()]
    return {"swarm": lines[-1]["swarm"], "foreign": sum(line["swarm"]["foreign"] for line in lines), "steps": len(lines)}


def accounted(book: dict[str, Any]) -> bool:
    """Every number of a peer is in exactly one place."""
    return book["numbers"] == sum(book[place] for place in PLACES) + sum(book["rejected"].values())


def held_out(directory: Path, tasks: int = 100, samples: int = 2) -> list[float]:
    """pass@1 of a run's last checkpoint on each held-out task."""
    from strop import engines
    from strop.evaluate import evaluate
    from strop.policies.causal import load
    from strop.recipe import Recipe
    from strop.records import Sampling
    from strop.seams.context import Handle
    from strop.tasks import source

    policy = load(str(sorted((directory / "checkpoints").iterdir())[-1]))
    handle = Handle(engines.build(policy, Recipe(slots=64)), policy.renderer)
    found = asyncio.run(evaluate(handle, source(TASK), tasks, samples=samples, sampling=Sampling(), max_tokens=48))
    return found.known("pass@1")


def table(plays: dict[str, list[dict[str, Any]]]) -> str:
    """Who sent what to whom, what became of it, and what the liars did to the honest ones' accuracy."""
    from strop.claims.statistics import interval
    from strop.cli import table as columns

    with_liars = plays["liars"]
    rows, names = (
        [],
        sorted({why for p in with_liars for t in p["trainers"] for b in t["swarm"]["peers"].values() for why in b["rejected"]}),
    )
    for kind in ("honest", "liar"):
        total: dict[str, int] = dict.fromkeys(("numbers", *PLACES, *names, "again"), 0)
        for one in with_liars:
            liars = {liar["id"] for liar in one["liars"]}
            for trainer in one["trainers"]:
                for peer, book in trainer["swarm"]["peers"].items():
                    if (peer in liars) == (kind == "liar"):
                        for place in ("numbers", *PLACES):
                            total[place] += book[place]
                        for why, count in book["rejected"].items():
                            total[why] += count
                        total["again"] += sum(book["again"].values())
        rows += [[kind, place, count] for place, count in total.items() if count]
    nobody: dict[str, int] = {}
    for one in with_liars:
        for trainer in one["trainers"]:
            for why, count in trainer["swarm"]["nobody"].items():
                nobody[why] = nobody.get(why, 0) + count
    rows += [["nobody's", why, count] for why, count in sorted(nobody.items())]
    said = [columns(rows, ["sender", "place or name", f"groups, {len(with_liars)} plays"]), ""]
    lines = []
    for honest, lied in zip(plays["honest"], with_liars, strict=False):
        means = [sum(map(sum, p["held_out"])) / sum(map(len, p["held_out"])) for p in (honest, lied)]
        drawn = [sum(t["foreign"] for t in p["trainers"]) for p in (honest, lied)]
        lines.append([honest["seed"], *means, *drawn, honest["seconds"], lied["seconds"]])
    said += [
        columns(lines, ["seed", "pass@1 without liars", "with", "foreign groups drawn without", "with", "seconds without", "with"]),
        "",
    ]
    gap = difference(plays)
    low, high = interval(gap)
    said.append(
        f"with liars - without: {sum(gap) / len(gap):+.4f} [{low:+.4f}, {high:+.4f}] over {len(gap)} pairs of a trainer (t interval)"
    )
    return "\n".join(said)


def difference(plays: dict[str, list[dict[str, Any]]]) -> list[float]:
    """pass@1 with liars minus without: one number for each seed and trainer, the same trainer in both."""
    pairs = zip(plays["honest"], plays["liars"], strict=True)
    return [sum(b) / len(b) - sum(a) / len(a) for one, other in pairs for a, b in zip(one["held_out"], other["held_out"], strict=True)]


def main(argv: list[str] | None = None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/swarm"))
    parser.add_argument("--only", choices=("liars", "honest"), help="one of the two plays of each seed")
    args = parser.parse_args(argv)
    plays: dict[str, list[dict[str, Any]]] = {"honest": [], "liars": []}
    for seed in args.seeds:
        for kind in [args.only] if args.only else ("honest", "liars"):
            place = args.out / f"{seed}-{kind}.json"
            if not place.exists():
                made = play(args.out / f"{seed}-{kind}", seed, args.rounds, liars=2 if kind == "liars" else 0)
                made["held_out"] = [held_out(Path(trainer["directory"])) for trainer in made["trainers"]]
                place.write_text(json.dumps(made))
            plays[kind].append(json.loads(place.read_text()))
            print(f"{place}: {plays[kind][-1]['seconds']} s", file=sys.stderr)
    if not args.only:
        print(table(plays))


if __name__ == "__main__":
    main()
