"""PathFinder-PRM (arXiv:2505.19706): a judge of steps that says first in which way a step is wrong, and only then whether it is right.

    teach     a step makes two rows:  math: A, consistency: B, correctness: O      A and O are trained, B is given
                                      math: ?, consistency: B                      B is trained, behind a mask where A would stand
    judge     pass 1 asks for A, and for B behind the mask. One that is wrong is a veto. Else pass 2 writes both in and asks for O

The loss is cross-entropy over all tokens at what is trained, as in the release, which feeds a mask and trains the label in its place: what
stands before a label is the same there and here. A and B do not see each other, O sees both; that order is the idea, and finer labels alone
are not (`Typed(shown=False)`, `Typed(ways=())`).

A step's score is the chance of right over the two labels, as the release's search has it; over all tokens as its benchmark has it
(`Judge(over="all")`). The release puts steps in the assistant's turn when it trains and in the user's when it searches; here they stand
in the reply both times.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from strop.methods.sft import SFT
from strop.records import Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle, Renderer
from strop.seams.engine import Node
from strop.seams.feed import Pick
from strop.seams.part import part
from strop.seams.sampler import Environment, Sampler
from strop.tasks.procedural import answered
from strop.tasks.slips import KINDS, right

OVER = ("two", "all")


@dataclass(frozen=True)
class Typed:
    """What is said of a step, in order: of each way whether it is right so, and at last whether it is right."""

    ways: tuple[str, ...] = KINDS[:2]
    """Those that are labelled before the verdict."""
    shown: bool = True
    """The verdict sees these labels; else masks."""
    labels: tuple[str, str] = ("+", "-")
    """What says right and wrong: a token each."""
    mask: str = "?"
    """What stands for a label that may not be seen: one token."""
    verdict: str = "right"
    """What is asked at last."""
    begins: str = "<think>"
    """What a reply begins with, before its first step."""

    def tokens(self, renderer: Renderer) -> tuple[int, int]:
        """Of right and wrong."""
        found: list[tuple[int, ...]] = [renderer.plain(text) or () for text in (*self.labels, self.mask)]
        if any(len(tokens) != 1 for tokens in found) or len({*found}) < 3:
            raise ValueError(f"{self}: labels and mask are three different texts of one token each, and this tokenizer makes {found}")
        (yes,), (no,), _ = found
        return yes, no

    def before(self, lines: Sequence[str]) -> str:
        """What stands in the reply before anything is asked: its steps so far."""
        return self.begins + "\n".join(lines) + "\n"

    def pieces(self, given: Sequence[str], way: str) -> list[str]:
        """What stands before a label, piece by piece, when these stand for the ones before it."""
        asked = [*self.ways[: len(given)], way]
        words = [f"{' ' * bool(place)}{each}:" for place, each in enumerate(asked)]
        return [piece for each, label in zip(words, given, strict=False) for piece in (each, label)] + words[-1:]

    def rows(self, renderer: Renderer, question: str, lines: Sequence[str], labels: Sequence[int]) -> Iterator[Row]:
        """The rows that teach the labels of the last of these steps, the verdict last."""
        said, masked = [self.labels[not right] for right in labels], [self.mask] * len(self.ways)

        def row(given: Sequence[str], way: str, *trained: int) -> Row:
            pieces = [*self.pieces(given, way), said[-1 if way == self.verdict else len(given)]]
            segments, trains = [Segment("prompt", renderer.prompt(question), "0")], list[str]()
            for place, text in enumerate((self.before(lines), *pieces)):
                label = place and place % 2 == 0
                tokens = renderer.plain(text)
                if tokens is None:
                    raise ValueError(f"{text[:40]!r} cannot be shown: it names a special token, or its tokens do not give it back")
                segments.append(Segment("teacher" if label else "forced", tokens, f"{segments[-1].id}.0"))
                trains += [segments[-1].id] if label and place // 2 - 1 in trained else []
            return Row(tuple(segments), frozenset(trains))

        for place, way in enumerate(self.ways):
            if place or not self.shown:  # what is asked first stands behind no label, so the verdict's row can train it where it shows it
                yield row(masked[:place], way, place)
        yield row(said[:-1] if self.shown else masked, self.verdict, *((0,) if self.shown else ()), len(self.ways))


@dataclass(frozen=True)
class Judged:
    """Feed: every step of a task's solution with its labels, a rollout of some rows each, role `demo`."""

    typed: Typed = Typed()
    """What is said of a step."""
    permuted: bool = False
    """The labels of the ways are dealt anew among a step's wrong siblings: as many of each, of the wrong steps."""
    fresh: ClassVar[bool] = False

    async def take(
        self, pick: Pick, want: int, sampler: Sampler, environment: Environment | None, ctx: Ctx, seen: Counter[str]
    ) -> list[Group]:
        renderer = ctx.policies["actor"].renderer
        self.typed.tokens(renderer)
        tasks = pick(want)
        if lacking := next((task for task in tasks if not {"question", "steps", "labels"} <= task.needs.keys()), None):
            raise ValueError(
                f"a task of {lacking.source!r} has no steps with labels to teach a judge by: its needs hold question, steps and labels, "
                "for each step whether it is right in each way, as those of slips do (--task slips)"
            )
        told = [list(labels) for task in tasks for labels in task.needs["labels"]]
        if self.permuted:
            wrong = [labels for labels in told if not right(labels)]
            dealt = ctx.rng("permuted").sample([[*labels] for labels in wrong], len(wrong))
            for labels, other in zip(wrong, dealt, strict=True):
                labels[:] = other
        labels, groups = iter(told), list[Group]()
        for number, task in enumerate(tasks):
            place, rollouts = f"steps/{task.id}#{number}", list[Rollout]()
            for step in range(len(task.needs["steps"])):
                mine = next(labels)
                taught = [*mine[: len(self.typed.ways)], right(task.needs["labels"][step])]
                rows = self.typed.rows(renderer, task.needs["question"], task.needs["steps"][: step + 1], taught)
                rollouts.append(Rollout(tuple(rows), f"{place}/{step}", provenance="gold", text=str(taught)))
            groups.append(Group(task, tuple(rollouts), role="demo", id=place))
        return groups


