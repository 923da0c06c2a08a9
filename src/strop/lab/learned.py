"""Learned: what a run was taught or drew, as examples whose influence can be asked; and the same run once more, on some of them.

A demonstration is one example however often it came by, with the weight 1 for each of its tokens. A rollout is one with its credit, which
is made again from the record by the method's own correction and credit, as they stood before the update.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strop.batch import Batch, pack
from strop.lab.influence import Example, Text, numbers
from strop.learning import settle
from strop.method import Method
from strop.records import Fate, Group, Sampling, Scores, Task
from strop.seams.curriculum import label
from strop.seams.source import Graded, Source, Split

ACTOR = "actor"


def examples(directory: Path, by: Sequence[str] = ("source",)) -> list[Example]:
    """Of a run, in the order in which they first came; `by` says their class, as in a curriculum."""
    from strop.directory import committed, read_about
    from strop.saved import method_of

    method = method_of(directory)
    assert isinstance(method, Method)
    known, recipe = dict[Any, Example](), read_about(directory)["recipe"]
    for step, record in enumerate(committed(directory)):
        groups = [g for g in (Group.from_json(one) for one in record["groups"]) if method.trains(g) == ACTOR]
        fates = {name: Fate(*fate) for name, fate in record["fates"].items()}
        batch = pack(groups, fates, record["rewards"], record["version"], Scores.from_json(record["scores"]))
        batch = _credited(method, batch, step / max(recipe["steps"], 1))
        of = {rollout.id: (group, rollout) for group in groups for rollout in group.rollouts}
        texts = _texts(batch)
        for number, unit in enumerate(batch.units):
            group, rollout = of[unit]
            if not (own := tuple(texts.get(number, ()))):
                continue
            demonstrated = rollout.provenance == "gold"
            key = (group.task.id, *(text.tokens for text in own)) if demonstrated else (step, unit)
            if key in known:
                known[key] = replace(known[key], about={**known[key].about, "times": known[key].about["times"] + 1})
                continue
            about = {"class": label(group.task, by), "task": group.task.id, "prompt": group.task.prompt, "text": rollout.text}
            known[key] = Example(f"{step}/{unit}", own, {**about, "step": step, "times": 1, "demonstrated": demonstrated})
    return list(known.values())


def _credited(method: Method, batch: Batch, fraction: float) -> Batch:
    """With each decision's credit; 1 where the method has none, as where it is shown what to write."""
    have = {*batch.have(), "old_logp_T", "reward_T", "weight_T", "mask_T"}
    for link in method.credit:
        if missing := [name for name in link.reads if name.endswith("_T") and name not in have]:
            raise ValueError(
                f"method {method.name!r}: its credit {link.name!r} reads {missing[0]}, which the policy of each step gave and no record "
                "keeps, so its rollouts have no credit here"
            )
        have |= {*link.gives.split(","), "credit_T"}
    batch = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]), fraction)
    credit_T = batch.tracks.get("credit_T")
    if credit_T is None:
        credit_T = batch.trains_T.float()
    return batch.with_(credit_T=credit_T * batch.tracks["weight_T"] * batch.tracks["mask_T"])


def _texts(batch: Batch) -> dict[int, list[Text]]:
    """Rows with a decision that is trained, by rollout."""
    if any(row.pieces for row in batch.rows):
        raise ValueError("its rows have branches, and influence is asked of tokens that see all before them")
    found, start = dict[int, list[Text]](), 0
    for row, rollout in zip(batch.rows, map(int, numbers(batch.index.rollout_W)), strict=True):
        first, start = start, start + len(row.at)
        places = [n for n in range(first, start) if batch.trains_T[n]]
        if not places:
            continue
        drawn = {batch.samplings[int(batch.sampling_T[n])] for n in places}
        if len(drawn) > 1 or any(one.allowed is not None for one in drawn):
            raise ValueError(
                "its tokens were drawn in several ways, or from some ids only: influence asks of rows drawn in one way, from all"
            )
        at = tuple(row.at[n - first] for n in places)
        weight = tuple(numbers(batch.tracks["credit_T"][places]))
        found.setdefault(rollout, []).append(Text(row.tokens, at, weight, drawn.pop().temperature))
    return found


