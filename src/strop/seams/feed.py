"""Feed: what supplies groups to a step. The step is the same whatever stands here.

A feed of one's own mostly wraps another (`feed: Feed = Rollouts()`) and adds to what it gives or leaves some of it out. What it gives
is graded, gated and committed as it is; groups of another role than `solve` are trained but count in no curve. A resumed run takes what
was committed and asks no feed. One that wraps another hands on its `fresh`, and `ahead` and `paired` (its groups are pairs) where it has
them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx
from strop.seams.episode import Episodes, Played
from strop.seams.flight import age
from strop.seams.part import added, nearest
from strop.seams.sampler import Grows, Sampler, grown
from strop.seams.world import Call, World

Pick = Callable[[int], list[Task]]


class Feed(Protocol):
    @property
    def fresh(self) -> bool:
        """Whether what it gives was sampled in this step by the policy that learns."""
        ...

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        """Groups for `want` tasks in canonical order. `pick(n)` asks the curriculum for n tasks; `seen` counts, within this step, how often
        each task was asked for, and may hold a word of the feed's own: a step whose gates refill calls it again."""
        ...


@dataclass(frozen=True)
class Rollouts:
    """Fresh ones, grown by the method's sampler with the weights as they stand.

    With `ahead`, tasks for so many steps more are grown while the learner computes: a step takes those that are done, in the order they
    were asked for. What it then learns from was written by weights up to `ahead` versions old, or older where a task takes longer;
    a group with a decision above `max_age` is discarded, counted and reported.
    """

    ahead: int = 0
    """Steps that are grown while the learner computes; needs `--cluster`."""
    max_age: int | None = added(None, shown=False)
    """In versions of the weights; None: `ahead`."""

    def __post_init__(self) -> None:
        if self.ahead < 0 or (self.max_age is not None and self.max_age < 0):
            raise ValueError(f"Rollouts(ahead={self.ahead}, max_age={self.max_age}): steps and versions are counted from 0")
        if self.max_age is not None and not self.ahead:
            raise ValueError(f"Rollouts(max_age={self.max_age}): without `ahead` nothing is older than the weights that learn")

    @property
    def fresh(self) -> bool:
        return self.ahead == 0

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        if self.ahead:
            return await self._ahead(pick, want, sampler, world, ctx)
        places: list[tuple[Task, str]] = []
        for task in pick(want):
            places.append((task, f"{task.id}#{seen[task.id]}"))
            seen[task.id] += 1
        made = await asyncio.gather(*(grown(sampler, task, world, ctx.at(place)) for task, place in places))
        return [group for groups in made for group in groups]

    async def _ahead(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx) -> list[Group]:
        flight, actor = ctx.flight, ctx.policies["actor"].engine
        if flight is None or not isinstance(actor, Grows):
            raise ValueError(f"Rollouts(ahead={self.ahead}) needs engines beside the learner: train with --cluster local, or with ahead=0.")
        limit = self.ahead if self.max_age is None else self.max_age
        level = want * (1 + min(self.ahead, ctx.progress.steps - ctx.progress.step - 1))
        taken: list[tuple[int, list[Group]]] = []
        while len(taken) < want:
            if (missing := level - len(taken) - len(flight)) > 0:
                flight.add(pick(missing), ctx.progress.step)
            flight.send(lambda task, place: actor.ask(sampler, task, world, ctx.at(place), step=0))
            number, groups = await flight.next()
            if (oldest := age(groups, ctx.policies["actor"].engine.version)) > limit:
                flight.discarded(groups, oldest, await ctx.grade(groups))
                continue
            taken.append((number, groups))
        return [group for _, groups in sorted(taken, key=lambda one: one[0]) for group in groups]


@dataclass(frozen=True)
class Recorded:
    """Groups that exist already, all of them in the first round: a step that was committed, or somebody else's rollouts."""

    groups: tuple[Group, ...]
    """In canonical order."""

    @property
    def fresh(self) -> bool:
        return False

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        if seen["recorded"]:
            return []
        seen["recorded"] += 1
        return list(self.groups)


@dataclass(frozen=True)
class Demos:
    """Demonstrations alone, one a task: supervised learning. The sampler is not asked."""

    text: str = added("gold", shown=False)
    """`gold`, a text that scores 1; `worked`, the source's worked example, where it has one; `episode`, what a teacher says turn by turn,
    with what the world answers between; `whole`, question and worked example as one text, all of which is learned."""
    per_task: int = added(1)
    """Of so many different worked answers to a task one is shown each time it comes, by chance; of fewer where its source has fewer."""

    def __post_init__(self) -> None:
        if self.text not in TEXTS:
            raise ValueError(f"Demos(text={self.text!r}): {' or '.join(TEXTS)}. {nearest(self.text, TEXTS)}")
        if self.per_task < 1 or (self.per_task > 1 and self.text != "worked"):
            raise ValueError(
                f"Demos(text={self.text!r}, per_task={self.per_task}): different answers to one task are asked of `worked` texts"
            )

    @property
    def fresh(self) -> bool:
        return False

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        places = [(task, f"demo/{task.id}#{number}") for number, task in enumerate(pick(want))]
        if self.text == "episode":
            made = list(await asyncio.gather(*(episode(task, world, sampler, ctx.at(place)) for task, place in places)))
        else:
            made = [demo(task, place, ctx, self.text, self.per_task) for task, place in places]
        if getattr(ctx.source, "ungraded", False):  # nobody else says what a reply is worth: what its rows show is right
            ctx.graded(Scores({rollout.id: {"outcome": 1.0} for group in made for rollout in group.rollouts}))
        return made


