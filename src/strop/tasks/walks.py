"""walks: which move of a written walk over a small map is the first wrong one; and the walk itself.

    e to a: dabfcg cfdaeb     eb      bf      cg      da      ->   <answer>3</answer>
                                              starts
                                              elsewhere
    e to a: dabfcg cfdaeb     ->   <think>eb\\nbf\\nfd\\nda</think><answer>ebfda</answer>

A map is a few lines: a road leads from each place to the next one on its line, one way. A move may be wrong in three ways: there is no such
road (`road`), it starts where the last one did not end (`place`), or it leads back to where the walk has been (`use`). Each is found by
looking something up, none by one letter, and no sum is needed. What follows goes on from where a move ended. 0 says that no move is wrong.

A share `judged` of the tasks shows a walk; the others ask for one, for a base that can walk and for a search by a judge's scores.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks import judging
from strop.tasks.judging import USE, kind_of
from strop.tasks.path import routes, wrong_route
from strop.tasks.procedural import ATTEMPTS, answered, draw, grade_by, spec, within

KINDS = ("road", "place", USE)
"""Ways in which a move may be wrong; its labels say of each whether it is right."""


@dataclass(frozen=True)
class Walks:
    """Walks of `moves` moves over `lines` lines of `stops` of the `places`, each move wrong with the chance `wrong`. Of the wrong
    ones `useless` lead back, at most one in a walk and neither the first nor the last; the others are halved between roads and places."""

    moves: int = 4
    places: int = 7
    lines: int = 2
    stops: int = 6
    wrong: float = 0.3
    useless: float = 0.7
    judged: float = 1.0
    name: str = field(default="walks", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "moves", 2, 16)
        within(self, "places", self.moves + 2, 26)
        within(self, "lines", 2, 8)
        within(self, "stops", 4, self.places)
        for share in ("wrong", "useless", "judged"):
            within(self, share, 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            judged, meta = rng.random() < self.judged, {"seed": seed, "index": index}
            question, moves, labels = self.walk(rng, self.wrong if judged else 0.0)
            shown = judging.shown(self.name, question, moves, labels, meta)
            return shown if judged else Task(question, {"question": question, "walk": moves}, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: sorted(map_of(task)))

    def walk(self, rng: random.Random, wrong: float) -> tuple[str, list[str], list[list[int]]]:
        """(question, moves, for each move whether it is right in each way): ways first, then maps until one has room for them."""
        kinds = list[str]()
        for number in range(self.moves):
            may = 0 < number < self.moves - 1 and USE not in kinds
            kinds.append(kind_of(rng, wrong, self.useless, KINDS[:2], use=may))
        labels = [[int(kind != each) for each in KINDS] for kind in kinds]
        for _ in range(ATTEMPTS):
            lines = ["".join(rng.sample(ascii_lowercase[: self.places], self.stops)) for _ in range(self.lines)]
            if moves := self.moved(rng, lines, kinds):
                return f"{moves[0]} to {moves[-1][1]}: {' '.join(lines)}", moves[1:], labels
        raise ValueError(f"{spec(self)} finds no map with room for a walk; give it more lines, or lines of more stops")

    def moved(self, rng: random.Random, lines: list[str], kinds: list[str]) -> list[str]:
        """Where a walk starts and its moves, wrong in these ways; nothing where the map has no room for one."""
        names, roads = ascii_lowercase[: self.places], roads_of(lines)
        at = rng.choice(names)
        moves, been = [at], {at}
        for kind in kinds:
            starts = [name for name in names if name != at] if kind == "place" else [at]
            pairs = [a + b for a in starts for b in names if a != b and (b in been) == (kind == USE)]
            if not (can := [pair for pair in pairs if (pair in roads) == (kind != "road")]):
                return []
            moves.append(rng.choice(can))
            at = moves[-1][1]
            been.add(at)
        return moves

    def grade(self, task: Task, text: str) -> Graded:
        """A judged walk by its first wrong move, with the channels `faulty` and `caught`; a walk by the roads."""
        if "walk" not in task.needs:
            return judging.graded(task, text)
        start, goal, roads = task.prompt[0], task.needs["walk"][-1][1], roads_of(map_of(task))
        return grade_by(text, lambda answer: wrong_route(answer, start, goal, roads.__contains__), routes)

    def gold(self, task: Task) -> str:
        if "walk" not in task.needs:
            return judging.gold(task)
        moves = task.needs["walk"]
        return answered(moves[0][0] + "".join(move[1] for move in moves), "\n".join(moves))


def map_of(task: Task) -> list[str]:
    """Its lines."""
    return task.needs["question"].partition(": ")[2].split()


def roads_of(lines: list[str]) -> set[str]:
    """From each place to the next one on its line."""
    return {a + b for line in lines for a, b in pairwise(line)}