@dataclass(frozen=True)
class Judge:
    """A way to ask: of every step of a written solution its labels and its score; the reply names the first step below `least`."""

    typed: Typed = Typed()
    """What is said of a step."""
    least: float = 0.5
    """The score of a step that passes."""
    over: str = "two"
    """The chance of right: over the two labels, or over all tokens."""
    policy: str = "actor"
    """Who judges."""
    n: int = 1
    """Rollouts a task; they are alike."""
    max_tokens: int = 1
    sampling: Sampling = field(default=Sampling(), repr=False)
    evaluates: ClassVar[bool] = True
    """Only: its rows are questions about a solution that stands in the task."""

    def __post_init__(self) -> None:
        if self.over not in OVER:
            raise ValueError(f"Judge(over={self.over!r}): {' or '.join(OVER)}")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        """A solution has no more steps than its prompt has tokens to two of them."""
        return self.room(prompt + len(self.typed.before(()).encode()), max(prompt // 2, 1))

    def room(self, prompt: int, steps: int) -> Footprint:
        """What judging so many steps at once can need, none shown longer than this."""
        words = (1 + len(self.typed.ways)) * len("".join(self.typed.pieces(self.typed.ways, self.typed.verdict)).encode())
        return Footprint(positions=steps * (prompt + words), requests=steps * max(len(self.typed.ways), 1))

    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
        judge = ctx.policies[self.policy]
        steps: list[str] = task.needs["steps"]
        asked = (self.score(judge, task.needs["question"], steps[: n + 1], f"{ctx.place}/{n}") for n in range(len(steps)))
        found = await asyncio.gather(*asked)
        wrong = next((number for number, one in enumerate(found, 1) if one.score < self.least), 0)
        rows = tuple(node.row() for one in found for node in one.nodes)
        rollouts = (Rollout(rows, f"{ctx.place}/{i}", text=answered(str(wrong))) for i in range(self.n))
        return [Group(task, tuple(rollouts), id=ctx.place)]

    def reads(self, judge: Handle, lines: Sequence[str]) -> bool:
        """Whether there is a step, and none names a special token: what a policy wrote is not put in a judge's mouth as it is."""
        return bool(lines) and judge.renderer.plain(self.typed.before(lines)) is not None

    async def score(self, judge: Handle, question: str, lines: Sequence[str], place: str) -> Said:
        """Of the last of these steps. -1: it is wrong in one of the ways."""
        typed = self.typed
        root = await judge.force(await judge.open(question, root=place), typed.before(lines))
        masked = [typed.mask] * len(typed.ways)
        first = await asyncio.gather(*(self._chance(judge, root, typed.pieces(masked[:i], way)) for i, way in enumerate(typed.ways)))
        flags, nodes = [chance >= 0.5 for chance, _ in first], [node for _, node in first]
        if typed.shown and not all(flags):
            return Said(-1.0, flags, nodes)
        given = [typed.labels[0]] * len(typed.ways) if typed.shown else masked
        chance, last = await self._chance(judge, root, typed.pieces(given, typed.verdict))
        return Said(chance, flags, [*nodes, last])

    async def _chance(self, judge: Handle, node: Node, pieces: Sequence[str]) -> tuple[float, Node]:
        """That the label behind these words is `right`."""
        for piece in pieces:
            node = await judge.force(node, piece)
        if self.over == "all":
            node = await judge.force(node, self.typed.labels[0])
            return math.exp((await judge.score(node))[0]), node
        yes, no = self.typed.tokens(judge.renderer)
        node = await judge.generate(node, max=1, sampling=Sampling(allowed=(yes, no)), keep=False)
        assert node.segment.logp is not None
        drawn = math.exp(node.segment.logp[0])
        return drawn if node.segment.tokens[0] == yes else 1 - drawn, node


class Said(NamedTuple):
    """Of one step."""

    score: float
    """-1 where one of the ways is wrong, else the chance that it is right."""
    flags: list[bool]
    """Of each way, whether the step is right so."""
    nodes: list[Node]
    """What was asked."""


JUDGE = Judge()


def lines_of(text: str) -> list[str]:
    """The steps of a reply: what it thinks, line by line.

    >>> lines_of("<think>c=3+8=1\\nd=1-3=8</think><answer>8</answer>")
    ['c=3+8=1', 'd=1-3=8']
    """
    thought = text.removeprefix("<think>").partition("</think>")[0].partition("<answer>")[0]
    return [line for line in thought.split("\n") if line.strip()]


@part(gives="least_step")
async def least_step(groups: list[Group], ctx: Ctx, *, policy: str = "prm", judge: Judge = JUDGE) -> Scores:
    """`least_step` is the lowest score among a reply's steps; -1 where one is vetoed, and for a reply without any or one that
    names a special token."""
    asked = ctx.policies[policy]

    async def least(group: Group, rollout: Rollout) -> float:
        question, lines = group.task.prompt, lines_of(rollout.text)
        if not judge.reads(asked, lines):
            return -1.0
        async with asked.engine.admit(
            judge.room(len(asked.renderer.prompt(question)) + len(judge.typed.before(lines).encode()), len(lines))
        ):
            made = (judge.score(asked, question, lines[: i + 1], f"{rollout.id}/{i}") for i in range(len(lines)))
            found = await asyncio.gather(*made)
        return min((one.score for one in found), default=-1.0)

    units = [(group, r) for group in groups for r in group.rollouts]
    scores = await asyncio.gather(*(least(group, r) for group, r in units))
    return Scores({r.id: {"least_step": score} for (_, r), score in zip(units, scores, strict=True)})


@dataclass(frozen=True)
class StepSearch:
    """A way to ask: step by step, of `width` candidates the one that the judge scores highest, none that it vetoes."""

    policy: str = "prm"
    """Who judges."""
    judge: Judge = JUDGE
    """How it is asked."""
    width: int = 8
    """Candidates of a step."""
    most: int = 30
    """Rounds of candidates; one in which all are vetoed is spent too."""
    n: int = 1
    """Searches a task."""
    max_tokens: int = 16
    """Of a step."""
    sampling: Sampling = Sampling()
    """How candidates are drawn."""
    evaluates: ClassVar[bool] = True
    """Only: of its rows one holds the reply."""

    def __post_init__(self) -> None:
        if min(self.width, self.most, self.n, self.max_tokens) < 1:
            raise ValueError(f"{self}: width, most, n and max_tokens are at least 1")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + self.n * self.most * self.width * self.max_tokens, requests=self.n * self.width)

    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
        root = await ctx.policies["actor"].open(task.prompt, root=ctx.place)
        made = [await self._searched(task, root, ctx, f"{ctx.place}/{i}") for i in range(self.n)]
        return [Group(task, tuple(made), id=ctx.place)]

    async def _searched(self, task: Task, root: Node, ctx: Ctx, place: str) -> Rollout:
        actor, asked, at = ctx.policies["actor"], ctx.policies[self.policy], root
        rows, text, stop = list[Row](), "", "length"
        for turn in range(self.most):
            kids = await asyncio.gather(
                *(actor.generate(at, max=self.max_tokens, stop=("\n",), sampling=self.sampling) for _ in range(self.width))
            )
            rows += [kid.row() for kid in kids]
            told = [tuple(lines_of(text + actor.text(kid))) for kid in kids]
            distinct = [*dict.fromkeys(each for each in told if self.judge.reads(asked, each))]  # alike candidates are judged once
            longest = max((len(self.judge.typed.before(each).encode()) for each in distinct), default=0)
            async with asked.engine.admit(self.judge.room(len(asked.renderer.prompt(task.prompt)) + longest, len(distinct))):
                made = (self.judge.score(asked, task.prompt, each, f"{place}/{turn}/{i}") for i, each in enumerate(distinct))
                found = await asyncio.gather(*made)
            score = dict.fromkeys(told, -1.0) | {each: one.score for each, one in zip(distinct, found, strict=True)}
            best = max(range(self.width), key=lambda i: score[told[i]])  # the first drawn of those that score alike
            if score[told[best]] < 0:
                continue
            at, text = kids[best], text + actor.text(kids[best])
            if at.stop == "finished" or "</answer>" in text:
                stop = "finished"
                break
        return Rollout((at.row(), *rows), place, stop="finished" if stop == "finished" else "length", text=text)


PATHFINDER = SFT.but("pathfinder", paper="2505.19706", idea=("feed",), feed=Judged(), tasks=8)
