"""AskAgain: one question asked again in one context, its options in another order each time (arXiv:2505.18545).

    AskAgain(turns=10)               two conversations of ten turns: the policy sees what it said before
    AskAgain(turns=10, fresh=20)     twenty answers in contexts of their own before them

Each answer is a rollout: it is graded by itself, and trained in the context it was drawn in. Those of a conversation come in order, one
conversation after the other, behind the fresh ones; `rollout.keys["turn"]` is [conversation, turn], counted from 0.

A task that may be asked in another order has its options as texts in `needs["options"]`, each once in its prompt; one without them is asked
in the same words. What is asked does not depend on what was said, so orders and answers are apart.

What was answered is read off by `read`: an answer that is none of the options, or none at all, is invalid. It counts in no share, and
`Answered.invalid` says how many there were.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar

from strop.records import Group, Rollout, Row, Sampling, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.engine import Node
from strop.seams.part import nearest
from strop.seams.world import World

Answers = Sequence[str | None]
Shares = dict[str, float]
"""Of each option."""

HISTORIES = ("kept", "written", "shuffled")
AROUND = 16
"""Tokens, at most, that a template puts around a turn beyond those it puts around a prompt."""


@dataclass(frozen=True)
class AskAgain:
    """`n` conversations in which one question is asked `turns` times, and `fresh` answers of which each is the first of its context."""

    turns: int = 10
    """How often it is asked in one conversation."""
    shuffle: bool = True
    """Its options stand in an order that is drawn each time it is asked; False: as the task has them."""
    n: int = 2
    """Conversations."""
    fresh: int = 0
    """Answers beside them, each in a context of its own."""
    history: str = "kept"
    """kept: turns stand where they were drawn. written: each turn's context is written anew by the template, for those that rewrite earlier
    turns. shuffled: likewise, with earlier questions and their answers in an order that is drawn for each turn."""
    max_tokens: int = 32
    """Of an answer."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, beside the template's own."""
    own_way: ClassVar[bool] = True
    """Held-out tasks are asked so too."""

    def __post_init__(self) -> None:
        for name, least in (("turns", 1), ("n", 0), ("fresh", 0), ("max_tokens", 1), ("group_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"AskAgain({name}={getattr(self, name)}): at least {least}")
        if self.history not in HISTORIES:
            raise ValueError(f"AskAgain(history={self.history!r}): {' or '.join(HISTORIES)}. {nearest(self.history, HISTORIES)}")

    @property
    def group_size(self) -> int:
        return self.fresh + self.n * self.turns

    def sized(self, group: int | None, max_tokens: int | None) -> AskAgain:
        """A group's size is what turns, conversations and fresh answers make it."""
        return replace(self, max_tokens=max_tokens or self.max_tokens)

    def footprint(self, prompt: int) -> Footprint:
        turn = prompt + AROUND + self.max_tokens
        return Footprint(positions=(self.fresh + self.n * self.turns) * turn, requests=self.fresh + self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor = ctx.policies["actor"]
        talks = [[self.asked(task, ctx, f"again/{i}/{turn}") for turn in range(self.turns)] for i in range(self.n)]
        single = [self.asked(task, ctx, f"fresh/{i}") for i in range(self.fresh)]
        for talk in talks:
            self._room(talk, actor)
        texts = dict.fromkeys((*single, *(talk[0] for talk in talks)))
        roots = {text: await actor.open(text, root=ctx.place, ordinal=i) for i, text in enumerate(texts)}
        first = [self._say(actor, roots[text], last=True) for text in single]
        begun = [self._say(actor, roots[talk[0]], last=self.turns == 1) for talk in talks]
        more = [self._talk(talk, node, ctx, i, len(roots)) for i, (talk, node) in enumerate(zip(talks, begun, strict=True))]
        alone, together = await asyncio.gather(asyncio.gather(*first), asyncio.gather(*more))
        found = [_rollout(actor, node, node.row(), {}) for node in alone]
        found += [answer for talk in together for answer in talk]
        return [Group(task, tuple(replace(r, id=f"{ctx.place}/{i}") for i, r in enumerate(found)), id=ctx.place)]

    def asked(self, task: Task, ctx: Ctx, key: str) -> str:
        """The question, as it is asked there."""
        return reordered(task, ctx.rng("again", ctx.place, key)) if self.shuffle else task.prompt

    async def _talk(self, talk: Sequence[str], begun: Coroutine[Any, Any, Node], ctx: Ctx, number: int, roots: int) -> list[Rollout]:
        """One conversation, whose first answer is being drawn."""
        actor, node, answers = ctx.policies["actor"], await begun, list[Rollout]()
        past = list[tuple[str, str]]()
        for turn, text in enumerate(talk):
            if turn and self.history == "kept":
                node = await self._say(actor, await actor.extend(node, text), last=turn + 1 == self.turns)
            elif turn:
                if self.history == "shuffled":
                    ctx.rng("again", ctx.place, f"past/{number}/{turn}").shuffle(past)
                before = [said for pair in past for said in pair]
                at = await actor.open(*before, text, root=ctx.place, ordinal=roots + number * self.turns + turn)
                node = await self._say(actor, at, last=True)
            row, past = node.row(), [*past, (text, actor.text(node))]
            own = {n.segment.id for n in node.line()[-len(_pieces(node)) :]}
            answers.append(_rollout(actor, node, replace(row, trains=row.trains & own), {"turn": [number, turn]}))
        return answers

    def _say(self, actor: Handle, node: Node, last: bool) -> Coroutine[Any, Any, Node]:
        keep = not last and self.history == "kept"
        return actor.generate(node, max=self.max_tokens, stop=self.stop, sampling=self.sampling, keep=keep)

    def _room(self, talk: Sequence[str], actor: Handle) -> None:
        """Refuses a conversation that may not fit: turns that are missing would count for others."""
        written = actor.renderer
        if self.history == "kept":
            asked = len(written.prompt(talk[0])) + sum(len(written.turn(text)) for text in talk[1:])
        else:
            asked = len(written.prompt(talk[0], *(said for text in talk[1:] for said in ("", text))))
        most = asked + self.turns * self.max_tokens
        if most > actor.engine.limit:
            fit = self.turns * actor.engine.limit // most
            raise ValueError(
                f"AskAgain(turns={self.turns}): so many turns take up to {most} positions, and the policy has {actor.engine.limit}. "
                + (f"Ask {fit} times (turns={fit}), or for shorter answers (max_tokens)." if fit else "Lower max_tokens.")
            )


def _pieces(node: Node) -> list[Node]:
    """Of the action that a node ends: where new weights came in its middle they are several."""
    pieces, at = [node], node.parent
    while at is not None and at.cut:
        pieces, at = [at, *pieces], at.parent
    return pieces


def _rollout(actor: Handle, node: Node, row: Row, keys: dict[str, Any]) -> Rollout:
    return Rollout((row,), "", stop=node.stop or "finished", keys=keys, text=actor.text(node))


def options_of(task: Task) -> tuple[str, ...]:
    """What a task lists to choose from; none where it lists nothing."""
    return tuple(map(str, task.needs.get("options", ())))


def reordered(task: Task, rng: random.Random) -> str:
    """Its prompt with the options in an order that is drawn; as it is, where it has none.

    >>> reordered(Task("red, green or blue?", {"options": ["red", "green", "blue"]}, "x"), random.Random(3))
    'red, blue or green?'
    """
    options = options_of(task)
    if not options:
        return task.prompt
    longest = sorted(options, key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, longest))})", task.prompt)
    found = pieces[1::2]
    if len(set(options)) < len(options) or sorted(found) != sorted(options):
        wrong = next((option for option in options if found.count(option) != 1), options[0])
        raise ValueError(
            f"AskAgain(shuffle=True): the option {wrong!r} stands {found.count(wrong)} times in the prompt {task.prompt[:60]!r}, so it is "
            "not known which of its places to change. Options are texts that stand in the prompt once; or ask with shuffle=False."
        )
    pieces[1::2] = rng.sample(options, len(options))
    return "".join(pieces)


