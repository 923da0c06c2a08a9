"""Pupil: a policy that learns in a run, with what writes for it, what moves it, and what watches it. The actor is one, and so is each that
is `Trained`: all have the method's signals, each its own groups, update and optimiser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from strop import learning
from strop.batch import Batch, heard
from strop.directory import RunError
from strop.metrics import Facts, digest, distance, earned, learned
from strop.records import Group, Scores
from strop.seams.context import Handle
from strop.seams.engine import Engine
from strop.seams.learner import Key, Learner
from strop.seams.policy import Policy
from strop.watch.watch import Watch

if TYPE_CHECKING:
    from strop.loop import Run

ACTOR = "actor"


class Pupil:
    def __init__(self, run: Run, name: str, policy: Policy, engine: Engine, learner: Learner):
        self.run, self.name, self.policy, self.engine, self.learner = run, name, policy, engine, learner
        self.handle = Handle(engine, policy.renderer)
        self.update = run.method.updates[name]
        self.running: dict[str, list[float]] = {}
        """[sum, count] of what each signal keeps a running mean of, after the last update."""
        self.before = "" if name == ACTOR else f"{name}/"
        """What stands before its kinds on the bill."""
        self.watch = Watch(run, self)

    def taught(self, groups: Sequence[Group]) -> list[Group]:
        """The groups that train it, with what other policies wrote there as observations."""
        others = {ACTOR, *self.run.method.policies} - {self.name}
        return heard([g for g in groups if self.run.method.trains(g) == self.name], others) if others else list(groups)

    def measure(self, batch: Batch) -> Batch:
        """Tracks under the weights as they stand, where some part reads them and nobody recorded them."""
        spent = Counter[str]()
        batch = learning.measure(self.run.method, batch, self.learner, spent, own=self.run.own)
        self.run.bill.learned.update({self.before + kind: count for kind, count in spent.items()})
        if self.run.foreign and not self.run.step:
            self.run.check_drew(batch, batch.tracks["old_logp_T"])
        return batch

    def follow(self, mini: Batch, key: Key) -> Batch:
        """The minibatch with what its signals keep a running mean of; what was summed goes on with the next one."""
        mini, self.running = learning.follow(self.run.method, mini, self.running, key)
        return mini

    def deliver(self, version: int) -> None:
        self.learner.gather()
        self.engine.deliver(version)

    def moved(self, batch: Batch, facts: Facts) -> dict[str, Any]:
        """Of its updates, for the metrics line; what they cost goes on the bill."""
        self.run.bill.learn(int(sum(f["positions"] for f in facts)), self.before)
        said = learned(self.run.method, facts)
        said["digest"] = {"credit": digest(batch.tracks), "weights": self.digest_weights(), "optimiser": self.digest_optimiser()}
        if self.running:
            said["running"] = {name: total / max(count, 1) for name, (total, count) in self.running.items()}
        if not self.run.own or getattr(
            self.run.method.sampler, "moves", False
        ):  # `mismatch` is of what was measured, not of what was drawn
            said["sampler"] = distance(batch)
        return said

    def beside(self, groups: Sequence[Group], rewards: Mapping[str, float | None], batch: Batch, facts: Facts) -> dict[str, Any]:
        """What stands of it under `policies` on the metrics line, where it is not the actor."""
        said = {"step": self.run.step, **earned(self.taught(groups), rewards), **self.moved(batch, facts)}
        said = self.watch.close(said, (), Scores())
        return {name: value for name, value in said.items() if name != "step"}

    def lines(self, lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Metrics lines as its tripwires read them."""
        return [*lines] if self.name == ACTOR else [{"step": line["step"], **line["policies"][self.name]} for line in lines]

    def digest_weights(self, *, heads: bool = True, like: str = "") -> str:
        return digest({name: p for name, p in self.policy.parameters().items() if heads or not name.startswith("heads.")}, like)

    def digest_optimiser(self, *, like: str = "") -> str:
        return digest(self.learner.state(), like)

    def state(self, optimiser: Mapping[str, Tensor]) -> dict[str, Any]:
        """Of a checkpoint, beside weights and optimiser."""
        return {"running": self.running, "digest": {"weights": self.digest_weights(), "optimiser": digest(optimiser)}}

    def restore(self, place: Path, state: Mapping[str, Any]) -> None:
        """As a checkpoint left it, or refused where what is read there is not what was written."""
        self.learner.restore(place)
        if (found := self.digest_weights(like=(was := state["digest"]["weights"]))) != was:
            raise RunError(f"{place}: the weights read from it have the digest {found}, and it was written with {was}.")
        self.running = state.get("running", {})
