"""Recorded: groups made of what an earlier stage committed, and pairs that a file holds.

A maker turns an earlier stage's groups into others: pairs (role `pair`, the better text first) or demonstrations (role `demo`). What it
takes from a rollout becomes teacher text: it was drawn by other weights, and nobody corrects for them. `provenance` names the rollout.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Renderer, keyed
from strop.seams.feed import Feed, Pick, Rollouts
from strop.seams.part import Part, added, part
from strop.seams.sampler import Sampler
from strop.seams.signal import SIDES
from strop.seams.world import World

OWN = "own"
"""Stands for the run itself among the stages before it."""
PAIR = "pair"
"""The role of a group of two texts, the better one first."""


@dataclass(frozen=True)
class Earlier:
    """What a maker makes of an earlier stage's groups, each once before any comes again, every time in another order."""

    stage: str
    """The latest one of this name; `own`: the run's own earlier steps, as many as there are by now."""
    make: Part | tuple[Part, ...]
    """correctness_pairs(), right_ones(), found_ones(), compared_pairs(), turns_of(), or one of your own: (groups, scores, rng)
    -> groups; of several each goes on from what the one before made. One that asks policies is a coroutine and reads `ctx`; one that writes
    tokens reads the actor's `renderer`."""
    every: bool = added(False)
    """Of every stage of this name that is over, not the latest alone: a buffer that grows where stages are repeated."""

    @property
    def fresh(self) -> bool:
        return False

    @property
    def paired(self) -> bool:
        """Whether its groups are pairs."""
        return self.makers[-1].gives == "pairs"

    @property
    def makers(self) -> tuple[Part, ...]:
        """In order."""
        return in_order(self.make)

    async def made(self, ctx: Ctx) -> tuple[Sequence[Group], Scores]:
        """All there is, made once a stage, and what is known of it. None at all is refused with counts."""
        groups, scores = ctx.earlier(self.stage, self.every) if self.every else ctx.earlier(self.stage)
        made = await made_of(self.makers, groups, scores, keyed(ctx.seed, "earlier", self.stage), ctx)
        if not made:
            raise ValueError(nothing(self.makers, f"stage {self.stage!r}", groups, scores))
        if odd := next((g for g in made if g.role == PAIR and len(g.rollouts) != 2), None):
            raise ValueError(
                f"{called(self.makers)} made a pair of {len(odd.rollouts)} texts ({odd.id}): a pair has two, the better one first"
            )
        return made, recalled(made, scores)

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        if self.stage == OWN:
            return await self._own(want, ctx, seen)
        made, known = await ctx.once(f"earlier {self.stage} {self.make!r}", lambda: asyncio.ensure_future(self.made(ctx)))
        first = ctx.progress.step * want
        turns = _turns(len(made), first, want, ctx.seed) if not seen["earlier"] else []
        groups = [_again(made[at], turn) for turn, at in turns]
        seen["earlier"] += 1
        ctx.graded(known.under({_named(r.id, turn): r.id for turn, at in turns for r in made[at].rollouts}))
        return groups

    async def _own(self, want: int, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        """By chance, each once: as many as are wanted, or fewer where there are not as many."""
        if seen["earlier"]:
            return []
        seen["earlier"] += 1
        groups, scores = ctx.earlier(OWN)
        made = await made_of(self.makers, groups, scores, ctx.rng("earlier", "make"), ctx)
        taken = ctx.rng("earlier", "take").sample(made, min(want, len(made)))
        turn = ctx.progress.before + ctx.progress.step
        ctx.graded(recalled(taken, scores).under({_named(r.id, turn): r.id for g in taken for r in g.rollouts}))
        return [_again(group, turn) for group in taken]


@dataclass(frozen=True)
class Rehearsed:
    """Another feed's groups and, once a step, some that the run made earlier: experience replay. What it takes from them is text of others,
    since its weights have moved on; a signal on=teacher learns from it."""

    feed: Feed = Rollouts()
    """Whose groups they are added to."""
    groups: int = 4
    """A step, as far as there are some."""
    make: Part = field(default_factory=lambda: right_ones())
    """What is made of the earlier ones."""

    @property
    def fresh(self) -> bool:
        return self.feed.fresh

    @property
    def ahead(self) -> int:
        return int(getattr(self.feed, "ahead", 0))

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = await self.feed.take(pick, want, sampler, world, ctx, seen)
        return groups + await Earlier(OWN, self.make).take(pick, self.groups, sampler, world, ctx, seen)


@dataclass(frozen=True)
class Pairs:
    """The pairs of a file: `--data pairs.jsonl` with the fields `prompt`, `chosen` and `rejected`, one pair a task."""

    paired = True

    @property
    def fresh(self) -> bool:
        return False

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = [pair_of(task, f"pair/{task.id}#{number}", ctx) for number, task in enumerate(pick(want), start=seen["pairs"])]
        seen["pairs"] += want
        ctx.graded(recalled(groups, Scores()))
        return groups


def pair_of(task: Task, place: str, ctx: Ctx) -> Group:
    """The two texts of a task of a file, as teacher segments."""
    check(task, ctx.source.name)
    renderer = ctx.policies["actor"].renderer
    prompt = Segment("prompt", renderer.prompt(task.prompt), "0")

    def text(side: str, number: int) -> Rollout:
        said = Segment("teacher", renderer.reply(task.needs[side]), f"0.{number}")
        return Rollout((Row.of(prompt, said),), f"{place}/{number}", provenance=side, text=task.needs[side])

    return Group(task, (text("chosen", 0), text("rejected", 1)), role=PAIR, id=place)


def check(task: Task, source: str) -> None:
    """Refuse a task that carries no pair."""
    if any(side not in task.needs for side in SIDES):
        raise ValueError(
            f"source {source!r} has no pairs: task {task.id} holds no chosen and rejected text. Give a file of them: --data pairs.jsonl "
            "with the fields prompt, chosen and rejected."
        )


# Makers.


@part(gives="pairs")
def correctness_pairs(groups: Sequence[Group], scores: Scores, rng: Random, *, most: int = 15) -> list[Group]:
    """Right texts over wrong ones of the same task: up to `most` different pairs, drawn by chance. Equal texts count once."""
    made: list[Group] = []
    for group in (g for g in groups if g.role == "solve"):
        sides: dict[str, dict[tuple[int, ...], Rollout]] = {"right": {}, "wrong": {}, "unknown": {}}
        for rollout in group.rollouts:
            sides[_verdict(scores, rollout)].setdefault(rollout.rows[-1].tokens, rollout)
        both = [(good, bad) for good in sides["right"].values() for bad in sides["wrong"].values()]
        for number, pair in enumerate(rng.sample(both, min(most, len(both)))):
            place = f"{group.id}/pair{number}"
            made.append(Group(group.task, tuple(taught(r, f"{place}/{i}") for i, r in enumerate(pair)), role=PAIR, id=place))
    return made


@part(gives="demos")
def right_ones(groups: Sequence[Group], scores: Scores, rng: Random) -> list[Group]:
    """Every right text, as a demonstration: what rejection sampling learns from. Equal texts of a task count once."""
    made: list[Group] = []
    for group in (g for g in groups if g.role == "solve"):
        right = {r.rows[-1].tokens: r for r in reversed(group.rollouts) if _verdict(scores, r) == "right"}
        for number, rollout in enumerate(reversed(right.values())):
            place = f"{group.id}/right{number}"
            made.append(Group(group.task, (taught(rollout, f"{place}/0"),), role="demo", id=place))
    return made


@part(gives="demos")
def found_ones(groups: Sequence[Group], scores: Scores, rng: Random) -> list[Group]:
    """What each search ended with (`Climbed`, `Refined`), as a demonstration, whatever its verdict; none that was broken off or left."""
    made: list[Group] = []
    for group in (g for g in groups if g.role == "solve"):
        for found in (r for r in group.rollouts if r.provenance == "search" and not r.keys["facts"][0]["left"]):
            made.append(Group(group.task, (taught(replace(found, keys={}), f"{found.id}/ended"),), role="demo", id=f"{found.id}/demo"))
    return made


@part(gives="pairs")
def compared_pairs(groups: Sequence[Group], scores: Scores, rng: Random, renderer: Renderer, *, most: int = 15) -> list[Group]:
    """What a search compared (`Climbed`), the preferred text first: up to `most` different pairs of each task, drawn by chance. All votes
    on two texts count together; where as many are for the one as for the other, or none was heard, they are no pair."""
    made: list[Group] = []
    for group in (g for g in groups if g.role == "solve"):
        for found in (r for r in group.rollouts if "compared" in r.keys):
            texts, (opens, closes) = found.keys["texts"], found.keys["tags"]
            lead = Counter[tuple[int, int]]()
            for first, second, votes in found.keys["compared"]:
                lead[min(first, second), max(first, second)] += sum(2 * v - 1 for v in votes if v is not None) * (
                    1 if first < second else -1
                )
            won = [(b, a) if ahead > 0 else (a, b) for (a, b), ahead in lead.items() if ahead]
            for number, pair in enumerate(rng.sample(won, min(most, len(won)))):
                place, prompt = f"{found.id}/compared{number}", found.rows[-1].segments[0]
                sides = [
                    Rollout(
                        (Row.of(prompt, Segment("teacher", renderer.reply(f"{opens}{texts[at]}{closes}"), f"0.{i}")),),
                        f"{place}/{i}",
                        provenance=f"{found.id}/text{at}",
                        text=f"{opens}{texts[at]}{closes}",
                    )
                    for i, at in enumerate(pair)
                ]
                made.append(Group(group.task, tuple(sides), role=PAIR, id=place))
    return made


def in_order(make: Part | tuple[Part, ...]) -> tuple[Part, ...]:
    """Makers, of which each goes on from what the one before made."""
    return make if isinstance(make, tuple) else (make,)


async def made_of(makers: Sequence[Part], groups: list[Group], scores: Scores, rng: Random, ctx: Ctx) -> list[Group]:
    """What they make of groups."""
    have: dict[str, Any] = {"scores": scores, "rng": rng, "ctx": ctx}
    if "actor" in ctx.policies:
        have["renderer"] = ctx.policies["actor"].renderer
    for maker in makers:
        groups = await given(maker.on(have | {"groups": groups}))
    return groups


def called(makers: Sequence[Part]) -> str:
    return " then ".join(maker.name for maker in makers)


def nothing(makers: Sequence[Part], where: str, groups: Sequence[Group], scores: Scores) -> str:
    """That they found nothing there, with what there was."""
    rates = Counter(_verdict(scores, r) for g in groups for r in g.rollouts)
    return (
        f"{called(makers)} finds nothing in {where}: {len(groups)} groups with {rates['right']} right rollouts, {rates['wrong']} wrong and "
        f"{rates['unknown']} without a verdict. Sample more, or tasks that are solved now and then."
    )


async def given(made: Any) -> Any:
    """What a part gave, which is awaited where it is a coroutine."""
    return await made if inspect.isawaitable(made) else made


def taught(rollout: Rollout, name: str) -> Rollout:
    """Somebody's rollout as teacher text, under an id of its own."""
    return replace(rollout, rows=tuple(_taught_row(row) for row in rollout.rows), id=name, provenance=rollout.id)


def _taught_row(row: Row) -> Row:
    said = (replace(s, kind="teacher", author=None, logp=None) if s.kind == "action" else s for s in row.segments)
    return replace(row, segments=tuple(said))


def _verdict(scores: Scores, rollout: Rollout) -> str:
    outcome = scores.get(rollout, "outcome")
    return "unknown" if outcome is None else "right" if outcome >= 1 else "wrong"


def recalled(groups: Sequence[Group], known: Scores) -> Scores:
    """What is known of made groups: their rollouts' scores, and of a pair which text is the better one."""
    named = {r.id: r.id if r.id in known.values else r.provenance for group in groups for r in group.rollouts}
    told = known.under(named)
    values = {unit: dict(told.values.get(unit, {})) for unit in named}
    for group in groups:
        if group.role == PAIR:
            values |= {r.id: {**values[r.id], "chosen": float(place == 0)} for place, r in enumerate(group.rollouts)}
    return replace(told, values=values)


def _turns(size: int, first: int, want: int, seed: int) -> list[tuple[int, int]]:
    """(turn, place) of so many from the first on: every place once a turn, in the turn's own order."""
    places: list[tuple[int, int]] = []
    orders: dict[int, list[int]] = {}
    for at in range(first, first + want):
        turn, place = divmod(at, size)
        if turn not in orders:
            orders[turn] = list(range(size))
            keyed(seed, "turn", turn).shuffle(orders[turn])
        places.append((turn, orders[turn][place]))
    return places


def _again(group: Group, turn: int) -> Group:
    """The group as it comes in a later turn: two of one id may not meet in a step."""
    rollouts = tuple(replace(r, id=_named(r.id, turn)) for r in group.rollouts)
    return Group(group.task, rollouts, role=group.role, id=_named(group.id, turn))


def _named(place: str, turn: int) -> str:
    return f"{place}~{turn}" if turn else place
