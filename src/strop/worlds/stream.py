"""stream: outputs of a tool, one an action, most of them noise; an answer needs facts that lie far apart.

    <r>a2</r>go   ->   x7 z3       the next output
    <r>a2 b9 c4</r><answer>a2 b9 c4</answer>   ->   done

A task brings its outputs. Whatever is said that holds no answer asks for the next one; behind the last stands `end`. What was shown is
not shown again, so an episode that is longer than its row has what its policy wrote down, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.world import Reply, Said, Seat
from strop.worlds.calls import between

ON = "go"
"""What the expert says for the next output."""


@dataclass(frozen=True)
class Stream:
    """Its expert writes what it knows between `<tag>` and `</tag>` before each action, or nothing where there is no tag."""

    tag: str = "r"
    """Of a report; empty: the transcript is all there is."""

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        return {"asked": task.needs["asked"], "outputs": list(task.needs["outputs"]), "shown": 0}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        facts = {"known": len(known(state)), **self._written(state, said.text)}
        if "<answer>" in said.text:
            return state, Reply("", done=True, facts=facts)
        here = state["shown"]
        if here == len(state["outputs"]):
            return state, Reply("end", facts=facts)
        return {**state, "shown": here + 1}, Reply(state["outputs"][here], facts=facts)

    def _written(self, state: dict[str, Any], text: str) -> dict[str, int]:
        """Of a report the facts that were shown, and what nobody showed: a report that lies costs nothing until the answer."""
        if not self.tag:
            return {}
        told = {pair for report in between(text, f"<{self.tag}>", f"</{self.tag}>")[-1:] for pair in report.split()}
        shown = {pair for output in state["outputs"][: state["shown"]] for pair in output.split()}
        return {"held": len(told & set(known(state))), "made_up": len(told - shown)}

    def expert(self, state: dict[str, Any]) -> str:
        """Answers as soon as everything was shown. Without a report it says what it has just found, or to go on."""
        found = known(state)
        if len(found) == len(state["asked"]):
            return f"{self._report(found)}<answer>{' '.join(found)}</answer>"
        return self._report(found) + ON if self.tag else " ".join(known(state, since=1)) or ON

    def _report(self, found: Sequence[str]) -> str:
        return f"<{self.tag}>{' '.join(found)}</{self.tag}>" if self.tag else ""


def known(state: Mapping[str, Any], since: int = 0) -> list[str]:
    """What was asked for and has been shown, in the order it came; with `since` by so many of the last outputs."""
    shown = state["outputs"][: state["shown"]]
    return [pair for output in shown[-since:] for pair in output.split() if pair[0] in state["asked"]]
