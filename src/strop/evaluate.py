"""Evaluation on held-out tasks: unbiased pass@k, mean, majority, strict and lenient, with bootstrap intervals over tasks.

Every number is a mean over tasks of one value per task, so an interval comes from drawing tasks again, and two
evaluations of the same tasks can be compared task by task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import comb
from typing import Any

from strop import grading
from strop.method import Method
from strop.records import Group, Rollout, Sampling, Scores, Task
from strop.seams.context import Ctx, Footprint, Handle, Progress
from strop.seams.memory import Remind, only_read
from strop.seams.part import written
from strop.seams.sampler import grown, sized
from strop.seams.source import Source, answer_of, drawn
from strop.seams.world import World, world_of

RESAMPLES = 1000
"""Bootstrap draws behind one interval."""

HELD_OUT_SEED = 0
"""Held-out tasks are the same for every run, so that runs can be compared."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of k samples is right, unbiased: 1 - C(n-c, k) / C(n, k) (arXiv:2107.03374).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples of a task, got {samples}. Raise the number of samples.")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def mg_pass_at_k(samples: int, correct: int, k: int) -> float:
    """How steadily k samples are right: the mean, over i from k/2 + 1 to k (rounded up), of the chance that at least i of k samples drawn
    from these are (mG-Pass@k, arXiv:2412.13147).

    >>> mg_pass_at_k(4, 4, 4), mg_pass_at_k(4, 3, 4)
    (1.0, 0.5)
    """
    if not 1 < k <= samples:
        raise ValueError(f"mG-Pass@{k} needs k of at least 2 and as many samples of a task, got {samples}")
    places = range((k + 1) // 2 + 1, k + 1)
    drawn = [comb(correct, j) * comb(samples - correct, k - j) / comb(samples, k) for j in range(k + 1)]
    return 2 / k * sum(sum(drawn[i:]) for i in places)


def ladder(samples: int) -> list[int]:
    """The k that are reported: 1, 2, 4, … up to the number of samples, and that number."""
    powers = [2**i for i in range(samples.bit_length()) if 2**i <= samples]
    return powers if powers[-1] == samples else [*powers, samples]


def interval(values: Sequence[float], seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap of the mean, drawing tasks with replacement; a function of values and seed."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    means = array[np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Evaluation:
    """Held-out results: one value per task under each name; what is printed are their means."""

    values: Mapping[str, tuple[float | None, ...]]
    """{name: one value per task}, None where a task has no graded sample (or too few for this k)."""
    samples: int
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    ungraded: int = 0
    """Samples that could not be graded, for reasons that are not the policy's."""

    @property
    def tasks(self) -> int:
        return max((len(v) for v in self.values.values()), default=0)

    def known(self, name: str) -> list[float]:
        return [v for v in self.values.get(name, ()) if v is not None]

    def mean(self, name: str) -> float | None:
        known = self.known(name)
        return sum(known) / len(known) if known else None

    def interval(self, name: str) -> tuple[float, float] | None:
        known = self.known(name)
        return interval(known, self.seed) if known else None

    def pass_at(self, k: int) -> float | None:
        return self.mean(f"pass@{k}")

    def summary(self) -> dict[str, Any]:
        """What a table needs: means, intervals and how it was drawn. `pass@8` is there even where it is unknown."""
        passes = sorted({"pass@1", "pass@8", *(n for n in self.values if n.startswith("pass@"))}, key=lambda name: int(name[5:]))
        names = [*passes, *(n for n in self.values if n not in passes)]
        said: dict[str, Any] = {name: self.mean(name) for name in names}
        said["interval"] = {name: list(found) for name in names if (found := self.interval(name))}
        return {**said, "tasks": self.tasks, "samples": self.samples, "sampling": self.sampling.to_json(), "ungraded": self.ungraded}

    def to_json(self) -> dict[str, Any]:
        return {
            "values": {name: list(values) for name, values in self.values.items()},
            "samples": self.samples,
            "sampling": self.sampling.to_json(),
            "seed": self.seed,
            "ungraded": self.ungraded,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Evaluation:
        values = {name: tuple(v) for name, v in data["values"].items()}
        return Evaluation(values, data["samples"], Sampling.from_json(data["sampling"]), data["seed"], data["ungraded"])


def rise(before: Evaluation, after: Evaluation, name: str = "pass@1") -> tuple[float, tuple[float, float]] | None:
    """The paired difference on tasks both know, and its interval."""
    pairs = zip(before.values.get(name, ()), after.values.get(name, ()), strict=False)
    gaps = [b - a for a, b in pairs if a is not None and b is not None]
    return (sum(gaps) / len(gaps), interval(gaps, after.seed)) if gaps else None


def held_out_tasks(source: Source, most: int) -> int:
    """So many, or as many as there are."""
    there: int | None = getattr(source, "sizes", {"test": source.size})["test"]
    return most if there is None else min(most, there)


async def evaluate(
    handle: Handle,
    source: Source,
    tasks: int,
    *,
    samples: int,
    sampling: Sampling,
    max_tokens: int,
    seed: int = HELD_OUT_SEED,
    grader_limit: float = 0.1,
    stop: tuple[str, ...] = (),
    tell: Callable[[int, int], None] | None = None,
    look: Look | None = None,
    sampler: Any = None,
    world: World | None = None,
    others: Mapping[str, Handle] | None = None,
    remind: Remind | None = None,
) -> Evaluation:
    """`samples` replies to each of the first `tasks` held-out tasks, all asked for at once so that the engine batches them; by another
    sampler where one is given, made to this size, in a world that answers, with other policies that it may ask, behind what a memory reads.

    The noise is keyed by the engine's step, the task and the temperature: evaluated twice, a policy gives the same replies.
    """
    if tasks < 1 or samples < 1:
        raise ValueError(f"an evaluation needs at least one task and one sample, got tasks={tasks} and samples={samples}")
    count = held_out_tasks(source, tasks)
    if count < 1:
        raise ValueError(f"{source.name} has no held-out tasks. Name a file of them with --eval-data, or leave it out: --eval-tasks 0.")
    done = 0

    async def replies(number: int, task: Task) -> Group:
        nonlocal done
        place = f"held-out/{number}/{task.id}/{sampling.temperature:g}"
        (group,) = (g for g in await grown(sampler, task, world, ctx.at(place)) if g.role == "solve")
        done += 1
        if tell is not None:
            tell(done, count)
        return group

    async def graded(groups: list[Group]) -> Scores:
        return await grading.grade(source, groups)

    sampler = Replies(samples, max_tokens, sampling, stop) if sampler is None else _as_asked(sampler, samples, max_tokens, sampling, stop)
    ctx = Ctx(seed, Progress(), source, {"actor": handle, **(others or {})}, graded, remind=remind)
    problems = [drawn(source, "test", seed, i) for i in range(count)]
    groups = list(await asyncio.gather(*(replies(i, task) for i, task in enumerate(problems))))
    return await judge(source, groups, samples=samples, sampling=sampling, seed=seed, grader_limit=grader_limit, look=look)


def as_trained(method: Method, source: Source, held: Any = None) -> dict[str, Any]:
    """How a method is asked on held-out tasks of a source: as it is while it trains, where a world answers or its sampler's replies are not
    written in one go (`own_way`). Any other one gives replies. What its memory `held` is read and stays."""
    world = world_of(method.environment, source)
    alike = world is None and not getattr(method.sampler, "own_way", False)
    reminded = {} if method.memory is None or held is None else {"remind": only_read(method.memory, held)}
    return reminded if alike else {"sampler": method.sampler, "world": world, **reminded}


def _as_asked(sampler: Any, samples: int, max_tokens: int, sampling: Sampling, stop: tuple[str, ...]) -> Any:
    """A sampler of so many rollouts, drawn so, where it has a say in that."""
    drawn = {"sampling": sampling, "stop": (*getattr(sampler, "stop", ()), *stop)}
    made = sized(replace(sampler, **{f.name: drawn[f.name] for f in fields(sampler) if f.name in drawn}), samples, max_tokens)
    if made.group_size != samples:
        raise ValueError(f"{samples} samples of a task are asked for, and {written(made)} gives {made.group_size}")
    return made


@dataclass(frozen=True)
class Replies:
    """A sampler of replies that nobody learns from: greedy and truncated drawing are no matter here."""

    samples: int
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()

    @property
    def group_size(self) -> int:
        return self.samples

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt, requests=self.samples)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor, place = ctx.policies["actor"], ctx.place
        root = await actor.open(task.prompt, root=place)
        asked = (actor.generate(root, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=False) for _ in range(self.samples))
        nodes = await asyncio.gather(*asked)
        made = (Rollout((n.row(),), f"{place}/{i}", stop=n.stop or "finished", text=actor.text(n)) for i, n in enumerate(nodes))
        return [Group(task, tuple(made), id=place)]


Look = Callable[[list[Group], Scores], None]
"""Sees the replies and their scores."""


async def judge(
    source: Source,
    groups: list[Group],
    *,
    samples: int,
    sampling: Sampling,
    seed: int = 0,
    grader_limit: float = 0.1,
    look: Look | None = None,
) -> Evaluation:
    """Grade groups and reduce each to one value per name."""
    scores = await grading.grade(source, groups)
    if look is not None:
        look(groups, scores)
    grading.check(scores, grader_limit)
    per_task = [_values(source, group, scores.values, samples) for group in groups]
    names = list(dict.fromkeys(name for values in per_task for name in values))
    ungraded = sum(scores.get(r, "outcome") is None for g in groups for r in g.rollouts)
    return Evaluation({name: tuple(v.get(name) for v in per_task) for name in names}, samples, sampling, seed, ungraded)


def _values(source: Source, group: Group, scores: Mapping[str, Mapping[str, float | None]], samples: int) -> dict[str, float | None]:
    """One task's values. A sample is right when its outcome is 1; `mean` keeps partial credit, and `distinct` counts the
    right samples that differ in what their source calls form (it grows with the samples)."""
    graded = [(r, v) for r in group.rollouts if (v := scores[r.id].get("outcome")) is not None]
    right = sum(v >= 1 for _, v in graded)
    values: dict[str, float | None] = {f"pass@{k}": pass_at_k(len(graded), right, k) if k <= len(graded) else None for k in ladder(samples)}
    values["mean"] = sum(v for _, v in graded) / len(graded) if graded else None
    values["majority"] = majority([(answer_of(source, r.text), v) for r, v in graded])
    for channel in dict.fromkeys(name for r in group.rollouts for name in scores[r.id] if name != "outcome"):
        known = [v for r in group.rollouts if (v := scores[r.id].get(channel)) is not None]
        values[channel] = sum(known) / len(known) if known else None
    if (form := getattr(source, "form", None)) is not None:
        values["distinct"] = float(len({form(r.text) for r, v in graded if v >= 1}))
    values["length"] = sum(r.length for r in group.rollouts) / len(group.rollouts)
    values["cut"] = sum(r.stop == "length" for r in group.rollouts) / len(group.rollouts)
    return values


@dataclass(frozen=True)
class Shown:
    """One reply, for a reader."""

    prompt: str
    reply: str
    score: float | None
    reason: str
    cut: bool
    answer: str | None
    """What was read of it; None where nothing was."""


def shown(source: Any, groups: Sequence[Group], scores: Scores, count: int) -> tuple[dict[str, list[Shown]], dict[str, float]]:
    """So many replies of each kind (best, worst, cut, unparsed), and what share of all were cut or gave nothing to read.

    Of a kind at most one reply a task, as far as there are tasks.
    """
    every = [
        Shown(g.task.prompt, r.text, scores.get(r, "outcome"), scores.reasons.get(r.id, ""), r.stop == "length", answer_of(source, r.text))
        for place in range(max((len(g.rollouts) for g in groups), default=0))
        for g in groups
        for r in g.rollouts[place : place + 1]
    ]
    graded = [one for one in every if one.score is not None]
    kinds = {
        "best": sorted(graded, key=lambda one: -(one.score or 0)),
        "worst": sorted(graded, key=lambda one: one.score or 0),
        "cut": [one for one in every if one.cut],
        "unparsed": [one for one in every if one.answer is None],
    }
    shares = {kind: len(kinds[kind]) / max(len(every), 1) for kind in ("cut", "unparsed")}
    return {kind: members[:count] for kind, members in kinds.items()}, shares


def majority(votes: Sequence[tuple[str | None, float]]) -> float | None:
    """The mean outcome of the most common answer. Ties share; a text without an answer has no vote, and no votes score 0."""
    if not votes:
        return None
    outcomes: dict[str, list[float]] = {}
    for answer, outcome in votes:
        if answer is not None:
            outcomes.setdefault(answer, []).append(outcome)
    most = max((len(v) for v in outcomes.values()), default=0)
    winners = [sum(v) / len(v) for v in outcomes.values() if len(v) == most]
    return sum(winners) / len(winners) if winners else 0.0
