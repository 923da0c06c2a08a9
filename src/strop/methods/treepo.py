"""TreePO (arXiv:2508.17445): grow the rollouts of a task as a tree, and judge each against everyone it shares a beginning with.

Against GRPO two seams change.

Sampler. All rollouts of a task start as `branching` copies of the prompt and grow by segments of fixed length. After each round a
path either ends and is a leaf (end token, depth reached, or a segment that repeats itself) or goes on; paths that go on are forked:

    copies of the next round = max(going on, min(width - leaves, branching * (going on + ended in this round)))

split evenly, the last path taking the remainder: the share of a path that ended goes to the living. When nobody goes on and leaves
are missing, finished leaves are cut at random segment boundaries and `branching` copies of each grow again (fallback); where none is
finished, copies of the prompt do. A shared beginning is decoded once.

Credit. A leaf's reward against the mean of its group, and against the mean of the leaves under each of its ancestors, all depths alike:

    A[r] = mean over depths of (reward[r] - mean(reward of the leaves that share r's ancestor there))

whitened over the batch's tokens. The loss is DAPO's: the upper clip higher, every token of the batch alike, groups that agree
replaced. A token under several leaves is trained once for each. Left out: the penalty for overlong replies, so that reward is
accuracy and the gate sees what the paper's filter sees.

Read in TreePO@f055523, where paper and code disagree. It takes the batch's mean out when it whitens, as here; equation 5 does not
(`batch_whiten(center=False)`). It looks for repetition last, the paper and this first (`repetition_first=False` is the release's). Its
"more initial divergence" cannot be switched on; `first=(2, 8)` does it. A leaf that is alone in its group keeps its raw reward there;
here it earns nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from random import Random
from statistics import fmean
from typing import Any, ClassVar

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace, held_out
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Sampling, Stop, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.credit import batch_whiten, group_centered, nested_centered
from strop.seams.engine import Node
from strop.seams.gate import DropFlat
from strop.seams.objective import clipped_surrogate
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.sampler import Environment, Independent
from strop.seams.signal import Signal


@dataclass(frozen=True)
class SegmentTree:
    """`width` leaves of at most `depth` segments of `segment` tokens, as one tree under the prompt."""

    width: int = 16
    depth: int = 6
    segment: int = 16
    branching: int = 2
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

    async def __call__(self, task: Task, environment: Environment | None, ctx: Ctx) -> list[Group]:
        if environment is not None:
            raise ValueError("SegmentTree grows one reply and has no turns for an environment to answer in. Use Independent.")
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
        stop: Stop | None = "finished" if node.stop == "finished" else "length" if node.calls >= self.depth else None
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


TREEPO = GRPO.but(
    "treepo",
    paper="2508.17445",
    idea=("sampler", "credit"),
    sampler=SegmentTree(),
    credit=(nested_centered(), batch_whiten()),
    gate=(DropFlat(refill=2),),
    signals={"policy": Signal(clipped_surrogate(clip_low=0.2, clip_high=0.28), reduce=means("token"))},
    update=replace(GRPO.update, minibatch=8),
    tasks=16,
)


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


# How it could be wrong.


@part(gives="curve")
def log_cost(trace: Trace) -> Curve:
    """Log of the positions decoded per rollout, all steps so far: a difference of 0.22 is a fifth, of 0.36 three tenths."""
    rollouts, curve = 0, Curve()
    for spent, line in zip(trace.spent, trace.lines, strict=True):
        rollouts += line["rollouts"]
        curve.append((float(spent), log(line["bill"]["decoded"] / rollouts)))
    return curve


@part(gives="curve")
def solved(trace: Trace) -> Curve:
    """Share of the tasks so far that one of their rollouts solved: pass at the width."""
    right, curve = list[bool](), Curve()
    for spent, (groups, scores) in zip(trace.spent, trace.steps(), strict=True):
        right += [any(scores.get(r, "outcome") == 1 for r in group.rollouts) for group in groups]
        curve.append((float(spent), sum(right) / len(right)))
    return curve


@part(gives="number")
def segments_per_leaf(trace: Trace) -> float:
    return fmean(len(r.keys["nested"]) for groups, _ in trace.steps() for group in groups for r in group.rollouts)


@part(gives="number")
def shared_leaves(trace: Trace) -> float:
    """Share of the leaves that share an ancestor below the prompt: for the others credit has one depth."""
    shared: list[bool] = []
    for group in (group for groups, _ in trace.steps() for group in groups):
        under = Counter(r.keys["nested"][0] for r in group.rollouts)
        shared += [under[r.keys["nested"][0]] > 1 for r in group.rollouts]
    return fmean(shared)


def saved(trace: Trace, segment: int, branching: int) -> tuple[int, int, int]:
    """Positions of all leaves, of them what forking saved, and what arithmetic allows it to save for these very lengths."""
    held = saved = possible = 0
    for group in (group for groups, _ in trace.steps() for group in groups):
        lengths = [r.length for r in group.rollouts]
        held += sum(lengths)
        saved += sum(lengths) - unique(group)
        possible += sum(lengths) - least(lengths, segment, branching)
    return held, saved, possible


@part(gives="number")
def share_of_bound(trace: Trace, *, segment: int = 8, branching: int = 2) -> float:
    """What forking saved of the leaves' own lengths, by what arithmetic allows."""
    _, done, possible = saved(trace, segment, branching)
    return done / possible


@part(gives="number")
def arithmetic_bound(trace: Trace, *, segment: int = 8, branching: int = 2) -> float:
    """The largest share of the leaves' positions that forking can save."""
    held, _, possible = saved(trace, segment, branching)
    return possible / held


