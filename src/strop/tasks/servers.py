"""servers: wishes of two to six calls that feed each other, on one to three of eight servers (`worlds/servers.py`).

    bank_find branch m                                which accounts have branch m?
    bank_get account *                                what is known of that account?
    folk_set person * age 7                           let that person have age 7.

Said explicitly, a call stands there by its tool's name, `*` for what the call before answered; said fuzzily, by what is wanted, and no tool
is named. A wish of four calls or more may be two walks that do not wait for each other. Both forms of a wish, with whatever distractors,
are one problem and belong to one split, and no explicit text of training is met in testing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from strop.records import Task, canonical, digest
from strop.seams.source import Graded, Split
from strop.seams.world import Broken, Call, World
from strop.tasks.procedural import draw, grade_by, loose_answers, within
from strop.worlds.calls import Line
from strop.worlds.database import Data, Domain, Operation, Refused, applied, filled, walked
from strop.worlds.servers import MIRRORS, OTHERS, SERVERS, domain_of, needed
from strop.worlds.servers import Servers as Tools

FORMS = {
    "explicit_0": (0, 0, 1),
    "explicit_5": (0, 5, 1),
    "explicit_10": (0, 10, 1),
    "explicit_apart": (0, 10, 0),
    "fuzzy_0": (1, 0, 1),
    "fuzzy_5": (1, 5, 1),
    "fuzzy_10": (1, 10, 1),
    "fuzzy_apart": (1, 10, 0),
}
"""Of held-out tasks that take each form in turn: whether they name no tool, among how many distractors, and whether these look alike."""


class Wish(NamedTuple):
    """What is asked for, however it is said."""

    servers: tuple[str, ...]
    """Whose tools do it."""
    data: Data
    """What it finds."""
    gold: list[list[Any]]
    """Its calls: tool and arguments."""
    edges: list[list[Any]]
    """[i, j, fields]: call j asks for these fields of call i's answer."""
    says: tuple[str, ...]
    """Each call by its tool's name."""


@dataclass(frozen=True)
class Wishes:
    """Wishes of `least` to `most` calls on up to `servers` servers, with `distractors` more beside them; `alike`, these are mirrors of
    the eight. A share `fuzzy` of the wishes names no tool. With `forms` held-out tasks take each form of `FORMS` in turn, with a
    channel for each: `explicit_0`, `fuzzy_10`."""

    least: int = 2
    most: int = 6
    servers: int = 3
    distractors: int = 0
    alike: int = 1
    fuzzy: float = 0.0
    forms: int = 0
    name: str = field(default="servers", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "least", 2, 6)
        within(self, "most", self.least, 6)
        within(self, "servers", 1, 3)
        within(self, "distractors", 0, 10)
        within(self, "alike", 0, 1)
        within(self, "fuzzy", 0.0, 1.0)
        within(self, "forms", 0, 1)

    @property
    def world(self) -> World:
        """Where its calls are answered."""
        return Tools()

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            wish, fuzzily = wished(rng, rng.randint(self.least, self.most), self.servers), rng.random() < self.fuzzy
            beside, alike, where = self.distractors, self.alike, {}
            if self.forms and split == "test":
                channel = [*FORMS][index % len(FORMS)]
                fuzzily, beside, alike = FORMS[channel]
                where = {"where": channel}
            needs = {
                "servers": [*wish.servers],
                "distractors": rng.sample([*MIRRORS] if alike else OTHERS, 10)[:beside],
                "data": wish.data,
                "gold": wish.gold,
                "edges": wish.edges,
                "explicit": "\n".join(wish.says),
                "fuzzy": "\n".join(fuzzy(wish)),
                **where,
            }
            prompt = needs["fuzzy"] if fuzzily else needs["explicit"]
            return Task(prompt, needs, self.name, {"seed": seed, "index": index, "where": digest(needs)[:12]})

        # whatever it is said like and stands beside it, the wish is the same
        plain = replace(self, distractors=0, alike=1, fuzzy=0.0, forms=0)
        return draw(plain, split, seed, index, make, lambda task: task.needs["explicit"])

    def grade(self, task: Task, text: str) -> Graded:
        """Of all calls at once, as one answer; who acts in the world is graded there."""
        return grade_by(text, lambda answer: "" if made_of(task, answer) == task.needs["gold"] else "other calls", loose_answers)

    def gold(self, task: Task) -> str:
        line = Line(mark="")
        return f"<answer>{'; '.join(line.written(Call(name, arguments)) for name, arguments in task.needs['gold'])}</answer>"