@dataclass(frozen=True)
class WithDemos:
    """Another feed's groups and, once a step, demonstrations, role `demo`.

    A signal with `on=teacher` learns from them (`cross_entropy`: a supervised share beside reinforcement); signals on
    `actions` do not see them.
    """

    feed: Feed = Rollouts()
    """Whose groups they are added to."""
    demos: int = 8
    """Demonstrations a step."""
    VERSION: ClassVar[int] = 2

    @property
    def fresh(self) -> bool:
        return self.feed.fresh

    @property
    def ahead(self) -> int:
        return int(getattr(self.feed, "ahead", 0))

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = await self.feed.take(pick, want, sampler, world, ctx, seen)
        if not seen["demos"]:
            seen["demos"] += 1
            groups += [demo(task, f"demo/{task.id}#{number}", ctx) for number, task in enumerate(pick(self.demos))]
        return groups


TEXTS = ("gold", "worked", "episode", "whole")


def demo(task: Task, place: str, ctx: Ctx, text: str = "gold", per_task: int = 1) -> Group:
    """The source's gold text, or its worked example, as a teacher segment. It has no log-probability of ours, and none is made up."""
    if per_task > 1:
        examples: Callable[[Task, int], list[str]] | None = getattr(ctx.source, "examples", None)
        if examples is None:
            raise ValueError(
                f"source {ctx.source.name!r} has one answer to a task, and Demos(per_task={per_task}) asks for examples(task, n)"
            )
        gold = ctx.rng("demo", place).choice(examples(task, per_task))
    else:
        gold = getattr(ctx.source, "example", ctx.source.gold)(task) if text in ("worked", "whole") else ctx.source.gold(task)
    if gold is None:
        raise ValueError(f"source {ctx.source.name!r} has no gold text for task {task.id}, so there is nothing to demonstrate")
    renderer = ctx.policies["actor"].renderer
    asked, said = renderer.prompt(task.prompt), renderer.reply(gold)
    row = whole(asked + said) if text == "whole" else Row.of(Segment("prompt", asked, "0"), Segment("teacher", said, "0.0"))
    return Group(task, (Rollout((row,), f"{place}/0", provenance="gold", text=gold),), role="demo", id=place)


def whole(tokens: Sequence[int]) -> Row:
    """A text of which every token is learned, but the first: nothing stands before it that would give it a probability."""
    return Row.of(Segment("prompt", tuple(tokens[:1]), "0"), Segment("teacher", tuple(tokens[1:]), "0.0"))


async def episode(task: Task, world: World | None, sampler: Sampler, ctx: Ctx) -> Group:
    """What a teacher says to a task, turn by turn, in the world that answers, in the rows that the sampler's window makes of it. The
    teacher is the source, where it has `episode(task)`, else the world's own `expert(state)`."""
    if world is None:
        raise ValueError("Demos(text='episode') needs the world that answers between the replies: environment=…")
    teach: Callable[[Task], list[Any]] | None = getattr(ctx.source, "episode", None)
    expert: Callable[[Any], str | Call] | None = getattr(world, "expert", None)
    said = teach(task) if teach is not None else []
    if not said and expert is None:
        raise ValueError(
            f"source {ctx.source.name!r} has no episode(task), the replies turn by turn, and {type(world).__name__} no expert(state), "
            "the next one: Demos(text='episode') needs one of them"
        )
    how = sampler if isinstance(sampler, Episodes) else Episodes(observation=0)
    how = replace(how, n=1, turns=len(said) if said else how.turns)
    teacher = Played((lambda state, turn: said[turn]) if said else (lambda state, turn: expert(state)), how)  # type: ignore[misc]
    (group,) = await teacher(task, world, ctx)
    (rollout,) = group.rollouts
    limit, longest = ctx.policies["actor"].engine.limit, max(sum(len(s.tokens) for s in row.segments) for row in rollout.rows)
    if longest > limit or rollout.stop == "length":
        where = f"row {task.meta['row']} of {task.meta['file']}" if "row" in task.meta else f"task {task.id}"
        raise ValueError(
            f"{where}: a demonstration of {len(rollout.keys['facts'])} replies, in rows of up to {longest} tokens, is more than the "
            f"{limit} that the model takes. Leave it out, or let a window forget: --window recent"
        )
    return Group(task, (replace(rollout, stop="finished", provenance="gold"),), role="demo", id=ctx.place)
