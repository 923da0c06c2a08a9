"""walks: which move of a written walk is the first wrong one; and the walk itself.

    am     ac      cx      fj      jk      ->   <answer>2</answer>
                  back   not from   next
                         x          door
    am     ->   <think>ac\\nch\\nhk\\nkm</think><answer>achkm</answer>

The places are letters around a lake, behind the last comes the first; a walk is asked for from one place to another, in so many moves. A
move says from where it goes and to where, and may be wrong in three ways: it goes to the half of the round that lies behind it (`way`), it
does not begin where the walk stands (`fit`), or it goes next door (`use`). The first and the last are seen in the move itself, the second
by the move before, none by a letter alone, and no sum is needed. 0 says that no move is wrong.

A share `judged` of the tasks shows a walk, which goes on from wherever it went. The others ask for one, of which many are right; their
worked text tries one, says of every move in which way it is wrong or that it is right, `ac+cx<fj!jk.`, and then answers with another: for a
base that looks where it goes, and for a search by a judge's scores.
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
from strop.tasks.path import routes
from strop.tasks.procedural import answered, draw, generator, grade_by, within

KINDS = ("way", "fit", USE)
"""Ways in which a move may be wrong; its labels say of each whether it is right."""
MARKS = "<!.+"
"""What a worked text says behind a move that is wrong in each way, and behind a right one, in place of a new line."""


@dataclass(frozen=True)
class Walks:
    """Walks of `moves` moves around `places`, each over a quarter of the round at most. A move is wrong with the chance `wrong`; of the
    wrong ones `useless` go next door, the others are halved between ways back and moves from elsewhere."""

    moves: int = 3
    places: int = 26
    wrong: float = 0.4
    useless: float = 0.35
    judged: float = 1.0
    name: str = field(default="walks", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "moves", 2, 8)
        within(self, "places", 8, 26)
        for share in ("wrong", "useless", "judged"):
            within(self, share, 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            meta, start = {"seed": seed, "index": index}, rng.randrange(self.places)
            walk, _ = self.walk(rng, start, 0.0)
            question = walk[0][0] + walk[-1][1]
            if rng.random() < self.judged:
                return judging.shown(self.name, question, *self.walk(rng, start, self.wrong), meta)
            return Task(question, {"question": question, "walk": walk}, self.name, meta)

        return draw(self, split, seed, index, make, same=lambda task: task.needs["question"])

    def walk(self, rng: random.Random, at: int, wrong: float) -> tuple[list[str], list[list[int]]]:
        """(moves, for each move whether it is right in each way)."""
        moves, labels, far = list[str](), list[list[int]](), self.places // 4
        for _ in range(self.moves):
            kind = kind_of(rng, wrong, self.useless, KINDS[:2], use=True)
            at = (at + rng.randrange(1, self.places) * (kind == "fit")) % self.places
            to = (at + (1 if kind == USE else -rng.randint(1, far) if kind == "way" else rng.randint(2, far))) % self.places
            moves.append(ascii_lowercase[at] + ascii_lowercase[to])
            labels.append([int(kind != each) for each in KINDS])
            at = to
        return moves, labels

    def grade(self, task: Task, text: str) -> Graded:
        """A judged walk by its first wrong move, with the channels `faulty` and `caught`; a walk by where its moves lead."""
        if "walk" not in task.needs:
            return judging.graded(task, text)
        start, goal = task.needs["question"]

        def judge(answer: str) -> str:
            if len(answer) != self.moves + 1 or not set(answer) <= {*ascii_lowercase[: self.places]}:
                return f"not {self.moves + 1} places"
            if (answer[0], answer[-1]) != (start, goal):
                return "begins or ends in the wrong place"
            far = [(ord(to) - ord(at)) % self.places for at, to in pairwise(answer)]
            return "goes back" if min(far) < 1 or max(far) > self.places // 2 else "goes next door" if min(far) < 2 else ""

        return grade_by(text, judge, routes)

    def gold(self, task: Task) -> str:
        walk = task.needs.get("walk")
        return judging.gold(task) if walk is None else answered(places_of(walk), "\n".join(walk))

    def example(self, task: Task) -> str:
        """Of a walk that is asked for: one is tried and its moves are marked; the answer is another."""
        if "walk" not in task.needs:
            return self.gold(task)
        start = ascii_lowercase.index(task.needs["question"][0])
        tried = self.walk(generator(self.name, "example", task.id), start, self.wrong)
        work = "".join(f"{move}{MARKS[[*labels, 0].index(0)]}" for move, labels in zip(*tried, strict=True))
        return answered(places_of(task.needs["walk"]), work)


def places_of(moves: list[str]) -> str:
    """All that a walk comes to."""
    return moves[0][0] + "".join(move[1] for move in moves)
