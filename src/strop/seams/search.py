"""Search: thinking that makes a known answer likely, found by editing it piece by piece.

    begin      thinking from somebody who sees the question and its answer
    a sweep    of its first pieces each once: others are proposed, and the likeliest is kept where the answer gets likelier
    the text   <think> what was found </think><answer> the answer </answer>, written by nobody: a later stage learns from it

    Stage("search", Method("search", sampler=Refined(Scripted()), credit=(), signals={}, update=Still()), steps(20))
    Stage("imitate", SFT.but("taught", feed=Earlier("search", right_ones())), rest())

The score of thinking is the mean negative log-probability of the answer's tokens behind it, each at most `floor` nats; the answer's
first piece is given and not scored. It never rises. What could not be searched (an answer or thinking of one piece) has a text without an
answer, so no maker takes it, and `keys["facts"][0]["left"]` says why.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any, Protocol

from strop.records import Group, Rollout, Row, Sampling, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle, Renderer
from strop.seams.likelihood import likelihood
from strop.seams.part import nearest
from strop.seams.world import World

BEGIN = """{prompt}

The answer that is to be reached:
{answer}

Write how somebody would think who does not know it yet, step by step, in the first person, with doubts and corrections, an empty line
between steps. Do not quote the answer. Put it between <refine> and </refine>."""
EDIT = """{prompt}

The answer that is to be reached:
{answer}

Thinking that leads there, with one step marked:
{before}
<step>
{piece}
</step>
{after}

Write that step better, so that the answer follows more naturally. Say first what it lacks, then put the new step between <refine> and
</refine>. Do not quote the answer."""
ACCEPTS = ("better", "random")
GRAM = 8
"""Characters of a stretch that thinking and answer may have in common."""


@dataclass(frozen=True)
class Cut:
    """How a text is cut into pieces, which make it again one behind the other."""

    at: tuple[str, ...] = ("\n\n", "\n")
    """The first of these that gives two pieces or more."""
    least: int = 100
    """Characters of a piece: a shorter one belongs to the next, at the end to the one before."""

    def __call__(self, text: str) -> list[str]:
        for separator in self.at:
            found, held = list[str](), ""
            parts = text.split(separator)
            for number, part in enumerate(parts):
                held += part + (separator if number < len(parts) - 1 else "")
                if len(held.strip()) >= self.least:
                    found, held = [*found, held], ""
            if held and found:
                found[-1] += held
            if len(found) > 1:
                return found
        return [text] if text else []


class Proposer(Protocol):
    """Who writes thinking for an answer, and other pieces of it. What comes back may be anything; empty text is no proposal."""

    async def begin(self, task: Task, answer: str, number: int, ctx: Ctx) -> str: ...
    async def edit(self, task: Task, answer: str, pieces: Sequence[str], at: int, count: int, ctx: Ctx) -> list[str]: ...


@dataclass(frozen=True)
class Scripted:
    """The task's source writes it: `thought(task, rng)`, and `piece(task, pieces, at, rng)`. A stand-in for a model that could."""

    async def begin(self, task: Task, answer: str, number: int, ctx: Ctx) -> str:
        return str(self._of(ctx, "thought")(task, ctx.rng("begin", ctx.place, number)))

    async def edit(self, task: Task, answer: str, pieces: Sequence[str], at: int, count: int, ctx: Ctx) -> list[str]:
        piece, rng = self._of(ctx, "piece"), ctx.rng("edit", ctx.place, at)
        return [str(piece(task, pieces, at, rng)) for _ in range(count)]

    def _of(self, ctx: Ctx, name: str) -> Callable[..., Any]:
        if not hasattr(ctx.source, name):
            raise ValueError(
                f"source {ctx.source.name!r} writes no thinking: Scripted asks its {name}(task, …). Propose by a policy: Writer"
            )
        return getattr(ctx.source, name)


