"""python: code that the policy writes is executed behind two walls of the kernel (docs/sandbox.md), and what it prints is the answer.

    ```python
    x = 37 * 48                     (no output)
    ```
    ```python
    print(x - 19)                   1757
    ```
    <answer>20</answer>             done

A session is kept over the turns, as in a notebook: names stay, what was killed leaves them as they were. A state is what was said so far,
so a rollout that forks goes on from the same names. Five things may come of a piece: it prints, it is silent, it raises, it is ended (time,
memory, output, its own exit), or it tries what is forbidden; each is an observation, and the last three are calls that were no good. What
the sandbox itself fails at is our fault: the rollout is not graded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from strop.records import Task
from strop.sandbox import Ran, Rules, Sandbox, Session
from strop.sandbox.rules import Level
from strop.seams.context import Handle
from strop.seams.world import Broken, Called, Repeats, Reply, Said, Seat, Tool

RUN = Tool(
    "python",
    "Executes Python; what it prints is the answer, and names stay.",
    {"properties": {"code": {"type": "string"}}, "required": ["code"], "additionalProperties": False},
)
SHORT = Rules(cpu=2.0, wall=6.0, memory=256 << 20, output=16 << 10, echo=True)
ENDED = {
    "exited": "it ended its process",
    "time": "it took too long",
    "memory": "it took too much memory",
    "output": "it printed too much",
    "forbidden": "it tried what is forbidden",
    "crashed": "it crashed",
}


@dataclass(frozen=True)
class Python:
    """One call of `python` after the other, as they stand."""

    rules: Rules = SHORT
    """What code may use."""
    repeats: ClassVar[Repeats] = "checked"

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (RUN,)

    def within(self, weakest: Level) -> Python:
        """The same, with other weakest walls."""
        return replace(self, rules=replace(self.rules, weakest=weakest))

    def stands(self) -> dict[str, Any]:
        """The walls that hold on this machine, which are tried for it; refused where they are weaker than the rules allow."""
        return _sandbox(self.rules).held.to_json()

    def start(self, task: Task, seat: Seat) -> Session:
        return Session(name=seat.own)

    async def reply(self, state: Session, said: Said, ask: Mapping[str, Handle]) -> tuple[Session, Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        if not said.calls:
            return state, Reply("no code")
        told, became = list[str](), list[Called]()
        for call in said.calls:
            if isinstance(call, Broken):
                told.append(f"error: {call.why}")
                became.append(Called("", False, call.why))
                continue
            state, ran = await _sandbox(self.rules).ago_on(state, call.arguments["code"])
            if ran.ours:
                why = f"the sandbox {'lost' if ran.ended == 'lost' else 'answered otherwise when it was asked again'}: {ran.error}"
                return state, Reply("", done=True, stop="error", facts={"error": why})
            told.append(heard(ran))
            became.append(Called("python", ran.ok, "" if ran.ok else ran.ended))
        return state, Reply("\n".join(told), calls=tuple(became))


def heard(ran: Ran) -> str:
    """What the policy reads of a piece that was executed."""
    if ran.ok:
        return ran.out.rstrip("\n") or "(no output)"
    said = ran.error.rstrip("\n") if ran.ended == "raised" else f"error: {ENDED[ran.ended]}"
    return "\n".join(part for part in (ran.out.rstrip("\n"), said) if part)


@cache
def _sandbox(rules: Rules) -> Sandbox:
    """One of a process for the same rules: its processes wait for whoever goes on."""
    return Sandbox(rules)
