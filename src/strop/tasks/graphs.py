"""graphs: which node of a walk is it? Questions that are cut out of graphs, and looked up in them (`worlds/graphs.py`).

    c5*.2c?   ->   >get c5*.2c   km   ->   >get k*.2c   cx   ->   >get x2c   p   ->   >get pc   c   ->   <answer>x</answer>

A graph has `nodes` and two and a half links a node, or is a tree of as many links. A question is a walk from a node that it names, of
`least` to `most` steps: open, or closed on one of its own nodes, so that what is asked for has two sides. Its shape is drawn first, then
the structural role that is asked for, each as likely: nodes that no symmetry of the shape tells apart have one role. Walks go by chance
until one has this shape; its kinds are blurred as far as one answer is left.

A checker follows every walk to all of its answers, so a question with another number of them than one is never given out. Of the `each`
questions of a graph no two are the same but for names (Weisfeiler and Leman's colours). SailorFog-QA-V2 (arXiv:2509.13305) asks a model
to write questions about such sub-graphs, and nobody counts their answers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from string import ascii_letters, ascii_lowercase, digits
from typing import Any

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import TAIL, draw, grade_by, said_answer, spec, within
from strop.worlds.graphs import Graph, Step, Walk, answers, written
from strop.worlds.graphs import Graphs as Looks

DEGREE = 2.5
"""Links a node has on average in a graph that is no tree."""
TRIES = 20_000
"""Walks that are tried for a question, in a new graph every hundred."""


# ------------------------------------------------------------------------------------------------ shapes and their roles


def colours(beside: Mapping[int, Sequence[int]], labels: Sequence[Any]) -> list[str]:
    """Of every node, what Weisfeiler and Leman's refinement says of it: nodes that a symmetry exchanges have one colour."""
    found = [digest(label) for label in labels]
    for _ in labels:
        found = [digest([found[node], sorted(found[other] for other in beside[node])]) for node in range(len(labels))]
    return found


def shape(steps: int, back: int = -1) -> dict[int, list[int]]:
    """Links of a walk of so many steps: open, or closed on the node that it came through after `back` steps.

    >>> shape(3), shape(3, back=0)
    ({0: [1], 1: [0, 2], 2: [1, 3], 3: [2]}, {0: [1, 2], 1: [0, 2], 2: [1, 0]})
    """
    count = steps + 1 if back < 0 else steps
    beside: dict[int, list[int]] = {node: [] for node in range(count)}
    for one in range(steps):
        other = one + 1 if one + 1 < count else back
        beside[one].append(other)
        beside[other].append(one)
    return beside


def roles(steps: int, back: int = -1) -> list[list[int]]:
    """The nodes that may be asked for, by their structural role; the first one is named and plays none.

    >>> roles(4), roles(4, back=0)
    ([[1], [2], [3], [4]], [[1, 3], [2]])
    """
    beside, found = shape(steps, back), dict[str, list[int]]()
    for node, colour in enumerate(colours(beside, [int(node == 0) for node in beside])):
        if node:
            found.setdefault(colour, []).append(node)
    return list(found.values())


def likeness(walk: Walk) -> str:
    """A digest that two walks share which differ in names alone: their shape, kinds, and what is asked for."""
    beside, nodes = shape(len(walk) - 1, closes_on(walk)), walk[: len(walk) - (closes_on(walk) >= 0)]
    return digest(sorted(colours(beside, [["named", ""] if not i else [step.clue, step.asked] for i, step in enumerate(nodes)])))


def sides(walk: Walk) -> tuple[Walk, ...]:
    """A closed walk, gone from each side of the node that it closes on, and not closed: what one side tells alone.

    >>> [written(one) for one in sides(read("c5*.2c"))]
    ['c5*.2?', 'c2*.5?']
    """
    back, nodes = closes_on(walk), walk[:-1]
    return () if back < 0 else (nodes, (*nodes[: back + 1], *reversed(nodes[back + 1 :])))


def closes_on(walk: Walk) -> int:
    """Which of its own nodes a walk ends with; -1 where it is open."""
    last = walk[-1].clue
    return int(last[1]) if last[0] == "^" else 0 if last == walk[0].clue else -1


# ------------------------------------------------------------------------------------------------ graphs, and walks in them


