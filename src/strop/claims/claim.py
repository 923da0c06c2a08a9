"""Claim: an experiment that could refute a method. Written before the run; everything in it is data.

    mechanism     what the method does differently
    consequence   what can be measured of it, and by how much
    regime        where: task, model, budget

Arms differ in the method and share everything else: tasks, seeds, initial weights, budget. The effect is the paired difference
of one measure between two of them; the others are there so that it can be told apart from something simpler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strop.claims.trace import Trace
from strop.method import Method
from strop.program import Program
from strop.recipe import Recipe
from strop.records import digest
from strop.seams.part import Part, added, describe, nearest
from strop.seams.sampler import Sampler

SAID = ("mechanism", "consequence", "regime", "refuted_if")
PROFILES = ("quick", "pilot", "full", "extended")
PILOT_SEEDS = (100, 101, 102)

World = Callable[[Recipe, Path], dict[str, Any]]
"""Parts of a run that are not in its recipe (policy, source, engine), for worlds that are no language model: of recipe and directory."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    name: str
    """Known by it in `compare`, checks and tables."""
    method: Method | Program
    """What it trains; a program's stages share the budget."""
    control: str = ""
    """What it controls for; the method on trial has none."""
    random: bool = False
    """The control that selects by chance: required where the method on trial selects."""
    reads: Part | None = None
    """Its own measure, where arms differ in what is read of a run and not in how it is trained."""


@dataclass(frozen=True)
class Profile:
    """How much of the experiment is run. Only a full or extended one may end in a verdict."""

    seeds: tuple[int, ...]
    """Each a run of every arm, and a paired difference."""
    budget: str
    """As in a recipe: '400000 decoded'."""
    minutes: float
    """What it should take on two cores; shown before it starts."""
    arms: tuple[str, ...] = ()
    """Arms that are run; none named means all. The record says which were left out."""
    task: str = ""
    """Another task than the claim's, for a quick look at a small one."""


@dataclass(frozen=True)
class HeldOut:
    """An evaluation on held-out tasks at these shares of the budget, by the same sampler for all arms."""

    tasks: int = 200
    """Of the test split."""
    samples: int = 4
    """Replies a task."""
    at: tuple[float, ...] = (0.0, 1.0)
    """Shares of the budget."""
    max_tokens: int = 128
    """Longest reply."""
    temperature: float = added(1.0)
    """0 is greedy, with one sample a task: at 1 accuracy also rises when a policy merely gets surer of what it said already."""
    sampler: Sampler | None = added(None)  # noqa: RUF009
    """Another way to ask than for a reply: `Opening("<think>")`, a consensus; made to these samples and this length."""
    replies: bool = added(False)
    """What was said is kept beside the means, for measures that read more than those and one value a task."""
    task: str = added("")
    """Another source than the one that is trained on at the time: for programs whose stages play on several."""


@dataclass(frozen=True)
class Check:
    """A condition without which the comparison says nothing: the mechanism was on. `of` gives a number, which must reach `least`."""

    says: str
    """In words, for the record."""
    of: Part
    """Reads one `trace` and gives a number."""
    arm: str
    """Whose trace."""
    least: float
    """Below it the claim is void."""

    def value(self, trace: Trace) -> float:
        """Of one run."""
        return float(self.of.on({"trace": trace}))