@dataclass(frozen=True)
class Writer:
    """A policy writes it, between <refine> and </refine>, the last such block of its reply."""

    policy: str = "writer"
    """Of the method's `policies`, or the actor."""
    begins: str = BEGIN
    edits: str = EDIT
    max_tokens: int = 1024
    sampling: Sampling = Sampling(temperature=0.8)

    async def begin(self, task: Task, answer: str, number: int, ctx: Ctx) -> str:
        asked = self.begins.format(prompt=task.prompt, answer=answer)
        return (await self._write(asked, 1, ctx.at(f"{ctx.place}/begin{number}")))[0]

    async def edit(self, task: Task, answer: str, pieces: Sequence[str], at: int, count: int, ctx: Ctx) -> list[str]:
        before, after = "".join(pieces[:at]), "".join(pieces[at + 1 :])
        asked = self.edits.format(prompt=task.prompt, answer=answer, before=before, piece=pieces[at].strip(), after=after)
        tail = pieces[at][len(pieces[at].rstrip()) :]
        return [piece + tail if piece else "" for piece in await self._write(asked, count, ctx.at(f"{ctx.place}/edit{at}"))]

    async def _write(self, asked: str, count: int, ctx: Ctx) -> list[str]:
        return await written(ctx.policies[self.policy], asked, count, ctx.place, self.max_tokens, self.sampling)


async def written(handle: Handle, asked: str, count: int, place: str, max_tokens: int, sampling: Sampling) -> list[str]:
    """So many replies of a policy to one question: of each what stands in its last <refine> block, "" where none is closed."""
    root = await handle.open(asked, root=place)
    nodes = await asyncio.gather(*(handle.generate(root, max=max_tokens, sampling=sampling, keep=False) for _ in range(count)))
    return [refined(handle.text(node)) for node in nodes]


def refined(text: str) -> str:
    """What stands in the last <refine> block of a text."""
    _, opened, rest = text.rpartition("<refine>")
    inside, closed, _ = rest.partition("</refine>")
    return inside.strip() if opened and closed else ""


@dataclass(frozen=True)
class Refined:
    """Searches thinking for a task's known answer. It is asked in a stage that only samples, and a later one learns from what it found."""

    propose: Proposer = field(default_factory=Scripted)
    """Who writes."""
    score: str = "actor"
    """The policy that says how likely the answer is."""
    cut: Cut = Cut()
    """Pieces of thinking and of answers."""
    begins: int = 1
    """First texts, of which the best goes on."""
    candidates: int = 2
    """Proposals for a piece."""
    most: int = 10
    """Pieces that are looked at, the first ones."""
    enough: float = 0.25
    """A score below which nothing more is tried."""
    accept: str = "better"
    """better: the best proposal, where the score falls. random: as many edits as that makes, of any of the pieces by any of their
    proposals."""
    floor: float | None = 2.0
    """What a token counts at most, in nats; None: as much as it has."""
    copies: float = 0.5
    """Thinking that holds more than this share of the answer's stretches of eight characters is no proposal."""
    tags: tuple[str, str, str] = ("<think>", "</think><answer>", "</answer>")
    """What stands before thinking, between it and the answer, and behind."""

    def __post_init__(self) -> None:
        if self.accept not in ACCEPTS:
            raise ValueError(f"Refined(accept={self.accept!r}): {' or '.join(ACCEPTS)}. {nearest(self.accept, ACCEPTS)}")
        if min(self.begins, self.candidates) < 1 or self.most < 0 or (self.floor is not None and self.floor <= 0):
            raise ValueError(f"{self}: begins and candidates are at least 1, most at least 0, and floor is above 0")

    @property
    def group_size(self) -> int:
        return 1

    @property
    def policy(self) -> str:
        return self.score

    def sized(self, group: int | None, max_tokens: int | None) -> Refined:
        return self

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(prompt, 1)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is not None:
            raise ValueError("Refined searches one reply and has no turns for a world to answer in")
        return await self.searched(task, str(task.needs.get("answer", "")), ctx)

    async def searched(self, task: Task, target: str, ctx: Ctx) -> list[Group]:
        """Thinking that makes a target likely, and behind it the task's own answer."""
        answer = str(task.needs.get("answer", ""))
        thought, facts = await _Search(self, task, target, ctx).found()
        opens, between, closes = self.tags
        text = f"{opens}{thought}" + ("" if facts["left"] else f"{between}{answer}{closes}")
        renderer = ctx.policies["actor"].renderer
        prompt = Segment("prompt", renderer.prompt(task.prompt), "0")
        row = Row.of(prompt, Segment("teacher", renderer.reply(text), "0.0"))
        rollout = Rollout((row,), f"{ctx.place}/0", keys={"facts": [facts]}, provenance="search", text=text)
        return [Group(task, (rollout,), id=ctx.place)]


