"""Branches that meet again: a reply that forks into threads wherever the policy opens a block, and goes on behind all of them.

    3+4 or 3*4?  <Parallel><Path> 3+4=7 </Path><Path> 3*4=12 </Path></Parallel><Summary> the second </Summary> so 12

The policy writes the opening tag; what is forced after it begins every thread, and each is drawn from the same place with noise of its own.
Then they stand one behind the other (`Handle.join`), the policy sums up what they found, and its line goes on.

What the learner is shown of it is `rows`:

    seen        one row, as the line reads: a later thread sees the ones before it, though it was drawn without them
    threads     the same row without later threads' gradient, and a row for each of those: all that is trained was drawn where it stands
    branches    one row in which threads do not see each other, all stand behind the tag, and what follows behind the longest of them

Of text that stands elsewhere than it was drawn, nobody's log-probability is known: the learner measures it before the update, and no
correction bridges it.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, cast

from strop.records import Group, Rollout, Row, Sampling, Segment, Stop, Task
from strop.seams.context import Ctx, Footprint, Handle, Renderer
from strop.seams.engine import Node
from strop.seams.feed import Demos, Feed, Pick
from strop.seams.mark import places_of
from strop.seams.part import part
from strop.seams.sampler import Independent, Sampler
from strop.seams.world import World

LEAST = 2
"""Paths of a block, at least."""


@dataclass(frozen=True)
class Tags:
    """What stands around a block, a path of it, and what sums it up."""

    block: tuple[str, str] = ("<Parallel>", "</Parallel>")
    path: tuple[str, str] = ("<Path>", "</Path>")
    summary: tuple[str, str] = ("<Summary>", "</Summary>")

    def __post_init__(self) -> None:
        every = (*self.block, *self.path, *self.summary)
        if len(every) != 6 or not all(every) or len(set(every)) != 6:
            raise ValueError(f"{self}: three pairs of tags, all of them different and none empty")


TAGS = Tags()


@dataclass(frozen=True)
class Parallel:
    """n replies that may fork. Lengths count everything in the reply, tags and all threads."""

    paths: int = 2
    """Threads of a block."""
    blocks: int = 4
    """So many may be opened in a reply."""
    rows: Literal["seen", "threads", "branches"] = "seen"
    """What the learner is shown."""
    n: int = 8
    """Rollouts a task."""
    max_tokens: int = 256
    """Of a whole reply."""
    path_tokens: int = 64
    """Of a thread, the tags around it not counted."""
    ends: bool = False
    """Whether a reply ends with its last block's summary, as released. Else its line goes on and forks no more."""
    tags: Tags = TAGS
    """What a block is written with."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    own_way: ClassVar[bool] = True
    """Held-out tasks are asked so too: drawn in one go, no tag would open anything."""

    def __post_init__(self) -> None:
        for name in ("blocks", "n", "max_tokens", "path_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"Parallel({name}={getattr(self, name)}): needs at least 1")
        if self.paths < LEAST:
            raise ValueError(f"Parallel(paths={self.paths}): a block has {LEAST} threads or more; without any it is Independent()")
        if self.rows not in ("seen", "threads", "branches"):
            raise ValueError(f"Parallel(rows={self.rows!r}): seen, threads or branches")
        Independent(sampling=self.sampling)  # refuses what could not be trained on

    @property
    def own_context(self) -> bool:
        """Whether all that is trained stands where it was drawn."""
        return self.rows == "threads"

    @property
    def moves(self) -> bool:
        """Whether text of a thread stands elsewhere than it was drawn."""
        return not self.own_context

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        """What stands in a reply, and what each later thread begins with, which is computed where it is drawn and where it is read."""
        begun = self.blocks * (self.paths - 1) * len(self.tags.path[0].encode())
        return Footprint(positions=prompt + self.n * (self.max_tokens + begun), requests=self.n * self.paths)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is not None:
            raise ValueError("Parallel forks one reply and has no turns for a world to answer in. Use Episodes.")
        actor = ctx.policies["actor"]
        root = await actor.open(task.prompt, root=ctx.place)
        made = await asyncio.gather(*(self._reply(actor, root, f"{ctx.place}/{i}") for i in range(self.n)))
        return [Group(task, tuple(made), id=ctx.place)]

    async def _reply(self, actor: Handle, root: Node, name: str) -> Rollout:
        at, made, stop = root, list[Block](), cast(Stop, "length")
        while (room := self.max_tokens - (at.length - root.length)) > 0:
            opens = self.tags.block[0] if len(made) < self.blocks else ""
            at = await actor.generate(at, max=room, stop=(opens,) if opens else (), sampling=self.sampling)
            if not opens or opens not in actor.text(at):
                stop = at.stop or "finished"
                break
            if (block := await self._block(actor, at, room - len(at.written))) is None:
                break
            made.append(block)
            at = block.end
            if self.ends and len(made) == self.blocks:
                stop = "finished"
                break
        text = actor.renderer.text(at.tokens[root.length :])
        return Rollout(tuple(self._laid(at, made)), name, stop=stop, text=text)

    async def _block(self, actor: Handle, fork: Node, room: int) -> Block | None:
        """Threads under this node, joined and summed up; None where there is no room for a token in each and one behind them."""
        (opens, shuts), (begins, ends), between = self.tags.path, self.tags.summary, self.tags.block[1]
        spare = room - self.paths * (_size(actor, opens) + _size(actor, shuts)) - _size(actor, between + begins)
        if spare <= self.paths:
            return None
        each = min(self.path_tokens, (spare - 1) // self.paths)
        heads = [await actor.force(fork, opens) for _ in range(self.paths)]  # in an order that no request decides
        drawn = (actor.generate(n, max=each, stop=(shuts,), sampling=self.sampling, keep=n is heads[0]) for n in heads)
        threads = [await _closed(actor, node, shuts) for node in await asyncio.gather(*drawn)]
        joined = await actor.join(fork, threads, close=between + begins)
        said = await actor.generate(joined, max=room - (joined.length - fork.length), stop=(ends,), sampling=self.sampling)
        fits = said.length - fork.length + _size(actor, ends) < room
        return Block(fork, threads, joined, await _closed(actor, said, ends) if fits else said)

    def _laid(self, end: Node, blocks: Sequence[Block]) -> Iterator[Row]:
        """The rows of a reply, from the end of its line and the blocks on it."""
        row = end.row()
        if self.rows == "seen" or not blocks:
            yield row
        elif self.rows == "threads":
            later = [(thread, frozenset(s.id for s in own)) for b in blocks for thread, own in list(b.own())[1:]]
            yield replace(row, trains=row.trains.difference(*(own for _, own in later)))
            for thread, own in later:
                yield replace(thread.row(), trains=own)
        else:
            drawn, follows = dict[str, Segment](), dict[str, tuple[str, ...]]()
            for block in blocks:
                for _, own in block.own():
                    drawn |= {segment.id: segment for segment in own}
                    follows[own[0].id] = (block.fork.segment.id,)
                follows[block.joined.segment.id] = tuple(thread.segment.id for thread in block.threads)
            segments, met = list[Segment](), False
            for segment in row.segments:
                met = met or segment.id == blocks[0].joined.segment.id
                segment = replace(segment, logp=None) if met else drawn.get(segment.id, segment)
                segments.append(replace(segment, parents=follows.get(segment.id, ())))
            yield Row(tuple(segments), row.trains, "branches")


class Block(NamedTuple):
    """Threads from one place, and where the line goes on behind them."""

    fork: Node
    threads: Sequence[Node]
    """The end of each."""
    joined: Node
    """What is forced behind them all."""
    end: Node
    """Of what sums them up."""

    def own(self) -> Iterator[tuple[Node, list[Segment]]]:
        """Each thread with its own segments."""
        for thread in self.threads:
            yield thread, [node.segment for node in thread.line()[len(self.fork.line()) :]]


async def _closed(actor: Handle, node: Node, tag: str) -> Node:
    """The node, or the tag forced behind it where what was written lacks it."""
    return node if tag in actor.text(node) else await actor.force(node, tag)


def _size(actor: Handle, text: str) -> int:
    return len(actor.renderer.plain(text) or ())


@part(gives="parallel_R")
def blocks(text: str, *, tags: Tags = TAGS) -> int | None:
    """How many blocks a reply holds, each of two paths or more and a summary behind them. None where tags stand in any other way.

    >>> blocks("<Parallel><Path>a</Path><Path>b</Path></Parallel><Summary>b</Summary>c"), blocks("a</Path>")
    (1, None)
    """
    letter = dict(zip((*tags.block, *tags.path, *tags.summary), "bBpPsS", strict=True))
    found = "".join(letter[tag] for tag in re.findall("|".join(re.escape(tag) for tag in sorted(letter, key=len, reverse=True)), text))
    return found.count("b") if re.fullmatch(r"(?:b(?:pP){2,}BsS)*", found) else None


WORKED = Demos(text="worked")


@dataclass(frozen=True)
class Branched:
    """Feed: another one's demonstrations, with the paths of their blocks laid beside each other."""

    feed: Feed = WORKED
    """Whose groups."""
    tags: Tags = TAGS
    """What a block is written with."""

    @property
    def fresh(self) -> bool:
        return self.feed.fresh

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        renderer = ctx.policies["actor"].renderer

        def laid(rollout: Rollout) -> Rollout:
            return replace(rollout, rows=tuple(branched(row, renderer, self.tags) for row in rollout.rows))

        groups = await self.feed.take(pick, want, sampler, world, ctx, seen)
        return [replace(group, rollouts=tuple(map(laid, group.rollouts))) for group in groups]


def branched(row: Row, renderer: Renderer, tags: Tags) -> Row:
    """A row of a prompt and one text behind it, cut where its well-formed blocks fork and join."""
    prompt, *written = row.segments
    if len(written) != 1 or not blocks(text := renderer.text(written[0].tokens), tags=tags):
        return row
    (whole,) = written
    path, join = (re.escape(tag) for tag in (tags.path[0], tags.block[1]))
    cuts = [(found.start(), found[0] == tags.block[1]) for found in re.finditer(f"{path}|{join}", text)]
    places = [0, *places_of(written, renderer, [at for at, _ in cuts]), len(whole.tokens)]
    segments, fork, threads = [prompt, replace(whole, id=f"{whole.id}.0", tokens=whole.tokens[: places[1]])], f"{whole.id}.0", list[str]()
    for number, (_, joins) in enumerate(cuts, 1):
        name = f"{whole.id}.{number}"
        tokens = whole.tokens[places[number] : places[number + 1]]
        segments.append(replace(whole, id=name, tokens=tokens, parents=tuple(threads) if joins else (fork,)))
        fork, threads = (name, []) if joins else (fork, [*threads, name])
    return Row(tuple(segments), frozenset(s.id for s in segments[1:]), "branches")
