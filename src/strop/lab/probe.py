"""Probe: how likely the right answer is after each beginning of a reply.

    prompt <think> 31+3=34 \n 34+ | </think><answer> 80
                                    opens            the right answer, whose log-probability is asked for

A beginning ends where thinking may still go on; behind it stands `opens`, in the policy's own mouth, and then the answer that the source
knows. The curve over the beginnings says what each piece of thinking did for the answer. Where a beginning holds the answer
already, or the one that the reply gives, reading it tells nothing: those are left out of what is read as a forecast.

RaML (arXiv:2505.19815) reads the curve as the loss along an inner optimisation, a token being a step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from strop.claims.statistics import auroc
from strop.seams.context import Handle, Renderer
from strop.seams.likelihood import likely

OPENS = "</think><answer>"
ENDS = ("</think>", "<answer>", "\\boxed{")
"""Where a reply's thinking ends, the first of them."""
WORDS = ("Wait", "Alternatively", "Hold on", "Since", "Therefore", "But", "So")
"""The paper's, whose steps are compared with the others."""


@dataclass(frozen=True)
class Said:
    """A reply, and what is known of it."""

    prompt: tuple[int, ...]
    """Tokens."""
    text: str
    answer: str
    """The right one."""
    right: bool
    given: str = ""
    """The answer that it gives, where one can be read."""


@dataclass(frozen=True)
class Chain:
    """A reply with the mean log-probability of the right answer's tokens after each of its beginnings, from the empty one on."""

    said: Said
    count: int
    """Tokens of the whole reply."""
    at: tuple[int, ...]
    """Tokens of each beginning."""
    logp: tuple[float, ...]
    held: tuple[bool, ...]
    """Whether the beginning holds an answer already, the right one or the one given."""
    pieces: tuple[str, ...]
    """What each beginning adds to the one before."""

    @property
    def forecast(self) -> float:
        """After the last beginning that holds no answer yet."""
        return [logp for logp, held in zip(self.logp, self.held, strict=True) if not held][-1]


async def probed(handle: Handle, replies: Sequence[Said], *, opens: str = OPENS, ends: Sequence[str] = ENDS, every: int = 1) -> list[Chain]:
    """All of them in one question to the engine, so that what they have in common is computed once. A beginning every so many tokens."""
    if every < 1:
        raise ValueError(f"a beginning every {every} tokens: at least 1")
    renderer = handle.renderer
    header = _plain(renderer, opens, "opens")
    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    cut: list[tuple[int, tuple[int, ...], list[int]]] = []
    for said in replies:
        whole = _plain(renderer, said.text, "a reply")
        thought = _plain(renderer, said.text[: thinking(said.text, ends)], "a reply's thinking")
        answer = _plain(renderer, said.answer, "an answer")
        at = list(range(0, len(thought) + 1, every))
        at += [len(thought)] * (at[-1] < len(thought))
        asked += [((*said.prompt, *thought[:n], *header), answer) for n in at]
        cut.append((len(whole), thought, at))
    found = iter(await likely(handle.engine, asked))
    chains: list[Chain] = []
    for said, (count, thought, at) in zip(replies, cut, strict=True):
        begun = [renderer.text(thought[:n]) for n in at]
        held = tuple(n > 0 and (_holds(text, said.answer) or _holds(text, said.given)) for n, text in zip(at, begun, strict=True))
        pieces = ("", *(later.removeprefix(earlier) for earlier, later in pairwise(begun)))
        chains.append(Chain(said, count, tuple(at), tuple(fmean(next(found)) for _ in at), held, pieces))
    return chains


def thinking(text: str, ends: Sequence[str] = ENDS) -> int:
    """Where it ends."""
    return min([at for end in ends if (at := text.find(end)) >= 0], default=len(text))


def _plain(renderer: Renderer, text: str, what: str) -> tuple[int, ...]:
    tokens = renderer.plain(text) if text else ()
    if tokens is None:
        raise ValueError(f"{what} cannot be asked about: {text[:40]!r} does not come back from its tokens, or names a special one")
    return tokens


def _holds(text: str, answer: str) -> bool:
    """As a word of its own."""
    return bool(answer) and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def curve(chains: Sequence[Chain], places: int = 10) -> list[float | None]:
    """The mean over chains, at `places` + 1 shares of their thinking from 0 to 1."""
    found: list[float | None] = []
    for place in range(places + 1):
        at = [chain.logp[round(place / places * (len(chain.logp) - 1))] for chain in chains]
        found.append(fmean(at) if at else None)
    return found


def forecasts(chains: Sequence[Chain]) -> float | None:
    """AUROC of the forecast for a reply that turns out right."""
    return auroc([chain.forecast for chain in chains], [chain.said.right for chain in chains])


def lengths(chains: Sequence[Chain]) -> float | None:
    """AUROC of a reply's length for the same, whichever way it points: what a forecast must beat."""
    found = auroc([float(chain.count) for chain in chains], [chain.said.right for chain in chains])
    return None if found is None else max(found, 1 - found)


def steps(chains: Sequence[Chain], words: Sequence[str] = WORDS) -> dict[str, tuple[int, float, float]]:
    """How often each word was written, and by how much the answer's negative log-probability changed where it was, relative to what it
    was before: mean and median. All of thinking stands under the empty word."""
    found: dict[str, list[float]] = {}
    for chain in chains:
        moved = [abs(new - old) / -old if old else 0.0 for old, new in pairwise(chain.logp)]
        found.setdefault("", []).extend(moved)
        begun = "".join(chain.pieces)
        ends = [sum(map(len, chain.pieces[: n + 2])) for n in range(len(moved))]
        for word in words:
            for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", begun):
                at = next((n for n, end in enumerate(ends) if end >= match.end()), None)
                if at is not None:
                    found.setdefault(word, []).append(moved[at])
    return {word: (len(moved), fmean(moved), median(moved)) for word, moved in found.items() if moved}


def summary(chains: Sequence[Chain], places: int = 10) -> dict[str, Any]:
    """What a table and a picture need, as plain JSON."""
    right, wrong = ([c for c in chains if c.said.right is verdict] for verdict in (True, False))
    return {
        "replies": len(chains),
        "right": len(right),
        "beginnings": sum(len(chain.at) for chain in chains),
        "curve": {"right": curve(right, places), "wrong": curve(wrong, places)},
        "auroc": {"forecast": forecasts(chains), "length": lengths(chains)},
        "steps": {word: {"count": count, "mean": mean, "median": middle} for word, (count, mean, middle) in steps(chains).items()},
    }
