"""twohop, nontree: two random tables, one behind the other; what was never shown follows from what was.

    abc   ->   <answer>d</answer>          with b = f(a, b): d = g(bridge, c), in nontree d = g(bridge, b, c), where b acts twice

A share `seen` of each table's entries may be used. Training shows `train` inputs that are made of these; held out are all other inputs
made of entries that training shows, so that each could be worked out by somebody who saw through the training set. The tables are those
of the knob `tables`, whatever the seed: tokens mean nothing, and all there is to know is in the training set. `example` writes the
bridge before the answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from string import ascii_lowercase, digits

from strop.records import Task
from strop.seams.source import Graded, Split
from strop.tasks.procedural import answered, generator, grade_by, loose_answers, spec, within

ALPHABET = ascii_lowercase + digits + "+-*/=%&#@$~^_!"
"""One token each, for the bundled tokenizer as for most; none is another's capital, since questions that differ in it alone are one."""


@dataclass(frozen=True)
class TwoHop:
    """A tree: the first two places act through the bridge alone."""

    tokens: int = 16
    train: int = 500
    seen: float = 0.7
    tables: int = 0
    name: str = field(default="twohop", init=False)

    def __post_init__(self) -> None:
        within(self, "tokens", 4, len(ALPHABET))
        within(self, "train", 1, 100_000)
        within(self, "seen", 0.1, 1.0)
        within(self, "tables", 0, 2**31)

    @property
    def size(self) -> int | None:
        return self.train

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(inputs) for split, inputs in drawn(self).items()}

    def second(self, bridge: int, x: tuple[int, ...]) -> tuple[int, ...]:
        """The entry of the second table."""
        return bridge, x[2]

    def task(self, split: Split, seed: int, index: int) -> Task:
        """The index-th of a split, the same whatever the seed."""
        if split not in ("train", "test"):
            raise ValueError(f"split is 'train' or 'test', got {split!r}")
        inputs = drawn(self)[split]
        if not 0 <= index < len(inputs):
            raise ValueError(f"{spec(self)} has {len(inputs)} tasks to {split}, numbered from 0, got {index}")
        *x, bridge, answer = (ALPHABET[token] for token in inputs[index])
        return Task("".join(x), {"asked": "".join(x), "bridge": bridge, "answer": answer}, self.name, {"seed": seed, "index": index})

    def grade(self, task: Task, text: str) -> Graded:
        def judge(answer: str) -> str:
            if len(answer) != 1 or answer not in ALPHABET:
                return "not one token"
            return "" if answer == task.needs["answer"] else f"wrong: {answer}"

        return grade_by(text, judge, loose_answers)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"

    def example(self, task: Task) -> str:
        return answered(task.needs["answer"], task.needs["bridge"])


@dataclass(frozen=True)
class NonTree(TwoHop):
    """No tree: the second place acts through the bridge and beside it, so no two of the first places act alike in all contexts."""

    train: int = 1000
    name: str = field(default="nontree", init=False)

    def second(self, bridge: int, x: tuple[int, ...]) -> tuple[int, ...]:
        return bridge, x[1], x[2]


@lru_cache(maxsize=8)
def drawn(source: TwoHop) -> dict[Split, list[tuple[int, ...]]]:
    """Both splits: each input's tokens, its bridge, its answer."""
    n, rng = source.tokens, generator(source.name, source.tokens, source.seen, source.tables)
    first, open_first = _table(list(product(range(n), repeat=2)), n, source.seen, rng)
    entries = list(product(range(n), repeat=len(source.second(0, (0, 0, 0)))))
    second, open_second = _table(entries, n, source.seen, rng)
    whole = [(x, first[x[:2]]) for x in product(range(n), repeat=3) if x[:2] in open_first]
    inputs = [(*x, b, second[entry]) for x, b in whole if (entry := source.second(b, x)) in open_second]
    if len(inputs) < source.train:
        raise ValueError(f"{spec(source)}: the tables make {len(inputs)} inputs, and {source.train} are asked for to train on")
    rng.shuffle(inputs)
    shown, others = inputs[: source.train], inputs[source.train :]
    pairs, hops = {x[:2] for x in shown}, {source.second(x[3], x[:3]) for x in shown}
    return {"train": shown, "test": [x for x in others if x[:2] in pairs and source.second(x[3], x[:3]) in hops]}


def _table(
    entries: list[tuple[int, ...]], n: int, share: float, rng: random.Random
) -> tuple[dict[tuple[int, ...], int], set[tuple[int, ...]]]:
    """A random answer for each entry, and the entries that may be used."""
    return {entry: rng.randrange(n) for entry in entries}, set(rng.sample(entries, round(share * len(entries))))
