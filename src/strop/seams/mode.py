"""Mode: how a trained policy is asked where it is evaluated, as a sampler. `strop eval --sampler`, `HeldOut(sampler=…)`.

    opening:<think>                       every reply begins so: the words are put in the policy's mouth
    judge, search:8                       steps judged, and a reply searched by a judge of its steps (`strop.seams.steps`)
    consensus:<answer>|<short>|<long>     one reply of each opening but the last; where their answers differ, one of the last opening
    vote:9                                so many replies, and what most of them answer

What a reply cost is what all that was written for it cost: a consensus or a vote is one rollout with a row for each try, and its length
counts them all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from strop.records import Group, Rollout, Sampling, Task
from strop.seams.context import Ctx, Footprint
from strop.seams.engine import Node
from strop.seams.part import nearest
from strop.seams.source import answer_of
from strop.seams.steps import Judge, StepSearch
from strop.seams.world import World


@dataclass(frozen=True)
class Opening:
    """n replies that begin with the same words. These are forced, so a signal on actions trains what follows them."""

    text: str = "<think>"
    """What is put in the policy's mouth."""
    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 128
    """Longest reply, the opening not counted."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply, beside the template's own."""

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("Opening(text=''): name the words that a reply begins with; without any it is Independent()")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + len(self.text.encode()), requests=self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        begun = await actor.force(await actor.open(task.prompt, root=ctx.place), self.text)
        nodes = await asyncio.gather(*(_said(begun, self, ctx) for _ in range(self.n)))
        made = (
            Rollout((n.row(),), f"{ctx.place}/{i}", stop=n.stop or "finished", text=self.text + actor.text(n)) for i, n in enumerate(nodes)
        )
        return [Group(task, tuple(made), id=ctx.place)]


@dataclass(frozen=True)
class Consensus:
    """n replies, each of them what one try of every opening agrees on; where their answers differ, a further try of the last opening."""

    openings: tuple[str, ...] = ()
    """What the tries begin with; the last is what is asked where the others differ."""
    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 128
    """Longest try."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end a try, beside the template's own."""
    evaluates: ClassVar[bool] = True
    """Only: of its rows one holds the reply, and training would pay the others for it."""

    def __post_init__(self) -> None:
        if len(set(self.openings)) < 3 or "" in self.openings:
            raise ValueError(
                f"Consensus(openings={self.openings!r}): name two openings or more that may agree, and one for where they do not"
            )

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + sum(len(words.encode()) for words in self.openings), requests=self.n * len(self.openings))

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        begun = [await actor.force(root, words) for words in self.openings]

        async def tried(places: Sequence[int]) -> list[Node]:
            return list(await asyncio.gather(*(_said(begun[place], self, ctx) for place in places)))

        count = len(self.openings) - 1
        nodes = await tried([*range(count)] * self.n)
        tries = [nodes[i : i + count] for i in range(0, len(nodes), count)]
        differ = [i for i, made in enumerate(tries) if not self._agree(made, ctx)]
        for i, last in zip(differ, await tried([count] * len(differ)), strict=True):  # all at once, in an order that no request decides
            tries[i].append(last)
        rollouts = (
            Rollout(
                tuple(node.row() for node in made),
                f"{ctx.place}/{i}",
                stop=made[-1].stop or "finished",
                text=self.openings[len(made) - 1] + actor.text(made[-1]),
            )
            for i, made in enumerate(tries)
        )
        return [Group(task, tuple(rollouts), id=ctx.place)]

    def _agree(self, tries: Sequence[Node], ctx: Ctx) -> bool:
        """Is there an answer in each, and the same?"""
        actor = ctx.policies["actor"]
        answers = {answer_of(ctx.source, text + actor.text(node)) for text, node in zip(self.openings, tries, strict=False)}
        return len(answers) == 1 and None not in answers


@dataclass(frozen=True)
class Vote:
    """n replies, each of them what most of `k` tries answer: the first try that answers so. Of answers with as many votes the one that was
    said first stands; a try without an answer has no vote."""

    k: int = 9
    """Tries a reply."""
    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 128
    """Longest try."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end a try, beside the template's own."""
    evaluates: ClassVar[bool] = True
    """Only: of its rows one holds the reply, and training would pay the others for it."""

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"Vote(k={self.k}): at least 2 tries vote; one is a plain reply")
        if self.sampling.temperature == 0:
            raise ValueError(f"Vote(k={self.k}) at temperature 0: all tries are one and the same. Draw them, or ask once")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt, requests=self.n * self.k)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        asked = (
            actor.generate(root, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=False) for _ in range(self.n * self.k)
        )
        nodes = await asyncio.gather(*asked)

        def rollout(number: int) -> Rollout:
            tries = nodes[number * self.k : (number + 1) * self.k]
            chosen = tries[elected([answer_of(ctx.source, actor.text(node)) for node in tries])]
            rows = (*(node.row() for node in tries if node is not chosen), chosen.row())
            return Rollout(rows, f"{ctx.place}/{number}", stop=chosen.stop or "finished", text=actor.text(chosen))

        return [Group(task, tuple(rollout(number) for number in range(self.n)), id=ctx.place)]


def elected(answers: Sequence[str | None]) -> int:
    """The first that says what most say; the first of all where none says anything.

    >>> elected(["1", "2", None, "2"]), elected(["1", "2"]), elected([None, None])
    (1, 0, 0)
    """
    votes = Counter(answer for answer in answers if answer is not None)
    return answers.index(votes.most_common(1)[0][0]) if votes else 0


async def _said(node: Node, mode: Opening | Consensus, ctx: Ctx) -> Node:
    actor = ctx.policies["actor"]
    return await actor.generate(node, max=mode.max_tokens, stop=mode.stop, sampling=mode.sampling, keep=False)


def mode(text: str) -> Any:
    """The mode that a text names, as MODES has them."""
    name, colon, words = text.partition(":")
    match name:
        case "opening" if colon:
            return Opening(words)
        case "consensus" if colon:
            return Consensus(tuple(words.split("|")))
        case "vote" if words.isdecimal():
            return Vote(int(words))
        case "judge" if not colon:
            return Judge()
        case "search" if words.isdecimal() or not colon:
            return StepSearch(width=int(words)) if colon else StepSearch()
        case _:
            raise ValueError(f"{text!r} is no way to ask. {nearest(name, MODES)} Written {', '.join(MODES.values())}, or FILE.py:NAME.")


MODES = {
    "opening": "opening:WORDS",
    "consensus": "consensus:WORDS|WORDS|WORDS",
    "vote": "vote:K",
    "judge": "judge",
    "search": "search:WIDTH",
}
"""How each is written."""
