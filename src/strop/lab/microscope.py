"""Microscope: what several methods would do to the same weights with the same recorded batch, without training.

A method's loss reads tracks (log-probability, entropy, value), one number per decision. Its gradient is therefore

    g = sum over decisions t of  w[t] * grad track[t]          w[t] = d loss / d track[t]

whatever its grain and however its parts interact. The weights w come from `learning.backward` itself, run on a policy whose decisions are
plain numbers; the model is then asked for w-weighted gradients only, several from one forward pass. A bucket's gradient g_b is the same
sum over its own decisions, and its share is <g_b, g> / <g, g>: the shares of a bucketing sum to 1, and one that pulls against
the rest is negative.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from strop import grading, learning
from strop.batch import Batch, pack
from strop.directory import RunError
from strop.learners.local import Local
from strop.loop import Run
from strop.method import Method
from strop.policies.causal import load
from strop.records import Fate, Group, Rollout, Scores
from strop.seams.gate import decide, finish
from strop.seams.mark import labelled, marked
from strop.seams.recorded import PAIR

KINDS = ("length", "correctness", "position", "staleness")
MOVING = ("logp_T", "entropy_T")
PARTS = 4
"""Buckets of length and of position."""


@dataclass(frozen=True)
class Bucket:
    kind: str
    name: str
    decisions: int


@dataclass(frozen=True)
class Reading:
    """One method's view of the batch."""

    method: Method
    loss: float
    norm: float
    weight_T: Tensor
    """d loss / d logp of every decision of the batch; 0 where the method trains nothing."""
    credit_T: Tensor
    shares: tuple[float | None, ...]
    """One per bucket; None where the whole gradient is zero."""
    norms: tuple[float, ...]

    def per_credit(self, mask_T: Tensor) -> float | None:
        """Mean of |weight| per unit of |credit| over some decisions: what averaging does, whatever was earned."""
        used_T = mask_T & (self.weight_T != 0) & (self.credit_T != 0)
        return (self.weight_T[used_T] / self.credit_T[used_T]).abs().mean().item() if bool(used_T.any()) else None


@dataclass(frozen=True)
class Sight:
    """What the microscope saw."""

    step: int
    batch: Batch
    groups: tuple[Group, ...]
    scores: Scores
    buckets: tuple[Bucket, ...]
    label_KT: Tensor
    """The bucket of each decision, one row per kind."""
    readings: tuple[Reading, ...]
    cosine: tuple[tuple[float | None, ...], ...]

    def exponent(self, reading: Reading) -> float | None:
        """p in: weight per unit of credit ~ length ** p, least squares over rollouts on logarithms. GRPO has -1, Dr. GRPO 0."""
        points: list[tuple[float, float]] = []
        rollout_T, length_R = self.batch.index.up("token", "rollout"), self.batch.facts["length_R"]
        for rollout in range(self.batch.index.size("rollout")):
            value = reading.per_credit(rollout_T == rollout)
            if value is not None:
                points.append((length_R[rollout].item(), value))
        if len({x for x, _ in points}) < 2:
            return None
        x, y = torch.tensor(points, dtype=torch.float64).log().unbind(1)
        x = x - x.mean()
        return ((x * y).sum() / x.square().sum()).item()

    def to_json(self) -> dict[str, Any]:
        """Everything but the text and the weights of single tokens."""
        return {
            "step": self.step,
            "decisions": self.batch.index.size("token"),
            "rollouts": self.batch.index.size("rollout"),
            "methods": [
                {
                    "name": r.method.name,
                    "fingerprint": r.method.fingerprint,
                    "loss": r.loss,
                    "norm": r.norm,
                    "decisions": int((r.weight_T != 0).sum()),
                    "exponent": self.exponent(r),
                }
                for r in self.readings
            ],
            "cosine": [list(row) for row in self.cosine],
            "buckets": [
                {
                    "kind": bucket.kind,
                    "bucket": bucket.name,
                    "decisions": bucket.decisions,
                    "methods": {
                        r.method.name: {
                            "share": r.shares[b],
                            "norm": r.norms[b],
                            "weight_per_credit": r.per_credit(self.label_KT[KINDS.index(bucket.kind)] == b),
                        }
                        for r in self.readings
                    },
                }
                for b, bucket in enumerate(self.buckets)
            ],
        }


