"""Watch: a run's tripwires at work. It gathers evidence as the step goes by, judges it, and stops or warns.

What is measured before a step is committed (what the engine wrote, what the grader said) is judged before it is
committed, so a resumed run, which samples and grades nothing twice, need not measure it again. Everything later is a
function of the commit and the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from torch import Tensor

from strop import durable, grading
from strop.batch import Batch
from strop.records import Fate, Group, Rollout, Scores
from strop.seams.context import Ledger
from strop.seams.source import drawn
from strop.tripwires import (
    BY_NAME,
    EXACT,
    FRESH,
    LEDGER,
    MARKS,
    MODEL,
    NOISE,
    ONE,
    OWN,
    RELATIVE,
    REWARD,
    SAMPLES,
    STEADY,
    TRAINED,
    TRIPWIRES,
    UPDATES,
    VERDICT,
    Line,
    Tripped,
    Tripwire,
    limits,
    message,
)
from strop.tripwires.siblings import twins
from strop.watch import evidence, first

if TYPE_CHECKING:
    from strop.loop import Run
    from strop.policies.causal import CausalPolicy
    from strop.pupil import Pupil

CUT_EVERY = 3
"""The loss of a few rows is computed whole and cut in every third step: that costs passes of its own."""

HOLDS: dict[str, Callable[[Watch], bool]] = {
    SAMPLES: lambda w: (_fresh(w) or getattr(w.run.method.feed, "ahead", 0) > 0) and not w.run.foreign,
    FRESH: lambda w: _fresh(w) and not w.run.foreign,
    EXACT: lambda w: w.run.recipe.dtype == "float32",
    MODEL: lambda w: hasattr(w.pupil.policy, "model"),
    OWN: lambda w: getattr(w.run.method.sampler, "own_context", False),
    ONE: lambda w: bool(w.run.method.signals) and w.pupil.engine.name == w.pupil.name,
    TRAINED: lambda w: w.pupil.update.lr > 0,
    RELATIVE: lambda w: any("group" in link.needs for link in w.run.method.credit),
    REWARD: lambda w: any({"reward_R", "reward_T"} & set(link.reads) for link in w.run.method.credit),
    MARKS: lambda w: bool(getattr(w.pupil.policy.renderer, "marks", ())),
    VERDICT: lambda w: bool({"outcome", "lenient"} & set(_channels(w.run))),
    UPDATES: lambda w: w.pupil.update.epochs > 0,
    STEADY: lambda w: getattr(w.run.method.curriculum, "steady", False),
    NOISE: lambda w: hasattr(w.pupil.engine, "noise") and not w.pupil.engine.limits and getattr(w.run.method.sampler, "own_context", False),
    LEDGER: lambda w: hasattr(w.pupil.engine, "wrote"),
}
"""Preconditions, each by its words."""


class Watch:
    """Of one policy of a run; the actor's also sees what the source says. Of another one `lines` are what stands of it on the run's."""

    def __init__(self, run: Run, pupil: Pupil):
        self.run, self.pupil = run, pupil
        self.limits = limits(run.recipe.tripwire, pupil.engine.limits) | _grader(run)
        lacking = {t.name: [need for need in t.needs if not HOLDS[need](self)] for t in TRIPWIRES}
        self.silent = {name: needs for name, needs in lacking.items() if needs and self.limits[name] is not None}
        self.lines: list[Line] = []
        self.now: dict[str, Any] = {}
        """This step's evidence, as its metrics line will carry it."""
        self._canary: list[tuple[int, ...]] = []
        self._rollouts: dict[str, tuple[Group, Rollout]] = {}
        self._fates: Mapping[str, Fate] = {}

    def describe(self) -> dict[str, Any]:
        """For recipe.json: limits that are on, what is off, and what is silent for want of which precondition."""
        on = {name: limit for name, limit in self.limits.items() if limit is not None and name not in self.silent}
        return {"limits": on, "off": sorted(n for n, limit in self.limits.items() if limit is None), "silent": self.silent}

    def on(self, name: str) -> bool:
        return self.limits[name] is not None and name not in self.silent

    def holding(self, when: str, line: Line) -> list[tuple[Tripwire, str]]:
        """The tripwires of this moment that see something."""
        lines = [*self.lines, line]
        whose = f"policy {self.pupil.name}: " if self.pupil.before else ""
        found: list[tuple[Tripwire, str]] = []
        for tripwire in TRIPWIRES:
            limit = self.limits[tripwire.name]
            if tripwire.when == when and self.on(tripwire.name) and limit is not None and (seen := tripwire.sees(lines, limit)):
                found.append((tripwire, whose + seen))
        return found

    def judge(self, when: str, **fleeting: Any) -> None:
        """Stop, if a tripwire of this moment fires on what is known so far."""
        found = self.holding(when, {"step": self.run.step, "watch": {**self.now, **fleeting}})
        if found:
            self._stop(found)

    def _stop(self, found: list[tuple[Tripwire, str]]) -> NoReturn:
        path = self.run.commit_path(self.run.step)
        kept = "\nNothing was learned from this step."
        if found[0][0].when == "resume":
            kept = ""
        elif path.exists():
            kept += f" Its rollouts are kept in {path}: delete that file to sample them again."
        raise Tripped(found, self.run.step, kept)

    # The moments of a step, in their order.

    async def begin(self) -> None:
        """Does the engine hold the learner's weights? Asked before a single token is sampled."""
        run, pupil = self.run, self.pupil
        self.now = {}
        if not (self.on("stale-weights") or self.on("undelivered-weights")):
            return
        if not self._canary:
            count = min(run.source.size or evidence.CANARIES, evidence.CANARIES)
            tasks = (drawn(run.source, "train", run.recipe.seed, i) for i in range(count))
            self._canary = [evidence.shortened(pupil.policy.renderer.prompt(task.prompt)) for task in tasks]
        learner = evidence.learner_says(cast("CausalPolicy", pupil.policy).model, self._canary)
        engine = await evidence.engine_says(pupil.engine, self._canary)
        self.now["canary"] = {"learner": learner, "engine": engine, "digest": pupil.digest_weights(heads=False)}
        if self.holding("begin", {"step": run.step, "watch": self.now}):
            pupil.engine.deliver(run.version)  # late, or never? An engine that only lags has them now.
            again = await evidence.engine_says(pupil.engine, self._canary)
            self.judge("begin", redelivered=max(abs(a - b) for a, b in zip(again, learner, strict=True)))
        run.bill.forget(f"{pupil.before}scored")

    def sampled(self, groups: list[Group]) -> None:
        if self.on("retokenised"):
            self.judge("sampled", **evidence.foreign(self.pupil.engine, groups))

    async def graded(self, groups: list[Group], scores: Scores) -> None:
        same = await evidence.constant(self.run.source, groups, scores) if self.on("constant-grader") else None
        self.judge("graded", ungraded=grading.ungraded(scores, _channels(self.run)), constant=same)

    def batch(self, groups: list[Group], fates: Mapping[str, Fate], batch: Batch, fraction: float) -> None:
        run = self.run
        self._rollouts = {r.id: (g, r) for g in groups for r in g.rollouts}
        self._fates = fates
        key = (run.recipe.seed, run.number, 0)
        self.now |= evidence.coverage(run.method, groups, fates, batch, key, HOLDS[RELATIVE](self))
        if self.on("forged-turn"):
            self.now["forged"] = evidence.forged(self.pupil.policy.renderer, groups)
        if self.on("denominators") and run.method.signals and run.step % CUT_EVERY == 0:
            change = evidence.cut(run.method, batch, self.pupil.policy, fraction, key)
            self.now |= {} if change is None else {"cut": change}
        if not self.pupil.before and run.step == 0 and HOLDS[MODEL](self) and not (run.directory / first.NAME).exists():
            tokenizer = cast("CausalPolicy", run.policy).tokenizer
            shown = first.pieces(groups, batch, evidence.selected(run.method, batch, key), tokenizer)
            durable.write(run.directory / first.NAME, json.dumps(shown, ensure_ascii=False).encode())
        self.judge("batch")

    def minibatch(self, mini: Batch, first: bool) -> Minibatch:
        return Minibatch(self, mini, first)

    def step_ready(self, seen: Minibatch, facts: Mapping[str, float], norm: float) -> None:
        """Before the optimiser moves: masks, sampler against learner, and whether the numbers are numbers."""
        self.now["misplaced"] = self.now.get("misplaced", 0) + seen.misplaced
        if seen.comparison is not None:
            self.now |= seen.comparison.facts()
        bad = [f"{name} is {value}" for name, value in {**facts, "the gradient's norm": norm}.items() if not math.isfinite(value)]
        fleeting: dict[str, Any] = {"not_finite": f"{' and '.join(bad)} at learning rate {self.pupil.update.lr:g}"} if bad else {}
        doubt = {"mismatch-ratio", "mismatch-kl", "mismatch-ess"} & {t.name for t, _ in self.holding("update", self._line())}
        if self.on("sampling") and seen.comparison is not None and (doubt or self.now.get("undrawn", 0)):
            fleeting["explained"] = evidence.explain(self.pupil.policy, seen.mini, seen.comparison.noise_T)
        self.judge("update", **fleeting)

    def _line(self) -> Line:
        return {"step": self.run.step, "watch": self.now}

    def close(self, line: dict[str, Any], groups: Sequence[Group], scores: Scores) -> dict[str, Any]:
        """The metrics line with its evidence, what holds, and the warnings that are new. `groups`: those that solved a task."""
        if (rates := evidence.rates(groups, scores)) is not None:
            self.now["rates"] = rates
        found = self.holding("step", {**line, "watch": self.now})
        before = self.lines[-1]["watch"]["holding"] if self.lines else []
        line["watch"] = {**self.now, "holding": [t.name for t, _ in found]}
        fresh = {t.name: message(t, seen) for t, seen in found if t.name not in before}
        if fresh:
            line["warnings"] = fresh
        self.lines.append(line)
        return line

    # Outside of a step.

    def resumed(self, record: Mapping[str, Any] | None) -> None:
        """After a restore: is everything as the last metrics line and the last commit say?"""
        if not self.lines:
            return
        run, was = self.run, self.lines[-1]["digest"]
        pupil = self.pupil
        again = {"weights": pupil.digest_weights(like=was["weights"]), "optimiser": pupil.digest_optimiser(like=was["optimiser"])}
        lost = [name for name, now in again.items() if was[name] != now]
        if record is not None:
            lost += [f"state of the {name}" for name, state in record["state"].items() if run.state.get(name) != state]
            lost += ["ledger"] if Ledger(**record["ledger"]) != run.ledger else []
        self.judge("resume", lost=lost)

    def end(self) -> list[tuple[Tripwire, str]]:
        """At the end of a run: what only its siblings can show, as messages."""
        line = {"step": self.run.step, "watch": {"twins": twins(self.run.directory)}}
        return [(tripwire, message(tripwire, seen)) for tripwire, seen in self.holding("end", line)]

    def broken(self, why: str) -> NoReturn:
        """The policy's own numbers are no numbers: nothing can be sampled."""
        self._stop([(BY_NAME["not-finite"], why)])


