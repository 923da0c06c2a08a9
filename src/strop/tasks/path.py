"""path: a route through a small graph, without visiting a place twice.

    a to d: ab bc cd bd   ->   abd

Roads go both ways; every simple route is right.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, grade_by, loose_answers, within

ROUTE = re.compile(r"[a-z]{2,26}")
BETWEEN = re.compile(r"(?<=\b[a-z])\s*(?:->|→|-|,|>|\s)\s*(?=[a-z]\b)")


@dataclass(frozen=True)
class Path:
    """`places` places in one connected graph with `extra` roads more than a tree has."""

    places: int = 6
    extra: int = 1
    name: str = field(default="path", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "places", 3, 26)
        within(self, "extra", 0, 26)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            names = rng.sample(ascii_lowercase[: self.places], self.places)
            roads = {frozenset((names[i], names[rng.randrange(max(0, i - 3), i)])) for i in range(1, self.places)}
            free = [pair for i, a in enumerate(names) for b in names[:i] if (pair := frozenset((a, b))) not in roads]
            roads |= set(rng.sample(free, min(self.extra, len(free))))
            written = ["".join(rng.sample(sorted(road), 2)) for road in sorted(roads, key=sorted)]
            rng.shuffle(written)
            apart = [(a, b) for a in sorted(names) for b in sorted(names) if a != b and frozenset((a, b)) not in roads]
            start, goal = rng.choice(apart or [(names[0], names[-1])])
            prompt = f"{start} to {goal}: {' '.join(written)}"
            meta = {"places": self.places, "seed": seed, "index": index}
            return Task(prompt, {"start": start, "goal": goal, "roads": written}, self.name, meta)

        return draw(self, split, seed, index, make, same=unordered)

    def grade(self, task: Task, text: str) -> Graded:
        roads = {frozenset(road) for road in task.needs["roads"]}

        def judge(answer: str) -> str:
            if not ROUTE.fullmatch(answer):
                return "not a route"
            if answer[0] != task.needs["start"] or answer[-1] != task.needs["goal"]:
                return "starts or ends in the wrong place"
            if len(set(answer)) < len(answer):
                return "visits a place twice"
            missing = [a + b for a, b in pairwise(answer) if frozenset((a, b)) not in roads]
            return f"no road {missing[0]}" if missing else ""

        return grade_by(text, judge, routes)

    def gold(self, task: Task) -> str:
        route = shortest(task, None)
        return answered(route, " ".join(a + b for a, b in pairwise(route)))

    def worked(self, task: Task, rng: random.Random) -> str:
        """A text to train a base model on: a route at once or road by road, one in six of them broken."""
        route = shortest(task, rng)
        if rng.random() < 0.17:
            others = sorted({place for road in task.needs["roads"] for place in road} - {route[0], route[-1]})
            route = route[0] + "".join(rng.sample(others, min(len(others), max(1, len(route) - 2)))) + route[-1]
        style = rng.random()
        if style < 0.45:
            return answered(route)
        work = " ".join(a + b for a, b in pairwise(route))
        return answered(route, work) if style < 0.95 else f"<think>{work}</think>{route}"


def unordered(task: Task) -> list[list[str]]:
    """The task whichever way its roads, and the route itself, are written."""
    ends = sorted((task.needs["start"], task.needs["goal"]))
    return [ends, sorted("".join(sorted(road)) for road in task.needs["roads"])]


def shortest(task: Task, rng: random.Random | None) -> str:
    """A shortest route; `rng` chooses among several."""
    near: dict[str, list[str]] = {}
    for a, b in task.needs["roads"]:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    routes, seen = [task.needs["start"]], {task.needs["start"]}
    while routes:
        route = routes.pop(0)
        if route[-1] == task.needs["goal"]:
            return route
        onward = [place for place in near[route[-1]] if place not in seen]
        if rng is not None:
            rng.shuffle(onward)
        seen.update(onward)
        routes += [route + place for place in onward]
    raise ValueError(f"no route from {task.needs['start']} to {task.needs['goal']}")


def routes(text: str) -> list[str]:
    """The last word that could be a route in the best place that holds one; `a-b-c` and `a b c` read as `abc`."""
    for place in loose_answers(text):
        joined = BETWEEN.sub("", place.lower())
        if found := re.findall(r"\b[a-z]{2,26}\b", joined):
            return found[-1:]
    return []