class Numbers:
    """A policy whose decisions are numbers: after `learning.backward`, their gradients are d loss / d track."""

    def __init__(self, tracks: Mapping[str, Tensor]):
        self.tracks = {name: track.clone().requires_grad_() for name, track in tracks.items()}

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        """A number per rollout (`x_R`) is the mean of its decisions' numbers, so that each of them has its share of the slope."""
        found = {name: track[batch.tracks["place_T"]] for name, track in self.tracks.items()}
        per_rollout = (name for name in want if name.endswith("_R"))
        return found | {name: batch.index.mean(found[f"{name[:-1]}T"], "token", "rollout") for name in per_rollout}

    def slopes(self) -> dict[str, Tensor]:
        return {name: track.grad for name, track in self.tracks.items() if track.grad is not None and bool((track.grad != 0).any())}


def look(run: Run, methods: Sequence[Method]) -> Sight:
    """The methods on what trains the actor in the record of the run's step, under its weights as they stand: one minibatch."""
    record = run.record(run.step)
    if record is None:
        raise RunError(f"{run.directory} has no record of step {run.step}.")
    groups = run.actor.taught([Group.from_json(g) for g in record["groups"]])
    scores = Scores.from_json(record["scores"])
    methods = [method if run.own else method.off_policy() for method in methods]
    paired = [method.name for method in methods if method.paired]
    if paired and not any(group.role == PAIR for group in groups):
        raise ValueError(f"{paired[0]!r} learns from pairs, and step {run.step} of {run.directory} holds none: look at a run with pairs")
    for method in methods:
        for head in method.heads:
            if head.name not in run.policy.heads:
                run.policy.add_head(head)
    rollouts = {r.id: r for g in groups for r in g.rollouts}
    whole = pack(groups, {}, dict.fromkeys(rollouts, 0.0), run.version)
    want = frozenset({"logp_T"} | {name for method in methods for name in moving_of(method) if method.needs(name)})
    now, _ = run.learner.evaluate(whole, want | {"entropy_T"})
    now = per_decision(now, whole)
    if not run.foreign:
        run.check_drew(whole, now["logp_T"])
    learner = cast(Local, run.learner)
    if learner.reference is None and any(method.reference for method in methods):
        learner.reference = load(run.recipe.model, device=str(run.policy.device), chat=run.recipe.prompts, seed=run.recipe.seed)
    seen = [_weigh(run, method, marked(method.marks, groups, run.policy.renderer), scores, whole, now) for method in methods]
    buckets, label_KT = _buckets(whole, rollouts, scores)
    total_M, part_MB = _gradients(run, whole, [slopes for slopes, _, _ in seen], want, label_KT, len(buckets))
    readings = [
        _reading(method, loss, slopes, credit_T, total, part_B)
        for method, (slopes, credit_T, loss), total, part_B in zip(methods, seen, total_M, part_MB, strict=True)
    ]
    cosine = tuple(tuple(_cosine(a, b) for b in total_M) for a in total_M)
    return Sight(run.step, whole, tuple(groups), scores, buckets, label_KT, tuple(readings), cosine)


def moving_of(method: Method) -> tuple[str, ...]:
    return (*MOVING, *(head.track for head in method.heads))