@dataclass(frozen=True)
class Right:
    """A held-out question that the model answers rightly, and what it says."""

    task: str
    kind: str
    """Its class."""
    text: Text


def right(
    handle: Any,
    source: Source,
    tasks: int,
    by: Sequence[str],
    *,
    most: int,
    taught: Collection[str] = (),
    how: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> tuple[list[Right], int]:
    """The model's own right replies to held-out questions, greedily written, and how many of the questions were trained on: those are left
    out, since what an example does for itself is no influence."""
    from strop.evaluate import evaluate

    found, seen = list[Right](), list[str]()

    def look(groups: list[Group], scores: Scores) -> None:
        for group in groups:
            if group.task.id in taught:
                seen.append(group.task.id)
                continue
            for rollout in group.rollouts:
                if scores.get(rollout, "outcome") == 1 and len(rollout.rows) == 1:
                    (row,) = rollout.rows
                    at = _places(row)
                    found.append(Right(group.task.id, label(group.task, by), Text(row.tokens, at, (1.0,) * len(at))))

    sampling = Sampling(temperature=0.0)
    asyncio.run(evaluate(handle, source, tasks, samples=1, sampling=sampling, max_tokens=most, look=look, tell=tell, **(how or {})))
    return found, len(seen)


def _places(row: Any) -> tuple[int, ...]:
    """Of what the policy wrote."""
    found, start = list[int](), 0
    for segment in row.segments:
        if segment.kind == "action":
            found += range(start, start + len(segment.tokens))
        start += len(segment.tokens)
    return tuple(found)


# ---------------------------------------------------------------------------------------------- once more, on some of it


@dataclass(frozen=True)
class Chosen:
    """A source of some of another's tasks alone, whatever the seed; held-out ones stay its own."""

    inner: Any
    tasks: tuple[Task, ...]
    name: str = ""

    @property
    def size(self) -> int:
        return len(self.tasks)

    @property
    def sizes(self) -> dict[str, int | None]:
        return {"train": len(self.tasks), "test": getattr(self.inner, "sizes", {"test": self.inner.size})["test"]}

    def task(self, split: Split, seed: int, index: int) -> Task:
        return self.tasks[index] if split == "train" else self.inner.task(split, seed, index)

    def grade(self, task: Task, text: str) -> Graded:
        return self.inner.grade(task, text)

    def gold(self, task: Task) -> str | None:
        return self.inner.gold(task)

    def example(self, task: Task) -> str | None:
        return getattr(self.inner, "example", self.inner.gold)(task)


def tasks_of(directory: Path) -> dict[str, Task]:
    """Every task that a run was given, by id, in the order in which they first came."""
    from strop.directory import committed

    found = dict[str, Task]()
    for record in committed(directory):
        for group in record["groups"]:
            found.setdefault(group["task"]["id"], Task.from_json(group["task"]))
    return found


def again(directory: Path, tasks: Sequence[Task], share: float, seed: int, place: Path) -> Any:
    """The run's recipe on these tasks alone, for this share of its steps or its budget: begun in a place of its own, or gone on with."""
    from strop.directory import read_recipe
    from strop.run import create, resume
    from strop.saved import brought, method_of
    from strop.tasks import source as named

    method = method_of(directory)
    assert isinstance(method, Method)
    _, recipe = read_recipe(directory, method)
    parts = brought(directory)
    inner = parts["source"] if "source" in parts else named(recipe.task_name())
    source = Chosen(inner, tuple(tasks), inner.name)
    if (place / "recipe.json").exists():
        return resume(place, say=lambda _: None, method=method, source=source)
    changes: dict[str, Any] = {"seed": seed, "eval_tasks": 0, "method": method}
    if recipe.budget is None:
        changes["steps"] = max(round(recipe.steps * share), 1)
    else:
        count, unit = recipe.budget_in_positions
        changes["budget"] = f"{max(round(count * share), 1)} {unit}"
    return create(recipe.but(**changes), place, source=source)