def made_of(task: Task, answer: str) -> list[list[Any]]:
    """The calls of an answer, semicolons between them, as far as they are good."""
    domain, data, found = domain_of(tuple(task.needs["servers"])), task.needs["data"], list[list[Any]]()
    for call in Line().read("\n".join(f">{one.strip()}" for one in answer.split(";")), domain.tools()):
        if isinstance(call, Broken):
            return found
        try:
            data, _ = applied(domain, data, call.tool, call.arguments)
        except Refused:
            return found
        found.append([call.tool, domain.given(domain.tool(call.tool), call.arguments)])
    return found


def wished(rng: random.Random, calls: int, most: int) -> Wish:
    """So many calls on up to so many servers, in one walk or in two that touch nothing of each other."""
    while True:
        servers = tuple(sorted(rng.sample([*SERVERS], rng.randint(1, most)), key=[*SERVERS].index))
        domain = domain_of(servers)
        data = filled(rng, domain)
        apart = calls > 3 and len(servers) > 1 and rng.random() < 0.5
        cut = rng.randint(2, calls - 2) if apart else calls
        legs = [(servers[:1], cut), (servers[1:], calls - cut)] if apart else [(servers, calls)]
        try:
            walks = [walked(rng, domain_of(own, servers), data, length) for own, length in legs]
        except ValueError:  # over these rows nobody walks so far
            continue
        gold = [[name, arguments] for walk in walks for name, arguments in walk.calls]
        used = {name.partition("_")[0] for name, _ in gold}
        fresh = sum(domain.tool(name).verb == "new" for name, _ in gold)  # of two new rows the one made first would get the first key
        if len(gold) == calls == len({canonical(call) for call in gold}) and fresh < 2 and used == {*servers}:
            starts = [0, cut, calls][: len(legs) + 1]
            edges = [edge for a, b in pairwise(starts) for edge in needed(domain, gold, range(a, b))]
            return Wish(servers, data, gold, edges, tuple(says for walk in walks for says in walk.says))


def fuzzy(wish: Wish) -> list[str]:
    """Each call by what is wanted of it."""
    domain = domain_of(wish.servers)
    known = {j: fields for _, j, fields in wish.edges}
    return [said(domain, domain.tool(name), arguments, known.get(i, ())) for i, (name, arguments) in enumerate(wish.gold)]


def said(domain: Domain, tool: Operation, arguments: Mapping[str, Any], known: Collection[str]) -> str:
    """A wish for one call, in words that name no tool; what is `known` from the call before is told by its field alone."""
    told = {name: f"that {name}" if name in known else f"{name} {value}" for name, value in domain.given(tool, arguments).items()}
    if tool.verb == "get":
        return f"what is known of {told[tool.table]}?"
    if tool.verb == "find":
        return f"which {tool.table}s have {told[tool.columns[0]]}?"
    if tool.verb == "set":
        return f"let {told[tool.table]} have {told[tool.columns[0]]}."
    return f"there is one more {tool.table}, with {_listed([*told.values()])}."


def _listed(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def named(text: str) -> list[str]:
    """The tools and servers, of tasks and distractors alike, that a text names."""
    words = {word.strip(".,?*") for word in text.split()}
    every = {tool.name for name in SERVERS for tool in domain_of((name,)).operations}
    servers = {word for word in words if word.partition("_")[0] in {*SERVERS, *MIRRORS}}
    return sorted({name for name in every if name in text} | servers)
