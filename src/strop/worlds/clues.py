"""clues: search by a clue, visit what was found. A stand-in for the web: some thousand entities with typed attributes, the same for a seed.

    >search mqa   ->   kw tb qz +     three of those that a maker qa has made, and there are more: the same search again tells them
    >visit tb     ->   a53 mqa gx     what its page says on each thing that the question tells of its answer
    <answer>tb</answer>   ->   done

A question tells clues that together hold of one entity. A search takes one clue and says nothing else of what it finds, so whoever searches
by a clue that holds of many has many pages to visit. The cards of wiki.py have one link each and are in the task: they cannot be searched,
and nothing of them is left to find out where the question tells less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from string import ascii_lowercase
from typing import Any, NamedTuple

from strop.records import Task
from strop.seams.context import Handle, keyed
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered

ATTRIBUTES: dict[str, tuple[str, float]] = {
    "a": ("number", 1.2),
    "b": ("number", 1.5),
    "c": ("number", 2),
    "d": ("number", 2.5),
    "e": ("number", 3),
    "m": ("link", 5),
    "f": ("word", 3),
    "g": ("word", 3),
    "h": ("word", 2),
}
"""Of every entity: by its letter, what kind of value it has, and how telling that is. Of numbers and links so many entities share one, on
average; of words there are so many."""
MOST = 20_000
"""Entities of a base: whose task it is may be anybody's."""


class Clue(NamedTuple):
    """An attribute's value, or between which it lies; of the entity itself, or of the one that a link leads to."""

    attribute: str
    low: int
    high: int
    via: str = ""


class Base:
    """All entities and what is true of them. An entity is a number here, and a name of two or three letters to everybody else."""

    def __init__(self, entities: int, seed: int):
        if not 2 <= entities <= MOST:
            raise ValueError(f"a base has from 2 to {MOST} entities, got {entities}")
        rng, letters = keyed("clues", entities, seed), 2 if entities <= 600 else 3 if entities <= 15_000 else 4
        codes = ["".join(code) for code in product(ascii_lowercase, repeat=letters)]
        self.size, self.names = entities, tuple(rng.sample(codes, entities))
        self.number = {name: number for number, name in enumerate(self.names)}
        self.values = {
            letter: int(much) if kind == "word" else max(2, round(entities / much)) for letter, (kind, much) in ATTRIBUTES.items()
        }
        self.facts: dict[str, list[int]] = {}
        for letter, (kind, _) in ATTRIBUTES.items():
            there = rng.sample(range(entities), self.values[letter]) if kind == "link" else range(self.values[letter])
            self.facts[letter] = [rng.choice(there) for _ in range(entities)]
        self.found = lru_cache(maxsize=1 << 12)(self._found)

    def value(self, entity: int, attribute: str, via: str = "") -> int:
        return self.facts[attribute][self.facts[via][entity] if via else entity]

    def true(self, attribute: str, entity: int, via: str = "") -> Clue:
        """What there is to tell of it."""
        value = self.value(entity, attribute, via)
        return Clue(attribute, value, value, via)

    def holds(self, clue: Clue, entity: int) -> bool:
        return clue.low <= self.value(entity, clue.attribute, clue.via) <= clue.high

    def _found(self, clue: Clue) -> tuple[int, ...]:
        """All that it holds of, in the order of the base: which is nobody's."""
        facts, low, high = self.facts[clue.attribute], clue.low, clue.high
        told = [facts[maker] for maker in self.facts[clue.via]] if clue.via else facts
        return tuple([entity for entity, value in enumerate(told) if low <= value <= high])

    def answers(self, clues: Iterable[Clue]) -> frozenset[int]:
        """All that every one of them holds of."""
        return frozenset(range(self.size)).intersection(*map(self.found, clues))

    def likely(self, clue: Clue) -> float:
        """Of how many it may hold, for all that is known without looking."""
        return self.size * min(1.0, (clue.high - clue.low + 1) / self.values[clue.attribute])

    def said(self, attribute: str, value: int) -> str:
        """A value, as it is written."""
        kind, _ = ATTRIBUTES[attribute]
        return self.names[value] if kind == "link" else ascii_lowercase[-1 - value] if kind == "word" else str(value)

    def written(self, clue: Clue) -> str:
        """As a question tells it: a17, a10-19, mqa, m.gx."""
        said = self.said(clue.attribute, clue.low) if clue.low == clue.high else f"{clue.low}-{clue.high}"
        return f"{clue.via}.{clue.attribute}{said}" if clue.via else f"{clue.attribute}{said}"

    def question(self, texts: Iterable[str]) -> tuple[Clue, ...]:
        """The clues of a question."""
        return tuple(clue for text in texts if (clue := self.read(text)) is not None)

    def read(self, text: str) -> Clue | None:
        """What a text tells; None where it is no clue."""
        if not (found := WRITTEN.fullmatch(text)) or found["attribute"] not in ATTRIBUTES:
            return None
        attribute, via, value, high = found["attribute"], found["via"] or "", found["value"], found["high"]
        kind, _ = ATTRIBUTES[attribute]
        if via and ATTRIBUTES.get(via, ("",))[0] != "link":
            return None
        if kind == "number":
            return Clue(attribute, int(value), int(high or value), via) if value.isdigit() else None
        low = self.number.get(value, -1) if kind == "link" else 25 - ascii_lowercase.find(value) if len(value) == 1 else -1
        return None if high or not 0 <= low < (self.size if kind == "link" else self.values[attribute]) else Clue(attribute, low, low, via)