class _Search:
    """One task's."""

    def __init__(self, how: Refined, task: Task, answer: str, ctx: Ctx):
        self.how, self.task, self.answer, self.ctx = how, task, answer, ctx
        self.said = how.cut(answer)
        self.facts: dict[str, Any] = {"left": "", "before": None, "after": None, "edits": 0, "tried": 0, "refused": 0, "clipped": None}

    async def found(self) -> tuple[str, dict[str, Any]]:
        if len(self.said) < 2:
            return self._left("the answer is one piece, and its first piece is not scored", "")
        begun = [await self.how.propose.begin(self.task, self.answer, n, self.ctx) for n in range(self.how.begins)]
        texts = [text for text in begun if self._stands(text)]
        if not texts:
            return self._left("no thinking was proposed that could be scored", "")
        scores = await self._scores(texts)
        score, text = min(zip(scores, texts, strict=True), key=lambda one: one[0])
        pieces, self.facts["before"] = self.how.cut(text), score
        if len(pieces) < 2:
            return self._left("the thinking is one piece", text)
        pieces, score = await self._swept(pieces, score)
        self.facts["after"] = score
        return "".join(pieces), self.facts

    def _left(self, why: str, text: str) -> tuple[str, dict[str, Any]]:
        self.facts["left"] = why
        return text, self.facts

    async def _swept(self, pieces: list[str], score: float) -> tuple[list[str], float]:
        best, seen = list(pieces), dict[int, list[str]]()
        for at in range(min(self.how.most, len(pieces))):
            if score < self.how.enough:
                break
            given = await self.how.propose.edit(self.task, self.answer, best, at, self.how.candidates, self.ctx)
            seen[at] = [c for c in given if c != best[at] and self._stands("".join([*best[:at], c, *best[at + 1 :]]), c)]
            if not seen[at]:
                continue
            tried = await self._scores(["".join([*best[:at], c, *best[at + 1 :]]) for c in seen[at]])
            lowest, candidate = min(zip(tried, seen[at], strict=True), key=lambda one: one[0])
            if lowest < score:
                best[at], score = candidate, lowest
                self.facts["edits"] += 1
        if self.how.accept == "better":
            return best, score
        rng: random.Random = self.ctx.rng("accept", self.ctx.place)
        changed = list(pieces)
        for at in rng.sample([at for at in seen if seen[at]], self.facts["edits"]):
            changed[at] = rng.choice(seen[at])
        return changed, (await self._scores(["".join(changed)]))[0]

    def _stands(self, text: str, piece: str | None = None) -> bool:
        """Whether a text can be scored: it is some, its tokens give it back, it ends no thinking and quotes no answer."""
        self.facts["tried"] += 1
        renderer = self.ctx.policies[self.how.score].renderer
        new = text if piece is None else piece
        closing = any(tag.strip() and tag in text for tag in self.how.tags)
        if new.strip() and not closing and _shared(text, self.answer) <= self.how.copies and _plain(renderer, text) is not None:
            return True
        self.facts["refused"] += 1
        return False

    async def _scores(self, texts: Sequence[str]) -> list[float]:
        renderer, (opens, between, _) = self.ctx.policies[self.how.score].renderer, self.how.tags
        given, asked = self.said[0], "".join(self.said[1:])
        prompt = renderer.prompt(self.task.prompt)
        contexts = [(*prompt, *_tokens(renderer, f"{opens}{text}{between}{given}")) for text in texts]
        found = await likelihood(self.ctx, self.how.score, [(context, _tokens(renderer, asked)) for context in contexts])
        floor = self.how.floor if self.how.floor is not None else float("inf")
        self.facts["clipped"] = sum(-p > floor for p in found[0]) / len(found[0])
        return [fsum(min(-p, floor) for p in logp) / len(logp) for logp in found]


def _tokens(renderer: Renderer, text: str) -> tuple[int, ...]:
    found = _plain(renderer, text)
    if found is None:
        raise ValueError(f"{text[-40:]!r} cannot be scored: it does not come back from its tokens, or names a special one")
    return found


def _plain(renderer: Renderer, text: str) -> tuple[int, ...] | None:
    return renderer.plain(text)


def _shared(text: str, answer: str) -> float:
    """The share of the answer's stretches of eight characters that stand in the text; of a shorter answer, whether it does."""
    grams = {answer[i : i + GRAM] for i in range(max(len(answer) - GRAM + 1, 1))}
    return sum(gram in text for gram in grams) / len(grams)
