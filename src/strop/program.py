"""Program: methods one after another as one frozen value, with one bill. `strop.staged` runs it.

    RECIPE = Program("cascade", (
        Stage("collect", COLLECT, steps(4)),                        sample, and learn nothing
        Stage("prefer", MPO.but(feed=Earlier("collect", …)), steps(16)),
        Stage("reinforce", GSPO, rest()),
    ))

Weights, noise, bill and ledger go on from stage to stage. Optimiser, reference and curriculum begin anew, but for what a stage `keeps`.
What parts read as `fraction` and `step` is the stage's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from strop.method import Method
from strop.seams.part import Part, describe, fingerprint, nearest

KEPT = ("optimiser", "reference", "curriculum")
"""What a stage may take over from the one before, where weights, noise, bill and ledger go on anyway."""
LAST, INITIAL = "last", "initial"


@dataclass(frozen=True)
class Steps:
    """So many steps, or until the budget is spent."""

    count: int
    """At least 1."""

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"steps({self.count!r}): a stage makes a whole number of steps, at least 1")


@dataclass(frozen=True)
class Share:
    """A part of the recipe's budget; of its steps where it has none. Above what is left, all of that."""

    of: float
    """In (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.of <= 1:
            raise ValueError(f"share({self.of!r}): a part of the budget lies in (0, 1]")


@dataclass(frozen=True)
class When:
    """Until a part says so. It reads fields of the stage's metrics lines, each as a list with one value a step, and gives `done`."""

    part: Part
    """As `reached(outcome, *, level=0.8, last=4)`."""
    at_most: int
    """Steps after which the stage ends anyway."""

    def __post_init__(self) -> None:
        Steps(self.at_most)
        if not isinstance(self.part, Part) or self.part.gives != "done":  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"when({self.part!r}): needs a part that gives 'done' of fields of metrics lines: @part(gives='done')")

    def done(self, lines: Sequence[Mapping[str, Any]]) -> bool:
        """After these lines of the stage."""
        for name in self.part.reads:
            if lines and name not in lines[-1]:
                known = [key for key, value in lines[-1].items() if isinstance(value, int | float)]
                raise ValueError(f"when({self.part.name}) reads {name}, which no metrics line has. {nearest(name, known)}")
        return bool(lines) and bool(self.part.on({name: [line[name] for line in lines] for name in self.part.reads}))


Until = Steps | Share | When


def steps(count: int) -> Steps:
    """So many steps."""
    return Steps(count)


def share(of: float) -> Share:
    """A part of the budget, in (0, 1]."""
    return Share(of)


def rest() -> Share:
    """All that earlier stages left of the budget."""
    return Share(1.0)


def when(part: Part, *, at_most: int) -> When:
    """Until a part of the stage's metrics says so, or after `at_most` steps."""
    return When(part, at_most)


