"""The exam of a task source: what it asks is repeatable, its splits never meet, and it pays for right answers alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from strop.check.finding import Finding, called, generators, guarded, held
from strop.records import Task
from strop.tasks import blind

TASKS, PATIENCE = 60, 15.0
"""Tasks of each split and seed that are looked at; seconds for grading what is tried."""
KEPT = "tasks repeat, splits share nothing, right answers score 1 and wrong ones less"
WRONG = ("", "I do not know.", "<answer></answer>", "9" * 20_000, "(" * 5_000 + ")" * 5_000)
"""Answers to nothing, and texts that a policy may write."""


def of_source(source: Any) -> Iterator[Finding]:
    about, name = called("source", source), getattr(source, "name", "?")
    return held(about, lambda: _exam(about, source), f"{name!r}: {KEPT}")


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
    sizes = getattr(source, "sizes", {"train": source.size, "test": source.size})

    def drawn(split: str, seed: int, order: range | list[int]) -> list[Task]:
        return [guarded(f"{about}: task({split!r}, {seed}, {i})", lambda i=i: source.task(split, seed, i), source) for i in order]

    noise = generators()
    most = {split: count if (size := sizes[split]) is None else min(count, size) for split in ("train", "test")}
    there = {(split, seed): drawn(split, seed, range(most[split])) for split in ("train", "test") for seed in (0, 1)}
    tasks = [task for drawn_there in there.values() for task in drawn_there]
    if odd := [t for t in tasks if not isinstance(t, Task)]:
        yield fault(f"task() gives {odd[0]!r:.60}, not a Task")
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
    asked = {split: {(t.prompt, t.meta.get("where", "")) for seed in (0, 1) for t in there[split, seed]} for split in ("train", "test")}
    trained, tested = asked["train"], asked["test"]
    if both := sorted(trained & tested):
        yield fault(
            f"{len(both)} of {len(tested)} held-out tasks are trained on too, as {both[0][0][:60]!r}: a task belongs to the split that its "
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
    yield from _paid(about, source, tasks[: blind.TASKS], known)


def _paid(about: str, source: Any, tasks: list[Task], known: list[tuple[Task, str]]) -> Iterator[Finding]:
    """Right answers score 1, wrong ones less, as far as grading them takes seconds and not minutes."""
    said: dict[str, str] = {}
    began = time.perf_counter()
    golds = {task.id: gold for task, gold in known}
    asked = [blind.Attempt(task, gold, "gold") for task, gold in known] + [blind.Attempt(t, text, "wrong") for text in WRONG for t in tasks]
    asked += blind.attempts(tasks, [golds.get(task.id) for task in tasks])
    tried: list[tuple[blind.Attempt, float | None]] = []
    for number, attempt in enumerate(asked):
        task, text, kind = attempt.task, attempt.text, attempt.what
        if (spent := time.perf_counter() - began) > PATIENCE:
            yield Finding(about, f"grades slowly: {number} of {len(asked)} answers took {spent:.0f} s, and the others were not tried", None)
            break
        score, wrong = _score(about, source, task, text)
        if wrong:
            yield Finding(about, wrong, fine=False)
            return
        tried.append((attempt, score))
        if kind == "gold" and score != 1:
            said.setdefault(kind, f"its gold answer {text[:60]!r} to {task.prompt[-60:]!r} scores {score}, not 1")
        if kind == "wrong" and (score or 0) >= 1:
            said.setdefault(kind, f"pays 1 for {text[:40]!r} to {task.prompt[-60:]!r}")
    yield from (Finding(about, each, fine=False) for each in said.values())
    if "wrong" not in said:
        yield from _blindly(about, [each for each in tried if each[0].what not in ("gold", "wrong")])


def of_grader(source: Any) -> Iterator[Finding]:
    """Of a source whose tasks and grader are other people's: what it pays for whatever was asked."""
    about = f"{source.name}, graded by {source.graded_by}"

    def exam() -> Iterator[Finding]:
        tasks = [source.task("train", 0, i) for i in range(blind.TASKS)]
        asked = blind.attempts(tasks, [source.gold(task) for task in tasks])
        scores = [graded["outcome"] for graded in source.grade_many([(attempt.task, attempt.text) for attempt in asked])]
        yield from _blindly(about, list(zip(asked, scores, strict=True)))

    return held(about, exam, "answers to other questions and to none are not paid")


def _blindly(about: str, tried: list[tuple[blind.Attempt, float | None]]) -> Iterator[Finding]:
    if found := blind.blindly(blind.paid(tried)):
        said = ", ".join(f"{what} ({got} of {of})" for what, (got, of) in found.items())
        yield Finding(about, f"pays 1 for what answers nothing: {said}. Training would teach that and not the task.", fine=False)


def _score(about: str, source: Any, task: Task, text: str) -> tuple[float | None, str]:
    """The outcome, and what is wrong with how it was given."""
    graded = guarded(f"{about}: grade of {text[:30]!r}", lambda: source.grade(task, text), source)
    if not hasattr(graded, "items") or "outcome" not in graded:
        return None, f"grade() gives {graded!r}: it is a Graded with the channel outcome, and lenient where there is one"
    for channel, value in graded.items():
        if value is not None and (isinstance(value, str) or not 0 <= float(value) <= 1):
            said = f"grade() gives {channel} {value!r} for {text[:30]!r}"
            return None, f"{said}: a score lies in [0, 1]; None is no fault of the policy's"
    return graded["outcome"], ""
