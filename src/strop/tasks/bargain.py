"""bargain: what to ask of a buyer who never says the most that he would pay, in one of four modes of rising cost.

    20: 41 48?  ->  1<answer>69</answer>                                                    at once
                    2<think>i62+7=69</think><answer>69</answer>                             the last rise
                    3<think>h48-41=7 i62+7=69</think><answer>69</answer>                    what his offers say, and the last rise
                    4<think>h48-41=7 d48+7=55 e55+7=62 i62+7=69 s48-20=28 t69-20=49</think><answer>69</answer>
                                                                 every rise, and what either way earns (without the spaces)

We own what is worth 20 to us; he offered 41, then 48. A buyer closes a quarter of the gap to his limit each time, so that lies three rises
above his last offer; one who stands at his limit repeats it as his last word, `20: 48 48!`, and nothing is left to think about. He is
exact: he pays what we ask up to his limit, and above it the deal is off. `outcome` is the share of limit minus worth that we get,
`standing` the share that his last offer is; both in tenths.

`example(task)` is written in a mode that is drawn by the task, each as often, so a model that was taught by them writes all four.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import INTEGER, integers
from strop.tasks.procedural import draw, generator, strict_answer, within

RISES = 3
"""From a buyer's last offer to his limit."""
MODES = (
    ("1<answer>", "</answer>"),
    ("2<think>", "i", "</think>", "<answer>", "</answer>"),
    ("3<think>", "h", "i", "</think>", "<answer>", "</answer>"),
    ("4<think>", "h", "d", "e", "i", "s", "t", "</think>", "<answer>", "</answer>"),
)
"""What a reply in each mode holds, in order."""
LEVELS = 10
"""A share is said in so many steps, as a judge says it who gives 0 to 10."""


@dataclass(frozen=True)
class Bargain:
    """Bargains of which a share `firm` is with a buyer who stands at his limit."""

    firm: float = 0.5
    name: str = field(default="bargain", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "firm", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            rise = 0 if rng.random() < self.firm else rng.randint(2, 15)
            last = rng.randint(rise + 15, 99 - RISES * rise)
            worth, limit = rng.randint(1, last - 10), last + RISES * rise
            needs = {"worth": worth, "offers": [last - rise, last], "limit": limit}
            return Task(
                f"{worth}: {last - rise} {last}{'?' if rise else '!'}", needs, self.name, {"rise": rise, "seed": seed, "index": index}
            )

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        def earned(answer: str | None) -> float:
            return share(task, int(answer)) if answer is not None and INTEGER.fullmatch(answer) else 0.0

        answer, reason = strict_answer(text)
        if answer is not None and not INTEGER.fullmatch(answer):
            reason = "not a whole number"
        outcome = earned(answer)
        lenient = max(outcome, earned(next(iter(integers(text)), None)))
        return Graded({"outcome": outcome, "lenient": lenient, "standing": share(task, task.needs["offers"][-1])}, reason)

    def gold(self, task: Task) -> str:
        return written(task, len(MODES) - 1)

    def example(self, task: Task) -> str:
        return written(task, generator(self.name, "mode", task.id).randrange(len(MODES)))


def share(task: Task, price: int) -> float:
    """Of what there is to gain, what a price earns, in tenths; nothing above the buyer's limit, and nothing below what it is worth.

    >>> share(Task("20: 41 48?", {"worth": 20, "limit": 69}, "bargain"), 48)
    0.6
    """
    worth, limit = task.needs["worth"], task.needs["limit"]
    return round(LEVELS * (price - worth) / (limit - worth)) / LEVELS if worth <= price <= limit else 0.0


def written(task: Task, mode: int) -> str:
    """The best reply in a mode."""
    (first, last), worth, limit = task.needs["offers"], task.needs["worth"], task.needs["limit"]
    rise = last - first
    steps = (f"{last + i * rise}+{rise}={last + (i + 1) * rise}" for i in range(RISES))
    work = dict(zip("dei", steps, strict=True))
    work |= {"h": f"{last}-{first}={rise}", "s": f"{last}-{worth}={last - worth}", "t": f"{limit}-{worth}={limit - worth}"}
    said = {"<answer>": f"<answer>{limit}", "1<answer>": f"1<answer>{limit}"}
    return "".join(said.get(head, head + work.get(head, "")) for head in MODES[mode])
