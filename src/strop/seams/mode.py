"""Mode: how a trained policy is asked where it is evaluated, as a sampler. `strop eval --sampler`, `HeldOut(sampler=…)`.

    opening:<think>                       every reply begins so: the words are put in the policy's mouth
    judge, search:8                       steps judged, and a reply searched by a judge of its steps (`strop.seams.steps`)
    vote:9                                so many replies, and what most of them answer
    exit:2, exit:agree, exit:tokens=60    a reply in turns, ended behind the answer that says so
    consensus:<answer>|<short>|<long>     one reply of each opening but the last; where their answers differ, one of the last opening

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
from strop.seams.part import Part, nearest, part
from strop.seams.source import answer_of
from strop.seams.steps import Judge, StepSearch
from strop.seams.turns import ANSWERED
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


@part(gives="stops")
def after_turns(answers: Sequence[str | None], tokens: int, *, count: int = 1) -> bool:
    """Behind so many answers."""
    return len(answers) >= count


@part(gives="stops")
def answers_agree(answers: Sequence[str | None], tokens: int) -> bool:
    """Where an answer is the one before it."""
    return len(answers) > 1 and answers[-1] is not None and answers[-1] == answers[-2]


@part(gives="stops")
def tokens_spent(answers: Sequence[str | None], tokens: int, *, most: int = 60) -> bool:
    """Behind the first answer where so many tokens are written."""
    return tokens >= most


@dataclass(frozen=True)
class EarlyExit:
    """n replies in turns, each ended behind the first answer where `when` says so: of the answers so far and the tokens written."""

    when: Part = after_turns()  # noqa: RUF009
    """after_turns(count=1), answers_agree(), tokens_spent(most=60), or one of your own: (answers, tokens) -> bool."""
    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 128
    """Longest reply, all turns together."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    evaluates: ClassVar[bool] = True
    """Only: where a reply ends is not the policy's decision."""

    def __post_init__(self) -> None:
        if self.when.gives != "stops":
            raise ValueError(f"EarlyExit(when={self.when!r}): a part that gives 'stops', as answers_agree() or tokens_spent(most=60)")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt + self.n * self.max_tokens, requests=self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        root = await ctx.policies["actor"].open(task.prompt, root=ctx.place)
        made = await asyncio.gather(*(self._reply(root, ctx, f"{ctx.place}/{i}") for i in range(self.n)))
        return [Group(task, tuple(made), id=ctx.place)]

    async def _reply(self, root: Node, ctx: Ctx, place: str) -> Rollout:
        actor, at, text, answers = ctx.policies["actor"], root, "", list[str | None]()
        while (left := self.max_tokens - (at.length - root.length)) > 0:
            at = await actor.generate(at, max=left, stop=(ANSWERED,), sampling=self.sampling)
            said = actor.text(at)
            text += said
            if not said.endswith(ANSWERED):
                return Rollout((at.row(),), place, stop=at.stop or "finished", text=text)
            answers.append(answer_of(ctx.source, text))
            if self.when.on({"answers": answers, "tokens": at.length - root.length}):
                return Rollout((at.row(),), place, stop="finished", text=text)
        return Rollout((at.row(),), place, stop="length", text=text)


def early_exit(words: str) -> EarlyExit:
    """`2`, `agree`, `tokens=60`."""
    kind, _, count = words.partition("=")
    match kind:
        case "agree" if words == kind:
            return EarlyExit(answers_agree())
        case "tokens" if count.isdecimal():
            return EarlyExit(tokens_spent(most=int(count)))
        case _ if words.isdecimal() and int(words):
            return EarlyExit(after_turns(count=int(words)))
        case _:
            raise ValueError(f"exit:{words} says not where to stop: exit:2 behind the second answer, exit:agree, exit:tokens=60")


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
        case "judge" if not colon:
            return Judge()
        case "search" if words.isdecimal() or not colon:
            return StepSearch(width=int(words)) if colon else StepSearch()
        case "vote" if words.isdecimal():
            return Vote(int(words))
        case "exit" if colon:
            return early_exit(words)
        case _:
            raise ValueError(f"{text!r} is no way to ask. {nearest(name, MODES)} Written {', '.join(MODES.values())}, or FILE.py:NAME.")


MODES = {
    "opening": "opening:WORDS",
    "consensus": "consensus:WORDS|WORDS|WORDS",
    "vote": "vote:K",
    "judge": "judge",
    "search": "search:WIDTH",
    "exit": "exit:TURNS|agree|tokens=MOST",
}
"""How each is written."""