@part(gives="number")
def difference_of_credits(trace: Trace) -> float:
    """1 - correlation of a leaf's credit over all its depths with that over its group alone; near 0 they are one method."""
    import torch

    from strop.batch import pack

    pairs: list[torch.Tensor] = []
    for groups, scores in trace.steps():
        batch = pack(groups, {}, {r.id: scores.get(r, "outcome") or 0.0 for g in groups for r in g.rollouts}, 0)
        reward_R, nested_RD = batch.facts["reward_R"], batch.facts["nested_RD"]
        pairs.append(torch.stack([nested_centered(reward_R, nested_RD, batch.index), group_centered(reward_R, batch.index)]))
    return 1 - torch.corrcoef(torch.cat(pairs, 1))[0, 1].item()


TREE, ALONE = SegmentTree(width=16, depth=6, segment=8), Independent(n=16, max_tokens=48)
GROWN = Check("paths are long enough to share: segments a leaf", segments_per_leaf(), "treepo", least=4.0)
SHARED_CHECK = Check("leaves share more than the prompt: share of those that do", shared_leaves(), "treepo", least=0.5)


STILL: dict[str, Any] = {
    "regime": "on four-step chains whose written answers span five or six segments of 8 tokens, with weights that stand still",
    "method": "treepo",
    "recipe": Recipe(task="chain", tasks=16, lr=0.0, steps=1000, checkpoint_every=1000),
    "base": Recipe(task="chain", tasks=16, group=8, max_tokens=64, steps=12, eval_tasks=0, checkpoint_every=12),
    "arms": (
        Arm("treepo", TREEPO.but("treepo-still", sampler=TREE, gate=(DropFlat(),))),
        Arm(
            "sequential",
            TREEPO.but("sequential-still", sampler=ALONE, credit=(group_centered(), batch_whiten()), gate=(DropFlat(),)),
            control="the same tasks and weights, sixteen replies that know nothing of each other",
        ),
    ),
    "checks": (
        replace(GROWN, least=5.0),
        SHARED_CHECK,
        Check("there is something to save: the bound for these lengths, as a share of them", arithmetic_bound(), "treepo", least=0.2),
        Check("most of what arithmetic allows is saved: share of the bound for these lengths", share_of_bound(), "treepo", least=0.75),
    ),
}
SAVING = Claim(
    "treepo-saving",
    mechanism="Forking sixteen rollouts from shared segments",
    consequence="saves three tenths or more of the positions decoded per rollout (a log ratio of 0.357) against independent sampling",
    compare=("sequential", "treepo"),
    measure=log_cost(),
    threshold=0.357,
    refuted_if="the interval of the paired log ratio lies below 0.357",
    profiles={
        "quick": Profile(seeds=(0, 1), budget="600 prefilled", minutes=2),
        "full": Profile(seeds=(2, 3, 4, 5, 6), budget="2400 prefilled", minutes=12),
    },
    pilot=(0.5576, 0.5565, 0.553),  # strop claim run treepo-saving --profile pilot
    pitfalls="The budget is prefilled positions: both arms read the same prompts, and differ in what they decode for them.",
    **STILL,
)
COVERAGE = Claim(
    "treepo-coverage",
    mechanism="Forking sixteen rollouts from shared segments",
    consequence="keeps the share of tasks that one of them solves (pass@16) no more than three points below independent sampling's",
    compare=("treepo", "sequential"),
    measure=solved(),
    threshold=-0.03,
    refuted_if="the interval of the paired difference lies below -0.03",
    profiles=SAVING.profiles,
    pitfalls=SAVING.pitfalls,
    **STILL,
)

LEARNERS: dict[str, Any] = {
    "regime": "on four-step chains with a base that writes its work in a third of its replies, at equal decoded positions",
    "method": "treepo",
    "recipe": Recipe(task="chain", tasks=8, steps=1000, checkpoint_every=50),
    "arms": (
        Arm("treepo", TREEPO.but("treepo-chain", sampler=TREE, update=GRPO.update, tasks=8)),
        Arm(
            "root-only",
            TREEPO.but("treepo-root-only", sampler=TREE, update=GRPO.update, credit=(group_centered(), batch_whiten())),
            control="the same trees, each leaf against its whole group alone",
        ),
        Arm(
            "sequential",
            TREEPO.but("treepo-sequential", sampler=ALONE, update=GRPO.update, credit=(group_centered(), batch_whiten())),
            control="independent replies, with the same filter, whitening and loss",
        ),
    ),
    "checks": (
        SHARED_CHECK,
        Check("the two credits differ: 1 - their correlation", difference_of_credits(), "treepo", least=0.02),
    ),
    "held_out": HeldOut(tasks=200, samples=4, at=(0.0, 0.5, 1.0), max_tokens=48),
    "profiles": {
        "quick": Profile(seeds=(0, 1), budget="12000 decoded", minutes=3, arms=("treepo", "root-only", "sequential")),
        "full": Profile(seeds=(1, 2, 3, 4, 5), budget="60000 decoded", minutes=15),
    },
}
LEARNING = Claim(
    "treepo-learning",
    mechanism="Growing rollouts as trees and judging each against everyone it shares a beginning with",
    consequence="raises held-out accuracy over independent rollouts",
    compare=("treepo", "sequential"),
    measure=held_out(name="mean"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0",
    **LEARNERS,
)
CREDIT = Claim(
    "treepo-credit",
    mechanism="Judging a leaf against its sub-groups and not against its group alone",
    consequence="raises held-out accuracy",
    compare=("treepo", "root-only"),
    measure=held_out(name="mean"),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0: the whole group is the better baseline",
    **LEARNERS,
)
