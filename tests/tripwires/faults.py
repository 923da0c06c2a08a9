"""Faults, planted one at a time in a real run: by replacing the very place of the code that would be wrong.

A fault says which tripwire must fire, and how many updates after the first at which it exists; one that no tripwire sees
says so. Thresholds are those of every run. `play` runs it and tells what fired when.

    python -m tests.tripwires.faults            plays all of them and writes the table in docs/tripwires.md
    python -m tests.tripwires.faults 10 20      only these, by number
"""

from __future__ import annotations

import copy
import functools
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from strop import grading, learning, train
from strop.batch import Batch
from strop.engines import draw as drawing
from strop.engines import embedded
from strop.loop import Run
from strop.methods.grpo import GRPO
from strop.policies import causal, families, likelihood
from strop.recipe import Recipe
from strop.records import Row, Sampling
from strop.run import create, resume
from strop.seams.objective import entropy_bonus
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.source import Graded
from strop.tripwires import BY_NAME, Tripped
from strop.tripwires.sees import WINDOW

torch.set_num_threads(1)

PAGE = Path(__file__).parents[2] / "docs" / "tripwires.md"
BASE = Recipe(model="pico", task="chain", steps=4, tasks=8, group=4, max_tokens=24, eval_tasks=0, slots=32, checkpoint_every=100)
LONG = BASE.but(steps=18, tasks=4, group=6, task="path")
LEARNS = BASE.but(task="skewed", tasks=4, steps=3, max_tokens=16)
JUMPS = {"onset": 4, "within": 5, "recipe": BASE.but(steps=9, task="skewed")}


@dataclass(frozen=True)
class Fault:
    name: str
    size: str
    """gross or mild"""
    plant: Callable[[Run, pytest.MonkeyPatch], None]
    fires: str | None
    """The tripwire, or None when it goes unseen."""
    onset: int = 0
    """The first step at which it exists."""
    within: int = 2
    """Updates in which it must fire."""
    recipe: Recipe = BASE
    resumed_at: int | None = None
    """Stop here, plant, resume: for faults of a checkpoint."""
    siblings: bool = False
    """Play a clean run with another seed beside it first."""


FAULTS: list[Fault] = []


def fault(name: str, size: str, fires: str | None, **more: Any) -> Callable[[Any], Any]:
    def keep(plant: Callable[..., None]) -> Callable[..., None]:
        FAULTS.append(Fault(name, size, plant, fires, **more))
        return plant

    return keep


def variants(*sizes: tuple[Any, ...]) -> Callable[[Any], Any]:
    """One planting with several strengths: (value, name, size, fires, more)."""

    def keep(plant: Callable[..., None]) -> Callable[..., None]:
        for value, name, size, fires, *more in sizes:
            FAULTS.append(Fault(name, size, functools.partial(plant, value=value), fires, **(more[0] if more else {})))
        return plant

    return keep


class Enough(Exception):
    """What was to be seen has been seen."""


@dataclass
class Played:
    fired: tuple[str, ...] = ()
    updates: int | None = None
    """Updates made since the first at which the fault existed, when it fired."""
    message: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)


def play(fault: Fault, directory: Path) -> Played:
    """The run with the fault in it, until something fires or its steps are done."""
    played = Played()

    def show(line: dict[str, Any]) -> None:
        played.lines.append(line)
        for name, said in line.get("warnings", {}).items():
            played.fired, played.message = (name, *played.fired), said
            played.updates = line["step"] + 1 - fault.onset
            if name == fault.fires:
                raise Enough

    if fault.siblings:
        create(fault.recipe.but(seed=1), directory / "sibling").train()
    run = create(fault.recipe, directory / "run")
    with pytest.MonkeyPatch.context() as patch:
        try:
            if fault.resumed_at is not None:
                run = _stopped(run, fault.resumed_at)
                fault.plant(run, patch)
                run = resume(run.directory, say=lambda _: None)
            else:
                fault.plant(run, patch)
            run.train(show)
        except Enough:
            pass
        except Tripped as stop:
            played.fired, played.message = stop.names, str(stop)
            played.updates = max(run.step - (fault.resumed_at or fault.onset), 0)
    if fault.siblings and not played.fired and (found := run.watch.end()):
        played.fired, played.updates = tuple(t.name for t, _ in found), 0
        played.message = found[0][1]
    return played