def per_decision(tracks: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """With every number per rollout spread over the rollout's decisions."""
    index = batch.index
    return {f"{n[:-1]}T": t if n.endswith("_T") else index.spread(t, "rollout", "token") for n, t in tracks.items()}


def scored(run: Run, method: Method, groups: list[Group], scores: Scores) -> Scores:
    """The recorded scores, and what graders of the method's own that the run did not have say under the weights as they stand."""
    own = tuple(grader for grader in method.graders if grader not in run.method.graders)
    gives = {grader.gives for grader in own}
    kept = {unit: {name: v for name, v in channels.items() if name not in gives} for unit, channels in scores.values.items()}
    spans = {unit: {name: said for name, said in channels.items() if name not in gives} for unit, channels in scores.spans.items()}
    return labelled(Scores(kept, spans=spans), groups) | asyncio.run(grading.judged(own, groups, run.context()))


def _weigh(
    run: Run, method: Method, groups: list[Group], scores: Scores, whole: Batch, now: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor, float]:
    """(d loss / d track, credit, loss): the method's own reward, gate, credit and signals, at the places of the whole batch."""
    progress, key = run.context().progress, (run.recipe.seed, run.step)
    scores = scored(run, method, groups, scores)
    rewards = learning.reward_of(method, groups, scores, progress)
    fates: dict[str, Fate] = {}
    for group in groups:
        fates |= decide(method.role(group.role).gate, group, rewards, scores, key)
    for role, members in method.by_role(groups):
        fates |= finish(role.gate, members, fates, rewards, scores, key)
    batch = pack(groups, fates, rewards, run.version, scores)
    batch = learning.measure(method, batch, run.learner, Counter(), own=run.own)
    batch = learning.settle(method, batch.with_(place_T=_places(whole, batch)), progress.fraction)
    mine = [f"{name[:-1]}T" for name in moving_of(method)]
    numbers = Numbers({name: track for name, track in now.items() if name in mine})
    facts = learning.backward(method, batch, numbers, run.recipe.token_budget, progress.fraction, (*key, 0))
    earned_T = batch.tracks.get("credit_T", torch.zeros(len(batch.kind_T)))  # a loss over texts earns nothing
    credit_T = torch.zeros(whole.index.size("token")).index_put_((batch.tracks["place_T"],), earned_T.float())
    loss = sum(signal.weight_at(progress.fraction) * facts[f"loss/{name}"] for name, signal in method.signals.items())
    return numbers.slopes(), credit_T, loss


def _places(whole: Batch, batch: Batch) -> Tensor:
    """Where the decisions of a batch stand in the whole: its rollouts are some of the whole's, in the same order."""
    number = {unit: i for i, unit in enumerate(whole.units)}
    count_R = whole.index.count("token", "rollout")
    start_R = torch.cumsum(count_R, 0) - count_R
    pieces = [torch.arange(int(count_R[r])) + start_R[r] for r in (number[unit] for unit in batch.units)]
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.long)


def _buckets(whole: Batch, rollouts: Mapping[str, Rollout], scores: Scores) -> tuple[tuple[Bucket, ...], Tensor]:
    """All buckets of all kinds, and the number of each decision's bucket in each kind."""
    rollout_T = whole.index.up("token", "rollout")
    length_R = _length([rollouts[unit].length for unit in whole.units])
    verdict_R = [_verdict(scores.get(unit, "outcome")) for unit in whole.units]
    words = {
        "length": [length_R[r] for r in _ints(rollout_T)],
        "correctness": [verdict_R[r] for r in _ints(rollout_T)],
        "position": _quarter(rollout_T),
        "staleness": ["unknown" if age < 0 else f"{age} versions" for age in _ints(whole.tracks["age_T"].nan_to_num(-1).long())],
    }
    buckets: list[Bucket] = []
    label_KT = torch.zeros(len(KINDS), len(rollout_T), dtype=torch.long)
    for k, kind in enumerate(KINDS):
        names = sorted(set(words[kind]), key=lambda name: (_leading(name), name))
        number = {name: len(buckets) + i for i, name in enumerate(names)}
        label_KT[k] = torch.tensor([number[word] for word in words[kind]], dtype=torch.long)
        buckets += [Bucket(kind, name, words[kind].count(name)) for name in names]
    return tuple(buckets), label_KT


