"""Signal: an objective, where it applies, how it is averaged, how much it weighs. Signals add.

A weight may be a schedule: a part that reads `fraction`, how much of the run is done, and gives one number, its factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from strop.seams.formula import number
from strop.seams.part import Part, added, nearest, part
from strop.seams.reduction import Reduction

KINDS = ("action", "forced", "teacher")
"""Kinds of segments that can be trained."""
SIDES = ("chosen", "rejected")
"""Of a pair: its first rollout is the better one."""


@dataclass(frozen=True)
class Where:
    """Which decisions a signal trains: by segment kind, by span label, or a keyed random share of them."""

    kinds: tuple[str, ...] = ("action",)
    """Of segments: action, forced, teacher."""
    labels: tuple[str, ...] = ()
    """Inside spans of these labels; none named means anywhere."""
    share: float = 1.0
    """A random part of them, drawn anew each minibatch from the run's keyed noise."""
    side: str = added("")
    """Of pairs: those of the `chosen` or of the `rejected` rollout; empty means both."""

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise ValueError(f"a pair has no side {self.side!r}. {nearest(self.side, SIDES)}")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}. {nearest(kind, KINDS)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"a share lies in (0, 1], got {self.share}")

    def __or__(self, other: Where) -> Where:
        if (self.labels, self.share, self.side) != (other.labels, other.share, other.side):
            raise ValueError("only selections by kind can be joined with |")
        return replace(self, kinds=tuple(sorted({*self.kinds, *other.kinds})))


actions = Where()
"""What the policy drew."""
teacher = Where(kinds=("teacher",))
"""What somebody else wrote: demonstrations, other trainers' rollouts."""
forced = Where(kinds=("forced",))
"""What a sampler put in the policy's mouth."""


chosen = Where(kinds=("teacher",), side="chosen")
"""The better text of each pair."""
rejected = Where(kinds=("teacher",), side="rejected")
"""The other one."""


def spans(*labels: str) -> Where:
    """Actions inside spans of these labels."""
    return Where(labels=labels)


def random_share(share: float) -> Where:
    """A random part of the actions, drawn anew each step from the run's keyed noise."""
    return Where(share=share)


@dataclass(frozen=True)
class Signal:
    objective: Part
    """The loss, one number per unit of its grain."""
    reduce: Reduction
    """What each unit counts; its last level is the objective's grain."""
    on: Where = actions
    """actions, teacher, forced, `actions | teacher`, spans("label"), random_share(0.6)."""
    weight: float | Part = 1.0
    """A number, or a schedule of the run's progress."""
    policy: str = "actor"
    """Whose weights it trains: always this word. Every policy that is trained has all signals; which one a group trains is its role's."""
    running: Part | None = added(None)  # noqa: RUF009
    """A number per rollout whose mean over all minibatches so far, this one included, the objective reads as `running`. It reads what is
    known before the update, so no gradient passes; what was summed is committed with the step."""

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Part):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a signal's objective is a part, got {self.objective!r}: put @part() on a function at module level")
        if self.objective.grain != self.reduce.grain:
            raise ValueError(
                f"objective {self.objective.name!r} gives one loss per {self.objective.grain}, but its reduction ends at "
                f"{self.reduce.grain!r}: write means(..., {self.objective.grain!r})."
            )
        if self.running is not None and self.running.gives != "value_R":
            raise ValueError(f"what a signal keeps a running mean of is a part that gives value_R, got {self.running!r}")

    @property
    def where(self) -> str:
        """Which decisions it trains, as a formula: those that a row trains, that `on` selects and that the correction keeps."""
        kinds = " or ".join(f"{kind}_T" for kind in self.on.kinds)
        labels = " or ".join(f'span("{label}")' for label in self.on.labels)
        said = ["trains_T", f"({kinds})" if len(self.on.kinds) > 1 else kinds]
        said += [f"({labels})" if len(self.on.labels) > 1 else labels] if labels else []
        said += [f"chosen_R == {int(self.on.side == 'chosen')}"] if self.on.side else []
        said += [f"random_T < {number(self.on.share)}"] if self.on.share < 1 else []
        return " and ".join([*said, "mask_T"])

    def weight_at(self, fraction: float) -> float:
        """Its weight when so much of the run is done."""
        return float(self.weight.on({"fraction": fraction})) if isinstance(self.weight, Part) else self.weight

    def but(self, **changes: Any) -> Signal:
        """The same with these fields replaced."""
        return replace(self, **changes)


@part(gives="factor", formula="factor = {start} + ({end} - {start}) * fraction")
def linear(fraction: float, *, start: float = 1.0, end: float = 0.0) -> float:
    """From start to end over the run."""
    return start + (end - start) * fraction


@part(
    gives="factor",
    formula="""
        done = min((fraction - {warmup}) / max(1 - {warmup}, 1e-09), 1)
        factor = where(fraction < {warmup}, fraction / {warmup}, {floor} + (1 - {floor}) * (1 + cos(pi * done)) / 2)
    """,
)
def warmup_cosine(fraction: float, *, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Up linearly during the first `warmup` of the run, then down a half cosine to `floor`."""
    import math

    if fraction < warmup:
        return fraction / warmup
    done = (fraction - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


@part(gives="factor", formula="factor = 1")
def constant(fraction: float) -> float:
    """1 throughout."""
    return 1.0
