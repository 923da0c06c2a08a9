"""Texts: what becomes of episodes that are read as plain text, of which every token is learned. No tool is called for one.

    first_steps   c?   Plan: get get   >get c
    choices       c?   1. >get f  2. >get c  I choose 2   cm kd   1. >get m  2. >get q  I choose 1   m7 xq   ...  My decision is correct
    transcripts   c?   >get c   cm kd   >get m   m7 xq   <answer>7</answer>

These are makers: of what an earlier stage committed, `Earlier("act", choices(n=3))`, or of what a feed gives,
`Retold(first_steps(), Demos(text="episode"))`. A text begins as the episode's first row does, with the template around everything that
is said, so what it teaches stands where it will be asked for. Of an episode in several rows, actions come in order, and what a later row
repeats is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from strop.records import Group, Rollout, Scores
from strop.seams.context import Ctx, Renderer
from strop.seams.feed import Demos, Feed, Pick, whole
from strop.seams.part import Part, part
from strop.seams.recorded import in_order, made_of, nothing, recalled
from strop.seams.sampler import Sampler
from strop.seams.world import World, calls


@dataclass(frozen=True)
class Retold:
    """What makers make of another feed's groups, step by step; those themselves are not learned from. A text keeps the verdict on what it
    was made of."""

    make: Part | tuple[Part, ...]
    """first_steps(), choices(), transcripts() or one of your own: (groups, scores, rng) -> groups; of several each goes on from what
    the one before made."""
    feed: Feed = Demos(text="episode")  # noqa: RUF009
    """Whose groups they are made of."""

    @property
    def fresh(self) -> bool:
        return False

    @property
    def makers(self) -> tuple[Part, ...]:
        """In order."""
        return in_order(self.make)

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        groups = await self.feed.take(pick, want, sampler, world, ctx, seen)
        known = await ctx.grade(groups)
        made = await made_of(self.makers, groups, known, ctx.rng("retold", seen["retold"]), ctx)
        if groups and not made and not ctx.progress.step:
            raise ValueError(nothing(self.makers, "the first step", groups, known))
        seen["retold"] += 1
        ctx.graded(recalled(made, known))
        return made


class Step(NamedTuple):
    """An action of an episode, and what it was answered."""

    said: str
    """As it was read."""
    heard: tuple[int, ...]
    """Tokens of the answer, with what the template puts around it; none where nothing came after."""


def steps_of(rollout: Rollout, renderer: Renderer) -> list[Step]:
    """Its actions in order, each once. One that went on under new weights is one action."""
    made, seen, going = list[tuple[list[int], list[int]]](), set[str](), False
    for row in rollout.rows:
        for segment in row.segments:
            action = segment.kind not in ("prompt", "observation")
            if segment.id not in seen:
                if action and not going:
                    made.append(([], []))
                if segment.kind != "prompt":
                    made[-1][not action].extend(segment.tokens)
            seen.add(segment.id)
            going = action
        going = False
    return [Step(renderer.text(said), tuple(heard)) for said, heard in made]


def asked_of(rollout: Rollout) -> tuple[int, ...]:
    """Tokens of its question."""
    return rollout.rows[0].segments[0].tokens


def told(group: Group, rollout: Rollout, name: str, tokens: Sequence[int], text: str) -> Group:
    """A text as a demonstration, all of which is learned."""
    place = f"{rollout.id}/{name}"
    return Group(group.task, (Rollout((whole(tokens),), f"{place}/0", provenance=rollout.id, text=text),), role="demo", id=place)


def episodes_of(groups: Sequence[Group]) -> Iterator[tuple[Group, Rollout]]:
    """All episodes of the tasks themselves, the policy's or a teacher's, but for those that our own fault broke off."""
    return ((g, r) for g in groups if g.role in ("solve", "demo") for r in g.rollouts if r.stop != "error")


# Makers.


@part(gives="demos")
def first_steps(groups: Sequence[Group], renderer: Renderer, *, k: int = 1) -> list[Group]:
    """Of each episode the question, a plan and its first `k` actions. The plan names the tools that it went on to call, in order; what they
    answered stands nowhere (arXiv:2509.13310)."""
    made: list[Group] = []
    for group, rollout in episodes_of(groups):
        said = planned(rollout, renderer, k)
        made.append(told(group, rollout, "first", asked_of(rollout) + renderer.reply(said), said))
    return made


def planned(rollout: Rollout, renderer: Renderer, k: int) -> str:
    """A plan, and its first actions behind it."""
    plan = " ".join(("Plan:", *(tool for tool, _, _ in calls(rollout) if tool)))
    return "\n".join((plan, *(step.said for step in steps_of(rollout, renderer)[:k])))


@part(gives="demos")
def transcripts(groups: Sequence[Group], renderer: Renderer) -> list[Group]:
    """Each episode as it was, with what was answered, as one text. One in several rows is a text a row."""
    return [
        told(group, rollout, f"row{number}", row.tokens, rollout.text)
        for group, rollout in episodes_of(groups)
        for number, row in enumerate(rollout.rows)
    ]


OPENING, VERDICTS = "I choose ", {"right": "My decision is correct", "wrong": "My decision is incorrect"}


@part(gives="demos")
def choices(groups: Sequence[Group], scores: Scores, rng: Random, renderer: Renderer, *, n: int = 3, longest: int = 2048) -> list[Group]:
    """Each episode, failed ones too, as choices: at every step the action that was taken stands among `n` others, at any place equally
    often, with what it was answered behind it; in the end its verdict (arXiv:2509.13310). The others are what its siblings did at that
    step, where those are too few, what was done at that step of other tasks, then at any. As many right episodes as wrong ones, of the
    larger side by chance. Left out is what has no verdict, finds too few others, or is longer than so many tokens."""
    if n < 1:
        raise ValueError(f"choices(n={n}): the real action stands among at least 1 other")
    read = [(g, r, steps_of(r, renderer)) for g, r in episodes_of(groups)]
    pools = Pools([(g.id, [step.said for step in steps]) for g, _, steps in read])
    sides: dict[str, list[Group]] = {side: [] for side in VERDICTS}
    for group, rollout, steps in read:
        outcome = scores.get(rollout, "outcome")
        if outcome is None or not steps:
            continue
        side = "right" if outcome >= 1 else "wrong"
        asked = [options(step.said, pools.at(group.id, number), n, rng) for number, step in enumerate(steps)]
        if (written := chosen(rollout, steps, [one for one in asked if one], VERDICTS[side], renderer)) and len(written) <= longest:
            sides[side].append(told(group, rollout, "choices", written, VERDICTS[side]))
    few = min(len(side) for side in sides.values())
    kept = {one.id for side in sides.values() for one in rng.sample(side, few)}
    return [one for side in sides.values() for one in side if one.id in kept]


class Pools:
    """What was done where, the nearest first: at a step of a task, at that step of any, at any step."""

    def __init__(self, episodes: Sequence[tuple[str, Sequence[str]]]):
        self.held: dict[tuple[str, int], dict[str, None]] = {}
        for task, said in episodes:
            for number, one in enumerate(said):
                for place in ((task, number), ("", number), ("", -1)):
                    self.held.setdefault(place, {})[one] = None

    def at(self, task: str, number: int) -> tuple[dict[str, None], ...]:
        """The different actions that were taken, the first one first."""
        return tuple(self.held[place] for place in ((task, number), ("", number), ("", -1)))


def options(real: str, pools: Sequence[Iterable[str]], n: int, rng: Random) -> tuple[list[str], int] | None:
    """The real action among `n` others and its place, any equally likely; None where there are too few."""
    others: list[str] = []
    for pool in pools:
        if len(others) == n:
            break
        fresh = [said for said in pool if said != real and said not in others]
        others += rng.sample(fresh, min(n - len(others), len(fresh)))
    if len(others) < n:
        return None
    place = rng.randrange(n + 1)
    return [*others[:place], real, *others[place:]], place


def chosen(
    rollout: Rollout, steps: Sequence[Step], asked: Sequence[tuple[list[str], int]], verdict: str, renderer: Renderer
) -> tuple[int, ...]:
    """The tokens of an episode of choices; none where a step has no options."""
    if len(asked) < len(steps):
        return ()
    tokens = list(asked_of(rollout))
    for number, (step, (said, place)) in enumerate(zip(steps, asked, strict=True), start=1):
        lines = [f"{at}. {one}" for at, one in enumerate(said, start=1)] + [f"{OPENING}{place + 1}"]
        tokens += renderer.reply("\n".join([*lines, verdict] if number == len(steps) else lines))
        tokens += step.heard
    return tuple(tokens)
