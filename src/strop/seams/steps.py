"""Steps: a policy that judges written steps one by one, and ways to ask with it.

    7*8-19+4=?   <think>7*8=56\\n58-19=39\\n   math:+ consistency:- right:-

Behind a step the judge is asked in which ways it is right, and then whether it is right (`Typed`). `Judge` asks that of a written solution,
`StepSearch` of what another policy proposes, `least_step` of finished replies.

    strop eval JUDGE --task slips --sampler judge
    strop eval MODEL --sampler search:8 --policy prm=JUDGE
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from strop.records import Group, Kind, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle, Renderer
from strop.seams.engine import Node
from strop.seams.mark import Stretch, pieces
from strop.seams.part import part
from strop.seams.world import World

OVER = ("two", "all")


@dataclass(frozen=True)
class Typed:
    """What is said of a step, in order: of each way whether it is right so, and at last whether it is right."""

    ways: tuple[str, ...] = ("math", "consistency")
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

    def told(self, line: str, first: bool) -> str:
        """A step as it stands in the reply."""
        return f"{self.begins if first else ''}{line}\n"

    def readable(self, renderer: Renderer, line: str) -> bool:
        """Whether a line is a step that can be told. What names a special token, as a policy may write one, is not."""
        return bool(line.strip()) and renderer.plain(self.told(line, first=True)) is not None

    def pieces(self, given: Sequence[str], way: str) -> list[str]:
        """What stands before a label, piece by piece, when these stand for the ones before it."""
        asked = [*self.ways[: len(given)], way]
        words = [f"{' ' * bool(place)}{each}:" for place, each in enumerate(asked)]
        return [piece for each, label in zip(words, given, strict=False) for piece in (each, label)] + words[-1:]

    def widest(self) -> int:
        """The most that is asked behind one step, in bytes and so in tokens."""
        return (1 + len(self.ways)) * len("".join(self.pieces(self.ways, self.verdict)).encode())

    def rows(self, renderer: Renderer, question: str, lines: Sequence[str], labels: Sequence[int]) -> Iterator[Row]:
        """The rows that teach the labels of the last of these steps, the verdict last."""
        said, masked = [self.labels[not right] for right in labels], [self.mask] * len(self.ways)
        steps = [self.told(line, first=not place) for place, line in enumerate(lines)]

        def row(given: Sequence[str], way: str, *trained: int) -> Row:
            asked = [*self.pieces(given, way), said[-1 if way == self.verdict else len(given)]]
            segments, trains = [Segment("prompt", renderer.prompt(question), "0")], list[str]()
            for place, text in enumerate((*steps, *asked), start=-len(steps)):
                kind: Kind = "teacher" if place > 0 and place % 2 else "forced"
                if (tokens := renderer.plain(text)) is None:
                    raise ValueError(f"{text[:40]!r} cannot be shown: it names a special token, or its tokens do not give it back")
                segments.append(Segment(kind, tokens, f"{segments[-1].id}.0"))
                trains += [segments[-1].id] if kind == "teacher" and place // 2 in trained else []
            return Row(tuple(segments), frozenset(trains))

        for place, way in enumerate(self.ways):
            if place or not self.shown:  # what is asked first stands behind no label, so the verdict's row can train it where it shows it
                yield row(masked[:place], way, place)
        yield row(said[:-1] if self.shown else masked, self.verdict, *((0,) if self.shown else ()), len(self.ways))

    def said(self, flags: Sequence[bool], score: float) -> str:
        """What a judge says of a step: a label for each way, and the score."""
        return f"{''.join(self.labels[not flag] for flag in flags)} {score:.4f}".strip()

    def heard(self, line: str) -> tuple[list[bool], float]:
        """That, read back.

        >>> Typed().heard(Typed().said([True, False], -1.0))
        ([True, False], -1.0)
        """
        flags, _, score = line.rpartition(" ")
        return [flag == self.labels[0] for flag in flags], float(score)


TYPED = Typed()


class Said(NamedTuple):
    """Of one step."""

    score: float
    """-1 where one of the ways is wrong, else the chance that it is right."""
    flags: list[bool]
    """Of each way, whether the step is right so."""
    asked: list[Node]
    """What the judge was asked."""


@dataclass(frozen=True)
class Judge:
    """A way to ask: of every step of a written solution its labels and its score; the reply says both, a line a step, and names the first
    step below `least`, 0 for none. The task's needs hold `question` and `steps`."""

    typed: Typed = TYPED
    """What is said of a step."""
    least: float = 0.5
    """The score of a step that passes."""
    over: str = "two"
    """The chance of right: over the two labels, or over all tokens."""
    policy: str = "actor"
    """Who judges."""
    n: int = 1
    """Rollouts a task; they are alike."""
    evaluates: ClassVar[bool] = True
    """Only: its rows are questions about a solution that stands in the task."""

    def __post_init__(self) -> None:
        if self.over not in OVER:
            raise ValueError(f"Judge(over={self.over!r}): {' or '.join(OVER)}")

    @property
    def group_size(self) -> int:
        return self.n

    def sized(self, group: int | None, max_tokens: int | None) -> Judge:
        return replace(self, n=group or self.n)

    def taught(self, feed: Any) -> Judge:
        """As one is asked that learned from this feed: in the form that it teaches, where it teaches one."""
        return replace(self, typed=getattr(feed, "typed", self.typed))

    def footprint(self, prompt: int) -> Footprint:
        """A step has two tokens at least."""
        return self.room(prompt, max(prompt // 2, 1))

    def room(self, told: int, steps: int) -> Footprint:
        """What judging so many steps at once can need, when so much is told in all."""
        positions = told + len(self.typed.begins.encode()) + steps * (1 + self.typed.widest())
        return Footprint(positions, requests=steps * max(len(self.typed.ways), 1))

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if not {"question", "steps"} <= task.needs.keys():
            raise ValueError(
                f"a task of {task.source!r} holds no solution to judge: its needs have no question and steps, as those of slips do"
            )
        found = await self.scores(ctx.policies[self.policy], task.needs["question"], task.needs["steps"], ctx.place)
        wrong = next((number for number, one in enumerate(found, 1) if one.score < self.least), 0)
        rows = tuple(node.row() for one in found for node in one.asked)
        said = "\n".join(self.typed.said(one.flags, one.score) for one in found)
        rollouts = (Rollout(rows, f"{ctx.place}/{i}", text=f"<think>{said}</think><answer>{wrong}</answer>") for i in range(self.n))
        return [Group(task, tuple(rollouts), id=ctx.place)]

    async def scores(self, judge: Handle, question: str, lines: Sequence[str], place: str) -> list[Said]:
        """Of each of these steps, all told once, one behind the other."""
        node, nodes = await judge.open(question, root=place), list[Node]()
        for line in lines:
            node = await judge.force(node, self.typed.told(line, first=not nodes))
            nodes.append(node)
        return list(await asyncio.gather(*(self.score(judge, node) for node in nodes)))

    async def score(self, judge: Handle, step: Node) -> Said:
        """Of the step that a node ends."""
        typed = self.typed
        masked = [typed.mask] * len(typed.ways)
        first = await asyncio.gather(*(self._chance(judge, step, typed.pieces(masked[:i], way)) for i, way in enumerate(typed.ways)))
        flags, asked = [chance >= 0.5 for chance, _ in first], [node for _, node in first]
        if typed.shown and not all(flags):
            return Said(-1.0, flags, asked)
        given = [typed.labels[0]] * len(typed.ways) if typed.shown else masked
        chance, last = await self._chance(judge, step, typed.pieces(given, typed.verdict))
        return Said(chance, flags, [*asked, last])

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


JUDGE = Judge()


@part(gives="step_T")
def steps(text: str) -> list[Stretch]:
    """Mark: the steps of a reply, what it thinks, line by line."""
    start = len("<think>") * text.startswith("<think>")
    thought = text[start:].partition("</think>")[0].partition("<answer>")[0]
    return [(start + first, start + stop) for first, stop in pieces(thought)]


def lines_of(text: str) -> list[str]:
    """The steps of a reply.

    >>> lines_of("<think>3+8=11\\n11-3=8</think><answer>8</answer>")
    ['3+8=11', '11-3=8']
    """
    return [text[first:stop] for first, stop in steps(text)]


@part(gives="least_step")
async def least_step(groups: list[Group], ctx: Ctx, *, policy: str = "prm", judge: Judge = JUDGE, spans: str = "") -> Scores:
    """`least_step` is the lowest score among a reply's steps; -1 where one is vetoed, and for a reply without any or one that
    names a special token. With `spans="step"`, beside the mark `steps()`, every step's score is a span's."""
    asked = ctx.policies[policy]

    async def scored(question: str, rollout: Rollout) -> list[float]:
        lines = lines_of(rollout.text)
        if not all(judge.typed.readable(asked.renderer, line) for line in lines):
            return [-1.0] * len(lines)
        told = len(asked.renderer.prompt(question)) + len(rollout.text.encode())
        async with asked.engine.admit(judge.room(told, len(lines))):
            return [one.score for one in await judge.scores(asked, question, lines, rollout.id)] if lines else []

    units = [(group.task.prompt, rollout) for group in groups for rollout in group.rollouts]
    found = await asyncio.gather(*(scored(question, rollout) for question, rollout in units))
    said = {r.id: scores for (_, r), scores in zip(units, found, strict=True)}
    least = {unit: {"least_step": min(scores, default=-1.0)} for unit, scores in said.items()}
    return Scores(least, spans={unit: {"least_step": (spans, tuple(scores))} for unit, scores in said.items()} if spans else {})


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
    max_tokens: int = 32
    """Of a step; one that is cut there is a step too."""
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

    def taught(self, feed: Any) -> StepSearch:
        """As a judge is asked that learned from this feed."""
        return replace(self, judge=self.judge.taught(feed))

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + self.n * self.most * self.width * self.max_tokens, requests=self.n * self.width)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        root = await ctx.policies["actor"].open(task.prompt, root=ctx.place)
        made = [await self._searched(task, root, ctx, f"{ctx.place}/{i}") for i in range(self.n)]
        return [Group(task, tuple(made), id=ctx.place)]

    async def _searched(self, task: Task, root: Node, ctx: Ctx, place: str) -> Rollout:
        """One reply. What was proposed and not taken is in its rows too, so that its length counts it."""
        actor, at, text, score = ctx.policies["actor"], root, "", -1.0
        steps, tried = list[str](), list[Row]()
        for turn in range(self.most):
            most = min(self.max_tokens, actor.engine.limit - at.length)
            if most < 1:  # the model has no room for another step
                break
            drawn = (actor.generate(at, max=most, stop=("\n",), sampling=self.sampling) for _ in range(self.width))
            nodes = await asyncio.gather(*drawn)
            tried += [node.row() for node in nodes]
            said = [actor.text(node) for node in nodes]
            scores = await self._scores(task.prompt, steps, said, score, ctx, f"{place}/{turn}")
            best = max(range(self.width), key=scores.__getitem__)  # the first drawn of those that score alike
            if scores[best] < 0:
                continue
            at, text, score = nodes[best], text + said[best], scores[best]
            steps += lines_of(said[best])
            if at.stop == "finished" or "</answer>" in text:
                return Rollout((at.row(), *tried), place, text=text)
        return Rollout((at.row(), *tried), place, stop="length", text=text)

    async def _scores(self, question: str, steps: Sequence[str], said: Sequence[str], score: float, ctx: Ctx, place: str) -> list[float]:
        """Of each candidate; alike ones are judged once. One that only closes the reply scores as the step before it did."""
        asked, typed = ctx.policies[self.policy], self.judge.typed
        lines = [(lines_of(text) or [""])[0] for text in said]
        new = [line for line in dict.fromkeys(lines) if typed.readable(asked.renderer, line)]
        found = {
            line: score if "</think>" in text or "<answer>" in text else -1.0 for line, text in zip(lines, said, strict=True) if not line
        }
        told = len(asked.renderer.prompt(question)) + sum(len(typed.told(line, first=False).encode()) for line in (*steps, *new))
        async with asked.engine.admit(self.judge.room(told + len(new) * len(typed.begins.encode()), len(new))):
            node = await asked.open(question, root=place)
            for number, line in enumerate(steps):
                node = await asked.force(node, typed.told(line, first=not number))
            ends = [await asked.force(node, typed.told(line, first=not steps)) for line in new]
            judged = await asyncio.gather(*(self.judge.score(asked, end) for end in ends))
        found |= {line: one.score for line, one in zip(new, judged, strict=True)}
        return [found.get(line, -1.0) for line in lines]
