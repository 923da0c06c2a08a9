"""Every attacker against every defender of a `lifelong` run, and scripted attacks beside them: what a defence gained, and what an attack.

    python -m strop.lab.duel RUN

A row is an attacker: texts in the ways that everybody knows, texts in the way that nobody was taught, and what the trained attacker was
before and after each of its turns; each makes 8 first tries at a held-out goal. A column is a defender, before and after each turn. Tries
are drawn at temperature 1, also of an attacker that was drawn wider while it was taught. A cell says how often one try succeeds, and how
often any of 8 does. Below stand false refusals, without which nothing above says anything.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from strop.directory import read_program
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load
from strop.records import Task
from strop.seams.attacks import is_unsafe, score_of, sendable
from strop.seams.context import Footprint, Handle
from strop.tasks.duel import Goals
from strop.tasks.procedural import generator
from strop.worlds.duel import HELD, REFUSAL, SEEN, innocent, written

TRIES = 8
LONGEST = {"attack": 20, "reply": 8}
"""Tokens."""

Attacker = Callable[[Task, int], str]
"""A scripted one: its try of this number at a goal."""
Cell = tuple[float, float]
"""Of one try, and of any of eight."""


def players(run: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Checkpoints of the attackers and of the defenders of a run, by name, in the order in which they came to be."""
    attackers, defenders = dict[str, Path](), dict[str, Path]()
    for done in read_program(run)["done"]:
        stage, place = done["place"].partition("-")[2], run / done["checkpoint"]
        beside = place / "policies" / "attacker"
        if stage == "attack" and not attackers:
            attackers["A0"], defenders["M0"] = beside, place
        elif stage == "attacker":
            attackers[f"A{len(attackers)}"] = beside
        elif stage == "defender":
            defenders[f"M{len(defenders)}"] = place
    return attackers, defenders


def handle(place: Path, name: str) -> Handle:
    """A policy from its checkpoint."""
    policy = load(str(place))
    return Handle(EmbeddedEngine(policy.model, policy.tokenizer, seed=0, slots=64, eos_ids=policy.eos, name=name), policy.renderer)


async def said(one: Handle, prompts: Sequence[str], tries: int, most: int, root: str) -> list[list[str]]:
    """So many replies to each prompt."""

    async def each(prompt: str, place: str) -> list[str]:
        room = len(one.renderer.prompt(prompt)) + tries * most
        async with one.engine.admit(Footprint(positions=room, requests=tries)):
            read = await one.open(prompt, root=place)
            return [one.text(n) for n in await asyncio.gather(*(one.generate(read, max=most, keep=False) for _ in range(tries)))]

    one.engine.begin(0)
    return list(await asyncio.gather(*(each(prompt, f"{root}/{i}") for i, prompt in enumerate(prompts))))


def cross_table(run: Path, goals: int = 50) -> dict[str, dict[str, Cell]]:
    """{attacker: {defender: cell}}; under `false refusals` both numbers are of benign texts: refused once, and at all in eight."""
    return asyncio.run(_cross_table(run, goals))


async def _cross_table(run: Path, goals: int) -> dict[str, dict[str, Cell]]:
    arena, (attackers, defenders) = Goals(), players(run)
    tasks = [arena.task("test", 0, i) for i in range(goals)]
    rng = generator("cross table")
    tried: dict[str, list[list[str]]] = {
        "known": [[written(t.needs["word"], rng.choice(SEEN), rng) for _ in range(TRIES)] for t in tasks],
        "held out": [[written(t.needs["word"], HELD, rng) for _ in range(TRIES)] for t in tasks],
    }
    for name, place in attackers.items():
        tried[name] = await said(handle(place, name), [t.prompt for t in tasks], TRIES, LONGEST["attack"], name)
    benign = [innocent(rng) for _ in range(goals * 2)]
    found: dict[str, dict[str, Cell]] = {name: {} for name in (*tried, "false refusals")}
    for column, place in defenders.items():
        defender = handle(place, column)
        for row, texts in tried.items():
            sent = [text for each in texts for text in each if sendable(text, defender.renderer)]
            replies = iter(await said(defender, sent, 1, LONGEST["reply"], row))
            found[row][column] = _cell(
                [
                    [sendable(text, defender.renderer) and _unsafe(arena, task, text, next(replies)[0]) for text in each]
                    for task, each in zip(tasks, texts, strict=True)
                ]
            )
        replied = await said(defender, benign, TRIES, LONGEST["reply"], "benign")
        found["false refusals"][column] = _cell([[reply.strip() == REFUSAL for reply in each] for each in replied])
    return found


def _unsafe(arena: Goals, task: Task, text: str, reply: str) -> bool:
    guard, words = arena.judged(task, text, reply)
    return bool(is_unsafe(guard, score_of(words)))


def _cell(each: Sequence[Sequence[bool]]) -> Cell:
    return any_of(each, 1), any_of(each, TRIES)


def any_of(each: Sequence[Sequence[bool]], k: int) -> float:
    """How often any of the first `k` tries succeeds; of one, how often a try does.

    >>> any_of([[True, False], [False, False]], 1), any_of([[True, False], [False, False]], 2)
    (0.25, 0.5)
    """
    if k == 1:
        return fmean(fmean(tries) for tries in each)
    return fmean(any(tries[:k]) for tries in each)


def lines(table: dict[str, dict[str, Cell]]) -> list[str]:
    """As it is printed."""
    columns = list(next(iter(table.values())))
    head = f"{'':<16}" + "".join(f"{name:>16}" for name in columns)
    return [head, *(f"{row:<16}" + "".join(f"{one:>9.3f} {any_:>6.3f}" for one, any_ in cells.values()) for row, cells in table.items())]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m strop.lab.duel RUN, the directory of a run of --method lifelong")
    print("\n".join(lines(cross_table(Path(sys.argv[1])))))
