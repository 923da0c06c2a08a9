"""formats: a chain of five operations of which one or two change the value, to be answered in one of three formats of rising cost.

    37+0-19-0+0-0=? ->   <answer>18</answer>                                            at once
                         <think>=37-19=18</think><answer>18</answer>                    what changes the value
                         <think>37+0=37\\n37-19=18\\n18-0=18\\n…</think><answer>18</answer>   every operation

A longer format costs more tokens and is right more often until the shorter one is learned. `example(task)` is a worked text in a format
that is drawn by the task, each as often, so a model that was taught by them writes all three.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.chain import Chain, expression, lines
from strop.tasks.procedural import draw, generator, within

OPERATIONS = 5
TAGS = ("<answer>", "<think>=", "<think>")
"""What a reply in each format opens with."""
IDLE = ("+0=", "-0=")
"""What stands in a line that changes nothing: not in the second format."""


@dataclass(frozen=True)
class Formats:
    """Chains of which a share `easy` has one operation that changes the value, the others two."""

    easy: float = 0.9
    name: str = field(default="formats", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "easy", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            changes = 1 if rng.random() < self.easy else 2
            first, moves, value = expression(rng, changes)
            places = dict(zip(sorted(rng.sample(range(OPERATIONS), changes)), moves, strict=True))
            written = [places[at] if at in places else (rng.choice("+-"), 0) for at in range(OPERATIONS)]
            prompt = f"{first}{''.join(f'{operator}{operand}' for operator, operand in written)}=?"
            return Task(prompt, {"answer": value}, self.name, {"changes": changes, "seed": seed, "index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        return Chain().grade(task, text)

    def gold(self, task: Task) -> str:
        return written(task, TAGS[-1])

    def example(self, task: Task) -> str:
        return written(task, generator(self.name, "format", task.id).choice(TAGS))


def written(task: Task, tag: str) -> str:
    """The right reply in the format of a tag."""
    answer = f"<answer>{task.needs['answer']}</answer>"
    if tag == TAGS[0]:
        return answer
    work = [line for line in lines(task) if tag == TAGS[2] or not any(idle in line for idle in IDLE)]
    return f"{tag}{chr(10).join(work)}</think>{answer}"
