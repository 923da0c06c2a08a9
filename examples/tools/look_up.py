"""An agent that learns to use the tools of an MCP server: shown how by a script, then reinforced.

    pip install 'strop[tools]'
    strop train --method examples/tools/look_up.py --task examples/tools/look_up.py --steps 40 --max-tokens 10

A question names a letter; the server's cards lead from it, letter by letter, to a digit, which is the answer. Nobody but the server knows
the cards while the model acts; the script that teaches it reads them off the same file.
"""

import ast
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Task
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.source import Graded
from strop.seams.world import Call
from strop.worlds.calls import Line
from strop.worlds.mcp import Mcp, Server

HERE = Path(__file__).with_name("cards.py")


def cards():
    """The server's, read and not run."""
    made = next(node.value for node in ast.parse(HERE.read_text()).body if isinstance(node, ast.Assign))
    return dict(zip(*(ast.literal_eval(word) for word in made.args[0].args), strict=True))


class Cards(Mcp):
    """The server's tools, and a script that uses them."""

    def expert(self, state):
        at, known = state.task.prompt[0], cards()
        for _ in state.said:
            at = known[at]
        return f"<answer>{at}</answer>" if at.isdigit() else Call("get", {"key": at})


WORLD = Cards((Server((sys.executable, str(HERE)), shared=True),), repeats="checked", deadline=30.0)


@dataclass(frozen=True)
class Letters:
    """One letter in four is held out."""

    name = "letters"
    size = 15
    sizes: ClassVar = {"train": 15, "test": 5}
    world = WORLD

    def task(self, split, seed, index):
        names = sorted(cards())
        random.Random(7).shuffle(names)
        chosen = names[5:] if split == "train" else names[:5]
        at = first = chosen[(seed + index) % len(chosen)]
        while not at.isdigit():
            at = cards()[at]
        return Task(f"{first}?", {"answer": at}, self.name)

    def grade(self, task, text):
        said = text.rpartition("\n")[2]
        right = said.strip() == self.gold(task)
        found = f">{task.needs['answer']}<" in said
        return Graded({"outcome": float(right), "lenient": float(right or found)}, "" if right else "another answer")

    def gold(self, task):
        return f"<answer>{task.needs['answer']}</answer>"


SOURCE = Letters()
HOW = Episodes(n=4, turns=10, max_tokens=10, observation=24, calls=Line())
TAUGHT = SFT.but("taught", feed=Demos(text="episode"), sampler=HOW, tasks=15)
REINFORCED = GRPO.but("reinforced", sampler=HOW, tasks=4)
PROGRAM = Program("look-up", (Stage("imitate", TAUGHT, steps(30), pace=10.0), Stage("reinforce", REINFORCED, rest())))