def grown(nodes: int, links: int, kinds: int, alike: float, rng: random.Random) -> Graph:
    """A connected graph: a tree, and links between the ends of short ways in it. Names are small letters as far as those go: small models
    tell large ones apart badly. With the chance `alike` a node's kind is that of another one beside its neighbour: what a walk may
    mistake."""
    names = rng.sample(ascii_lowercase if nodes <= len(ascii_lowercase) else ascii_letters, nodes)
    found = [(names[number], rng.choice(names[:number])) for number in range(1, nodes)]
    there = {frozenset(pair) for pair in found}
    bare = Graph(dict.fromkeys(names, ""), ["".join(pair) for pair in found])
    while len(found) < links:
        end = one = rng.choice(names)
        for _ in range(rng.randint(2, 6)):
            end = rng.choice(bare.beside[end])
        if one != end and (key := frozenset((one, end))) not in there:
            there.add(key)
            found.append((one, end))
    bare = Graph(bare.kinds, ["".join(pair) for pair in rng.sample(found, len(found))])
    told = dict[str, str]()
    for name in names:
        others = [two for one in bare.beside[name] for two in bare.beside[one] if two in told and two != name]
        told[name] = told[rng.choice(others)] if others and rng.random() < alike else rng.choice(digits[:kinds])
    return Graph(told, bare.links)


def walked(graph: Graph, steps: int, back: int, rng: random.Random) -> tuple[str, ...] | None:
    """The nodes of a walk by chance that has this shape; None where it has another one."""
    path = [rng.choice([*graph.kinds])]
    for _ in range(steps - (back >= 0)):
        if not (ways := [name for name in graph.beside[path[-1]] if name not in path]):
            return None
        path.append(rng.choice(ways))
    return tuple(path) if back < 0 or path[back] in graph.beside[path[-1]] else None


def told(graph: Graph, path: Sequence[str], back: int, asked: int) -> Walk:
    """A walk by the kinds of its nodes; only the first is named."""
    steps = [Step(graph.kinds[name], number == asked) for number, name in enumerate(path)]
    closing = [Step(path[0] if back == 0 else f"^{back}")] if back >= 0 else []
    return (Step(path[0]), *steps[1:], *closing)


def blurred(walk: Walk, graph: Graph, levels: int, rng: random.Random) -> Walk:
    """Kinds are told as halves (1), then as anything (2), wherever one answer is left."""
    places = [number for number, step in enumerate(walk) if step.clue in digits]
    for level in range(levels):
        for place in rng.sample(places, len(places)):
            old = walk[place]
            clue = "." if level else "+" if old.clue >= "5" else "-"
            vague = (*walk[:place], old._replace(clue=clue), *walk[place + 1 :])
            walk = vague if len(answers(vague, graph.look)) == 1 else walk
    return walk


# ------------------------------------------------------------------------------------------------ the source


