"""What the procedural sources share: seeded drawing, reading an answer out of a text, writing the right one.

Every source asks for its answer between `<answer>` and `</answer>` at the very end; work may stand before it in
`<think>…</think>`. Reading is linear in the text and looks at no more than `WIDEST` characters of an answer, so a
hostile text costs no more than a long one.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from strop.records import Task, digest
from strop.seams.source import Graded, Split, split_of

WIDEST = 256
"""Characters of an answer, or of a line, that are ever read."""

TAIL = 4096
"""Characters from the end of a text that the lenient parse reads."""

ATTEMPTS = 100_000


def generator(*parts: object) -> random.Random:
    """A random stream named by its parts; equal parts give equal streams on every machine."""
    return random.Random(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big"))


def knobs(source: Any) -> dict[str, Any]:
    """The fields a caller may set: the source's difficulty."""
    return {f.name: getattr(source, f.name) for f in fields(source) if f.init}


def spec(source: Any) -> str:
    """The text that `source(...)` reads back: its name, and the knobs that differ from their defaults."""
    changed = [f"{f.name}={getattr(source, f.name)}" for f in fields(source) if f.init and getattr(source, f.name) != f.default]
    return source.name + (":" + ",".join(changed) if changed else "")


def draw(
    source: Any, split: Split, seed: int, index: int, make: Callable[[random.Random], Task], same: Callable[[Task], Any] | None = None
) -> Task:
    """The index-th task of a split: drawn again until it hashes into that split, so train and test never meet.

    `same` gives what stays when a task is only written differently (its numbers in another order), so that twins share a
    split; without it the task's id decides.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', got {split!r}")
    if index < 0:
        raise ValueError(f"a task's index is 0 or more, got {index}")
    for attempt in range(ATTEMPTS):
        task = make(generator(source.name, sorted(knobs(source).items()), split, seed, index, attempt))
        if split_of(task.id if same is None else digest(same(task))) == split:
            return task
    raise ValueError(f"{spec(source)} has too few different tasks to fill the split {split!r}; make it harder")


def within(source: Any, knob: str, low: float, high: float) -> None:
    """Refuse a knob outside its range, in words."""
    value = getattr(source, knob)
    kind = int if isinstance(low, int) else float
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not low <= value <= high:
        raise ValueError(f"{source.name}: {knob} is {'a whole number' if kind is int else 'a number'} from {low} to {high}, got {value!r}")


def answered(answer: str, work: str = "") -> str:
    """A text in the required form."""
    return f"<think>{work}</think><answer>{answer}</answer>"


def strict_answer(text: str, widest: int = WIDEST) -> tuple[str | None, str]:
    """(answer, "") of a text that ends in its one `<answer>…</answer>`, or (None, why not)."""
    final = text.rpartition("</think>")[2].strip()
    if "<answer>" not in final:
        return None, "no <answer>"
    if final.count("<answer>") > 1:
        return None, "more than one <answer>"
    if not final.endswith("</answer>"):
        return None, "the text does not end with </answer>"
    answer = final.partition("<answer>")[2].removesuffix("</answer>")
    if len(answer) > widest:
        return None, f"an answer of more than {widest} characters"
    return answer.strip(), ""


def said_answer(text: str, loose: Callable[[str], list[str]]) -> str | None:
    """What a text answers, right or wrong: what stands in the one tag that it ends in, else the first of its `loose` answers."""
    return strict_answer(text)[0] or next(iter(loose(text)), None)


def loose_answers(text: str, widest: int = WIDEST) -> list[str]:
    """Places where an answer may stand, best first: the last tag (closed or not), the last box, the last lines."""
    tail = text[-TAIL:]
    found: list[str] = []
    if "<answer>" in tail:
        found.append(tail.rpartition("<answer>")[2].partition("</answer>")[0])
    if "\\boxed{" in tail:
        found.append(tail.rpartition("\\boxed{")[2].partition("}")[0])
    bare = re.sub(r"</?(?:think|answer)>", "\n", tail)
    found += [line for line in reversed(bare.splitlines()) if line.strip()][:4]
    return [place[:widest].strip() for place in found]


def grade_by(text: str, judge: Callable[[str], str], find: Callable[[str], list[str]]) -> Graded:
    """Grade with `judge`, which says what is wrong with an answer ("" for nothing), and `find`, the candidates in a loose text.

    Lenient never falls below strict. Only the first candidate counts: an answer that lists many is not right by luck.
    """
    answer, reason = strict_answer(text)
    if answer is not None:
        reason = judge(answer)
    outcome = 1.0 if answer is not None and not reason else 0.0
    candidates = find(text)
    lenient = 1.0 if outcome or (candidates and not judge(candidates[0])) else 0.0
    return Graded({"outcome": outcome, "lenient": lenient}, reason)
