"""Source: where tasks come from. It owns the channel `outcome`.

A procedural source is an unlimited stream: task(split, seed, index) is a pure function, and the
two splits never meet because a task belongs to the split its id hashes to. A finite source has a length.

A class with these five members is a source; a frozen dataclass makes its fields the knobs of `--task FILE.py:NAME:knob=3`. An index lies
below `size` where there is one. `Extras` is what a source may have besides, any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from strop.records import Incident, Task

Split = str  # "train" or "test"


class Graded(dict[str, float | None]):
    """{channel: value or None} of one text, with the reason for the lowest score or the incident behind a None."""

    def __init__(self, channels: dict[str, float | None], reason: str = "", incidents: tuple[Incident, ...] = ()):
        super().__init__(channels)
        self.reason = reason
        self.incidents = incidents


class Source(Protocol):
    @property
    def name(self) -> str:
        """A word that its tasks carry."""
        ...

    @property
    def size(self) -> int | None:
        """Tasks to train on; None for an unlimited stream."""
        ...

    def task(self, split: Split, seed: int, index: int) -> Task:
        """The index-th task of a split, "train" or "test": the same for the same arguments, whenever and wherever it is asked for."""
        ...

    def grade(self, task: Task, text: str) -> Graded:
        """Channels `outcome` (strict parse) and `lenient` (answer found anywhere sensible), each 0 to 1, and any of its own. It sees what a
        policy writes, so it may meet any text at all, and never raises for one."""
        ...

    def gold(self, task: Task) -> str | None:
        """A text that scores 1, where one can be written. A source that has worked solutions beside it gives them as `example`."""
        ...


class Extras(Protocol):
    """What a source may have besides; each is asked for where it is there, and nothing is lost where it is not."""

    sizes: dict[str, int]
    """{"train": n, "test": m}, where there are not `size` tasks of either split; 0 to test: there is nothing to hold out."""
    world: Any
    """What answers to its tasks between turns, where a method brings no world of its own. Where one question is asked of many worlds, a
    task's `meta["where"]` tells them apart: then training and held-out tasks may have one prompt."""

    def example(self, task: Task) -> str:
        """A worked answer for `--shots`; else the gold one is shown."""
        ...

    def examples(self, task: Task, count: int) -> list[str]:
        """So many different worked answers, each right, or as many as there are: for `Demos(per_task=count)`."""
        ...

    def grade_many(self, pairs: list[tuple[Task, str]]) -> list[Graded]:
        """Of all (task, text) of a step at once, in their order: for a grader that is asked elsewhere."""
        ...

    def answer(self, text: str) -> str | None:
        """What a text votes for in a majority of several; None: it has no vote."""
        ...

    def form(self, text: str) -> str:
        """Which way a right text goes, so that two that go one way are the same: then evaluation says `distinct`, the different ways
        found for a task. It is asked of texts that score 1 alone."""
        ...

    def fit(self, length: Callable[[str], int], most: int, strict: bool) -> Source:
        """The same source without the tasks whose prompt has more than `most` tokens, the room that the model leaves beside a reply, by
        `length`, which counts a prompt as the model sees it. With `strict` there must be none: the first is refused, by where it is from.
        Called once, before the first task is asked for; a source without it is taken to fit."""
        ...

    def contents(self) -> dict[str, Any]:
        """What the run's record keeps of its data: {"files": {path: sha256}, "rows": n, "train": n, "test": m, "left_out": {why: n}}. A run
        is resumed only while these files are what they were."""
        ...


def drawn(source: Source, split: Split, seed: int, index: int) -> Task:
    """A task of a source, which may be anybody's: refused in words where it is none."""
    made = source.task(split, seed, index)
    if not isinstance(made, Task):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the source {source.name!r}: task({split!r}, {seed}, {index}) gives {made!r}, which is no Task")
    return made


def grade_of(given: Any) -> Graded:
    """What a source gave as a grade: a dict of channels is one without a reason."""
    if isinstance(given, Graded):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"grade() gives {given!r:.60}: it is Graded({{channel: score}})")
    return Graded(dict(cast("Mapping[str, float | None]", given)))


def split_of(task_id: str) -> Split:
    """One task in eight is for testing, whatever seed drew it."""
    return "test" if int(task_id[:8], 16) % 8 == 0 else "train"


def answer_of(source: Any, text: str) -> str | None:
    """What a text votes for: its parsed answer where the source can read one, else what follows its thinking, normalised."""
    parse = getattr(source, "answer", None)
    if parse is not None:
        found = parse(text)
        return None if found is None else str(found)
    final = text.rpartition("</think>")[2]
    if "<answer>" in final:
        final = final.rpartition("<answer>")[2].partition("</answer>")[0]
    return " ".join(final.casefold().split()) or None