def _stopped(run: Run, at: int) -> Run:
    def show(line: dict[str, Any]) -> None:
        if line["step"] + 1 == at:
            raise Enough

    try:
        run.train(show)
    except Enough:
        run.checkpoint()
    return run


# The engine's weights.


def _own_copy(run: Run) -> Any:
    """An engine with weights of its own, as a server has them; gives its model."""
    model = copy.deepcopy(run.policy.model)
    run.actor.engine = embedded.EmbeddedEngine(
        model, run.policy.tokenizer, seed=run.recipe.seed, slots=run.recipe.slots, eos_ids=run.policy.eos
    )  # fmt: skip
    run.actor.handle = replace(run.handle, engine=run.engine)
    return model


def _copy_weights(source: Any, target: Any) -> None:
    target.load_state_dict(source if isinstance(source, dict) else source.state_dict())


def _snapshot(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@fault("weights are never delivered to the engine", "gross", "undelivered-weights", onset=1)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _own_copy(run)


@fault("joined projections of the fast path are never rebuilt", "mild", "stale-weights", onset=1)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(families.Fast, "refresh", lambda self: None)


@fault("weights arrive one update late", "mild", "stale-weights", onset=1)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    model = _own_copy(run)
    deliver, waiting = run.engine.deliver, [_snapshot(run.policy.model)]

    def late(version: int) -> None:
        _copy_weights(waiting.pop(), model)
        waiting.append(_snapshot(run.policy.model))
        deliver(version)

    run.engine.deliver = late


@fault("from the third update on the engine holds the weights of the first", "gross", "stale-weights", onset=3)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    model = _own_copy(run)
    deliver, first = run.engine.deliver, []

    def back(version: int) -> None:
        first.extend([] if first else [_snapshot(run.policy.model)])
        _copy_weights(first[0] if version >= 3 else run.policy.model, model)
        deliver(version)

    run.engine.deliver = back


@fault("weights arrive one update late, at a learning rate of 1e-8", "mild", "stale-weights", recipe=BASE.but(lr=1e-8), onset=1)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    next(f for f in FAULTS if f.name == "weights arrive one update late").plant(run, patch)


# Sampling and its log-probability.


def _draws(patch: pytest.MonkeyPatch, drawn: Sampling | None, recorded: Sampling | None) -> None:
    """The engine draws with one sampling and records the log-probability of another; None is the one asked for."""
    real = drawing.draw

    def crooked(logits: torch.Tensor, uniform: Any, sampling: Sampling, row: Any) -> tuple[Any, Any]:
        token, _ = real(logits, uniform, drawn or sampling, row)
        logp = drawing.logp_of(logits[torch.from_numpy(row)], torch.from_numpy(token), recorded or sampling)
        return token, logp.numpy()

    patch.setattr(drawing, "draw", crooked)


PLAIN = Sampling()


@variants(
    (0.5, "drawn at temperature 0.5, everything says 1", "gross", "sampling"),
    (0.9, "drawn at temperature 0.9, everything says 1", "mild", "sampling"),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    _draws(patch, Sampling(temperature=value), None)


def _at(temperature: float) -> dict[str, Any]:
    sampler = replace(GRPO.sampler, sampling=Sampling(temperature=temperature))
    return {"recipe": BASE.but(method=GRPO.but(sampler=sampler))}


@variants(
    (0.5, "temperature 0.5 in the recipe, missing from the engine's log-probability", "gross", "sampling", _at(0.5)),
    (0.9, "temperature 0.9 in the recipe, missing from the engine's log-probability", "mild", "sampling", _at(0.9)),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    _draws(patch, None, PLAIN)


@variants(
    (0.5, "temperature 0.5 in the recipe, missing from the learner's log-probability", "gross", "sampling", _at(0.5)),
    (0.9, "temperature 0.9 in the recipe, missing from the learner's log-probability", "mild", "sampling", _at(0.9)),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    patch.setattr(likelihood.Draws, "apply_", lambda self, logits: logits)


@variants(
    (0.5, "drawn with top-p 0.5, everything says 1", "gross", "sampling"),
    (0.95, "drawn with top-p 0.95, everything says 1", "mild", "sampling"),
    (0.999, "drawn with top-p 0.999, everything says 1", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    _draws(patch, Sampling(top_p=value), PLAIN)


@fault("drawn with top-p 0.95 and recorded with it, the learner knows of none", "mild", "sampling")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _draws(patch, Sampling(top_p=0.95), Sampling(top_p=0.95))


@fault("drawn with top-k 4, everything says none", "mild", "sampling")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _draws(patch, Sampling(top_k=4), PLAIN)


def _recorded_off(patch: pytest.MonkeyPatch, off: Callable[[Any], Any]) -> None:
    real = drawing.draw

    def crooked(logits: torch.Tensor, uniform: Any, sampling: Sampling, row: Any) -> tuple[Any, Any]:
        token, logp = real(logits, uniform, sampling, row)
        return token, logp + off(token).astype("float32")

    patch.setattr(drawing, "draw", crooked)


@variants(
    (0.5, "the engine's log-probabilities are off by 0.5 either way", "gross", "mismatch-ratio"),
    (0.06, "the engine's log-probabilities are off by 0.06 either way", "mild", "mismatch-ratio"),
    (0.04, "the engine's log-probabilities are off by 0.04 either way", "mild", "mismatch-ess"),
    (0.001, "the engine's log-probabilities are off by 0.001 either way", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    _recorded_off(patch, lambda token: value * (2 * (token % 2) - 1))


@fault("the engine's log-probabilities are 0.047 too low", "mild", "mismatch-kl")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _recorded_off(patch, lambda token: 0 * token - 0.047)


@fault("the engine computes in bfloat16", "mild", "stale-weights")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    model = _own_copy(run).bfloat16()
    deliver = run.engine.deliver

    def send(version: int) -> None:
        _copy_weights(run.policy.model, model)
        deliver(version)

    run.actor.engine = embedded.EmbeddedEngine(model, run.policy.tokenizer, seed=0, slots=32, eos_ids=run.policy.eos)
    run.actor.handle = replace(run.handle, engine=run.engine)
    deliver, run.engine.deliver = run.engine.deliver, send


# Masks.


def _packed(patch: pytest.MonkeyPatch, change: Callable[[Batch], Batch]) -> None:
    real = train.pack
    patch.setattr(train, "pack", lambda *a: change(real(*a)))


@fault("inverted mask: the prompt is trained instead of the reply", "gross", "mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    def swap(batch: Batch) -> Batch:
        rows = tuple(replace(row, at=tuple(1 + i % (row.at[0] - 1) for i in range(len(row.at)))) for row in batch.rows)
        return replace(batch, rows=rows)

    _packed(patch, swap)


@fault("inverted mask: no action is trained", "gross", "empty-mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    real = Batch.selected
    patch.setattr(Batch, "selected", lambda self, *a: ~real(self, *a))


@fault("one row of the batch trains each token's neighbour", "mild", "mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    def shift(batch: Batch) -> Batch:
        first = replace(batch.rows[0], at=tuple(p - 1 for p in batch.rows[0].at))
        return replace(batch, rows=(first, *batch.rows[1:]))

    _packed(patch, shift)


@fault("one masked token is shifted", "mild", "mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    real = Batch.selected

    def shifted(self: Batch, *a: Any) -> torch.Tensor:
        mask = real(self, *a).clone()
        mask[int(mask.nonzero()[0])] = False
        return mask

    patch.setattr(Batch, "selected", shifted)


@fault("the learner scores each decision one position too late", "gross", "mismatch-ratio")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    real = causal.CausalPolicy._read

    def late(self: Any, batch: Batch, *a: Any, **how: Any) -> Any:
        moved = tuple(replace(row, at=tuple(min(p + 1, len(row.tokens) - 1) for p in row.at)) for row in batch.rows)
        return real(self, replace(batch, rows=moved), *a, **how)

    patch.setattr(causal.CausalPolicy, "_read", late)


def _resampled(patch: pytest.MonkeyPatch, change: Callable[[Any, int, int, Run], Any], run: Run) -> None:
    """Every rollout of the sampler, changed: (rollout, number of its group, number in the group)."""
    real, seen = Independent.__call__, []

    async def crooked(self: Any, task: Any, environment: Any, ctx: Any) -> Any:
        number = len(seen)
        seen.append(task)
        groups = await real(self, task, environment, ctx)
        return [replace(g, rollouts=tuple(change(r, number, i, run) for i, r in enumerate(g.rollouts))) for g in groups]

    patch.setattr(Independent, "__call__", crooked)


def _untrained(rollout: Any, *_: Any) -> Any:
    return replace(rollout, rows=tuple(Row(row.segments, frozenset()) for row in rollout.rows))


@fault("rows name nothing to train", "gross", "empty-mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _resampled(patch, _untrained, run)


@fault("the rows of one group in eight name nothing to train", "mild", "empty-mask")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _resampled(patch, lambda r, group, i, run: _untrained(r) if group % 8 == 0 else r, run)


# Denominators.


@variants((False, "each pass divides by its own counts, and passes are summed", "gross", "denominators"),
          (True, "each pass divides by its own counts, and passes are averaged", "mild", "denominators"))  # fmt: skip
def _(run: Run, patch: pytest.MonkeyPatch, value: bool) -> None:
    real, micros, passes = learning._share_here, Batch.micros, [1]

    def counted(self: Batch, *a: Any) -> list[list[int]]:
        found = micros(self, *a)
        passes[0] = len(found)
        return found

    def own(*a: Any) -> torch.Tensor:
        share = real(*a)
        return share / share.sum() / (passes[0] if value else 1)

    patch.setattr(Batch, "micros", counted)
    patch.setattr(learning, "_share_here", own)


# Re-tokenised turns.


def _again(rollout: Any, group: int, i: int, run: Run) -> Any:
    """Its text, stripped and encoded again; nobody knows the log-probabilities."""
    prompt, action = rollout.rows[0].segments
    tokens = run.policy.renderer.reply(rollout.text.strip().replace("\n", " "))
    return replace(rollout, rows=(Row.of(prompt, replace(action, tokens=tokens, logp=None)),))


def _one_token(rollout: Any, group: int, i: int, run: Run) -> Any:
    """One token of one rollout comes back as another."""
    prompt, action = rollout.rows[0].segments
    if group % 8 or i:
        return rollout
    return replace(rollout, rows=(Row.of(prompt, replace(action, tokens=(action.tokens[0] ^ 1, *action.tokens[1:]))),))


def _stripped(rollout: Any, group: int, i: int, run: Run) -> Any:
    """The template writes the prompt of one rollout again, without its last token."""
    prompt, action = rollout.rows[0].segments
    return rollout if group % 8 or i else replace(rollout, rows=(Row.of(replace(prompt, tokens=prompt.tokens[:-1]), action),))


@variants(
    (_again, "every reply is decoded and encoded again", "gross", "retokenised"),
    (_one_token, "one token of one reply comes back as another", "mild", "retokenised"),
    (_stripped, "one prompt is rendered again without its last token", "mild", "retokenised"),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: Any) -> None:
    _resampled(patch, value, run)


# Graders.


def _graded(run: Run, patch: pytest.MonkeyPatch, change: Callable[[Any, str, Graded, int], Graded]) -> None:
    real, calls = type(run.source).grade, [0]

    def crooked(self: Any, task: Any, text: str) -> Graded:
        calls[0] += 1
        return change(task, text, real(self, task, text), calls[0] - 1)

    patch.setattr(type(run.source), "grade", crooked)


@fault("the grader hangs", "gross", "grader")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grading, "grade", functools.partial(grading.grade, seconds=0.2))
    _graded(run, patch, lambda task, text, score, call: time.sleep(1) or score)


@fault("the grader dies", "gross", "grader")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _graded(run, patch, lambda task, text, score, call: Graded({}["gone"]))


@fault("the grader returns NaN", "gross", "grader")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _graded(run, patch, lambda task, text, score, call: Graded({"outcome": float("nan")}))


@variants(
    (4, "one group in eight is graded None", "mild", "grader"),
    (1, "one rollout in 32 is graded None", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: int) -> None:
    _graded(run, patch, lambda task, text, score, call: Graded({"outcome": None}) if call % 32 < value else score)


@variants((0.0, "the grader answers 0 for everything", "gross", "constant-grader"),
          (1.0, "the grader answers 1 for everything", "gross", "constant-grader"))  # fmt: skip
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    _graded(run, patch, lambda task, text, score, call: Graded({"outcome": value, "lenient": value}))


@fault("the grader answers 0 for one task in two", "mild", None)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    _graded(run, patch, lambda task, text, score, call: score if int(task.id, 16) % 2 else Graded({"outcome": 0.0, "lenient": 0.0}))


@fault("nobody solves a task", "gross", "no-spread", within=8, recipe=LONG)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    golds = functools.cache(run.source.gold)
    _graded(run, patch, lambda task, text, score, call: Graded({"outcome": float(text == golds(task) + " "), "lenient": 0.0}))
    gold = type(run.source).gold
    patch.setattr(type(run.source), "gold", lambda self, task: gold(self, task) + " ")


# Numbers that are none.


@fault("a weight becomes NaN", "gross", "not-finite", onset=1)
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    apply = run.learner.apply

    def breaks(fraction: float) -> None:
        apply(fraction)
        with torch.no_grad():
            next(iter(run.learner.named.values())).view(-1)[:].fill_(float("nan"))

    run.learner.apply = breaks


@fault("the credit of one token is NaN", "mild", "not-finite")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    real = learning.settle

    def breaks(method: Any, batch: Batch, fraction: float) -> Batch:
        settled = real(method, batch, fraction)
        settled.tracks["credit_T"][0] = float("nan")
        return settled

    patch.setattr(train, "settle", breaks)


@fault("one entry of one gradient is infinite", "mild", "not-finite")
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    real = learning.backward

    def breaks(*a: Any) -> dict[str, float]:
        facts = real(*a)
        found = next(p for p in run.learner.named.values() if p.grad is not None) if torch.is_grad_enabled() else None
        if found is not None:
            found.grad.view(-1)[0] = float("inf")
        return facts

    patch.setattr(learning, "backward", breaks)


# What a checkpoint leaves out.


def _after_restore(patch: pytest.MonkeyPatch, change: Callable[[Run], None]) -> None:
    real = Run.restore

    def crooked(self: Run, path: Path) -> None:
        real(self, path)
        change(self)

    patch.setattr(Run, "restore", crooked)


def _no_optimiser(run: Run) -> None:
    run.learner.optimiser.state.clear()


def _one_moment(run: Run) -> None:
    next(iter(run.learner.optimiser.state.values()))["exp_avg"].zero_()


def _curriculum(run: Run) -> None:
    run.state = {"curriculum": run.method.curriculum.init(run.source)}


def _curriculum_late(run: Run) -> None:
    run.state = {"curriculum": {"drawn": run.state["curriculum"]["drawn"] - run.method.tasks}}


def _ledger(run: Run) -> None:
    run.ledger = type(run.ledger)()


@variants(
    (_no_optimiser, "the optimiser's state is lost on resume", "gross", "lost-state", {"resumed_at": 2}),
    (_one_moment, "one moment of one weight is lost on resume", "mild", "lost-state", {"resumed_at": 2}),
    (_curriculum, "the curriculum starts again on resume", "gross", "lost-state", {"resumed_at": 2}),
    (_curriculum_late, "the curriculum is one update old on resume", "mild", "lost-state", {"resumed_at": 2}),
    (_ledger, "the ledger of tasks is lost on resume", "mild", "lost-state", {"resumed_at": 2}),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: Any) -> None:
    _after_restore(patch, value)


# Windows.


@variants(
    (1, "the credit of every token is lost on its way to the loss", "gross", "no-gradient", {"within": 3, "recipe": LEARNS}),
    (2, "the credit is lost in every second step", "mild", None, {"recipe": LEARNS}),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: int) -> None:
    real = learning.settle

    def loses(method: Any, batch: Batch, fraction: float) -> Batch:
        settled = real(method, batch, fraction)
        return settled.with_(credit_T=0 * settled.tracks["credit_T"]) if run.step % value == 0 else settled

    patch.setattr(train, "settle", loses)


@variants(
    (100, "after four steps the learning rate is a hundred times too high", "gross", "outcome-collapse", JUMPS),
    (2, "after four steps the learning rate is twice as high", "mild", None, JUMPS),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    apply, calm = run.learner.apply, run.learner.update
    hot = replace(calm, lr=value * calm.lr)

    def jumps(fraction: float) -> None:
        run.learner.update = hot if run.step >= 4 else calm
        apply(fraction)

    run.learner.apply = jumps


@variants(
    (3.0, "certainty is rewarded", "gross", "entropy-collapse", {"within": 15, "recipe": LONG.but(lr=3e-3)}),
    (0.05, "certainty is rewarded a little", "mild", None, {"recipe": LONG}),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    certain = Signal(entropy_bonus(), reduce=means("token"), weight=-value)
    run.method = run.learner.method = run.method.but(signals={"certain": certain})


def _from(run: Run, step: int, generate: Callable[..., Any], **changes: Any) -> None:
    real = run.engine.generate
    run.engine.generate = lambda node, **k: real(node, **(k | changes if run.step >= step else k))


@variants(
    (2, "from the seventh step on a reply stops after two tokens", "gross", "length-collapse"),
    (7, "from the seventh step on a reply stops after seven tokens", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: int) -> None:
    _from(run, 6, run.engine.generate, max=value)


@variants(
    (1, "from the seventh step on the engine does not know the end token", "gross", "runaway-length"),
    (4, "from the seventh step on the engine forgets the end token in one step of four", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: int) -> None:
    begin, ends = run.engine.begin, run.engine._ends_V.copy()

    def forgets(step: int) -> None:
        begin(step)
        run.engine._ends_V[:] = ends & (step < 6 or step % value != 0)

    run.engine.begin = forgets


@variants(
    (2, "from the seventh step on the strict parse misses every second right answer", "gross", "format-gap"),
    (10, "from the seventh step on the strict parse misses one in ten", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: int) -> None:
    def strict(task: Any, text: str, score: Graded, call: int) -> Graded:
        right = float(call % 2)
        return Graded({"outcome": 0.0 if run.step >= 6 and call // 2 % value == 0 else right, "lenient": right})

    _graded(run, patch, strict)


@variants(
    (1.0, "what opens a user's turn is as likely as a plus sign", "gross", "forged-turn"),
    (0.1, "what opens a user's turn is possible everywhere", "mild", None),
)
def _(run: Run, patch: pytest.MonkeyPatch, value: float) -> None:
    tokenizer, table = run.policy.tokenizer, run.policy.model.get_input_embeddings().weight
    (mark, *_), (plus, *_) = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("<|user|>", "+"))
    with torch.no_grad():
        table[mark] = value * table[plus]
    run.engine.deliver(run.version)


# Across runs.


@fault("the seed reaches nothing", "gross", "dead-seed", siblings=True, recipe=BASE.but(steps=2))
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    object.__setattr__(run.recipe, "seed", 1)
    run.engine.seed = 1


@fault("the seed reaches the tasks but not the sampling", "mild", None, siblings=True, recipe=BASE.but(steps=2))
def _(run: Run, patch: pytest.MonkeyPatch) -> None:
    run.engine.seed = 1


FAULTS[:] = [replace(f, onset=6, within=2 * WINDOW, recipe=LONG) if "seventh step" in f.name else f for f in FAULTS]


# The table.


def row(fault: Fault, played: Played) -> str:
    fired = f"`{played.fired[0]}`" if played.fired else "unseen"
    more = ", ".join(f"`{name}`" for name in played.fired[1:])
    level = BY_NAME[played.fired[0]].level if played.fired else ""
    updates = "" if played.updates is None else str(played.updates)
    return f"| {fault.name} | {fault.size} | {fired} | {level} | {updates} | {more} |"


def rows_on_page() -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if re.match(r"\| .* \| (gross|mild) \|", line)]


def write_page(first: int, last: int) -> None:
    """Play the faults [first, last) and write their rows; the others keep theirs."""
    begin, end = "<!-- faults: begin -->", "<!-- faults: end -->"
    head = "| fault | size | fires | level | after updates | also |\n|---|---|---|---|---|---|"
    made = {line.split(" | ")[0].removeprefix("| "): line for line in rows_on_page()}
    for one in FAULTS[first:last]:
        with tempfile.TemporaryDirectory() as place:
            made[one.name] = row(one, play(one, Path(place)))
        print(made[one.name], file=sys.stderr, flush=True)
    rows = [made[one.name] for one in FAULTS if one.name in made]
    page = PAGE.read_text()
    before, after = page.partition(begin)[0], page.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n{head}\n" + "\n".join(rows) + f"\n{end}{after}")


if __name__ == "__main__":
    from tests.tripwires import faults

    first, last = (int(n) for n in (sys.argv[1:3] or ("0", "1000")))
    faults.write_page(first, last)
