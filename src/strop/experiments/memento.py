"""Memento (arXiv:2508.16153): how it could be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Curve, Trace
from strop.method import Method
from strop.methods.memento import REMINDED
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Segment, Task
from strop.seams.context import Ctx, Footprint, keyed
from strop.seams.memory import AnyCases, Bank, Likely, Nearest, Reader, Told, Weights
from strop.seams.part import part
from strop.seams.world import World
from strop.tasks.plans import FAMILIES, family_of, plans
from strop.tasks.procedural import answered

# ------------------------------------------------------------------------------------------------ a planner of known quality


@dataclass(frozen=True)
class Planner:
    """Sampler: a planner by script, in the place of a large model that is shown cases. It knows the family of a request, and so whether a
    case helps: its plan is right with probability `helped` where a right case of the family is shown, else `alone`, less `misled` for
    each case of another family."""

    helped: float = 0.8
    alone: float = 0.25
    misled: float = 0.05

    @property
    def n(self) -> int:
        return 1

    @property
    def max_tokens(self) -> int:
        return 40

    @property
    def group_size(self) -> int:
        return 1

    def sized(self, group: int | None, max_tokens: int | None) -> Planner:
        return self

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(0, 0)

    def chance(self, prompt: str) -> tuple[int, float]:
        """The family of a request, and how likely the plan is right behind what stands before it."""
        shown, family = read(prompt)
        mine = [right for theirs, right in shown if theirs == family]
        p = (self.helped if any(mine) else self.alone) - self.misled * (len(shown) - len(mine))
        return family, max(p, 0.0)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        family, p = self.chance(task.prompt)
        rng, own = ctx.rng("plan", ctx.place), plans(getattr(ctx.source, "code", 0))
        good = rng.random() < p
        said = answered(own[family] if good else own[rng.choice([f for f in range(FAMILIES) if f != family])])
        renderer = ctx.policies["actor"].renderer
        row = Row.of(Segment("prompt", renderer.prompt(task.prompt), "0"), Segment("teacher", renderer.reply(said), "0.0"))
        keys = {"calls": [[["execute", True, ""]]], "facts": [{"chance": p}]}
        return [Group(task, (Rollout((row,), f"{ctx.place}/0", keys=keys, provenance="planner", text=said),), id=ctx.place)]


def read(prompt: str) -> tuple[list[tuple[int, bool]], int]:
    """The cases before a request, each with its family and whether it stands among the right ones; and the request's own family."""
    shown, right, edit = list[tuple[int, bool]](), True, Bank().edit
    *before, request = prompt.split("\n")
    for line in before:
        right = {edit.right: True, edit.wrong: False}.get(line, right)
        if (family := family_of(line)) is not None:
            shown.append((family, right))
    own = family_of(request)
    assert own is not None, request
    return shown, own


@dataclass(frozen=True)
class Shuffled(Likely):
    """Reader: the same net, told of each task what became of another one."""

    def learn(self, weights: Weights, told: Told, seed: int) -> tuple[Weights, dict[str, float]]:
        order = list(range(len(told.label_N)))
        keyed(seed, "shuffled", told.trained).shuffle(order)
        return super().learn(weights, told._replace(label_N=told.label_N[order]), seed)


def played(name: str, reader: Reader) -> Method:
    return REMINDED.but(f"memento-{name}", sampler=Planner(), memory=Bank(reader, k=4), tasks=8)


# ------------------------------------------------------------------------------------------------ measures

LAST = 200
"""Tasks, the last ones."""


class Tried(NamedTuple):
    """A task of a run, in the order they came."""

    task: str
    family: int
    chance: float
    """That the planner solves it."""
    read: tuple[int, ...]
    """Numbers of the cases it was shown: of the tasks before."""


@lru_cache(maxsize=64)
def tried(place: Path) -> tuple[tuple[Tried, ...], ...]:
    """What was tried, step by step."""
    from strop.directory import read_commit, recorded_steps

    found = list[tuple[Tried, ...]]()
    for step in range(recorded_steps(place)):
        groups: list[Any] = (read_commit(place, step) or {"groups": []})["groups"]
        said = ((g["task"], g["rollouts"][0]["keys"]) for g in groups)
        found.append(tuple(Tried(t["id"], t["meta"]["family"], k["facts"][0]["chance"], tuple(k["read"])) for t, k in said))
    return tuple(found)


@part(gives="curve")
def lately(trace: Trace, *, tasks: int = LAST) -> Curve:
    """How likely the planner solves the last so many tasks: the mean of its chances, which what it then drew only blurs."""
    chances, curve = list[float](), Curve()
    for spent, step in zip(trace.spent, tried(trace.places[-1]), strict=True):
        chances += [one.chance for one in step]
        curve.append((float(spent), sum(chances[-tasks:]) / min(len(chances), tasks)))
    return curve


@part(gives="number")
def of_family(trace: Trace, *, other: bool = False) -> float:
    """Of the cases that the last tasks were shown, the share of their own family; or of others."""
    every = [one for step in tried(trace.places[-1]) for one in step]
    mine = [every[number].family == one.family for one in every[-LAST:] for number in one.read]
    return (len(mine) - sum(mine) if other else sum(mine)) / max(len(mine), 1)


@part(gives="number")
def different(trace: Trace) -> float:
    """Tasks that are no other's, by the number of tasks."""
    ids = [one.task for step in tried(trace.places[-1]) for one in step]
    return len(set(ids)) / len(ids)


LEARNED = Claim(
    "memento-learned",
    mechanism="Reading the four cases behind which a small net expects a task to be solved, instead of the four that look most like it,",
    consequence="raises by 0.05 or more the share of the last 200 of 2,000 tasks that are solved",
    regime="on requests whose topic is another family's half of the time, with a planner by script that a case of the family helps",
    method="memento",
    recipe=Recipe(task="plans", steps=1000, lr=0.0, checkpoint_every=1000),
    arms=(
        Arm("likely", played("likely", Likely())),
        Arm("nearest", played("nearest", Nearest()), control="the four cases that look most like the request"),
        Arm("shuffled", played("shuffled", Shuffled()), control="the same net, told what became of other tasks"),
        Arm("any", played("any", AnyCases()), control="any four cases", random=True),
    ),
    compare=("likely", "nearest"),
    measure=lately(),
    threshold=0.05,
    selects=True,
    refuted_if="the interval of the paired difference lies below 0.05",
    profiles={
        "quick": Profile((0, 1), "2000 calls", 1, arms=("likely", "nearest", "any")),
        "full": Profile(tuple(range(2, 10)), "2000 calls", 8),
    },
    checks=(
        Check("the net chooses: share of the request's family among its cases", of_family(), "likely", least=0.3),
        Check("the surface lies: share of other families among the nearest", of_family(other=True), "nearest", least=0.3),
        Check("told of other tasks it does not: share of other families", of_family(other=True), "shuffled", least=0.7),
        Check("tasks do not come again: different ones, by all", different(), "likely", least=0.98),
    ),
    pilot=(0.1765, 0.1065, 0.1385),  # strop claim run memento-learned --profile pilot
    pitfalls="The planner is a script: it solves 0.25 without a case and 0.8 behind right ones of the family alone, by construction; that "
    "a case helps, and that one of another family misleads, is put in. What is not put in is that a net finds it from outcomes alone, each "
    "told of four cases at once, in time; it needs its weights pulled to zero hard, and with a decay of 0.01 it is below the nearest "
    "cases. A run is one history, since what is solved can be shown, so seeds differ by more than their tasks. Words have no meaning here "
    "but by their places: with a sentence encoder both readers would have an easier time.",
)
