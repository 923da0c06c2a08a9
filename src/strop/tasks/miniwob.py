"""miniwob: pages of MiniWoB++, each with a wish of its own in so many variants as there are seeds, acted on in a browser.

    miniwob:click-button     Click on the "ok" button.   [1] button "no"   [2] button "ok"   ->   >click 2
    miniwob:all              all pages, one as often as another

The page writes its wish and gives its own verdict (`worlds/browser.py`); nothing can be said without it, so there is no gold text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import draw
from strop.worlds.browser import Browser, miniwob_pages


@cache
def names() -> tuple[str, ...]:
    """Of all pages."""
    return tuple(sorted(file.stem for file in miniwob_pages().glob("*.html")))


@dataclass(frozen=True)
class Pages:
    """One page, or all of them."""

    page: str = "all"
    name: str = field(default="miniwob", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.page != "all" and self.page not in names():
            raise ValueError(f"miniwob: no page {self.page!r}. {nearest(self.page, [*names(), 'all'])}")

    @property
    def world(self) -> World:
        """Where they are opened."""
        return Browser()

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            page = rng.choice(names()) if self.page == "all" else self.page
            needs = {"miniwob": page, "seed": str(rng.randrange(1 << 30))}
            return Task(f"{page} {needs['seed']}", needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Graded({"outcome": 0.0, "lenient": 0.0}, "its page gives the verdict, in a browser")

    def gold(self, task: Task) -> str | None:
        return None