# ---------------------------------------------------------------------------------------------- what was answered


@dataclass(frozen=True)
class Answered:
    """The answers to one question."""

    task: str
    """Its id."""
    options: tuple[str, ...]
    """What it may be answered with; none: whatever was said."""
    single: tuple[str | None, ...]
    """In contexts of their own; None where nothing could be read."""
    talks: tuple[tuple[str | None, ...], ...]
    """In conversations, turn by turn."""

    @property
    def known(self) -> tuple[str, ...]:
        """The options, or what was said where there are none."""
        said = (answer for answers in (self.single, *self.talks) for answer in answers if answer is not None)
        return self.options or tuple(sorted(set(said)))

    @property
    def of_single(self) -> Answered:
        """What was answered alone."""
        return replace(self, talks=())

    @property
    def of_talks(self) -> Answered:
        """What was answered in conversations alone."""
        return replace(self, single=())

    @property
    def invalid(self) -> tuple[int, int]:
        """(answers that are none of the options, all answers)."""
        every = [answer for answers in (self.single, *self.talks) for answer in answers]
        return sum(answer not in self.known for answer in every), len(every)

    @property
    def alone(self) -> Shares | None:
        """P_single; None where no answer is valid."""
        return shares(self.single, self.known)

    @property
    def again(self) -> Shares | None:
        """P_multi, each conversation counting alike; None where one of them has no valid answer, or there is none."""
        each = [shares(talk, self.known) for talk in self.talks]
        found = [one for one in each if one is not None]
        return {o: fmean(one[o] for one in found) for o in self.known} if found and len(found) == len(each) else None

    @property
    def b(self) -> Shares | None:
        """The B-score of each option."""
        alone, again = self.alone, self.again
        return None if alone is None or again is None else {o: alone[o] - again[o] for o in self.known}

    @property
    def top(self) -> str | None:
        """What is said most often alone; of equals the one that was said first."""
        said = [answer for answer in self.single if answer in self.known]
        return max(dict.fromkeys(said), key=said.count, default=None)


def shares(answers: Answers, options: Collection[str]) -> Shares | None:
    """How often each option was said, of the answers that are one; None where there are none.

    >>> shares(["a", "b", "a", None, "x", "a"], ["a", "b", "c"])
    {'a': 0.75, 'b': 0.25, 'c': 0.0}
    """
    valid = [answer for answer in answers if answer in options]
    return {option: valid.count(option) / len(valid) for option in options} if valid else None


def read(group: Group, answer: Callable[[str], str | None]) -> Answered:
    """What `AskAgain` sampled: which answers belong to which conversation, rollouts say themselves."""
    single, talks = list[str | None](), dict[int, list[str | None]]()
    for rollout in group.rollouts:
        place = rollout.keys.get("turn")
        (single if place is None else talks.setdefault(place[0], [])).append(answer(rollout.text))
    return Answered(group.task.id, options_of(group.task), tuple(single), tuple(map(tuple, talks.values())))
