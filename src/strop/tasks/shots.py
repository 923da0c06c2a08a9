"""Worked examples before a question, so that a base model sees what a reply looks like.

They are the same few for every question, seed and run of a source, trained or held out: what stands before a question is one text, which
an engine computes once, and two runs are asked alike. All are of the training split; in the place of a question's own example
stands one that is shown to nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from strop.records import Task
from strop.seams.source import Source
from strop.tasks.table import spelled

SEED = 2**31 - 1
"""Keys which training tasks are shown."""
DRAWS = 50
"""Draws per example before an unlimited source counts as exhausted."""


@dataclass(frozen=True)
class Shots:
    """The examples, (question, reply), and one more for a question that is among them."""

    pairs: tuple[tuple[str, str], ...]

    def __call__(self, question: str) -> tuple[tuple[str, str], ...]:
        """What stands before this question: never the question itself, however it is spelled."""
        *shown, spare = self.pairs
        return tuple(spare if spelled(pair[0]) == spelled(question) else pair for pair in shown)


def worked(source: Source, task: Task) -> str | None:
    """A right reply with its work, where the source has some: what it calls `example`, else its gold text."""
    return getattr(source, "example", source.gold)(task)


def shots(source: Source, count: int) -> Shots:
    """So many different training tasks with a right reply."""
    found: dict[str, tuple[str, str]] = {}
    for index in range(source.size if source.size is not None else (count + 1) * DRAWS):
        task = source.task("train", SEED, index)
        reply = worked(source, task)
        if reply is not None:
            found.setdefault(spelled(task.prompt), (task.prompt, reply))
        if len(found) > count:
            return Shots(tuple(found.values()))
    raise ValueError(
        f"shots={count}: {source.name} has {len(found)} training tasks with a right reply to show, and {count + 1} are needed: one stands "
        "in where a question is among the examples itself. Lower --shots."
    )


def show(renderer: Any, source: Source, count: int) -> None:
    """From here on the prompts that it writes hold these examples."""
    if not count:
        return
    if not hasattr(renderer, "show"):
        raise ValueError(f"shots={count}: this policy's prompts are no conversations, so nothing can be shown in them.")
    renderer.show(shots(source, count))


def shown(renderer: Any) -> tuple[tuple[str, str], ...]:
    """What stands before a question that is none of them."""
    return renderer.shots("")
