"""Gate: decides the fate of rollouts and groups, and says whether more are wanted.

Gates run in the order written; each sees what the earlier ones kept. What is dropped stays on the bill.
One that reads channels beside the rewards names them, `channels`, so that a task or method that gives none of them is refused first;
one that drops groups below a size says it, `fewest`.
A rollout whose reward could not be measured never reaches a gate: it is dropped as `ungraded`. A group of which nothing is kept
is replaced while the gates' largest `refill` has rounds left; what is `context` or dropped is counted on the metrics line by its `why`.

Most look at one group at a time. One with `whole = True` sees the step's groups together, once, after the last round of sampling.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from strop.records import UNSCORED, Fate, Group, Scores
from strop.seams.context import keyed
from strop.seams.part import added, nearest, written

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Rewards = Mapping[str, float]
Fates = dict[str, Fate]
Key = tuple[int | str, ...]


@dataclass(frozen=True)
class Seen:
    """What a gate is shown beside its group: of the rollouts that are still kept."""

    rewards: Rewards
    """Of the rollouts that are still kept, by their ids."""
    scores: Scores = UNSCORED
    """Every channel that was graded."""
    key: Key = ()
    """What `rng` is keyed with: seed, step, which gate, and the group."""

    def rng(self) -> random.Random:
        """The run's noise for this gate and group: the same whenever the step is computed."""
        return keyed(*self.key)

    def channel(self, name: str) -> Rewards:
        """The rewards, or a channel of the scores where it is known."""
        if name == "reward":
            return self.rewards
        if any(name not in self.scores.values.get(unit, {}) for unit in self.rewards):
            raise ValueError(f"a gate reads the channel {name!r}, which nobody grades here: {', '.join(self.scores.channels())}")
        return {unit: value for unit in self.rewards if (value := self.scores.get(unit, name)) is not None}


class Gate(Protocol):
    @property
    def refill(self) -> int:
        """How many further rounds of sampling may replace dropped groups."""
        ...

    def __call__(self, group: Group, seen: Seen) -> Fates:
        """Fates of the rollouts it has an opinion on; the others are kept. `seen` speaks of the kept ones."""
        ...


class WholeGate(Protocol):
    """A gate that sees all groups of the step, once, after the last round. It asks for no more of them."""

    whole: ClassVar[Literal[True]]
    """What tells it from a gate for one group."""

    def __call__(self, groups: Sequence[Group], seen: Seen) -> Fates:
        """Fates of the rollouts it has an opinion on, of all groups of the step; what is dropped now is not refilled."""
        ...


@dataclass(frozen=True)
class DropFlat:
    """Leave out groups whose rollouts all earned the same: their group-relative credit is zero (DAPO, arXiv:2503.14476)."""

    refill: int = 0
    """Rounds of sampling that may replace them."""
    tolerance: float = 0.0
    """Rewards this near count as the same."""
    of: str = added("reward")
    """What must differ: the reward, or a channel, such as `outcome` where the reward holds more than the verdict."""

    @property
    def channels(self) -> tuple[str, ...]:
        return () if self.of == "reward" else (self.of,)

    def __call__(self, group: Group, seen: Seen) -> Fates:
        values = list(seen.channel(self.of).values())
        if values and max(values) - min(values) > self.tolerance:
            return {}
        return {unit: Fate("drop", why="flat") for unit in seen.rewards}


@dataclass(frozen=True)
class MaskOverlong:
    """Rollouts cut at their length limit count in their group's statistics but are not trained (`context`), or are dropped."""

    fate: str = "context"
    """context or drop."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __call__(self, group: Group, seen: Seen) -> Fates:
        if self.fate not in ("context", "drop"):
            raise ValueError(f"MaskOverlong gives the fate context or drop, not {self.fate!r}")
        cut = (r.id for r in group.rollouts if r.stop == "length" and r.id in seen.rewards)
        return {unit: Fate("context" if self.fate == "context" else "drop", why="overlong") for unit in cut}


@dataclass(frozen=True)
class SkipZeroCredit:
    """Rollouts that earned exactly their group's mean count in it but are not trained: centred credit gives them nothing to learn.

    Unlike `DropFlat` it also takes single rollouts. They leave the denominators, so what remains weighs more.
    """

    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""
    tolerance: float = 1e-9
    """Rewards this near to the mean count as it."""

    def __call__(self, group: Group, seen: Seen) -> Fates:
        mean = fsum(seen.rewards.values()) / max(len(seen.rewards), 1)
        return {unit: Fate("context", why="zero credit") for unit, value in seen.rewards.items() if abs(value - mean) <= self.tolerance}


RULES = ("random", "extremes")


@dataclass(frozen=True)
class TrainOnly:
    """Train on so many rollouts of a group; the others count in its statistics alone (`context`). What was drawn is paid all the same."""

    n: int = 8
    """Rollouts that are trained, of those that are still kept."""
    rule: str = "random"
    """random: any, each as likely. extremes: as many of the highest rewards as of the lowest, ties by chance."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __post_init__(self) -> None:
        if self.n < 1 or self.rule not in RULES:
            raise ValueError(f"TrainOnly(n={self.n}, rule={self.rule!r}): n is at least 1. {nearest(self.rule, RULES)}")

    def __call__(self, group: Group, seen: Seen) -> Fates:
        units = list(seen.rewards)
        seen.rng().shuffle(units)
        if self.rule == "extremes":
            units.sort(key=seen.rewards.__getitem__)  # stable, so ties stay as they were shuffled
            low = self.n // 2
            units = units[:low] + units[low:][::-1]
        return {unit: Fate("context", why="not chosen") for unit in units[self.n :]}


