"""What a run sampled, as rows for a file: every rollout with its scores, pairs of right and wrong texts, or right texts; and a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from strop import directory as folder
from strop.records import Fate, Group, Rollout, Scores
from strop.seams.context import keyed
from strop.seams.recorded import correctness_pairs, right_ones

KINDS = ("rollouts", "pairs", "right")


def rows(place: Path, kind: str, most: int) -> list[dict[str, Any]]:
    """In the order of steps. Each says where it is from: run, method, step, and the rollouts that it is made of."""
    about = folder.read_about(place)
    whence = {"run": place.name, "method": about["resolved"]["method"], "fingerprint": about["fingerprint"]["method"]}
    whence |= {"recipe": about["fingerprint"]["recipe"]}
    if kind == "rollouts":
        steps = (_each(groups, scores, fates, step) for groups, scores, fates, step in kept(place))
        return [row | {"from": {**whence, **row["from"]}} for each in steps for row in each]
    groups, values = list[Group](), dict[str, Mapping[str, float | None]]()
    for given, graded, _, step in kept(place):
        groups += [group.within(str(step)) for group in given]
        values |= {f"{step}/{unit}": channels for unit, channels in graded.values.items()}
    scores = Scores(values)
    known: dict[str, Rollout] = {r.id: r for g in groups for r in g.rollouts}
    seed = about["recipe"]["seed"]
    if kind == "pairs":
        made = correctness_pairs(groups, scores, keyed(seed, "export", place.name), most=most)
    else:
        made = right_ones(groups, scores, keyed(seed, "export", place.name))
    found: list[dict[str, Any]] = []
    for group in made:
        origin = [known[r.provenance] for r in group.rollouts]
        texts = dict(zip(("chosen", "rejected") if kind == "pairs" else ("text",), (r.text for r in origin), strict=True))
        found.append({"prompt": group.task.prompt, **texts, "from": {**whence, "task": group.task.id, "rollouts": [r.id for r in origin]}})
    return found


def kept(place: Path) -> Iterator[tuple[list[Group], Scores, dict[str, Fate], int]]:
    """Step by step what was committed of tasks that were tried."""
    for step in range(folder.recorded_steps(place)):
        record = folder.read_commit(place, step)
        assert record is not None
        groups = [group for group in map(Group.from_json, record["groups"]) if group.role == "solve"]
        yield groups, Scores.from_json(record["scores"]), {unit: Fate(*fate) for unit, fate in record["fates"].items()}, step


def _each(groups: Sequence[Group], scores: Scores, fates: dict[str, Fate], step: int) -> Iterator[dict[str, Any]]:
    for group in groups:
        for rollout in group.rollouts:
            said = {"prompt": group.task.prompt, "text": rollout.text, "scores": dict(scores.values.get(rollout.id, {}))}
            said |= {"stop": rollout.stop, "tokens": rollout.length, "fate": fates[rollout.id].kind}
            yield said | {"from": {"step": step, "task": group.task.id, "rollouts": [f"{step}/{rollout.id}"]}}


def card(made: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """How many, of how many tasks, how long, and of pairs how alike their texts are and which is longer."""
    about: dict[str, Any] = {kind: len(made), "tasks": len({row["from"]["task"] for row in made})}
    if not made:
        return about
    for side in ("text", "chosen", "rejected"):
        if side in made[0]:
            about[f"{side}: characters"] = round(fmean(len(row[side]) for row in made), 1)
    if kind == "pairs":
        about["chosen is longer"] = round(fmean(len(row["chosen"]) > len(row["rejected"]) for row in made), 3)
        about["begin alike: share of the shorter"] = round(fmean(_alike(row["chosen"], row["rejected"]) for row in made), 3)
    return about


def _alike(a: str, b: str) -> float:
    """How far two texts begin alike, of the shorter."""
    shorter = min(len(a), len(b))
    same = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    return same / max(shorter, 1)
