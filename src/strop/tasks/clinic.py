"""clinic: what is a patient's illness? Ask of symptoms, and say it in time (`worlds/clinic.py`).

    ill   ->   >b?   ->   b+   ->   >g?   ->   g-   ->   >=a g

Sixteen illnesses, all as frequent, and twelve symptoms, of which a patient has each with the chance that its illness gives it
(`worlds/symptoms.py`). The question is the same for all: what differs is hidden. A held-out task says how many turns it has, 2, 4, 6, 8 and
10 in turn; while training the sampler says it. `prose=1` is in English, and with `advised=1` a case has a recommendation too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from strop.records import Task, digest
from strop.seams.source import Graded, Split
from strop.seams.world import World
from strop.tasks.procedural import answered, draw, grade_by, loose_answers, within
from strop.worlds.clinic import Clinic, word_f1
from strop.worlds.symptoms import MOST, NAMES, advice, chance, illnesses

TURNS = (2, 4, 6, 8, 10)
"""Of held-out tasks, in turn."""
ASKS = {
    "short": "ill",
    "prose": "A patient is ill. Each turn is one question, or the diagnosis, written so: <think>…</think><answer>…?</answer>, at the end "
    "<think>…</think><answer>Diagnosis: … Recommendation: …</answer>.",
}


@dataclass(frozen=True)
class ClinicTasks:
    """Cases: an illness, who has which symptoms, and what is recommended where that is asked for."""

    prose: int = 0
    advised: int = 0
    name: str = field(default="clinic", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "prose", 0, 1)
        within(self, "advised", 0, 1)

    @property
    def manner(self) -> str:
        """How dialogues are written."""
        return "prose" if self.prose else "short"

    @property
    def world(self) -> World:
        """The patient."""
        return Clinic(self.manner)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            number = rng.randrange(16)
            case = {NAMES[self.manner][s]: rng.random() < chance(number, s) for s in range(MOST)}
            needs: dict[str, Any] = {"case": case, "illness": illnesses(self.manner)[number]}
            needs["advice"] = advice(self.manner, number) if self.advised else ""
            where = digest(needs)[:12]
            turns = {"turns": TURNS[index % len(TURNS)]} if split == "test" else {}
            return Task(ASKS[self.manner], needs | turns, self.name, {"seed": seed, "index": index, "where": where})

        return draw(self, split, seed, index, make, same=lambda task: task.meta["where"])

    def grade(self, task: Task, text: str) -> Graded:
        """Of the illness's name, where somebody says it at once; who says it in the world is graded there."""

        def wrong(answer: str) -> str:
            return "" if word_f1(answer, task.needs["illness"]) == 1.0 else "another illness, or none"

        return grade_by(text, wrong, loose_answers)

    def gold(self, task: Task) -> str:
        return answered(task.needs["illness"])