@dataclass(frozen=True)
class SetAside:
    """What came into a group from elsewhere counts in its statistics and is not trained, by where it came from."""

    provenance: str = "greedy"
    """`greedy`, of `WithGreedy`; `gold`, of `WithGold`."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __call__(self, group: Group, seen: Seen) -> Fates:
        aside = (r.id for r in group.rollouts if r.provenance == self.provenance and r.id in seen.rewards)
        return {unit: Fate("context", why=self.provenance) for unit in aside}


@dataclass(frozen=True)
class AtMost:
    """Rollouts above a level of a channel count in their group's statistics but are not trained (`context`), or are dropped."""

    of: str = "reward"
    """The reward, or a channel."""
    most: float = 1.0
    """What is above it is left out."""
    fate: str = "context"
    """context or drop."""
    refill: int = 0
    """Rounds of sampling that may replace groups of which nothing is kept."""

    def __post_init__(self) -> None:
        if self.fate not in ("context", "drop"):
            raise ValueError(f"AtMost gives the fate context or drop, not {self.fate!r}")

    @property
    def channels(self) -> tuple[str, ...]:
        return () if self.of == "reward" else (self.of,)

    def __call__(self, group: Group, seen: Seen) -> Fates:
        above = (unit for unit, value in seen.channel(self.of).items() if value > self.most)
        return {unit: Fate("context" if self.fate == "context" else "drop", why=f"{self.of} above {self.most:g}") for unit in above}


@dataclass(frozen=True)
class Duplicate:
    """Fill the places of dropped groups with copies of kept ones, drawn with replacement: no further sampling (DUPO, arXiv:2507.02592).

    A step keeps its size, and with it its number of updates. Where nothing was kept nothing is filled.
    """

    whole: ClassVar[Literal[True]] = True

    def __call__(self, groups: Sequence[Group], seen: Seen) -> Fates:
        left = [units for g in groups if (units := [r.id for r in g.rollouts if r.id in seen.rewards])]
        if not left:
            return {}
        copies = Counter(seen.rng().choices(range(len(left)), k=len(groups) - len(left)))
        return {unit: Fate(times=1 + count) for place, count in copies.items() for unit in left[place]}


Gates = Iterable[Gate | WholeGate]


def is_whole(gate: Gate | WholeGate) -> TypeIs[WholeGate]:
    return getattr(gate, "whole", False)


def decide(gates: Gates, group: Group, rewards: Mapping[str, float | None], scores: Scores = UNSCORED, key: Key = ()) -> Fates:
    """One fate per rollout of the group, by the gates that look at one. A demonstration is not judged: nothing was tried."""
    fates: Fates = {r.id: Fate() if rewards[r.id] is not None else Fate("drop", why="ungraded") for r in group.rollouts}
    for number, gate in enumerate(gates):
        if not is_whole(gate):
            seen = _seen(fates, rewards, scores, (*key, "gate", number, *(r.id for r in group.rollouts[:1])))
            _merge(fates, gate(group, seen), gate)
    return fates


def finish(
    gates: Gates,
    groups: Sequence[Group],
    fates: Mapping[str, Fate],
    rewards: Mapping[str, float | None],
    scores: Scores = UNSCORED,
    key: Key = (),
) -> Fates:
    """The fates once the gates that see the whole step have looked at what the others kept."""
    done = {r.id: fates[r.id] for group in groups for r in group.rollouts}
    for number, gate in enumerate(gates):
        if is_whole(gate):
            _merge(done, gate(groups, _seen(done, rewards, scores, (*key, "gate", number))), gate)
    return done


def _seen(fates: Fates, rewards: Mapping[str, float | None], scores: Scores, key: Key) -> Seen:
    known = ((unit, rewards[unit]) for unit, fate in fates.items() if fate.kind == "keep")
    return Seen({unit: value for unit, value in known if value is not None}, scores, key)


def _merge(fates: Fates, given: Mapping[str, Fate], gate: Gate | WholeGate) -> None:
    """A later gate's word on what an earlier one kept: weights and copies multiply."""
    if not isinstance(given, Mapping) or not all(isinstance(fate, Fate) and unit in fates for unit, fate in given.items()):  # pyright: ignore
        raise ValueError(f"the gate {written(gate)} gives {given!r:.80}, and it is a dict of Fate by the ids of the rollouts it was shown")
    for unit, fate in given.items():
        if fate.kind == "carry":
            raise NotImplementedError("not built yet: the fate carry (groups kept for a later step). Use keep, context or drop.")
        fates[unit] = replace(fate, weight=fates[unit].weight * fate.weight, times=fates[unit].times * fate.times)
