"""plans: which plan does a request want? What it is about shows a family, and so does one sign in it; the sign is always right.

    left lamp core mill | oak   ->   <answer>bdf</answer>

Four words are of a topic, which lies in a share `lies` of the requests; the fifth is a sign of the family that counts. Each family has a
plan of three letters. Nobody can know it from the request alone: it is learned, or read from a request that was tried before
(`strop.seams.memory`). With `shown`, so many solved requests stand before each, as a memory would show them, and the plans are new ones
every time: what is left to learn is to take the plan of the request that has a sign of the same family.

`errands` are the same with plans of one letter, and what stands before them is what a memory would show that has just begun: nothing, or
requests that went wrong too. Where none of the family was right there is nothing to do but to guess, once in twelve times well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache

from strop.records import Task
from strop.seams.memory import Case, Cases
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, draw, generator, grade_by, loose_answers, within

FAMILIES = 12
TOPIC, SIGNS, SAID = 8, 2, 4
"""Words of a topic, signs of a family, words of the topic that a request says."""
LETTERS, FEW = "abcdefgh", "abcdefghijkl"
"""Of a plan of three letters, and of one."""


@lru_cache(maxsize=1)
def words() -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """Of each family the words of its topic, and its signs: all different, of two syllables."""
    rng, ends = generator("plans", "words"), [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    made = rng.sample([first + second for first in ends for second in ends], FAMILIES * (TOPIC + SIGNS))
    per = [made[i * (TOPIC + SIGNS) : (i + 1) * (TOPIC + SIGNS)] for i in range(FAMILIES)]
    return tuple(tuple(one[:TOPIC]) for one in per), tuple(tuple(one[TOPIC:]) for one in per)


def family_of(request: str) -> int | None:
    """The family that counts, by the sign in a request."""
    sign = request.rpartition("| ")[2].strip()
    return next((i for i, signs in enumerate(words()[1]) if sign in signs), None)


@lru_cache(maxsize=64)
def plans(code: int) -> tuple[str, ...]:
    """Each family's."""
    rng = generator("plans", code)
    return tuple("".join(rng.sample(LETTERS, 3)) for _ in range(FAMILIES))


@dataclass(frozen=True)
class Plans:
    """Requests of twelve families."""

    lies: float = 0.5
    """How often the topic is another family's."""
    code: int = 0
    """Says which plan each family has."""
    shown: int = 0
    """Solved requests before each, one of them of its family."""
    name: str = field(default="plans", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "lies", 0.0, 1.0)
        within(self, "code", 0, 1 << 31)
        within(self, "shown", 0, 16)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            request, family, topic = self._request(rng)
            facts = {"family": family, "topic": topic, "seed": seed, "index": index}
            if not self.shown:
                return Task(request, {"answer": self.plans(self.code)[family]}, self.name, facts)
            there, cases = self.plans(rng.randrange(1 << 31)), list[Case]()
            for number, (theirs, right) in enumerate(self._before(rng, family)):
                plan = there[theirs] if right else rng.choice([plan for plan in there if plan != there[theirs]])
                cases.append(Case(number, "", self._request(rng, theirs)[0], answered(plan), float(right), 0))
            return Task(Cases()(request, cases), {"answer": there[family]}, self.name, facts)

        return draw(self, split, seed, index, make)

    def plans(self, code: int) -> tuple[str, ...]:
        """Each family's."""
        return plans(code)

    def _before(self, rng: random.Random, family: int) -> list[tuple[int, bool]]:
        """Families of the requests before one, and whether each went right."""
        families = [family, *rng.sample([f for f in range(FAMILIES) if f != family], self.shown - 1)]
        rng.shuffle(families)
        return [(one, True) for one in families]

    def _request(self, rng: random.Random, family: int | None = None) -> tuple[str, int, int]:
        topics, signs = words()
        family = rng.randrange(FAMILIES) if family is None else family
        topic = rng.choice([f for f in range(FAMILIES) if f != family]) if rng.random() < self.lies else family
        return f"{' '.join(rng.sample(topics[topic], SAID))} | {rng.choice(signs[family])}", family, topic

    def grade(self, task: Task, text: str) -> Graded:
        def judge(said: str) -> str:
            return "" if said == task.needs["answer"] else "another family's plan"

        return grade_by(text, judge, loose_answers)

    def gold(self, task: Task) -> str:
        return answered(task.needs["answer"])


@dataclass(frozen=True)
class Errands(Plans):
    """Requests of twelve families, whose plans are letters."""

    name: str = field(default="errands", init=False)

    def plans(self, code: int) -> tuple[str, ...]:
        return tuple(generator("errands", code).sample(FEW, FAMILIES))

    def _before(self, rng: random.Random, family: int) -> list[tuple[int, bool]]:
        count = 0 if rng.random() < 0.2 else rng.randint(1, self.shown)
        families = [family, *rng.sample([f for f in range(FAMILIES) if f != family], self.shown - 1)][:count]
        rng.shuffle(families)
        return [(one, one == family or rng.random() < 0.5) for one in families]
