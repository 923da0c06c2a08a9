"""outside: episodes of other people's environments, whose score is their own: a task is a seed, and the world is theirs.

    strop train --task gym:FrozenLake-v1         one of Gymnasium's (`worlds/gym.py`)
    strop train --task openenv:http://HOST:8000  one that an OpenEnv server has (`worlds/openenv.py`)

What is not over when the turns are earns nothing. Seeds of training and of held-out episodes never meet.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.part import nearest
from strop.seams.source import Graded, Source, Split
from strop.seams.world import World
from strop.tasks.procedural import draw
from strop.worlds.gym import Gym
from strop.worlds.openenv import OpenEnv


@dataclass(frozen=True)
class Outside:
    """Seeds of one environment."""

    world: World
    """Whose episodes they begin."""
    prompt: str = ""
    """What stands above its first observation."""
    name: str = "gym"
    size: int | None = field(default=None, init=False)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            number = rng.getrandbits(31)
            return Task(self.prompt, {"seed": number}, self.name, {"seed": seed, "index": index, "where": str(number)})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Graded({"outcome": 0.0, "lenient": 0.0}, "the episode was not over")

    def gold(self, task: Task) -> str | None:
        return None


KNOBS = {"gym": ("prompt",), "openenv": ("prompt", "shows", "says")}


def outside(name: str, text: str) -> Source:
    """`gym:ID,prompt=…` and `openenv:URL,shows=…` as sources.

    >>> outside("gym", "FrozenLake-v1,prompt=Reach G.").prompt
    'Reach G.'
    """
    first, _, rest = text.partition(",")
    given = dict[str, str]()
    for piece in filter(None, rest.split(",")):
        knob, equals, value = piece.partition("=")
        if not equals or knob in given:
            raise ValueError(f"{name}: a knob is written KNOB=VALUE, once, got {piece!r}")
        if knob not in KNOBS[name]:
            raise ValueError(f"{name} has no knob {knob!r}. {nearest(knob, KNOBS[name])}")
        given[knob] = value
    prompt = given.pop("prompt", "")
    shows, says = given.get("shows", ""), given.get("says", "")
    return Outside(Gym(first) if name == "gym" else OpenEnv(first, shows, says), prompt, name)
