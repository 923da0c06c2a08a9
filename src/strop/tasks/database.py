"""database: wishes that calls of a domain's tools fulfil, in a world that is verified by where its database ends (`worlds/database.py`).

    >Smu fo ka          S m q          ->   >Smu m q   m   ->   .

Training tasks are of `domains` domains. One held-out task in two is of a domain that nobody trained on (channel `unseen`), with names and
a template of testing's own; the other is a new one of a training domain (`own_0`, …). A run trains on the domains of its seed, one of
`draws` sets, and held-out tasks are of all of them, so what a run can be held to is the channel of its own draw.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import Broken, Call, Tool, World
from strop.tasks.procedural import draw, generator, grade_by, loose_answers, within
from strop.worlds.calls import Line
from strop.worlds.database import Database, Domain, Refused, applied, filled, made, renamed, right, walked

UNSEEN = 32
"""Domains that are tested on alone."""


@dataclass(frozen=True)
class Domains:
    """Tasks of `domains` domains with `tables` tables, `tools` tools and names of `letters` letters. A wish asks for `least` to `most`
    calls, told in up to `messages` messages; with names of two letters it says verbs by their initials and arguments by their places, and
    no verb is there twice. With `helps` no documents are shown at first: an agent asks for a tool's line by its verb. A share `others` of
    the training domains shows the documents of one that is like it but for every name."""

    domains: int = 64
    draws: int = 4
    helps: int = 1
    others: float = 0.0
    tables: int = 2
    tools: int = 4
    letters: int = 2
    least: int = 1
    most: int = 2
    messages: int = 1
    name: str = field(default="database", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "domains", 1, 4096)
        within(self, "draws", 1, 64)
        within(self, "helps", 0, 1)
        within(self, "others", 0.0, 1.0)
        within(self, "tables", 2, 4)
        within(self, "letters", 2, 4)
        within(self, "tools", 3, 7 if self.letters == 2 else 12)
        within(self, "least", 1, 8)
        within(self, "most", self.least, 8)
        within(self, "messages", 1, 3)

    @property
    def world(self) -> World:
        """What its calls read and write."""
        return Database()

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            if split == "test" and index % 2 == 0:
                return self._asked(rng, self.domain("test", 0, rng.randrange(UNSEEN)), meta, {"where": "unseen"})
            chosen = (seed if split == "train" else index // 2) % self.draws
            number = rng.randrange(self.domains)
            domain = self.domain("train", chosen, number)
            more: dict[str, Any] = {} if split == "train" else {"where": f"own_{chosen}"}
            if generator(self.name, "others", chosen, number).random() < self.others:
                more["documents"] = renamed(generator(self.name, "documents", chosen, number), domain, "train").plain()
            return self._asked(rng, domain, meta, more)

        meta = {"seed": seed, "index": index}
        # what stands in for unseen domains is the same whatever was trained on
        return draw(
            replace(self, domains=64, draws=4, others=0.0) if split == "test" and index % 2 == 0 else self, split, seed, index, make
        )

    def domain(self, side: Split, draw: int, number: int) -> Domain:
        """The domain of a number, of a draw."""
        return domain_of(side, draw, number, self.tables, self.tools, self.letters)

    def _asked(self, rng: random.Random, domain: Domain, meta: dict[str, Any], more: dict[str, Any]) -> Task:
        data = filled(rng, domain)
        walk = walked(rng, domain, data, rng.randint(self.least, self.most), named=self.letters > 2)
        cuts = sorted(rng.sample(range(1, len(walk.calls)), rng.randint(0, min(self.messages, len(walk.calls)) - 1)))
        until = [*cuts, len(walk.calls)]
        first, *says = ("\n".join(walk.says[a:b]) for a, b in pairwise([0, *until]))
        gold = [[name, arguments] for name, arguments in walk.calls]
        needs = {
            "domain": domain.plain(),
            "data": data,
            "gold": gold,
            "says": says,
            "until": until,
            **more,
            **({"helps": 1} if self.helps else {}),
        }
        return Task(first, needs, self.name, {**meta, "where": digest(needs)[:12]})

    def grade(self, task: Task, text: str) -> Graded:
        """Of all calls at once, as one answer; who acts in the world is graded there."""
        return grade_by(text, lambda answer: unfulfilled(task, answer), loose_answers)

    def gold(self, task: Task) -> str:
        line = Line(mark="")
        return f"<answer>{'; '.join(line.written(Call(name, arguments)) for name, arguments in task.needs['gold'])}</answer>"


@lru_cache(4096)
def domain_of(side: Split, draw: int, number: int, tables: int, tools: int, letters: int) -> Domain:
    """The domain of a number, of a draw, for training or for testing."""
    return made(generator("database", side, draw, number, tables, tools, letters), side, tables, tools, letters)


def unfulfilled(task: Task, answer: str) -> str:
    """Why these calls do not do the task; nothing where they do."""
    domain, data, called = Domain.of(task.needs["domain"]), task.needs["data"], list[Any]()
    for call in calls_in(answer, domain.tools()):
        if isinstance(call, Broken):
            return call.why
        try:
            data, _ = applied(domain, data, call.tool, call.arguments)
        except Refused as why:
            return str(why)
        called.append([call.tool, domain.given(domain.tool(call.tool), call.arguments)])
    return "" if right(task.needs, data, called) else "the database is not as it should be, or other things were read"


def calls_in(answer: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
    """Calls with semicolons between, as `Line` writes them."""
    return Line().read("\n".join(f">{one.strip()}" for one in answer.split(";")), tools)