def _length(lengths: list[int]) -> list[str]:
    """Buckets with about equally many rollouts, named by the lengths they hold."""
    ordered = sorted(lengths)
    edges = sorted({ordered[len(ordered) * part // PARTS] for part in range(1, PARTS)}) if ordered else []
    of = [sum(length >= edge for edge in edges) for length in lengths]
    held = {bucket: [length for length, b in zip(lengths, of, strict=True) if b == bucket] for bucket in set(of)}
    ends = {b: (min(lengths), max(lengths)) for b, lengths in held.items()}
    return [f"{low} tokens" if low == high else f"{low} to {high} tokens" for low, high in (ends[b] for b in of)]


def _verdict(outcome: float | None) -> str:
    return "ungraded" if outcome is None else "right" if outcome >= 1 else "wrong" if outcome <= 0 else "partly right"


def _quarter(rollout_T: Tensor) -> list[str]:
    """Which quarter of its own rollout each decision lies in."""
    count_R = torch.bincount(rollout_T)
    start_R = torch.cumsum(count_R, 0) - count_R
    place_T = torch.arange(len(rollout_T)) - start_R[rollout_T]
    return [f"{part + 1}. quarter" for part in _ints(place_T * PARTS // count_R[rollout_T])]


def _leading(name: str) -> int:
    """Buckets named by a number stand in its order."""
    digits = name.replace(".", " ").split()[0]
    return int(digits) if digits.isdecimal() else 0


def _gradients(
    run: Run, whole: Batch, slopes_M: Sequence[Mapping[str, Tensor]], want: frozenset[str], label_KT: Tensor, buckets: int
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Each method's gradient and that of each bucket, in float64.

    Decisions that share all their buckets form a cell; one backward product per method and cell serves every kind. Rows with the same
    cells go through together, so that few cells meet in one pass.
    """
    parameters = list(run.policy.parameters().values())
    size = sum(p.numel() for p in parameters)
    part_MB = [[torch.zeros(size, dtype=torch.float64) for _ in range(buckets)] for _ in slopes_M]
    used_T = torch.zeros(whole.index.size("token"), dtype=torch.bool)
    for slopes in slopes_M:
        for slope_T in slopes.values():
            used_T |= slope_T != 0
    cells = {combination: number for number, combination in enumerate(sorted(set(_columns(label_KT))))}
    cell_T = torch.tensor([cells[combination] for combination in _columns(label_KT)], dtype=torch.long)
    for rows in _alike(whole, cell_T, used_T):
        part = whole.take(rows)
        at_T = whole.index.rows(torch.tensor(rows))[1]
        for passed in part.micros(run.recipe.token_budget, "token", used_T[at_T]):
            here_T = at_T[part.index.rows(torch.tensor(passed))[1]]
            micro = part.take(passed)
            moving = per_decision(run.policy.evaluate(micro, want), micro)
            for slopes, part_B in zip(slopes_M, part_MB, strict=True):
                for combination, cell in cells.items():
                    inside_T = cell_T[here_T] == cell
                    gradient = _product(moving, {name: slope_T[here_T] * inside_T for name, slope_T in slopes.items()}, parameters)
                    if gradient is not None:
                        for bucket in combination:
                            part_B[bucket] += gradient
    first = range(int(label_KT[0].max()) + 1) if label_KT.shape[1] else range(0)
    total_M = [sum((part_B[b] for b in first), torch.zeros(size, dtype=torch.float64)) for part_B in part_MB]
    return total_M, part_MB


def _alike(whole: Batch, cell_T: Tensor, used_T: Tensor) -> list[list[int]]:
    """Rows with a used decision, by the cells they hold."""
    cells: dict[int, set[int]] = {}
    for row, cell in zip(_ints(whole.index.row_T[used_T]), _ints(cell_T[used_T]), strict=True):
        cells.setdefault(row, set()).add(cell)
    alike: dict[frozenset[int], list[int]] = {}
    for row, held in sorted(cells.items()):
        alike.setdefault(frozenset(held), []).append(row)
    return list(alike.values())


def _product(moving: Mapping[str, Tensor], slopes: Mapping[str, Tensor], parameters: list[torch.nn.Parameter]) -> Tensor | None:
    """Sum over decisions of slope * grad track, flat; None where nothing is pushed."""
    pushed = {name: slope_T for name, slope_T in slopes.items() if bool((slope_T != 0).any())}
    if not pushed:
        return None
    tracks = [moving[name] for name in pushed]
    weights = [slope_T.to(track.dtype) for slope_T, track in zip(pushed.values(), tracks, strict=True)]
    found = torch.autograd.grad(tracks, parameters, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1).double().cpu() for gradient in found])


def _reading(method: Method, loss: float, slopes: Mapping[str, Tensor], credit_T: Tensor, total: Tensor, part_B: list[Tensor]) -> Reading:
    square = float(total @ total)
    shares = tuple(float(part @ total) / square if square else None for part in part_B)
    weight_T = slopes.get("logp_T", torch.zeros_like(credit_T))
    return Reading(method, loss, square**0.5, weight_T, credit_T, shares, tuple(float(part @ part) ** 0.5 for part in part_B))


def _cosine(a: Tensor, b: Tensor) -> float | None:
    norms = (float(a @ a) * float(b @ b)) ** 0.5
    return float(a @ b) / norms if norms else None


def _ints(numbers: Tensor) -> list[int]:
    return numbers.tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _columns(label_KT: Tensor) -> list[tuple[int, ...]]:
    """Of each decision, its bucket in every kind."""
    return list(zip(*(_ints(label_T) for label_T in label_KT), strict=True))
