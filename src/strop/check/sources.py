"""The exam of a task source: what it asks is repeatable, its splits never meet, and it pays for right answers alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from strop.check.finding import Finding, called, generators, guarded, held
from strop.records import Task

TASKS, PATIENCE = 60, 1.0
"""Tasks of each split and seed that are looked at; seconds for the grade of one text."""
WRONG = ("", "I do not know.", "<answer></answer>", "9" * 20_000, "(" * 5_000 + ")" * 5_000)
"""Answers to nothing, and texts that a policy may write."""


def of_source(source: Any) -> Iterator[Finding]:
    about, name = called("source", source), getattr(source, "name", "?")
    kept = f"{name!r}: tasks repeat, splits share nothing, right answers score 1 and wrong ones less"
    return held(about, lambda: _exam(about, source), kept)


def _exam(about: str, source: Any) -> Iterator[Finding]:
    def fault(says: str) -> Finding:
        return Finding(about, says, fine=False)

    if not isinstance(getattr(source, "name", None), str) or not source.name:
        yield fault("has no name: a word that its tasks carry")
        return
    if not (source.size is None or (isinstance(source.size, int) and source.size >= 1)):
        yield fault(f"size is the number of tasks to train on, or None for an unlimited stream; got {source.size!r}")
        return
    count = TASKS if source.size is None else min(TASKS, source.size)

    def drawn(split: str, seed: int, order: range | list[int]) -> list[Task]:
        return [guarded(f"{about}: task({split!r}, {seed}, {i})", lambda i=i: source.task(split, seed, i), source) for i in order]

    noise = generators()
    there = {(split, seed): drawn(split, seed, range(count)) for split in ("train", "test") for seed in (0, 1)}
    tasks = [task for drawn_there in there.values() for task in drawn_there]
    if odd := next((t for t in tasks if not isinstance(t, Task)), None):
        yield fault(f"task() gives a {type(odd).__name__}, not a Task")
        return
    again = [*reversed(drawn("train", 0, list(reversed(range(count)))))]
    if again != there["train", 0]:
        drew = generators() != noise
        why = " It draws from a generator that is not its arguments': use random.Random(f'{split} {seed} {index}')." if drew else ""
        yield fault(f"task('train', 0, i) is not the same the second time: it depends on more than its arguments.{why}")
        return
    for task in tasks:
        try:
            if json.loads(json.dumps(dict(task.needs), allow_nan=False)) != dict(task.needs):
                yield fault("needs holds what plain JSON does not give back (tuples, keys that are no text): a task travels as JSON")
                break
        except (TypeError, ValueError) as error:
            yield fault(f"needs is not plain JSON ({error}): a task travels as JSON")
            break
    if others := {t.source for t in tasks} - {source.name}:
        yield fault(f"its tasks say that {others.pop()!r} made them, and it is called {source.name!r}: Task(prompt, needs, self.name)")
    trained, held = ({t.prompt for seed in (0, 1) for t in there[split, seed]} for split in ("train", "test"))
    if both := sorted(trained & held):
        yield fault(
            f"{len(both)} of {len(held)} held-out tasks are trained on too, as {both[0][:60]!r}: a task belongs to the split that its "
            "id hashes to (strop.seams.source.split_of), or to a file's own part"
        )
    if source.size is None and there["train", 0] == there["train", 1]:
        yield Finding(about, "two seeds draw the same tasks in the same order", None)
    yield from _graded(about, source, there["train", 0][:20] + there["test", 0][:20])


def _graded(about: str, source: Any, tasks: list[Task]) -> Iterator[Finding]:
    def fault(says: str) -> Finding:
        return Finding(about, says, fine=False)

    golds = [guarded(f"{about}: gold", lambda t=t: source.gold(t), source) for t in tasks]
    if odd := next((g for g in golds if g is not None and not isinstance(g, str)), None):
        yield fault(f"gold() gives {odd!r}: it is a text that scores 1, or None")
        return
    known = [(t, g) for t, g in zip(tasks, golds, strict=True) if g is not None]
    if not known:
        yield Finding(about, "writes no gold answer (gold gives None), so nothing says that a right one scores 1", None)
    said: dict[str, str] = {}
    for task, gold in known:
        score, wrong = _score(about, source, task, gold)
        if wrong:
            yield fault(wrong)
            return
        if score != 1:
            said.setdefault("gold", f"its gold answer {gold[:60]!r} to {task.prompt[-60:]!r} scores {score}, not 1")
    paid: dict[str, int] = {}
    for task in tasks[:8]:
        for text in WRONG:
            score, wrong = _score(about, source, task, text)
            if wrong:
                yield fault(wrong)
                return
            paid[text] = paid.get(text, 0) + (score is not None and score >= 1)
    if (worst := next((text for text, times in paid.items() if times), None)) is not None:
        said["wrong"] = f"pays 1 for {worst[:40]!r}, in {paid[worst]} of {len(tasks[:8])} tasks"
    texts = {gold for _, gold in known}
    if len(texts) > 1:
        task, gold = known[0]
        others = [text for text in texts if text != gold]
        if all((_score(about, source, task, text)[0] or 0) >= 1 for text in others):
            said["any"] = f"every other task's gold answer scores 1 for {task.prompt[-60:]!r}: it grades nothing"
    yield from (fault(each) for each in said.values())


def _score(about: str, source: Any, task: Task, text: str) -> tuple[float | None, str]:
    """The outcome, and what is wrong with how it was given."""
    began = time.perf_counter()
    graded = guarded(f"{about}: grade of {text[:30]!r}", lambda: source.grade(task, text), source)
    took = time.perf_counter() - began
    if not hasattr(graded, "items") or "outcome" not in graded:
        return None, f"grade() gives {graded!r}: it is a Graded with the channel outcome, and lenient where there is one"
    for channel, value in graded.items():
        if value is not None and (isinstance(value, str) or not 0 <= float(value) <= 1):
            return (
                None,
                f"grade() gives {channel} {value!r} for {text[:30]!r}: a score lies in [0, 1]; None is no fault of the policy's",
            )
    if took > PATIENCE:
        return graded["outcome"], f"takes {took:.1f} s for the grade of {text[:30]!r}: a policy will write such texts"
    return graded["outcome"], ""
