"""Curriculum: picks the next tasks. What it remembers is plain data, saved with the run.

A task has a number in its source: `ctx.source.task("train", ctx.seed, number)` is the same one each time. A finite source counts to
`ctx.source.size`, a stream has `size` None and never ends. State is what JSON gives back as it was (numbers, texts, lists, dicts with texts
as keys), and is never changed: give back another one, `{**state, …}`. Noise is `ctx.rng(name)`, a function of seed and step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, cast

from strop.fragments import Flags, Seen, covered, numbered
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.part import nearest, written
from strop.seams.source import Source

State = dict[str, Any]


class Curriculum(Protocol):
    def init(self, source: Source) -> State:
        """What it knows before the first step. May refuse a source that it cannot pick from (ValueError)."""
        ...

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        """Exactly n tasks, and the state after. Asked again within a step where a gate's refill wants more."""
        ...

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        """Called on every graded group, before the gate, in canonical order."""
        ...


def picked(curriculum: Curriculum, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
    """What a curriculum picks, which may be anybody's: refused in words where it is not what was asked for."""
    given: Any = curriculum.pick(n, state, ctx)
    said, pair = f"the curriculum {written(curriculum)}: pick", cast("tuple[Any, ...]", given) if isinstance(given, tuple) else ()
    if len(pair) != 2 or not all(isinstance(task, Task) for task in pair[0]):
        raise ValueError(f"{said} gives {given!r:.80}, and it is (list of tasks, state)")
    if len(pair[0]) != n:
        raise ValueError(f"{said} was asked for {n} tasks and picks {len(pair[0])}")
    return cast("tuple[list[Task], State]", given)


@dataclass(frozen=True)
class Uniform:
    """Every task drawn independently; the same one may come twice."""

    steady: ClassVar[bool] = True
    """Picks whatever was scored: a step's tasks are as hard as another's."""

    def init(self, source: Source) -> State:
        return {"drawn": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        start = int(state["drawn"])
        span = ctx.source.size or 2**31
        tasks = [ctx.source.task("train", ctx.seed, keyed(ctx.seed, "uniform", start + i).randrange(span)) for i in range(n)]
        return tasks, {"drawn": start + n}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state


@dataclass(frozen=True)
class Epochs:
    """Every task once before any comes again, each epoch in an order of its own. A stream never comes round."""

    steady: ClassVar[bool] = True

    def init(self, source: Source) -> State:
        return {"drawn": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        start, size = int(state["drawn"]), ctx.source.size
        numbers: list[int] = []
        orders: dict[int, list[int]] = {}
        for at in range(start, start + n):
            if size is None:
                numbers.append(at)
                continue
            epoch, place = divmod(at, size)
            if epoch not in orders:
                orders[epoch] = list(range(size))
                keyed(ctx.seed, "epoch", epoch).shuffle(orders[epoch])
            numbers.append(orders[epoch][place])
        return [ctx.source.task("train", ctx.seed, number) for number in numbers], {"drawn": start + n}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state


@dataclass(frozen=True)
class NearRate:
    """The tasks whose mean pass rate over their last few visits lies nearest to a target; untried ones first, in random order.

    The plain alternative to a model of difficulty. Needs a finite source.
    """

    target: float = 0.5
    """The pass rate that is looked for."""
    last: int = 3
    """Visits of a task that count."""

    def __post_init__(self) -> None:
        if not 0 <= self.target <= 1 or self.last < 1:
            raise ValueError(f"NearRate(target={self.target}, last={self.last}): a target is a rate in [0, 1], over at least 1 visit")

    def init(self, source: Source) -> State:
        return {"rates": [[] for _ in range(finite(source))], "place": {}}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        rates: list[list[float]] = state["rates"]
        new = unvisited([len(seen) for seen in rates], ctx.seed)[:n]
        known = [at for at, seen in enumerate(rates) if seen]
        ctx.rng("ties").shuffle(known)
        known.sort(key=lambda at: abs(sum(rates[at]) / len(rates[at]) - self.target))
        return placed(new + known[: n - len(new)], state, ctx)

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        rates: list[list[float]] = [list(seen) for seen in state["rates"]]
        for group in groups:
            at, rate = state["place"].get(group.task.id), scores.rate(group)
            if group.role == "solve" and at is not None and rate is not None:
                rates[at] = [*rates[at], rate][-self.last :]
        return {**state, "rates": rates}


@dataclass(frozen=True)
class Band:
    """Another curriculum's tasks, but for those whose mean outcome, when they were last tried, lay outside of a band. Untried ones pass.

    In a program the ledger holds what earlier stages tried. Where the band leaves too few, those nearest to it fill the step.
    """

    inner: Curriculum = Epochs()
    """Whose tasks are looked through."""
    low: float = 0.2
    """Least mean outcome."""
    high: float = 0.8
    """Largest."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"Band(low={self.low}, high={self.high}): 0 <= low <= high <= 1, mean outcomes of tasks")

    def init(self, source: Source) -> State:
        return {"inner": self.inner.init(source), "passed": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        inner, passed = state["inner"], state["passed"]
        found: list[Task] = []
        outside: list[tuple[float, int, Task]] = []
        looked, most = 0, ctx.source.size or LOOK * n
        while len(found) < n and looked < most:
            tasks, inner = self.inner.pick(min(n - len(found), most - looked), inner, ctx)
            looked += len(tasks)
            for task in tasks:
                rate = ctx.ledger.last.get(task.id, (self.low,))[0]
                away = max(self.low - rate, rate - self.high)
                if away <= 0:
                    found.append(task)
                else:
                    outside.append((away, len(outside), task))
        fill = [task for _, _, task in sorted(outside, key=lambda one: one[:2])[: n - len(found)]]
        passed += len(outside) - len(fill)
        while len(found) + len(fill) < n:
            more, inner = self.inner.pick(n - len(found) - len(fill), inner, ctx)
            fill += more
        return [*found, *fill], {"inner": inner, "passed": passed}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return {**state, "inner": self.inner.observe(state["inner"], groups, scores, ctx)}


LOOK = 8
"""Tasks that a band looks through for each it wants, where there is no end to them."""


# What curricula share that remember every task: {task id: place} in their state, and a first pass in random order.


def finite(source: Source) -> int:
    """The source's size; one that never ends is refused."""
    if source.size is None:
        raise ValueError(
            f"a curriculum that remembers every task needs an end to them, and {source.name!r} has none. "
            f"Draw a pool: --task pool:320:{source.name}"
        )
    return source.size


def unvisited(visits: Sequence[int], seed: int) -> list[int]:
    """Places nobody has tried, in the random order of the first pass."""
    order = list(range(len(visits)))
    keyed(seed, "first pass").shuffle(order)
    return [at for at in order if not visits[at]]


def placed(places: list[int], state: State, ctx: Ctx) -> tuple[list[Task], State]:
    """The tasks at these places, and the state that knows them again when their groups come back."""
    tasks = [ctx.source.task("train", ctx.seed, at) for at in places]
    return tasks, {**state, "place": {**state["place"], **{task.id: at for task, at in zip(tasks, places, strict=True)}}}


@dataclass(frozen=True)
class Connecting:
    """The first tasks of a source again and again, and beside them those of its others that cover most of what is not covered (`coverage`).

    A question counts as covered where exchanges of fragments that act alike in `k` contexts lead to it from the chosen ones
    (`strop/fragments.py`). In rounds, each of some candidates is tried beside what is chosen, and the best are added, until `add` are. What
    they are to cover is the rest of the source's own training tasks: held-out ones are never looked at. With `among=each` they are
    added by chance.
    """

    k: int = 2
    """Contexts in common."""
    start: int = 500
    """Tasks that are chosen to begin with: the first of the source."""
    add: int = 100
    """And how many more."""
    among: int = 80
    """Candidates of a round, drawn by chance."""
    each: int = 10
    """Of these so many are added."""
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1 or self.start < 1 or self.add < 0 or not 1 <= self.each <= self.among:
            raise ValueError(f"{written(self)}: k, start and each are at least 1, add at least 0, and among at least each")

    def init(self, source: Source) -> State:
        if (size := finite(source)) < self.start + self.add:
            raise ValueError(f"{written(self)} chooses {self.start + self.add} of the tasks of {source.name!r}, and there are {size}")
        return {"drawn": 0, "chosen": []}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        chosen: list[int] = state["chosen"] or self.chosen(ctx.source, ctx.seed)
        start, orders = int(state["drawn"]), dict[int, list[int]]()
        numbers: list[int] = []
        for at in range(start, start + n):
            epoch, place = divmod(at, len(chosen))
            if epoch not in orders:
                orders[epoch] = list(chosen)
                keyed(ctx.seed, "epoch", epoch).shuffle(orders[epoch])
            numbers.append(orders[epoch][place])
        tasks = [ctx.source.task("train", ctx.seed, number) for number in numbers]
        return tasks, {"drawn": start + n, "chosen": chosen}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state

    def chosen(self, source: Source, seed: int) -> list[int]:
        """Numbers of the tasks that are trained on, in the order in which they were chosen."""
        tasks = [source.task("train", seed, number) for number in range(finite(source))]
        every, _, _, _ = numbered([(task.prompt, source.gold(task) or "") for task in tasks], [])
        if len(every.inputs) < len(tasks):
            raise ValueError(f"{source.name!r} has a question twice among its training tasks: what is chosen is told apart by its question")
        chosen, others = list(range(self.start)), list(range(self.start, len(tasks)))
        rng = keyed(seed, "connecting")
        while len(chosen) < self.start + self.add:
            tried = rng.sample(others, min(self.among, len(others)))
            if len(tried) > self.each:
                gains = {number: int(self.covers(every, [*chosen, number], others).sum()) for number in tried}
                tried.sort(key=gains.__getitem__, reverse=True)
            chosen += tried[: min(self.each, self.start + self.add - len(chosen))]
            others = [number for number in others if number not in {*chosen}]
        return chosen

    def covers(self, every: Seen, chosen: list[int], asked: list[int]) -> Flags:
        return covered(replace(every, inputs=every.inputs[chosen], outputs=every.outputs[chosen]), every.inputs[asked], self.k)


@dataclass(frozen=True)
class Mixed:
    """Classes of tasks by share, at equal tokens: what is drawn next is of the class that is furthest behind its share of all tokens
    learned from so far, so harder tasks, whose texts are longer, come less often than their share says.

    A class is what a task's fields `by` say, with a space between: "chain 4". It gives its tasks in the order of their numbers, around
    and around where there is an end to them. How long its texts are is known once some were seen; a step's error is made good by the next.
    """

    shares: Mapping[str, float]
    """What of the tokens each class gets, in relation to the others; a class that is not named gets none."""
    by: tuple[str, ...] = ("source",)
    """Fields of a task that say its class: `source`, or of its `meta` or `needs`."""
    equal: str = "tokens"
    """What the shares are of: tokens, or tasks."""

    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.equal not in EQUAL:
            raise ValueError(f"Mixed(equal={self.equal!r}): shares are of {' or '.join(EQUAL)}. {nearest(self.equal, EQUAL)}")
        if not self.by or any(not 0 <= share < float("inf") for share in self.shares.values()) or not sum(self.shares.values()):
            raise ValueError(f"{written(self)}: name the fields of a class, and for some class a share above 0; none is below")

    def init(self, source: Source) -> State:
        drawn = [name for name, share in self.shares.items() if share]
        return {"next": dict.fromkeys(drawn, 0), "seen": {name: [0, 0] for name in drawn}}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        seen: dict[str, list[int]] = state["seen"]
        self._on_course(seen, state.get("last", 0))
        count, each = self._counts(seen), {name: tokens / tasks if tasks else 1.0 for name, (tasks, tokens) in seen.items()}
        following, tasks = dict(state["next"]), list[Task]()
        for _ in range(n):
            behind = min(seen, key=lambda name: count[name] / self.shares[name])
            count[behind] += each[behind] if self.equal == "tokens" else 1
            task, following[behind] = self._next(behind, following[behind], ctx)
            tasks.append(task)
        return tasks, {**state, "next": following}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        seen, last = {name: list(found) for name, found in state["seen"].items()}, 0
        for group in groups:
            if (name := label(group.task, self.by)) in seen:
                own = {s.id: len(s.tokens) for r in group.rollouts for row in r.rows for s in row.segments if s.id in row.trains}
                seen[name][0] += 1
                seen[name][1] += sum(own.values())
                last += sum(own.values()) if self.equal == "tokens" else 1
        return {**state, "seen": seen, "last": last}

    def _counts(self, seen: Mapping[str, Sequence[int]]) -> dict[str, float]:
        return {name: float(found[EQUAL.index(self.equal)]) for name, found in seen.items()}

    def _next(self, name: str, number: int, ctx: Ctx) -> tuple[Task, int]:
        """The class's task at this number or the first behind it, and the number after."""
        size, met = ctx.source.size, dict[str, None]()
        for at in range(number, number + (size or MOST_LOOKED)):
            task = ctx.source.task("train", ctx.seed, at if size is None else at % size)
            found = label(task, self.by)
            if found == name:
                return task, at + 1
            met[found] = None
        raise ValueError(
            f"{written(self)}: {ctx.source.name!r} has no task of the class {name!r} among {size or MOST_LOOKED}. {nearest(name, met)}"
        )

    def _on_course(self, seen: Mapping[str, Sequence[int]], last: int) -> None:
        """What a step learned may be more than its share, and no more than that: 1 % of all besides."""
        count = self._counts(seen)
        total, of = sum(count.values()), sum(self.shares[name] for name in seen)
        for name, own in count.items():
            if abs(own - (due := total * self.shares[name] / of)) > last + 0.01 * total:
                raise ValueError(
                    f"{written(self)}: the class {name!r} has {own:,.0f} of {total:,.0f} {self.equal}, and its share is {due:,.0f}. Its "
                    "tasks give texts of other lengths than they gave before, or none."
                )


EQUAL = ("tasks", "tokens")
MOST_LOOKED = 10_000
"""Tasks of a stream without one of a class before the class counts as empty."""


def label(task: Task, by: Sequence[str]) -> str:
    """The class of a task by its fields.

    >>> label(Task("7+2=?", {}, "chain", {"steps": 1}), ("source", "steps"))
    'chain 1'
    """
    said: dict[str, Any] = {**task.needs, **task.meta, "source": task.source}
    if absent := [name for name in by if name not in said]:
        raise ValueError(f"a task of {task.source!r} has no {absent[0]!r} to tell its class by. {nearest(absent[0], said)}")
    return " ".join(str(said[name]) for name in by)
