"""pages: a question whose answer stands some pages away, searched and visited in `worlds/pages.py`.

    What is the river that the town where Sena Tower stands lies on?
    >search Sena Tower … >visit 3 … >search Ilmar … >visit 7 … <answer>Vor</answer>

Of the generated land, from `least` to `most` pages lie on the way, and every question has one answer. A folder of one's own
(`pages:corpus=DIR,questions=FILE.jsonl`) brings its questions: lines with `question` and `answer`, one in eight of them held out.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from strop.records import Task
from strop.seams.source import Graded, Split, split_of
from strop.seams.world import World
from strop.tasks.procedural import draw, grade_by, loose_answers, within
from strop.worlds.pages import KINDS, RELATIONS, Corpus, generated, kind_of
from strop.worlds.pages import Pages as Searched


@dataclass(frozen=True)
class Pages:
    """Questions of `least` to `most` pages in a land of `size`, or one's own."""

    least: int = 1
    most: int = 2
    size_of: int = 400
    """Pages of a generated land."""
    land: int = 0
    """Its seed."""
    results: int = 3
    """Of a search."""
    corpus: str = ""
    """A folder of one's own."""
    questions: str = ""
    """Its questions, a file of JSON lines."""
    name: str = field(default="pages", init=False)

    def __post_init__(self) -> None:
        within(self, "least", 1, 3)
        within(self, "most", self.least, 3)
        within(self, "size_of", 40, 100_000)
        within(self, "results", 1, 20)
        if self.questions and not self.corpus:
            raise ValueError("pages: questions=FILE goes with corpus=DIR; a generated land has questions of its own")

    @property
    def world(self) -> World:
        """What is searched."""
        return Searched(Corpus(self.corpus) if self.corpus else Corpus("", self.size_of, self.land), self.results)

    @property
    def size(self) -> int | None:
        """None of a generated land: there are many."""
        return len(self._own("train")) if self.corpus else None

    @property
    def sizes(self) -> dict[str, int | None]:
        """Of one's own questions; a generated land has as many as one likes."""
        return {split: len(self._own(split)) if self.corpus else None for split in ("train", "test")}

    def contents(self) -> dict[str, Any]:
        """Files by their hashes: a run goes on only while they are what they were."""
        if not self.corpus:
            return {}
        there = sorted(path for path in Path(self.corpus).rglob("*") if path.suffix in KINDS and path.is_file() and not path.is_symlink())
        files = [*there, *([Path(self.questions)] if self.questions else [])]
        rows = {split: len(self._own(split)) for split in ("train", "test")}
        hashed = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return {"files": hashed, "rows": sum(rows.values()), **rows, "left_out": {}}

    def task(self, split: Split, seed: int, index: int) -> Task:
        if self.corpus:
            rows = self._own(split)
            if not rows:
                raise ValueError(f"pages: {self.questions or 'no questions=FILE.jsonl'} has no question for {split}")
            return rows[index % len(rows)]
        return draw(self, split, seed, index, lambda rng: self._made(rng, seed, index))

    def _made(self, rng: random.Random, seed: int, index: int) -> Task:
        land = generated(self.size_of, self.land)
        while True:
            at = rng.choice(sorted(land.facts))
            said, path, count = at, list[str](), rng.randint(self.least, self.most)
            for number in range(count):
                path.append(at)
                told = RELATIONS[kind_of(land, at)]
                on = [word for word in told if bool(kind_of(land, land.facts[at][word])) == (number + 1 < count)]
                if not on:
                    break
                relation = rng.choice(on)
                said, at = told[relation].format(said), land.facts[at][relation]
            else:
                meta = {"seed": seed, "index": index}
                return Task(f"What is {said}?", {"answer": at, "path": path, "hops": count}, self.name, meta)

    def _own(self, split: str) -> tuple[Task, ...]:
        return _rows(self.questions)[split] if self.questions else ()

    def grade(self, task: Task, text: str) -> Graded:
        answer = plain(str(task.needs["answer"]))
        return grade_by(text, lambda said: "" if plain(said) == answer else "another answer", loose_answers)

    def gold(self, task: Task) -> str:
        return f"<answer>{task.needs['answer']}</answer>"


def plain(text: str) -> str:
    """An answer without case, space at its ends, and a full stop.

    >>> plain(" The  Vor. ")
    'the vor'
    """
    return " ".join(text.casefold().split()).rstrip(".")


@lru_cache(maxsize=8)
def _rows(path: str) -> dict[str, tuple[Task, ...]]:
    found: dict[str, list[Task]] = {"train": [], "test": []}
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"pages: {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, answer = row["question"], row["answer"]
            if not isinstance(question, str) or not isinstance(answer, str | int) or not question or isinstance(answer, bool):
                raise TypeError("question and answer are texts")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"pages: {path}, line {number}: {{'question': …, 'answer': …}}, {type(error).__name__} {error}") from error
        task = Task(question, {"answer": str(answer)}, "pages", {"index": number})
        found[split_of(task.id)].append(task)
    return {split: tuple(rows) for split, rows in found.items()}