@dataclass(frozen=True)
class Stage:
    """A method, and for how long."""

    name: str
    """Its directory is N-NAME; later stages and `Earlier` know it by this."""
    method: Method
    """What it trains."""
    until: Until
    """steps(n), share(x), rest(), when(part, at_most=n)."""
    task: str = ""
    """Another source than the recipe's."""
    begins: str = LAST
    """Whose weights it begins with: `last`, `initial`, or an earlier stage's name."""
    keeps: tuple[str, ...] = ()
    """Of `optimiser`, `reference`, `curriculum`: what goes on from the stage before."""
    pace: float = 1.0
    """Its learning rate is the recipe's times this; a recipe that gives none leaves each method its own."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name) or self.name in (LAST, INITIAL):
            raise ValueError(f"a stage cannot be called {self.name!r}: small letters, digits and hyphens, and not {LAST!r} or {INITIAL!r}")
        if not isinstance(self.method, Method):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"stage {self.name!r}: its method is a Method, got {self.method!r}")
        if not isinstance(self.until, Until):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"stage {self.name!r}: it ends by steps(n), share(x), rest() or when(part, at_most=n), got {self.until!r}")
        if not self.pace > 0:
            raise ValueError(f"stage {self.name!r} has the pace {self.pace!r}: a factor above 0")
        for kept in self.keeps:
            if kept not in KEPT:
                raise ValueError(f"stage {self.name!r} keeps {kept!r}. {nearest(kept, KEPT)} Weights, noise, bill and ledger go on anyway.")

        object.__setattr__(self, "keeps", tuple(sorted(self.keeps)))

    @property
    def earlier(self) -> str:
        """The stage whose groups its feed reads."""
        return str(getattr(self.method.feed, "stage", ""))


@dataclass(frozen=True)
class Repeat:
    """Stages in turn, so many times: easy, hard, easy, hard."""

    times: int
    """At least 1."""
    stages: tuple[Stage, ...]
    """In order."""

    def __post_init__(self) -> None:
        Steps(self.times)


@dataclass(frozen=True)
class Program:
    """Stages one after another. A method's name may stand for one wherever something is trained."""

    name: str
    """Known by it."""
    stages: tuple[Stage | Repeat, ...]
    """In order."""
    paper: str = ""
    """Its number at arXiv."""
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """What a reader should know of how it was loaded."""

    def __post_init__(self) -> None:
        if not self.plan:
            raise ValueError(f"program {self.name!r} has no stages")
        before: list[str] = []
        for last, stage in zip((None, *self.plan), self.plan, strict=False):
            said = f"program {self.name!r}: stage {stage.name!r}"
            if stage.begins not in (LAST, INITIAL, *before):
                raise ValueError(f"{said} begins with the weights of {stage.begins!r}. {nearest(stage.begins, (LAST, INITIAL, *before))}")
            if not before and stage.keeps:
                raise ValueError(f"{said} is the first, so there is no {stage.keeps[0]} to keep")
            if "optimiser" in stage.keeps and stage.begins != LAST:
                raise ValueError(f"{said} keeps the optimiser of weights that it does not begin with (begins={stage.begins!r})")
            if "optimiser" in stage.keeps and last is not None and last.method.heads != stage.method.heads:
                raise ValueError(f"{said} keeps the optimiser of a stage with other heads ({last.name!r})")
            if stage.earlier and stage.earlier not in before:
                known = f" {nearest(stage.earlier, before)}" if before else " No stage stands before it."
                raise ValueError(f"{said} reads the groups of {stage.earlier!r}.{known}")
            before.append(stage.name)
        names = [stage.name for one in self.stages for stage in (one.stages if isinstance(one, Repeat) else (one,))]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"program {self.name!r}: two stages are called {twice!r}. What is done again is Repeat(times, stages).")

    @cached_property
    def plan(self) -> tuple[Stage, ...]:
        """Its stages in the order they are run, repeated ones as often as they are."""
        return tuple(self._each())

    def _each(self) -> Iterator[Stage]:
        for one in self.stages:
            yield from one.stages * one.times if isinstance(one, Repeat) else (one,)

    def each(self, change: Callable[[Stage], Method]) -> Program:
        """The same with other methods, stage by stage."""

        def of(stage: Stage) -> Stage:
            return replace(stage, method=change(stage))

        changed = (replace(one, stages=tuple(map(of, one.stages))) if isinstance(one, Repeat) else of(one) for one in self.stages)
        return replace(self, stages=tuple(changed))

    def place(self, number: int) -> str:
        """The name of a stage's directory, counted from 0."""
        return f"{number + 1}-{self.plan[number].name}"

    def describe(self) -> dict[str, Any]:
        """Plain JSON of everything that can change a number."""
        return {"stages": [_described(one) for one in self.stages]}

    def to_json(self) -> dict[str, Any]:
        """Plain data that says everything; `strop.saved.program` gives it back equal."""
        return {"name": self.name, "paper": self.paper, "stages": [_saved(one) for one in self.stages]}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of that."""
        return fingerprint(self.describe())

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    def __add__(self, other: object) -> Program:
        raise ValueError(f"{self.name!r} is a program of stages, and only methods can be added: add to the method of one of its stages")

    def __radd__(self, other: object) -> Program:
        return self + other


def _described(one: Stage | Repeat) -> dict[str, Any]:
    if isinstance(one, Repeat):
        return {"times": one.times, "stages": [_described(stage) for stage in one.stages]}
    return {**_setting(one), "parts": one.method.describe()}


def _saved(one: Stage | Repeat) -> dict[str, Any]:
    if isinstance(one, Repeat):
        return {"times": one.times, "stages": [_saved(stage) for stage in one.stages]}
    return {**_setting(one), "method": one.method.to_json()}


def _setting(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "until": describe(stage.until),
        "task": stage.task,
        "begins": stage.begins,
        "keeps": list(stage.keeps),
        "pace": describe(stage.pace),
    }
