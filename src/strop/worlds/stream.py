"""stream: outputs of a tool, one an action, most of them noise; an answer needs facts that lie far apart.

    <r>c4</r>go   ->   xm x3       the next output, which nobody asked for in particular
    <r>c4 m7 q2</r><answer>472</answer>   ->   done

A task brings its outputs. Whatever is said that holds no answer asks for the next one; behind the last stands `end`. What was shown is
not shown again, so an episode that is longer than its row has what its policy wrote down, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """Answers as soon as everything was shown."""
        found = known(state)
        report = f"<{self.tag}>{' '.join(found)}</{self.tag}>" if self.tag else ""
        values = {pair[0]: pair[1] for pair in found}
        if len(found) < len(state["asked"]):
            return report + ON
        return f"{report}<answer>{''.join(values[name] for name in state['asked'])}</answer>"


def known(state: Mapping[str, Any]) -> list[str]:
    """What was asked for and has been shown, in the order it came."""
    return [pair for output in state["outputs"][: state["shown"]] for pair in output.split() if pair[0] in state["asked"]]