@dataclass(frozen=True)
class Claim:
    """An experiment that could refute a method."""

    name: str
    """Known by it to `strop claim`."""
    mechanism: str
    """What the method does differently."""
    consequence: str
    """What can be measured of it, and by how much."""
    regime: str
    """Where: task, model, budget."""
    method: str
    """Its name in `strop methods`: where the verdict is shown."""
    recipe: Recipe
    """What all arms share; method, seed and budget are put in by the runner."""
    arms: tuple[Arm, ...]
    """The method on trial and its controls."""
    compare: tuple[str, str]
    """The effect is the measure of the first arm minus that of the second."""
    measure: Part
    """Reads one `trace` and gives its curve: (positions spent, value) pairs."""
    threshold: float
    """Set before the run. Supported: the whole interval above it; refuted: below it."""
    refuted_if: str
    """In words, before the run."""
    profiles: Mapping[str, Profile]
    """quick, full, extended: how much of it is run. A pilot is made from full."""
    checks: tuple[Check, ...]
    """At least one: that the mechanism was on."""
    tie: bool = False
    """The claim is that both arms agree within the threshold."""
    held_out: HeldOut | None = None
    """Evaluations on the way; None where the measure reads metrics lines alone."""
    selects: bool = False
    """The mechanism chooses tasks, rollouts or tokens, so an arm must choose by chance."""
    random: bool = True
    """False where the effect is arithmetic: then seeds may agree exactly."""
    pilot: tuple[float, ...] = ()
    """Paired differences of a pilot on other seeds, at the full budget: from them the smallest effect that can be found."""
    world: World | None = None
    """A function at module level; None takes the recipe's own model and task."""
    pitfalls: str = ""
    """What a reader of the verdict should know."""
    base: Recipe | None = None
    """A stage before: run once per seed, and the model it ends with is the one that all arms start from. None: the recipe's model."""
    base_seeds: str = "each"
    """`one`: a single base for all seeds, where making it is dear. What the seeds then show is the spread from there on."""

    def __post_init__(self) -> None:
        self._kinds()
        for name in SAID:
            if not getattr(self, name).strip():
                raise ValueError(f"claim {self.name!r} has no {name}: a claim names mechanism, consequence and regime, and what refutes it")
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"claim {self.name!r}: two arms have one name: {names}")
        unknown = [
            n
            for n in (*self.compare, *(c.arm for c in self.checks), *(a for p in self.profiles.values() for a in p.arms))
            if n not in names
        ]
        if unknown:
            raise ValueError(f"claim {self.name!r} has no arm {unknown[0]!r}. {nearest(unknown[0], names)}")
        if not self.checks:
            raise ValueError(f"claim {self.name!r} has no activity check: nothing would tell whether its mechanism was on")
        if all(not arm.control for arm in self.arms):
            raise ValueError(f"claim {self.name!r} has no control: an arm that removes the mechanism")
        if self.selects and not any(arm.random for arm in self.arms):
            raise ValueError(f"claim {self.name!r} is about a selection, so one arm must select by chance: Arm(…, random=True)")
        one, other = (self.arm(name) for name in self.compare)
        if one.method.fingerprint == other.method.fingerprint and one.reads == other.reads:
            raise ValueError(
                f"claim {self.name!r} compares {one.name!r} with {other.name!r}, which are one method "
                f"({one.method.fingerprint}): whatever came out would say nothing. Let them differ in a part "
                "or constant, or in what is read of them: Arm(…, reads=…)."
            )
        if not math.isfinite(self.threshold):
            raise ValueError(f"claim {self.name!r}: its threshold is {self.threshold}; no effect is above or below it")
        if self.base_seeds not in ("each", "one") or (self.base_seeds == "one" and self.base is None):
            raise ValueError(f"claim {self.name!r}: base_seeds={self.base_seeds!r}; a base is made for `each` seed, or `one` for all")
        if self.base is not None and (self.recipe.lr is None or self.base.budget is not None):
            raise ValueError(
                f"claim {self.name!r} makes a base: name a learning rate for its arms, and end the base by steps, not a budget"
            )
        for key, profile in self.profiles.items():
            if key not in PROFILES or key == "pilot":
                raise ValueError(f"claim {self.name!r} declares a profile {key!r}; it may declare quick, full and extended")
            if not profile.seeds or len({*profile.seeds}) < len(profile.seeds):
                raise ValueError(f"claim {self.name!r}: its {key} profile has the seeds {profile.seeds}: name some, and each once")
            if key != "quick" and len(profile.seeds) < 4:
                raise ValueError(f"claim {self.name!r}: its {key} profile has {len(profile.seeds)} seeds; a verdict needs at least 4")
            try:
                self.recipe.but(method=self.arms[0].method, budget=profile.budget, task=profile.task or self.recipe.task)
            except ValueError as error:
                raise ValueError(f"claim {self.name!r}: its {key} profile: {error}") from error
            missing = [n for n in self.compare if profile.arms and n not in profile.arms]
            if missing:
                raise ValueError(f"claim {self.name!r}: its {key} profile leaves out {missing[0]!r}, which the effect compares")

    def _kinds(self) -> None:
        """Every field holds what its annotation says."""
        held: list[tuple[str, Any, Any]] = [(name, getattr(self, name), str) for name in (*SAID, "name", "method", "pitfalls")]
        held += [("recipe", self.recipe, Recipe), ("measure", self.measure, Part), ("threshold", self.threshold, int | float)]
        held += [(name, getattr(self, name), tuple) for name in ("arms", "checks", "compare")]
        held += [("profiles", self.profiles, Mapping), ("held_out", self.held_out, HeldOut | None), ("base", self.base, Recipe | None)]
        self._held(held)
        self._held((f"arms[{i}]", arm, Arm) for i, arm in enumerate(self.arms))
        self._held((f"checks[{i}]", check, Check) for i, check in enumerate(self.checks))
        self._held((f"profiles[{key!r}]", profile, Profile) for key, profile in self.profiles.items())
        self._held((f"arms[{i}].method", arm.method, Method | Program) for i, arm in enumerate(self.arms))
        self._held((f"checks[{i}].of", check.of, Part) for i, check in enumerate(self.checks))
        if len(self.compare) != 2:
            raise ValueError(f"claim {self.name!r}: its compare is the names of two arms, got {self.compare!r}")

    def _held(self, fields: Iterable[tuple[str, Any, Any]]) -> None:
        for name, value, kind in fields:
            if not isinstance(value, kind):
                needs = " or ".join(one.__name__.replace("NoneType", "None") for one in getattr(kind, "__args__", (kind,)))
                raise ValueError(f"claim {self.name!r}: its {name} is {needs}, got {value!r}")

    @property
    def says(self) -> str:
        """Mechanism, consequence and regime, as one sentence."""
        return f"{self.mechanism} {self.consequence}, {self.regime}"

    def arm(self, name: str) -> Arm:
        """By its name."""
        found = [arm for arm in self.arms if arm.name == name]
        if not found:
            raise ValueError(f"claim {self.name!r} has no arm {name!r}. {nearest(name, [arm.name for arm in self.arms])}")
        return found[0]

    def profile(self, name: str) -> Profile:
        """A declared one, or `pilot`: the full one's compared arms on three seeds of their own, from which the spread is taken."""
        if name == "pilot" and "full" in self.profiles:
            full = self.profiles["full"]
            runs = (len(full.arms) or len(self.arms)) * len(full.seeds)
            return replace(full, seeds=PILOT_SEEDS, arms=self.compare, minutes=round(full.minutes * 6 / runs))
        if name not in self.profiles:
            known = [*self.profiles, *(["pilot"] if "full" in self.profiles else [])]
            raise ValueError(f"claim {self.name!r} has no profile {name!r}. {nearest(name, known)}")
        return self.profiles[name]

    def runs(self, profile: str) -> tuple[Arm, ...]:
        """The arms that a profile runs."""
        wanted = self.profile(profile).arms
        return tuple(arm for arm in self.arms if not wanted or arm.name in wanted)

    def recipe_of(self, arm: Arm, seed: int, profile: str) -> Recipe:
        """What this arm trains under this seed. Held-out evaluation is the claim's own matter."""
        chosen = self.profile(profile)
        return self.recipe.but(method=arm.method, seed=seed, budget=chosen.budget, eval_tasks=0, task=chosen.task or self.recipe.task)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the outcome, as plain JSON; a record made by another version of the claim shows in its fingerprint."""
        return {
            "name": self.name,
            "says": self.says,
            "recipe": self.recipe.but(method=self.arms[0].method).describe(),
            "arms": {arm.name: arm.method.describe() for arm in self.arms},
            "compare": list(self.compare),
            "measure": describe(self.measure),
            "threshold": self.threshold,
            "tie": self.tie,
            "held_out": describe(self.held_out),
            "checks": [describe(check) for check in self.checks],
            "profiles": {name: describe(profile) for name, profile in self.profiles.items()},
            "random": self.random,
            **({"reads": {arm.name: describe(arm.reads) for arm in self.arms}} if any(arm.reads for arm in self.arms) else {}),
            **self.place(),
        }

    def place(self) -> dict[str, Any]:
        """Where its runs take place, if it is no language model's, and what they begin with, if it is not the recipe's model."""
        world = {} if self.world is None else {"world": address(self.world)}
        base = {} if self.base is None else {"base": self.base.describe()}
        return {**world, **base, **({"base_seeds": self.base_seeds} if self.base_seeds != "each" else {})}

    def base_seed(self, seed: int) -> int:
        """Whose base the arms of this seed begin with."""
        return 0 if self.base_seeds == "one" else seed

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the outcome."""
        return digest(self.describe())[:12]


def address(world: World) -> str:
    """strop's own are said as where they first stood, beside their methods: records made then keep their fingerprint."""
    return f"{world.__module__}.{world.__qualname__}".replace("strop.experiments.", "strop.methods.", 1)
