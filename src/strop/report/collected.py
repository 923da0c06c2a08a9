"""What a run sampled, as rows for a file: every rollout with its scores, pairs of right and wrong texts, right texts, or right episodes as
messages; and a card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from strop import directory as folder
from strop.records import Group, Rollout, Scores
from strop.report import conversations
from strop.seams.context import keyed
from strop.seams.recorded import correctness_pairs, right_ones


def rows(place: Path, kind: str, most: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """In the order of steps, and what was left out. Each says where it is from: run, method, step, and the rollouts that it is made of."""
    about = folder.read_about(place)
    whence = {"run": place.name, "method": about["resolved"]["method"], "fingerprint": about["fingerprint"]["method"]}
    whence |= {"recipe": about["fingerprint"]["recipe"]}
    if kind == "episodes":
        told, untold = conversations.rows(place)
        return [row | {"from": {**whence, **row["from"]}} for row in told], {"left out: not told turn by turn": untold} if untold else {}
    groups, scores = folder.sampled(place)
    if kind == "rollouts":
        return [row | {"from": {**whence, **row["from"]}} for row in _each(groups, scores)], {}
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
    return found, {}


def _each(groups: Sequence[Group], scores: Scores) -> Iterator[dict[str, Any]]:
    for group in (group for group in groups if group.role == "solve"):
        for rollout in group.rollouts:
            said = {"prompt": group.task.prompt, "text": rollout.text, "scores": dict(scores.values.get(rollout.id, {}))}
            said |= {"stop": rollout.stop, "tokens": rollout.length}
            yield said | {"from": {"step": int(rollout.id.partition("/")[0]), "task": group.task.id, "rollouts": [rollout.id]}}


def card(made: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """How many, of how many tasks, how long, and of pairs how alike their texts are and which is longer."""
    about: dict[str, Any] = {kind: len(made), "tasks": len({row["from"]["task"] for row in made})}
    if not made:
        return about
    for side in ("text", "chosen", "rejected"):
        if side in made[0]:
            about[f"{side}: characters"] = round(fmean(len(row[side]) for row in made), 1)
    if kind == "episodes":
        replies = [[m for m in row["messages"] if m["role"] == "assistant"] for row in made]
        about["replies of an episode"] = round(fmean(map(len, replies)), 2)
        about["replies with a call"] = round(fmean("tool_calls" in one for said in replies for one in said), 3)
    if kind == "pairs":
        about["chosen is longer"] = round(fmean(len(row["chosen"]) > len(row["rejected"]) for row in made), 3)
        about["begin alike: share of the shorter"] = round(fmean(_alike(row["chosen"], row["rejected"]) for row in made), 3)
    return about


def _alike(a: str, b: str) -> float:
    """How far two texts begin alike, of the shorter."""
    shorter = min(len(a), len(b))
    same = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    return same / max(shorter, 1)
