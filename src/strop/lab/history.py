"""What a policy answers when it is asked once, against what it answers when it is asked again and again in one conversation.

    B(a) = P_single(a) - P_multi(a)          arXiv:2505.18545

What was answered is `Answered`, which the sampler `AskAgain` draws. Everything here is a function of it, but `expected`, which asks a
policy for its chances instead of answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from strop.records import digest
from strop.seams.again import Answered, Shares
from strop.seams.context import Ctx
from strop.seams.likelihood import chances

MOST_PASTS = 4096
"""Pasts that one turn may have where chances are summed over all of them."""


def of_top(one: Answered, of: str = "b") -> float | None:
    """What is measured of a question: `b`, `single` or `multi` of its top answer."""
    found = {"b": one.b, "single": one.alone, "multi": one.again}[of]
    return None if found is None or one.top is None else found[one.top]


def by_turn(asked: Iterable[Answered]) -> list[float | None]:
    """How often the answer that is given most often alone is given at each turn: the first turn is a single one, and means hide what
    follows. None where no conversation has a valid answer."""
    turns: dict[int, list[bool]] = {}
    for one in asked:
        for talk in one.talks:
            for turn, answer in enumerate(talk):
                said = turns.setdefault(turn, [])
                if answer in one.known and one.top is not None:
                    said.append(answer == one.top)
    return [fmean(turns[turn]) if turns[turn] else None for turn in sorted(turns)]


# ---------------------------------------------------------------------------------------------- accepting answers


@dataclass(frozen=True)
class Thresholds:
    """Accepts a question's first single answer where its share alone is at least `least` and its B at most `most`."""

    least: float
    most: float
    of: frozenset[str]
    """Ids of the questions that they were chosen on, which they do not judge: there a second filter cannot lose."""

    def accepts(self, one: Answered) -> bool:
        if one.task in self.of:
            raise ValueError(f"these thresholds were chosen on question {one.task!r} too: what they say of it is no result. Ask others.")
        return _accepts(one, self.least, self.most)


def _accepts(one: Answered, least: float, most: float) -> bool:
    answer, alone, b = one.single[0] if one.single else None, one.alone, one.b
    return alone is not None and b is not None and answer in alone and alone[answer] >= least and b[answer] <= most


def chosen(asked: Sequence[Answered], good: Sequence[bool], filters: Collection[str] = ("single", "b")) -> Thresholds:
    """The thresholds that accept best on these questions, by all pairs of values that occur; `good` says of each first answer whether it is
    to be accepted. Of equals the most lenient. `filters` leaves one of them open."""
    everywhere = [v for one in asked for v in (one.alone or {}).values()], [v for one in asked for v in (one.b or {}).values()]
    leasts = sorted({0.0, *everywhere[0]}) if "single" in filters else [0.0]
    mosts = sorted({1.0, *everywhere[1]}, reverse=True) if "b" in filters else [1.0]
    best = max(product(leasts, mosts), key=lambda pair: sum(_accepts(one, *pair) == want for one, want in zip(asked, good, strict=True)))
    return Thresholds(*best, frozenset(one.task for one in asked))


def accuracy(thresholds: Thresholds, asked: Sequence[Answered], good: Sequence[bool]) -> float:
    """Share of questions, other ones, on which they decide as they should."""
    return fmean(thresholds.accepts(one) == want for one, want in zip(asked, good, strict=True))


def halves(asked: Sequence[Answered]) -> tuple[list[int], list[int]]:
    """Places of the questions to choose on, and of those to report on: the id decides."""
    first = [i for i, one in enumerate(asked) if int(digest(["half", one.task])[:8], 16) % 2 == 0]
    return first, [i for i in range(len(asked)) if i not in first]


# ---------------------------------------------------------------------------------------------- without drawing


async def expected(ctx: Ctx, policy: str, texts: Sequence[str], replies: Mapping[str, str]) -> list[Shares]:
    """Chances of each answer at each turn of a conversation that asks these texts, over all that may have been said before: exact, where
    nothing but `replies` is ever said. {answer: the reply that says it}. A turn has as many pasts as there are answers to all before it."""
    renderer = ctx.policies[policy].renderer
    if (pasts := len(replies) ** (len(texts) - 1)) > MOST_PASTS:
        raise ValueError(
            f"the last of {len(texts)} turns has {pasts} pasts with {len(replies)} answers to each question, and {MOST_PASTS} are summed "
            "at most. Ask fewer turns exactly, or sample more of them."
        )
    said = {answer: renderer.reply(text) for answer, text in replies.items()}
    pasts: dict[tuple[int, ...], float] = {renderer.prompt(texts[0]): 1.0} if texts else {}
    found = list[Shares]()
    for turn in range(len(texts)):
        each = await asyncio.gather(*(chances(ctx, policy, past, list(said.values())) for past in pasts))
        found.append(dict.fromkeys(said, 0.0))
        following = dict[tuple[int, ...], float]()
        for (past, weight), options in zip(pasts.items(), each, strict=True):
            for answer, chance in zip(said, options, strict=True):
                found[-1][answer] += weight * chance
                if turn + 1 < len(texts):
                    following[(*past, *said[answer], *renderer.turn(texts[turn + 1]))] = weight * chance
        pasts = following
    return found


def expected_b(single: Sequence[Shares], talks: Sequence[Sequence[Shares]]) -> Shares:
    """B of each answer, of chances in place of shares: of first turns, and of the turns of conversations."""
    alone = {a: fmean(one[a] for one in single) for a in single[0]}
    return {a: round(alone[a] - fmean(fmean(turn[a] for turn in talk) for talk in talks), 12) + 0.0 for a in alone}
