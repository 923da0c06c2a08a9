"""WebExplorer (arXiv:2509.06501): how it could be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from statistics import fmean

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.context import keyed
from strop.seams.episode import Episodes
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.update import Still
from strop.seams.world import Said, Seat
from strop.tasks.clues import OPERATORS, Evolved, evolve
from strop.tasks.procedural import strict_answer
from strop.worlds.calls import Line
from strop.worlds.clues import Clues, base_of

ROUNDS, BUDGET = 5, 6


def of(task: Task, operator: str, rounds: int = ROUNDS, checked: bool = True) -> Evolved:
    """What becomes of a question."""
    base = base_of(*task.needs["base"])
    return evolve(base.question(task.needs["clues"]), base, OPERATORS[operator], rounds, keyed(task.id, operator), checked=checked)


async def played(task: Task, found: Evolved, version: int = -1) -> tuple[int, bool]:
    """Turns that the world's expert takes to an answer, and whether that is the answer of the question it was made of."""
    world, base = Clues(), base_of(*task.needs["base"])
    needs = {**task.needs, "clues": [base.written(clue) for clue in found.versions[version]]}
    state, turns = world.start(Task(task.prompt, needs, task.source), Seat("", "")), 1
    while not isinstance(said := world.expert(state), str):
        state, _ = await world.reply(state, Said("", (said,)), {})
        turns += 1
    return turns, strict_answer(said)[0] == task.needs["answer"]


def tasks_of(trace: Trace) -> Iterator[tuple[float, list[Task]]]:
    """What was spent after each step, and what was asked in it."""
    for spent, (groups, _) in zip(trace.spent, trace.steps(), strict=True):
        yield float(spent), [group.task for group in groups]


def _mean(trace: Trace, of_task: Callable[[Task], float]) -> float:
    return fmean(of_task(task) for _, tasks in tasks_of(trace) for task in tasks)


@part(gives="curve")
def turns(trace: Trace, *, operator: str = "salient", rounds: int = ROUNDS) -> Curve:
    """Turns of the expert on what becomes of the questions that were asked, the mean over all so far."""
    taken, curve = list[int](), Curve()
    for spent, tasks in tasks_of(trace):
        taken += [asyncio.run(played(task, of(task, operator, rounds)))[0] for task in tasks]
        curve.append((spent, fmean(taken)))
    return curve


@part(gives="number")
def edits(trace: Trace, *, operator: str) -> float:
    """Of the questions, the share that was edited in every round."""
    return _mean(trace, lambda task: len(of(task, operator).versions) == ROUNDS + 1)


@part(gives="number")
def as_before(trace: Trace, *, operator: str) -> float:
    """Of the questions, the share that takes as many turns as before they were edited."""

    def alike(task: Task) -> bool:
        found = of(task, operator)
        return asyncio.run(played(task, found))[0] == asyncio.run(played(task, found, 0))[0]

    return _mean(trace, alike)


@part(gives="number")
def lost(trace: Trace, *, operator: str) -> float:
    """Of the questions, by how large a share fewer are solved within the budget of turns once they are edited."""

    def solved(task: Task, found: Evolved, version: int) -> bool:
        return asyncio.run(played(task, found, version))[0] <= BUDGET

    return _mean(trace, lambda task: solved(task, found := of(task, operator), 0) - solved(task, found, -1))


@part(gives="number")
def several(trace: Trace, *, operator: str) -> float:
    """Of the questions, the share that has several answers once it is edited and nobody checks."""
    return _mean(trace, lambda task: len(base_of(*task.needs["base"]).answers(of(task, operator, checked=False).versions[-1])) > 1)


@part(gives="number")
def right(trace: Trace) -> float:
    """Share of the episodes that were played in the run whose answer is right."""
    said = [(r.text, g.task.needs["answer"]) for groups, _ in trace.steps() for g in groups for r in g.rollouts]
    return fmean(strict_answer(text)[0] == answer for text, answer in said)


ASKED = Method(
    "clues-asked",
    feed=Demos(text="episode"),
    sampler=Episodes(n=1, turns=32, max_tokens=14, observation=56, calls=Line()),
    credit=(),
    signals={},
    update=Still(),
    tasks=25,
)
"""The expert plays every question as it is asked at first, and nothing is learned."""

EVOLVE = Claim(
    "webexplorer-evolve",
    mechanism="Leaving out the most telling clue of a question, five times, its answer proven to be the only one each time,",
    consequence="raises the turns of a scripted solver by one or more over leaving out the least telling clue as often",
    regime="on questions about 2,000 entities of whom nine things are known, where one searches by one clue and visits what is found",
    method="webexplorer",
    recipe=Recipe(task="clues:entities=2000", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("salient", ASKED, reads=turns(operator="salient")),
        Arm("flattest", ASKED, control="as many clues are left out, the least telling first", reads=turns(operator="flattest")),
        Arm("any", ASKED, control="left out, blurred or described, by chance: the paper's three edits", reads=turns(operator="any")),
        Arm("first", ASKED, control="nothing is edited", reads=turns(rounds=0)),
    ),
    compare=("salient", "flattest"),
    measure=turns(rounds=0),
    threshold=1.0,
    refuted_if="the interval of the paired difference lies below 1",
    profiles={"quick": Profile((0, 1), "200 calls", 1), "full": Profile(tuple(range(20)), "300 calls", 3)},
    checks=(
        Check("every question is edited five times: share", edits(operator="salient"), "salient", least=1.0),
        Check("the control is as short: share edited five times", edits(operator="flattest"), "flattest", least=1.0),
        Check("the control stays flat: share with as many turns as before", as_before(operator="flattest"), "flattest", least=0.9),
        Check(f"fewer are solved within {BUDGET} turns than before: by", lost(operator="salient"), "salient", least=0.1),
        Check("there is something to check: share with several answers where nobody does", several(operator="salient"), "salient", 0.1),
        Check("its world can be played: share of right episodes", right(), "first", least=1.0),
    ),
    pitfalls="Near to arithmetic: one who searches by the most telling clue visits more where that is gone, and the control hardly ever "
    "loses it. What is found out is how far edits go that leave one answer, and that a solver feels them who knows how telling kinds of "
    "clues are and not of how many entities each one holds. How many more turns it is follows from how telling the attributes are, and "
    "those are strop's choice.",
)


def table(entities: int = 2000, questions: int = 40) -> str:
    """By operator and round: clues that are left, the expert's turns, how often it is done within its budget; and where nobody checks, how
    many questions have several answers, and how often it then gives another one."""
    from strop.tasks import source

    asked = source(f"clues:entities={entities}")
    tasks = [asked.task("test", 0, index) for index in range(questions)]
    rows = [["operator", "round", "clues", "turns", f"within {BUDGET}", "several, unchecked", "wrong, unchecked"]]
    for operator in ("salient", "any", "flattest"):
        sure, free = ([of(task, operator, checked=checked) for task in tasks] for checked in (True, False))
        for version in range(ROUNDS + 1):
            took = [asyncio.run(played(task, found, version))[0] for task, found in zip(tasks, sure, strict=True)]
            wrong = [not asyncio.run(played(task, found, version))[1] for task, found in zip(tasks, free, strict=True)]
            many = [len(base_of(*t.needs["base"]).answers(found.versions[version])) > 1 for t, found in zip(tasks, free, strict=True)]
            clues = fmean(len(found.versions[version]) for found in sure)
            shares = [fmean(n <= BUDGET for n in took), fmean(many), fmean(wrong)]
            rows.append([operator, str(version), *(f"{number:.2f}" for number in (clues, fmean(took), *shares))])
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))
