"""A tree of segments: a sampler whose rollouts share beginnings, and the arithmetic of what that can save.

All rollouts of a task start as `branching` copies of the prompt and grow by segments of fixed length. After each round a
path either ends and is a leaf (end token, depth reached, or a segment that repeats itself) or goes on; paths that go on are forked:

    copies of the next round = max(going on, min(width - leaves, branching * (going on + ended in this round)))

split evenly, the last path taking the remainder: the share of a path that ended goes to the living. When nobody goes on and leaves
are missing, finished leaves are cut at random segment boundaries and `branching` copies of each grow again (fallback); where none is
finished, copies of the prompt do. A shared beginning is decoded once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from strop.records import ENDED, Group, Rollout, Sampling, Stop, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.engine import Node
from strop.seams.sampler import Independent
from strop.seams.world import World


@dataclass(frozen=True)
class SegmentTree:
    """`width` leaves of at most `depth` segments of `segment` tokens, as one tree under the prompt."""

    width: int = 16
    """Leaves, each a rollout."""
    depth: int = 6
    """Segments on the longest path."""
    segment: int = 16
    """Tokens of a segment at most."""
    branching: int = 2
    """Copies of the prompt to begin with, and of a path that goes on."""
    first: tuple[int, int] | None = None
    """Copies of the prompt to begin with, drawn between these two; None: as many as `branching`."""
    window: int = 32
    times: int = 8
    """A segment repeats itself when some `window` of its characters stand in it so often."""
    repetition_first: bool = True
    """A path that repeats itself and ends anyway counts as repeating, so the fallback never grows it again; False is the release's."""
    sampling: Sampling = Sampling()
    own_context: ClassVar[bool] = True
    """Rows are the engine's own nodes, in the context they were drawn in, and a group's id is the root of its noise."""
    nested: ClassVar[bool] = True
    """A rollout names the sub-groups it belongs to: its ancestors, from the first segment down."""

    def __post_init__(self) -> None:
        low, high = self.first or (self.branching, self.branching)
        for name, value in {**vars(self), "first": low}.items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ValueError(f"SegmentTree({name}={value}): needs at least 1")
        if not low <= high <= self.width:
            raise ValueError(f"SegmentTree: {low} to {high} first copies do not fit a width of {self.width}. Raise width, or lower first.")
        Independent(sampling=self.sampling)  # refuses what could not be trained on

    @property
    def group_size(self) -> int:
        return self.width

    def sized(self, group: int | None, max_tokens: int | None) -> SegmentTree:
        """The depth stays, so a longest reply is cut into that many segments."""
        segment = self.segment if max_tokens is None else -(-max_tokens // self.depth)
        return replace(self, width=group or self.width, segment=segment)

    def footprint(self, prompt: int) -> Footprint:
        """At every depth but the last, at most `width` segments are kept: each lies on the path of a leaf of its own."""
        return Footprint(positions=prompt + self.width * (self.depth - 1) * self.segment, requests=self.width)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if world is not None:
            raise ValueError("SegmentTree grows one reply and has no turns for a world to answer in. Use Episodes.")
        actor, rng = ctx.policies["actor"], ctx.rng("tree", ctx.place)
        root = await actor.open(task.prompt, root=ctx.place)
        queue = [root] * (rng.randint(*self.first) if self.first else self.branching)
        leaves = dict[Node, Stop]()
        while queue:
            grown = await asyncio.gather(*(self._grow(actor, node) for node in queue))
            going, before = list[Node](), len(leaves)
            for node in grown:
                stop = self.ends(node, actor.text(node))
                if stop is None:
                    going.append(node)
                else:
                    leaves[node] = stop
            if going:
                copies = budget(len(going), len(leaves) - before, self.width - len(leaves), self.branching)
                queue = [node for node, count in zip(going, split(copies, len(going)), strict=True) for _ in range(count)]
            else:
                queue = self._again(root, leaves, rng)
        rollouts = (_rollout(actor, node, stop, f"{ctx.place}/{i}") for i, (node, stop) in enumerate(leaves.items()))
        return [Group(task, tuple(rollouts), id=ctx.place)]

    async def _grow(self, actor: Handle, node: Node) -> Node:
        """One segment more. Nobody builds on the last depth."""
        return await actor.generate(node, max=self.segment, sampling=self.sampling, keep=node.calls + 1 < self.depth)

    def ends(self, node: Node, said: str) -> Stop | None:
        """Why a path ends with this segment, judged by the segment alone; None where it goes on."""
        stop: Stop | None = "finished" if node.stop in ENDED else "length" if node.calls >= self.depth else None
        if (stop is None or self.repetition_first) and repeats(said, self.window, self.times):
            return "repetition"
        return stop

    def _again(self, root: Node, leaves: Mapping[Node, Stop], rng: Random) -> list[Node]:
        """Fallback: finished leaves cut at a segment boundary, `branching` copies of each, as long as leaves are missing."""
        missing = self.width - len(leaves)
        finished = [node for node, stop in leaves.items() if stop == "finished"]
        rng.shuffle(finished)
        queue: list[Node] = []
        for node in finished or [root]:
            line = [one for one in node.line() if not one.cut]
            start = line[rng.randrange(len(line) - 1)] if len(line) > 1 else root
            queue += [start] * min(self.branching, missing - len(queue))
        return queue


def budget(going: int, ended: int, missing: int, branching: int) -> int:
    """Copies for the next round: everyone goes on, the ended ones' share is handed over, and no leaf too many is begun."""
    return max(going, min(missing, branching * (going + ended)))


def split(copies: int, paths: int) -> list[int]:
    """Evenly; the last path takes the remainder.

    >>> split(7, 3)
    [2, 2, 3]
    """
    each = copies // paths
    return [each] * (paths - 1) + [copies - each * (paths - 1)]


def repeats(text: str, window: int, times: int) -> bool:
    """Some `window` characters stand in the text `times` times or more, overlaps counted.

    >>> repeats("12121212", window=2, times=4), repeats("12121212", window=2, times=5)
    (True, False)
    """
    seen = Counter(text[i : i + window] for i in range(len(text) - window + 1))
    return max(seen.values(), default=0) >= times


def _rollout(actor: Handle, node: Node, stop: Stop, name: str) -> Rollout:
    """A leaf with its whole path: one row, in which every segment is trained, shared with others or not."""
    written = [part.segment for part in node.line()[1:]]
    text = actor.renderer.text([token for segment in written for token in segment.tokens])
    return Rollout((node.row(),), name, stop=stop, keys={"nested": [segment.id for segment in written]}, text=text)


# What it can save.


def unique(group: Group) -> int:
    """Positions that were decoded for a group: every action segment once, however many rows hold it."""
    return sum({s.id: len(s.tokens) for r in group.rollouts for row in r.rows for s in row.segments if s.kind == "action"}.values())


def least(lengths: Sequence[int], segment: int, branching: int) -> int:
    """The fewest positions in which a `SegmentTree` can write leaves of these lengths.

    Where e leaves end at depth j and n reach it, the tree holds there the e last segments, which are nobody else's, and whole ones
    to make min(n, branching ** j) with them, at least one where a leaf goes deeper. Once e is as large as branching ** j a whole
    round may have ended, and of what a fallback grew only that one is certain. Without a fallback the tree is no larger than this.
    """
    depths = [-(-length // segment) for length in lengths]
    total = sum(length - (depth - 1) * segment for length, depth in zip(lengths, depths, strict=True))
    certain = True
    for depth in range(1, max(depths)):
        ending, reaching = depths.count(depth), sum(d >= depth for d in depths)
        certain = certain and ending < branching**depth
        total += segment * (max(min(reaching, branching**depth) - ending, 1) if certain else 1)
    return total


def bound(lengths: Sequence[int], segment: int, branching: int) -> float:
    """The largest share of decoded positions that leaves of these lengths can save by forking at segment boundaries.

    Sixteen leaves of d whole segments and two branches: 34 of 16 d segments.

    >>> round(bound([48] * 16, segment=8, branching=2), 4) == round(34 / 96, 4)
    True
    """
    return 1 - least(lengths, segment, branching) / sum(lengths)
