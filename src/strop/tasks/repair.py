"""repair: a program of several cases that does not do what is asked for, mended in `worlds/repair.py` under a contract.

    ba em fn      what each case is to do: here nothing is said of c
    b5 c0 e7 f8   the program
    >ask c   ->   cu   ->   >edit c 6   ->   ok   ->   .

Two kinds of tasks. In one a demand is hidden: the text leaves out a case, and so do the tests that can be run; only a user knows, and that
case alone is at fault. In the other nothing is hidden, and `bugs` cases are at fault. Contracts say what there is beside editing: `ask`,
`run`, `both`; `either` is the first two in turn, `all` all three.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from strop.records import Task, digest
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import draw, grade_by, loose_answers, within
from strop.worlds.repair import CONTRACTS, INPUTS, LANGUAGES, WORDS, Digits, Repair, language, meant

KINDS = ("hidden", "bugs")
MIXED = {"either": ("ask", "run"), "all": CONTRACTS, **{one: (one,) for one in CONTRACTS}}
CASES = "bcefghjl"
"""What cases are called: letters that no word of the stack language and no argument of a function is."""
QUESTIONS = {"ask": 64, "run": 0, "both": 2}
"""That may be asked under each contract; turns are the same."""
CELLS = (*product(CONTRACTS, KINDS), ("other", "hidden"))
"""Contract and kind of held-out tasks in turn, each with a channel: `ask_hidden`, … Of `other` the user answers about another task."""
TELLING = tuple(given for i, given in enumerate(INPUTS) if len({meant(word)[i].stack for word in WORDS}) == len(WORDS))
"""Inputs of which no two operations leave the same."""


@dataclass(frozen=True)
class Repairs:
    """Programs of `cases`, each of so many `operations`. With `cells` held-out tasks take each of `CELLS` in turn, the same problems
    under every contract."""

    contract: str = "both"
    kind: str = "both"
    language: str = "stack"
    cases: int = 5
    bugs: int = 3
    operations: int = 1
    cells: int = 0
    name: str = field(default="repair", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        within(self, "cases", 2, len(CASES))
        within(self, "bugs", 1, self.cases)
        within(self, "operations", 1, 4)
        within(self, "cells", 0, 1)
        for knob, known in (("contract", MIXED), ("kind", (*KINDS, "both")), ("language", LANGUAGES)):
            if getattr(self, knob) not in known:
                raise ValueError(f"repair: {knob}={getattr(self, knob)!r}. {nearest(str(getattr(self, knob)), known)}")

    @property
    def world(self) -> Repair:
        """Where it is mended."""
        return Repair(language(self.language))

    def task(self, split: Split, seed: int, index: int) -> Task:
        if self.cells and split == "test":
            number, at = divmod(index, len(CELLS))
            contract, kind = CELLS[at]
        else:
            contracts = MIXED[self.contract]
            kinds = KINDS if self.kind == "both" else (self.kind,)
            number, (contract, kind) = index, [*product(contracts, kinds)][index % (len(contracts) * len(kinds))]

        def make(rng: random.Random) -> Task:
            problem = self._problem(rng, kind)
            needs = {**problem, "contract": contract, "questions": QUESTIONS["ask" if contract == "other" else contract]}
            if contract == "other":
                needs |= {"contract": "ask", "answers": _elsewhere(rng, needs["text"])}
            if self.cells and split == "test":
                needs["where"] = f"{contract}_{kind}"
            how = language(self.language)
            prompt = f"{how.text({case: problem['text'][case] for case in problem['told']})}\n{how.shown(problem['program'])}"
            return Task(prompt, needs, self.name, {"seed": seed, "index": index, "where": digest(problem)[:12]})

        return draw(self, split, seed, number, make, lambda task: task.needs["text"])

    def _problem(self, rng: random.Random, kind: str) -> dict[str, Any]:
        """What is asked for, what of it is told, and a program that does it but for some cases."""
        how, names = language(self.language), CASES[: self.cases]
        text = {case: self._demand(rng) for case in names}
        hidden = [rng.choice(names)] if kind == "hidden" else []
        told = [case for case in names if case not in hidden]
        wrong = {*hidden} or {*rng.sample(told, self.bugs)}
        made = {case: self._mistaken(rng, text[case]) if case in wrong else text[case] for case in names}
        tests, unseen = dict[str, list[list[int]]](), dict[str, list[list[int]]]()
        for case in names:
            shows = [given for given in TELLING if _differ(made[case], text[case], given)]
            one, two = rng.sample(shows or TELLING, 2)
            tests |= {case: [[*one]]} if case in told else {}
            unseen[case] = [[*given] for given in (two, *rng.sample([given for given in INPUTS if given not in (one, two)], 5))]
        program = {case: how.code(made[case]) for case in names}
        return {"text": text, "told": told, "program": program, "tests": tests, "hidden": unseen}

    def _demand(self, rng: random.Random) -> str:
        """Operations that are never without numbers."""
        while True:
            words = "".join(rng.choice([*WORDS]) for _ in range(self.operations))
            if not meant(words)[0].why:
                return words

    def _mistaken(self, rng: random.Random, words: str) -> str:
        """Another operation in the place of one, which shows in most of what it is tried on."""
        while True:
            at = rng.randrange(len(words))
            other = words[:at] + rng.choice([word for word in WORDS if word != words[at]]) + words[at + 1 :]
            shows = sum(_differ(other, words, given) for given in TELLING)
            if not meant(other)[0].why and 2 * shows > len(TELLING):
                return other

    def grade(self, task: Task, text: str) -> Graded:
        """Of a whole program at once, each case with its operations as the stack language writes them; who mends it in the world is graded
        there, by tests."""
        return grade_by(text, lambda answer: "" if answer == written(task) else "another program", loose_answers)

    def gold(self, task: Task) -> str:
        return f"<answer>{written(task)}</answer>"


def written(task: Task) -> str:
    """The right program."""
    return " ".join(f"{case}{Digits().code(words)}" for case, words in task.needs["text"].items())


def _differ(one: str, other: str, given: tuple[int, ...]) -> bool:
    """Whether they leave something else in the end."""
    return meant(one)[INPUTS.index(given)].stack != meant(other)[INPUTS.index(given)].stack


def _elsewhere(rng: random.Random, text: dict[str, str]) -> dict[str, str]:
    """What another task asks for: of no case the same."""
    return {case: rng.choice([word for word in WORDS if word != words[0]]) + words[1:] for case, words in text.items()}
