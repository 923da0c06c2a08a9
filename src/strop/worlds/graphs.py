"""graphs: whom a node is linked with, asked a step at a time. A stand-in for the web: a graph of some thirty nodes that a task brings.

    c5*.2c?      from c to one of kind 5, to any, to one of kind 2, and back to c: which is the one behind the star?
    >get c5*.2c   ->   km     those linked with c that are of kind 5        >get pc   ->   c      or the one called c
    >get k*.2c    ->   -      nobody fits                                   <answer>x</answer>   ->   done

A look is a node and a clue. What stands behind them is not read: there an agent may write down what it goes on with.

A walk is steps, each told by a clue: a name, a kind (a digit), `-` or `+` (a kind below 5, or not), `.` (any), or `^1`: the walk's own
second node again. No node stands in it twice but the one that it closes on. What fits a walk is found by following it, and so are all of
its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered

MARK = "*"
STEP = re.compile(r"(\*?)(\^[0-9]|[A-Za-z0-9.+-])")
NONE = "-"
"""What is told where nobody fits."""


class Step(NamedTuple):
    """One node of a walk."""

    clue: str
    """What is told of it."""
    asked: bool = False
    """Whether it is the one that is asked for."""


Walk = tuple[Step, ...]
Look = Callable[[str, str, int], Sequence[str]]
"""Those linked with a node that fit a clue, looked for at this step of the walk."""


def read(text: str) -> Walk:
    """A walk as a question writes it.

    >>> written(read("c5*.2^0?"))
    'c5*.2^0?'
    """
    return tuple(Step(clue, bool(star)) for star, clue in STEP.findall(text.rstrip("?")))


def written(walk: Walk) -> str:
    """A walk as a question."""
    return f"{noted(walk)}?"


def noted(steps: Sequence[Step]) -> str:
    """Steps, as they are written."""
    return "".join(f"{MARK * step.asked}{step.clue}" for step in steps)


def fits(clue: str, name: str, kind: str) -> bool:
    """Whether a clue holds of a node."""
    if clue in "-+.":
        return clue == "." or (kind >= "5") == (clue == "+")
    return clue in (name, kind)


class Graph:
    """Nodes with a kind each, and links."""

    def __init__(self, kinds: Mapping[str, str], links: Sequence[str]):
        self.kinds, self.links = dict(kinds), tuple(links)
        self.beside: dict[str, list[str]] = {name: [] for name in kinds}
        for one, other in links:
            self.beside[one].append(other)
            self.beside[other].append(one)

    def __eq__(self, other: object) -> bool:
        """A state holds one, and a state is a value."""
        return isinstance(other, Graph) and (self.kinds, self.links) == (other.kinds, other.links)

    def __hash__(self) -> int:
        return hash(self.links)

    def look(self, name: str, clue: str, at: int = 0) -> list[str]:
        """Those linked with it that fit."""
        return [other for other in self.beside.get(name, ()) if fits(clue, other, self.kinds[other])]

    def without(self, link: str) -> Graph:
        """The graph without one of its links."""
        return Graph(self.kinds, [one for one in self.links if {*one} != {*link}])


def followed(walk: Walk, look: Look) -> Iterator[tuple[str, ...]]:
    """Every way to go a walk from its first node, which it names, as far as `look` says; depth first."""

    def on(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if len(path) == len(walk):
            yield path
            return
        clue = walk[len(path)].clue
        back = path[int(clue[1])] if clue[0] == "^" else clue if clue in path else ""
        for name in look(path[-1], back or clue, len(path)):
            if name not in path or name == back:
                yield from on((*path, name))

    yield from on((walk[0].clue,))


def answers(walk: Walk, look: Look) -> set[str]:
    """All that may be the one which is asked for."""
    at = asked(walk)
    return {path[at] for path in followed(walk, look)}


def asked(walk: Walk) -> int:
    """Which step is asked for."""
    return next(number for number, step in enumerate(walk) if step.asked)


class Unknown(Exception):
    """Nobody has looked there yet."""

    def __init__(self, name: str, clue: str, at: int):
        self.name, self.clue, self.at = name, clue, at


def solved(walk: Walk, known: Mapping[str, Sequence[str]]) -> str:
    """What one does who follows a walk and knows what these looks told: the next look, or the answer's name behind `=`. `=` alone: nothing
    fits what was told. Behind each look stands what is left of the walk.

    >>> solved(read("c5*.?"), {}), solved(read("c5*.?"), {"c5": ["k", "m"], "k.": ["c"], "m.": ["c", "x"]})
    ('c5*.', '=x')
    """

    def look(name: str, clue: str, at: int) -> Sequence[str]:
        if name + clue not in known:
            raise Unknown(name, clue, at)
        return known[name + clue]

    try:
        path = next(followed(walk, look), None)
    except Unknown as where:
        return where.name + noted((walk[where.at]._replace(clue=where.clue), *walk[where.at + 1 :]))
    return "=" if path is None else f"={path[asked(walk)]}"


def looked(of: str) -> str:
    """The node and the clue of a look; without a clue, the node alone.

    >>> looked("k*.2c"), looked("k?")
    ('k.', 'k')
    """
    found = STEP.match(of[1:])
    return of[:1] + (found[2][0] if found else "")


GET = Tool(
    "get",
    "Those linked with a node that fit a clue: the node's letter, then the clue. What stands behind is not read.",
    {"properties": {"of": {"type": "string", "minLength": 2, "maxLength": 24}}, "required": ["of"], "additionalProperties": False},
)


@dataclass(frozen=True)
class Graphs:
    """The graph of each task, and one tool."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (GET,)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`known` is what every look told."""
        return {"graph": graph_of(task), "walk": read(task.prompt), "known": {}}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        if not said.calls:
            return state, Reply("no call")
        return answered(state, said, _called)

    def expert(self, state: dict[str, Any]) -> str | Call:
        """Follows the walk, and answers once all of it fits."""
        does = solved(state["walk"], state["known"])
        return f"<answer>{does[1:]}</answer>" if does[0] == "=" else Call(GET.name, {"of": does})


def _called(state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
    of = looked(call.arguments["of"])
    if of[0] not in state["graph"].kinds or len(of) < 2:
        why = "no clue" if of[0] in state["graph"].kinds else f"no {of[0]}"
        return state, why, Called(GET.name, False, why)
    found = state["graph"].look(of[0], of[1])
    return {**state, "known": {**state["known"], of: found}}, "".join(found) or NONE, Called(GET.name, True)


def graph_of(task: Task) -> Graph:
    """The graph that a task brings."""
    return Graph(task.needs["kinds"], task.needs["links"])
