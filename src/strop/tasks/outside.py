"""outside: episodes of other people's environments, whose score is their own: a task is a seed, and the world is theirs.

    strop train --task gym:FrozenLake-v1         one of Gymnasium's (`worlds/gym.py`)
    strop train --task openenv:http://HOST:8000  one that an OpenEnv server has (`worlds/openenv.py`)

What is not over when the turns are earns nothing. Seeds of training and of held-out episodes never meet.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import Any

from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Source, Split
from strop.seams.world import World
from strop.tasks.procedural import draw
from strop.worlds.gym import Gym
from strop.worlds.openenv import OpenEnv


@dataclass(frozen=True)
class Gymnasium:
    """Seeds of one environment of Gymnasium's."""

    id: str = "FrozenLake-v1"
    """As `gymnasium.make` takes it."""
    prompt: str = ""
    """What stands above its first observation."""
    name: str = field(default="gym", init=False)
    size: int | None = field(default=None, init=False)

    @property
    def world(self) -> World:
        """The environment."""
        return Gym(self.id)

    def task(self, split: Split, seed: int, index: int) -> Task:
        return seeded(self, self.prompt, split, seed, index)

    def grade(self, task: Task, text: str) -> Graded:
        return unfinished()

    def gold(self, task: Task) -> str | None:
        return None


@dataclass(frozen=True)
class OpenEnvs:
    """Seeds of the environment behind an address."""

    url: str = ""
    """http://HOST:PORT"""
    shows: str = ""
    """The field of an observation that is read; empty: all of it, as JSON."""
    says: str = ""
    """The field of an action that a reply without a call becomes."""
    prompt: str = ""
    """What stands above its first observation."""
    name: str = field(default="openenv", init=False)
    size: int | None = field(default=None, init=False)

    @property
    def world(self) -> World:
        """The environment."""
        return OpenEnv(self.url, self.shows, self.says)

    def task(self, split: Split, seed: int, index: int) -> Task:
        return seeded(self, self.prompt, split, seed, index)

    def grade(self, task: Task, text: str) -> Graded:
        return unfinished()

    def gold(self, task: Task) -> str | None:
        return None


def outside(name: str, text: str) -> Source:
    """`gym:ID,prompt=…` and `openenv:URL,shows=…` as sources.

    >>> outside("gym", "FrozenLake-v1,prompt=Reach G.")
    Gymnasium(id='FrozenLake-v1', prompt='Reach G.', name='gym', size=None)
    """
    first, _, rest = text.partition(",")
    kind: Any = {"gym": Gymnasium, "openenv": OpenEnvs}[name]
    known, given = [f.name for f in fields(kind) if f.init][1:], dict[str, str]()
    for piece in filter(None, rest.split(",")):
        knob, equals, value = piece.partition("=")
        if not equals or knob in given:
            raise ValueError(f"{name}: a knob is written KNOB=VALUE, once, got {piece!r}")
        if knob not in known:
            raise ValueError(f"{name} has no knob {knob!r}. {nearest(knob, known)}")
        given[knob] = value
    return kind(first, **given)


def seeded(source: Gymnasium | OpenEnvs, prompt: str, split: Split, seed: int, index: int) -> Task:
    """An episode: what its environment is begun with."""

    def make(rng: random.Random) -> Task:
        number = rng.getrandbits(31)
        return Task(prompt, {"seed": number}, source.name, {"seed": seed, "index": index, "where": str(number)})

    return draw(source, split, seed, index, make)


def unfinished() -> Graded:
    """Of an episode that its environment did not end."""
    return Graded({"outcome": 0.0, "lenient": 0.0}, "the episode was not over")
