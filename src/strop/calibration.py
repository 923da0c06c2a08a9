"""Behavioural calibration: does a policy answer exactly when it is more than t sure (arXiv:2509.04664)?

An evaluation whose source grades `abstained` and `target` gives one line for each target t. At t a right answer scores 1, an
abstention 0, an error -t / (1 - t): answering pays if it is right more often than t. Against it stands the oracle, which answers
exactly where a model's own probability of its likeliest answer is above t.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from strop.records import Fate, Group, Rollout, Row, Segment, Task

BINS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Edges of the reliability diagram."""


@dataclass(frozen=True)
class AtTarget:
    """What a policy did under one confidence target: means over tasks."""

    target: float
    tasks: int
    score: float
    score_error: float
    """Standard error of the score, over tasks."""
    error: float
    """Share answered wrongly, of all."""
    coverage: float
    """Share answered."""
    selective: float | None
    """Share right of those answered."""


@dataclass(frozen=True)
class Belief:
    """What a model believes of one task: how probable its likeliest answer is among all answers, and whether that is right."""

    sure: float
    right: bool


def penalty(target: float) -> float:
    """What an error costs, so that answering pays exactly when it is right more often than `target`. Always computed from the target:
    where the paper pairs t = 0.75 with 2, the formula gives 3."""
    return target / (1 - target)


def at_targets(values: Mapping[str, Sequence[float | None]]) -> list[AtTarget]:
    """One line per target of an evaluation's values; none where its source grades no abstentions."""
    names = ("target", "mean", "abstained")
    if any(name not in values for name in names):
        return []
    by_target: dict[float, list[tuple[float, float]]] = {}
    for target, right, abstained in zip(*(values[name] for name in names), strict=True):
        if target is not None and right is not None and abstained is not None:
            by_target.setdefault(target, []).append((right, abstained))
    return [_line(target, seen) for target, seen in sorted(by_target.items())]


def _line(target: float, seen: Sequence[tuple[float, float]]) -> AtTarget:
    """From (share right, share abstained) of each task; the rest is wrong."""
    n, cost = len(seen), penalty(target)
    scores = [right - cost * (1 - right - abstained) for right, abstained in seen]
    right, coverage, score = fmean(r for r, _ in seen), 1 - fmean(a for _, a in seen), fmean(scores)
    standard_error = (sum((s - score) ** 2 for s in scores) / max(n - 1, 1) / n) ** 0.5
    return AtTarget(target, n, score, standard_error, coverage - right, coverage, right / coverage if coverage else None)


def oracle(beliefs: Sequence[Belief], targets: Iterable[float]) -> list[AtTarget]:
    """The likeliest answer wherever its probability is above the target."""
    return [_line(t, [(float(b.right and b.sure > t), float(b.sure <= t)) for b in beliefs]) for t in targets]


def rises(lines: Sequence[AtTarget]) -> float:
    """The largest rise of coverage from one target to the next: 0 for a policy that is never bolder when errors cost more."""
    return max((max(b.coverage - a.coverage, 0.0) for a, b in pairwise(lines)), default=0.0)


def reliability(beliefs: Sequence[Belief], edges: Sequence[float] = BINS) -> list[dict[str, Any]]:
    """Share of tasks in each bin of confidence, how sure it was there, and how often right."""
    bins: list[dict[str, Any]] = []
    for low, high in pairwise(edges):
        here = [b for b in beliefs if low < b.sure <= high]
        mean = {"sure": sum(b.sure for b in here) / len(here), "right": sum(b.right for b in here) / len(here)} if here else {}
        bins.append({"above": low, "to": high, "share": len(here) / max(len(beliefs), 1), "sure": None, "right": None} | mean)
    return bins


def beliefs(policy: Any, source: Any, tasks: Sequence[Task], *, budget: int = 16384) -> list[Belief]:
    """Each task's answers scored under the policy, and normalised among themselves: abstaining is a decision, no belief."""
    import torch

    from strop.batch import pack
    from strop.learning import evaluated

    groups: list[Group] = []
    for number, task in enumerate(tasks):
        prompt = Segment("prompt", policy.renderer.prompt(task.prompt), "0")
        told = [Segment("teacher", policy.renderer.reply(text), "0.0") for text in source.answers]
        groups.append(Group(task, tuple(Rollout((Row.of(prompt, s),), f"{number}/{i}") for i, s in enumerate(told)), id=str(number)))
    units = [r.id for g in groups for r in g.rollouts]
    batch = pack(groups, dict.fromkeys(units, Fate()), dict.fromkeys(units, 0.0), 0)
    tracks, _ = evaluated(policy, batch, frozenset({"logp_T"}), budget)
    logp = batch.index.sum(tracks["logp_T"], "token", "rollout").view(len(tasks), len(source.answers))
    sure, best = torch.softmax(logp, -1).max(-1)
    said = zip(tasks, sure.tolist(), best.tolist(), strict=True)
    return [Belief(p, source.grade(task, source.answers[at])["outcome"] == 1) for task, p, at in said]