@dataclass(frozen=True)
class Graphs:
    """Walks of `least` to `most` steps in graphs of `nodes` with `kinds` of them; a share `closed` of the walks is. In a `tree` there are
    as many links and none is. `blur` is how vaguely a node is told of: exactly, by halves, or not at all. With `sided` no side of a closed
    walk has one answer alone. With `both` held-out walks are closed in a graph with cycles and open in a tree by turns, whatever is
    trained on."""

    nodes: int = 30
    least: int = 4
    most: int = 7
    closed: float = 0.5
    tree: int = 0
    kinds: int = 10
    alike: float = 0.3
    blur: int = 2
    sided: int = 0
    each: int = 4
    both: int = 0
    name: str = field(default="graphs", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "nodes", 10, 40)
        within(self, "least", 3, 8)
        within(self, "most", self.least, 8)
        within(self, "closed", 0.0, 1.0)
        within(self, "tree", 0, 1)
        within(self, "kinds", 1, 10)
        within(self, "alike", 0.0, 1.0)
        within(self, "blur", 0, 2)
        within(self, "sided", 0, 1)
        within(self, "each", 1, 16)
        within(self, "both", 0, 1)
        if self.tree and self.closed:
            raise ValueError(f"graphs: no walk closes in a tree, so closed=0 with tree=1; got closed={self.closed}")

    @property
    def world(self) -> World:
        """Where it is looked up."""
        return Looks()

    def grown(self, rng: random.Random) -> Graph:
        """A graph: as many links whether it is a tree or not."""
        links = round(self.nodes * DEGREE / 2)
        return grown(links + 1 if self.tree else self.nodes, links, self.kinds, self.alike, rng)

    def task(self, split: Split, seed: int, index: int) -> Task:
        if self.both and split == "test":
            held = replace(self, both=0, tree=0, closed=1.0) if index % 2 == 0 else replace(self, both=0, tree=1, closed=0.0)
            return held.task(split, seed, index // 2)
        number, place = divmod(index, self.each)
        return _of_one_graph(self, split, seed, number)[place]

    def asked(self, rng: random.Random) -> tuple[Graph, list[Walk]]:
        """A graph and its questions. Shapes and roles are drawn before it and kept, so what is hard to find is asked for as often."""
        wanted = list[tuple[int, int, int]]()
        for _ in range(self.each):
            steps = rng.randint(self.least, self.most)
            back = rng.randint(0, steps - 3) if rng.random() < self.closed else -1
            wanted.append((steps, back, rng.choice(rng.choice(roles(steps, back)))))
        why = Counter[str]()
        while why.total() < TRIES:
            graph, walks = self.grown(rng), list[Walk]()
            for steps, back, asked in wanted:
                if (walk := self._found(graph, steps, back, asked, {likeness(one) for one in walks}, why, rng)) is None:
                    break
                walks.append(walk)
            else:
                return graph, walks
        counts = ", ".join(f"{count} {said}" for said, count in why.most_common())
        raise ValueError(
            f"{spec(self)}: none of {why.total()} walks is a question with one answer: {counts}. Ask for more kinds, fewer questions of "
            "each graph, or shorter walks."
        )

    def _found(
        self, graph: Graph, steps: int, back: int, asked: int, there: set[str], why: Counter[str], rng: random.Random
    ) -> Walk | None:
        for _ in range(100):
            if (path := walked(graph, steps, back, rng)) is None:
                why["have another shape"] += 1
                continue
            walk = told(graph, path, back, asked)
            if len(answers(walk, graph.look)) != 1:
                why["have several answers"] += 1
                continue
            walk = blurred(walk, graph, self.blur, rng)
            if self.sided and any(len(answers(one, graph.look)) == 1 for one in sides(walk)):
                why["have one answer by one side alone"] += 1
            elif likeness(walk) in there:
                why["are like another one of their graph"] += 1
            else:
                return walk
        return None

    def grade(self, task: Task, text: str) -> Graded:
        """Beside the verdict it stands under `closed` or `open`, as the question is."""
        graded = grade_by(text, lambda answer: "" if answer == task.needs["answer"] else "another node", said_last)
        return Graded({**graded, "closed" if task.needs["closed"] else "open": graded["outcome"]}, graded.reason, graded.incidents)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def answer(self, text: str) -> str | None:
        return said_answer(text, said_last)


@lru_cache(maxsize=64)
def _of_one_graph(where: Graphs, split: Split, seed: int, number: int) -> tuple[Task, ...]:
    """All questions of a graph, which is of one split."""
    made = dict[str, tuple[Task, ...]]()

    def make(rng: random.Random) -> Task:
        graph, walks = where.asked(rng)
        place, tasks = digest([graph.kinds, graph.links])[:12], list[Task]()
        for index, walk in enumerate(walks, number * where.each):
            (answer,) = answers(walk, graph.look)
            needs = {"kinds": graph.kinds, "links": list(graph.links), "answer": answer, "closed": int(closes_on(walk) >= 0)}
            tasks.append(Task(written(walk), needs, where.name, {"seed": seed, "index": index, "where": place}))
        made[place] = tuple(tasks)
        return tasks[0]

    return made[draw(where, split, seed, number, make, lambda task: task.meta["where"]).meta["where"]]


LETTER = re.compile(r"\b[A-Za-z]\b")


def said_last(text: str) -> list[str]:
    """The single letters of its last tag, in its last line, the last one first: what a world wrote before is no answer."""
    line = text[-TAIL:].rpartition("\n")[2]
    return LETTER.findall(line.rpartition("<answer>")[2].partition("</answer>")[0])[::-1]