WRITTEN = re.compile(r"(?:(?P<via>[a-z])\.)?(?P<attribute>[a-z])(?P<value>[a-z]{1,4}|[0-9]{1,6})(?:-(?P<high>[0-9]{1,6}))?")


@lru_cache(maxsize=32)
def base_of(entities: int, seed: int) -> Base:
    return Base(entities, seed)


def _takes(name: str, most: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": most}
    return {"properties": {name: text}, "required": [name], "additionalProperties": False}


SEARCH = Tool("search", "Names of what a clue holds of, a few at a time.", _takes("clue", 16))
VISIT = Tool("visit", "What the page of a name says on the question.", _takes("name", 4))


@dataclass(frozen=True)
class Clues:
    """A search shows so many names."""

    shown: int = 3

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (SEARCH, VISIT)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`shown` is how many names of a search were told, `names` all of them, and `visited` whose pages were read."""
        return {"base": task.needs["base"], "clues": task.needs["clues"], "shown": {}, "names": [], "visited": []}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        if not said.calls:
            return state, Reply("no call")
        return answered(state, said, self._called)

    def _called(self, state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
        if call.tool == SEARCH.name:
            return self._search(state, call.arguments["clue"])
        return self._visit(state, call.arguments["name"])

    def _search(self, state: dict[str, Any], text: str) -> tuple[dict[str, Any], str, Called]:
        base = base_of(*state["base"])
        if (clue := base.read(text)) is None:
            return state, "no such clue", Called(SEARCH.name, False, "no such clue")
        text, found = base.written(clue), base.found(clue)
        told = state["shown"].get(text, 0)
        names = [base.names[entity] for entity in found[told : told + self.shown]]
        more = " +" if len(found) > told + self.shown else ""
        state = {
            **state,
            "shown": {**state["shown"], text: told + len(names)},
            "names": [*state["names"], *(name for name in names if name not in state["names"])],
        }
        return state, (" ".join(names) or "no more") + more, Called(SEARCH.name, True)

    def _visit(self, state: dict[str, Any], name: str) -> tuple[dict[str, Any], str, Called]:
        base = base_of(*state["base"])
        if (entity := base.number.get(name)) is None:
            return state, f"no {name}", Called(VISIT.name, False, "no such page")
        said = [base.true(clue.attribute, entity, clue.via) for clue in base.question(state["clues"])]
        return {**state, "visited": [*state["visited"], name]}, " ".join(map(base.written, said)), Called(VISIT.name, True)

    def expert(self, state: dict[str, Any]) -> str | Call:
        """Searches by what is most telling as far as anybody knows, visits what it finds in its order, and answers with the first page
        that fits: it visits also what nothing else can be."""
        base = base_of(*state["base"])
        clues = base.question(state["clues"])
        fits = [name for name in state["visited"] if all(base.holds(clue, base.number[name]) for clue in clues)]
        if fits:
            return f"<answer>{fits[0]}</answer>"
        if unread := [name for name in state["names"] if name not in state["visited"]]:
            return Call(VISIT.name, {"name": unread[0]})
        return Call(SEARCH.name, {"clue": base.written(min(clues, key=base.likely))})
