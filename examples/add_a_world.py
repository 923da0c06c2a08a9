"""A world with a tool, in a file of one's own: tasks that bring it, an expert that teaches it, and a method that trains in it.

strop world play examples/add_a_world.py:ROWS --expert
strop train --method examples/add_a_world.py:AGENT --task examples/add_a_world.py:ROWS
"""

import random
from dataclasses import dataclass, field
from typing import Any

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Task
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.source import Graded
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered
from strop.tasks.procedural import draw, grade_by
from strop.worlds.calls import Line

FLIP = Tool(
    "flip",
    "Turns every lamp that hangs on a switch.",
    {"properties": {"switch": {"type": "string", "minLength": 1, "maxLength": 1}}, "required": ["switch"], "additionalProperties": False},
)


def flipped(lamps: str, wires: str) -> str:
    """Lamps as 0 and 1; a switch names those that hang on it by their places."""
    return "".join("10"[int(lamp)] if str(place) in wires else lamp for place, lamp in enumerate(lamps))


@dataclass(frozen=True)
class Lamps:
    """A row of lamps, and switches that turn some of them each. Who says something without a call is done."""

    tools: tuple[Tool, ...] = (FLIP,)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        return {"lamps": task.needs["lamps"], "wires": task.needs["wires"], "left": task.needs["solution"]}

    async def reply(self, state: dict[str, Any], said: Said, ask: Any) -> tuple[dict[str, Any], Reply]:
        if not said.calls:
            return state, Reply("", done=True, scores={"outcome": float("0" not in state["lamps"])})
        return answered(state, said, self.flip)

    def flip(self, state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
        name = call.arguments["switch"]
        if name not in state["wires"]:
            return state, f"no switch {name}", Called("flip", False, "no such switch")
        lamps = flipped(state["lamps"], state["wires"][name])
        # another state: the one that was given may be asked again
        return {**state, "lamps": lamps, "left": state["left"].replace(name, "", 1)}, lamps, Called("flip", True)

    def expert(self, state: dict[str, Any]) -> Call | str:
        return Call("flip", {"switch": state["left"][0]}) if state["left"] else "<answer>on</answer>"


@dataclass(frozen=True)
class Rows:
    """Rows of so many lamps with so many switches, of which some have to be flipped, each once."""

    lamps: int = 4
    switches: int = 4
    name: str = field(default="lamps", init=False)
    size: int | None = field(default=None, init=False)

    @property
    def world(self) -> Lamps:
        return Lamps()

    def task(self, split: Any, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            names = rng.sample("abcdefghijklmnopqrstuvwxyz", self.switches)
            wires = {name: "".join(map(str, sorted(rng.sample(range(self.lamps), rng.randint(1, 2))))) for name in names}
            solution, lamps = "".join(sorted(rng.sample(names, rng.randint(1, 2)))), "1" * self.lamps
            for name in solution:
                lamps = flipped(lamps, wires[name])
            if "0" not in lamps:
                return make(rng)
            told = " ".join(f"{name}{of}" for name, of in sorted(wires.items()))
            return Task(f"{lamps} {told}", {"lamps": lamps, "wires": wires, "solution": solution}, self.name, {"index": index})

        return draw(self, split, seed, index, make)

    def grade(self, task: Task, text: str) -> Graded:
        """Of who answers at once, with all switches; who acts in the world is graded there."""

        def why(answer: str) -> str:
            lamps = task.needs["lamps"]
            for name in answer.split():
                lamps = flipped(lamps, task.needs["wires"].get(name, ""))
            return "" if "0" not in lamps else "a lamp is off"

        return grade_by(text, why, lambda text: [])

    def gold(self, task: Task) -> str:
        return f"<answer>{' '.join(task.needs['solution'])}</answer>"


ROWS = Rows()
HOW = Episodes(n=8, turns=4, max_tokens=16, observation=24, calls=Line())
TAUGHT = SFT.but("lamps-taught", idea=("feed", "sampler"), feed=Demos(text="episode"), sampler=HOW)
TRIED = GRPO.but("lamps-tried", idea=("sampler",), sampler=HOW, tasks=8)
AGENT = Program("lamps", (Stage("imitate", TAUGHT, steps(100), pace=10.0), Stage("try", TRIED, rest())))
