"""walks: which move of a written walk is the first wrong one; and the walk itself.

    acf dki     b      h      f      b      ->   <answer>3</answer>
                              closed been there
    acf dki     ->   <think>b\\nh\\nj\\ne</think><answer>bhje</answer>, or with second thoughts <think>b\\n+\\nf\\n-\\nh\\n+\\nj…

A map names the places that are closed and, behind a space, the dead ends; all others of the first letters are free. A move is the place it
enters, and may be wrong in three ways: the place is closed (`open`), the walk has been there (`fresh`), or it is a dead end (`use`). Each
is found by looking where a letter stood before, none by the letter, and no sum is needed. 0 says that no move is wrong.

A share `judged` of the tasks shows a walk; the others ask for one, of which many are right: for a base that can walk, and a search by a
judge's scores.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from string import ascii_lowercase

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks import judging
from strop.tasks.judging import USE, kind_of, right
from strop.tasks.path import routes
from strop.tasks.procedural import answered, draw, generator, grade_by, within

KINDS = ("open", "fresh", USE)
"""Ways in which a move may be wrong; its labels say of each whether it is right."""
MARKS = "-+"
"""What a walk with second thoughts says behind a wrong move and behind a right one."""


@dataclass(frozen=True)
class Walks:
    """Walks of `moves` moves over `places`, of which `closed` are closed and as many dead ends. Each move is wrong with the chance `wrong`;
    of the wrong ones `useless` enter a dead end, the others are halved between closed places and those where the walk has been."""

    moves: int = 4
    places: int = 12
    closed: int = 3
    wrong: float = 0.3
    useless: float = 0.35
    judged: float = 1.0
    name: str = field(default="walks", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "moves", 2, 8)
        within(self, "closed", 1, 8)
        within(self, "places", 2 * self.closed + self.moves, 26)
        for share in ("wrong", "useless", "judged"):
            within(self, share, 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            names, meta = rng.sample(ascii_lowercase[: self.places], self.places), {"seed": seed, "index": index}
            closed, ends, free = names[: self.closed], names[self.closed : 2 * self.closed], names[2 * self.closed :]
            question = f"{''.join(closed)} {''.join(ends)}"
            if rng.random() < self.judged:
                return judging.shown(self.name, question, *self.walk(rng, closed, ends, free), meta)
            return Task(question, {"question": question, "walk": free[: self.moves]}, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: [sorted(part) for part in map_of(task.needs["question"])])

    def walk(self, rng: random.Random, closed: list[str], ends: list[str], free: list[str]) -> tuple[list[str], list[list[int]]]:
        """(moves, for each move whether it is right in each way)."""
        moves, labels = list[str](), list[list[int]]()
        for _ in range(self.moves):
            to = {"": free, "open": closed, USE: ends}
            room = {kind: [name for name in names if name not in moves] for kind, names in to.items()} | {"fresh": moves}
            kind = kind_of(rng, self.wrong, self.useless, [kind for kind in KINDS[:2] if room[kind]], use=bool(room[USE]))
            move = rng.choice(room[kind])
            labels.append([int(move not in names) for names in (closed, moves, ends)])
            moves = [*moves, move]
        return moves, labels

    def grade(self, task: Task, text: str) -> Graded:
        """A judged walk by its first wrong move, with the channels `faulty` and `caught`; a walk by the map."""
        if "walk" not in task.needs:
            return judging.graded(task, text)
        closed, ends = map_of(task.needs["question"])

        def judge(answer: str) -> str:
            if len(answer) != self.moves or not set(answer) <= {*ascii_lowercase[: self.places]}:
                return f"not {self.moves} places"
            if len({*answer}) < len(answer):
                return "visits a place twice"
            return "enters a closed place" if {*answer} & {*closed} else "enters a dead end" if {*answer} & {*ends} else ""

        return grade_by(text, judge, routes)

    def gold(self, task: Task) -> str:
        walk = task.needs.get("walk")
        return judging.gold(task) if walk is None else answered("".join(walk), "\n".join(walk))

    def example(self, task: Task) -> str:
        """Of a walk that is asked for: one with second thoughts, whose wrong moves are said to be wrong and left out of the answer."""
        if "walk" not in task.needs:
            return self.gold(task)
        rng, (closed, ends) = generator(self.name, "example", task.id), map_of(task.needs["question"])
        free = [name for name in ascii_lowercase[: self.places] if name not in closed + ends]
        moves, labels = self.walk(rng, [*closed], [*ends], free)
        walk = [move for move, said in zip(moves, labels, strict=True) if right(said)]
        more = rng.sample([name for name in free if name not in walk], self.moves - len(walk))
        tried = [*zip(moves, map(right, labels), strict=True), *((move, 1) for move in more)]
        return answered("".join(walk + more), "\n".join(f"{move}\n{MARKS[fine]}" for move, fine in tried))


def map_of(question: str) -> tuple[str, str]:
    """Its closed places and its dead ends."""
    closed, _, ends = question.partition(" ")
    return closed, ends
