"""tools: how well calls are made, by the rules of MCP-Bench (arXiv:2508.20453): averages over episodes, and by the form of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from strop.records import Group, Rollout, Task
from strop.seams.rules import OFFICIAL, RULES, made

Episode = tuple[Rollout, Task]


def episodes(groups: Iterable[Group]) -> list[Episode]:
    """Those of these groups."""
    return [(rollout, group.task) for group in groups for rollout in group.rollouts]


def averages(those: Sequence[Episode], *, official: bool = False) -> dict[str, float]:
    """By channel. An episode without a call scores 0; by the `official` rules it leaves the average, and a channel of which nothing is left
    has none."""
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for rollout, task in those:
        calls = made(rollout)
        for name, rule in RULES.items():
            value = rule(calls, task)
            if value is not None or not official or name not in OFFICIAL:
                found[name].append(value or 0.0)
    return {name: fmean(values) for name, values in found.items() if values}


def silent(those: Sequence[Episode]) -> float:
    """The share without a call."""
    return fmean(not made(rollout) for rollout, _ in those)


def by_form(groups: Iterable[Group]) -> Mapping[str, list[Episode]]:
    """The episodes of each form that tasks say they have (`where` in their needs), and of all."""
    found: dict[str, list[Episode]] = {}
    every = episodes(groups)
    for rollout, task in every:
        if form := task.needs.get("where"):
            found.setdefault(str(form), []).append((rollout, task))
    return {"all": every, **dict(sorted(found.items()))}