class Minibatch:
    """What `learning.backward` shows of one minibatch."""

    def __init__(self, watch: Watch, mini: Batch, first: bool):
        self.watch, self.mini, self.misplaced = watch, mini, 0
        self.comparison: evidence.Comparison | None = None
        if first and HOLDS[FRESH](watch) and HOLDS[OWN](watch):
            noise_T: Tensor | None = None
            if HOLDS[NOISE](watch):
                noise_T = evidence.noise(watch.pupil.engine, watch._rollouts, mini)
            self.comparison = evidence.Comparison(noise_T)

    @property
    def want(self) -> frozenset[str]:
        return self.comparison.want if self.comparison is not None else frozenset()

    def masks(self, masks: Mapping[str, Tensor]) -> None:
        if self.watch.on("mask"):
            self.misplaced = evidence.misplaced(self.watch.run.method, self.watch._rollouts, self.watch._fates, self.mini, masks)

    def see(self, micro: Batch, moving: Mapping[str, Tensor], at_T: Tensor) -> None:
        if self.comparison is not None:
            self.comparison.see(micro, moving, at_T)


def _fresh(watch: Watch) -> bool:
    return getattr(watch.run.method.feed, "fresh", False)


def _channels(run: Run) -> list[str]:
    """What the reward is made of."""
    return [name[:-2] for name in run.method.reward.reads if name.endswith("_R")]


def _grader(run: Run) -> dict[str, float | None]:
    """The grader's limit is a field of the recipe, unless the tripwire is set by name."""
    return {} if "grader=" in run.recipe.tripwire.replace("constant-grader=", "") else {"grader": run.recipe.grader_limit}
