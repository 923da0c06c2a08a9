"""Method: a frozen record of parts. One paper, one file, one fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from strop.seams.correction import none, truncated
from strop.seams.curriculum import Curriculum, Epochs
from strop.seams.feed import Feed, Rollouts
from strop.seams.gate import Gate
from strop.seams.part import Part, describe, fingerprint, nearest
from strop.seams.reward import outcome
from strop.seams.sampler import Environment, Independent, Sampler
from strop.seams.signal import Signal
from strop.seams.update import AdamW

TRACKS = frozenset({"old_logp_T", "sampled_logp_T", "age_T"})
"""What every run can provide per decision, before anything is settled."""
FACTS = frozenset({"reward_R", "truncated_R", "length_R", "index"})
"""What every run can provide per rollout, and the index."""
MOVING = frozenset({"logp_T", "entropy_T", "value_T"})
"""Tracks of the policy as it moves: an objective may read them, a credit or a correction may not."""


@dataclass(frozen=True)
class Method:
    name: str
    signals: Mapping[str, Signal]
    credit: tuple[Part, ...]
    sampler: Sampler = Independent()
    environment: Environment | None = None
    feed: Feed = Rollouts()
    curriculum: Curriculum = Epochs()
    reward: Part = outcome
    gate: tuple[Gate, ...] = ()
    correction: Part = none
    update: AdamW = AdamW()
    tasks: int = 32
    """Tasks asked for in one step."""
    heads: tuple[str, ...] = ()
    """Heads of the actor, beside its own: `value` gives one number per decision."""
    reference: bool = False
    """Keep the initial weights frozen beside the actor, for parts that read `reference_logp_T`."""
    paper: str = ""
    idea: tuple[str, ...] = field(default=())
    """The seams in which it differs from its parent."""

    def __post_init__(self) -> None:
        self._check_known()
        self._check_sense()

    def _check_known(self) -> None:
        """Every part reads only what stands ready when it is called."""
        ready = set(TRACKS | FACTS)
        if self.reference:
            ready.add("reference_logp_T")
        if "value" in self.heads:
            ready.add("old_value_T")
        self._check_reads("correction", self.correction, ready | {"trained_T"})
        ready |= {"weight_T", "reward_T"}
        for i, link in enumerate(self.credit):
            if not link.gives:
                raise ValueError(
                    f"method {self.name!r}: credit[{i}] {link.name!r} does not say what it gives: write @part(gives='credit_R')"
                )
            self._check_reads(f"credit[{i}]", link, ready | {"trained_T"})
            given = set(link.gives.split(","))
            ready |= given | ({"credit_T"} if "credit_R" in given else set())
        moving = MOVING if "value" in self.heads else MOVING - {"value_T"}
        ready = {name for name in ready if name.endswith("_T") or name in FACTS} | moving
        for name, signal in self.signals.items():
            self._check_reads(f"signals.{name}", signal.objective, ready)
        for head in self.heads:
            if head != "value":
                raise ValueError(f"method {self.name!r}: unknown head {head!r}. {nearest(head, ['value'])}")

    def _check_reads(self, seam: str, reader: Part, ready: set[str]) -> None:
        for name in reader.reads:
            if name in ready:
                continue
            said = f"method {self.name!r}: {seam} {reader.name!r} reads {name}"
            if name == "reference_logp_T":
                raise ValueError(f"{said}, so it needs reference=True")
            if name in ("value_T", "old_value_T", "return_T") and "value" not in self.heads:
                raise ValueError(f"{said}, so it needs heads=('value',)")
            if name in MOVING:
                raise ValueError(f"{said}, which moves during the update; it is settled before. Read old_logp_T, or make it an objective.")
            if name in ("credit_T", "credit_R", "return_T"):
                raise ValueError(f"{said}, which no link of its credit gives before it. Credit: {list(self.credit)}.")
            raise ValueError(f"{said}, which nobody provides. {nearest(name, ready)}")

    def _check_sense(self) -> None:
        if "policy" not in self.signals and not self.signals:
            raise ValueError(f"method {self.name!r} has no signal, so it would train nothing")
        for name, signal in self.signals.items():
            if signal.policy != "actor":
                raise NotImplementedError(
                    f"not built yet: several trained policies (signal {name!r} trains {signal.policy!r}). Train the actor."
                )
        if self.tasks < 1:
            raise ValueError(f"method {self.name!r}: tasks={self.tasks}; a step needs at least one task")
        updates = self.update.updates(self.tasks)
        parts = [*self.credit, self.correction, *(s.objective for s in self.signals.values())]
        for reader in parts:
            if "group" in reader.needs and self.sampler.group_size < 2:
                raise ValueError(
                    f"method {self.name!r} scores each rollout against its siblings ({reader.name}), so it needs a group of at least 2, "
                    f"got {self.sampler.group_size}. Raise the sampler's n, or use a credit with a learned baseline (gae)."
                )
            if "one_update" in reader.needs and updates > 1:
                raise ValueError(
                    f"method {self.name!r}: {reader.name!r} has no importance ratio, but the update makes {updates} optimiser steps per "
                    "batch. Use epochs=1 and minibatch=None, or importance_sampling / clipped_surrogate."
                )

    @property
    def refills(self) -> int:
        return max((gate.refill for gate in self.gate), default=0)

    def needs(self, *names: str) -> bool:
        """Does some part read one of these?"""
        parts = [*self.credit, self.correction, *(s.objective for s in self.signals.values())]
        return any(name in reader.reads for reader in parts for name in names)

    def but(self, name: str = "", **changes: Any) -> Method:
        """The same method with these seams replaced; `signals` are merged by name."""
        known = {f.name for f in fields(self)}
        for change in changes:
            if change not in known:
                raise ValueError(f"a method has no seam {change!r}. {nearest(change, known)}")
        if "signals" in changes:
            changes["signals"] = {**self.signals, **changes["signals"]}
        return replace(self, name=name or self.name, **changes)

    def off_policy(self) -> Method:
        """This method on rollouts that another learner drew: where nothing corrects for that, truncated importance weights do.

        Its name says so. An objective that takes its ratio to `sampled_logp` bridges by itself.
        """
        if self.correction != none or any("sampled_logp_T" in s.objective.reads for s in self.signals.values()):
            return self
        return self.but(f"{self.name}-truncated", correction=truncated(cap=2.0))

    def describe(self) -> dict[str, Any]:
        """Plain JSON of everything that can change a number; the name, paper and list of ideas are not among it."""
        said = ("name", "paper", "idea")
        return {f.name: describe(getattr(self, f.name)) for f in fields(self) if f.name not in said}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())


@dataclass(frozen=True)
class Program:
    """Stages of methods, one after another or repeated, on one bill."""

    stages: tuple[Method, ...]

    def __post_init__(self) -> None:
        raise NotImplementedError(
            "not built yet: Program (stages of methods). Run the stages one after another, each from the last checkpoint."
        )
