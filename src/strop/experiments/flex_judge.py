"""Flex-Judge (arXiv:2505.18601): how it could be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import Any, ClassVar

from strop.claims.trace import Curve, Trace
from strop.methods.flex_judge import FLEX_JUDGE, TRACE
from strop.program import Program, Stage, rest, steps
from strop.records import Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Renderer
from strop.seams.part import Part, part
from strop.seams.recorded import Earlier
from strop.seams.world import World
from strop.tasks.procedural import strict_answer
from strop.tasks.scenes import PAIR, caption, favours

WORDS, GRID, READ = 0, 1, 2
"""Of what is asked about a held-out scene: which caption is better, of the scene in words and as a code; a caption of the code."""


@dataclass(frozen=True)
class Looks:
    """Three replies a scene: a judgement of it in words, one of its code, and a caption of its code."""

    n: int = 3
    max_tokens: int = 24
    sampling: Sampling = Sampling(temperature=0)
    evaluates: ClassVar[bool] = True

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(self.n * prompt, self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        actor, needs = ctx.policies["actor"], task.needs
        judged = [PAIR.question(needs[shown], needs["replies"], (0, 1)).text for shown in ("words", "grid")]
        prompts = [*judged, f"{needs['grid']}?"]

        async def said(number: int) -> Rollout:
            root = await actor.open(prompts[number], root=f"{ctx.place}/{number}")
            node = await actor.generate(root, max=self.max_tokens, sampling=self.sampling, keep=False)
            return Rollout((node.row(),), f"{ctx.place}/{number}", stop=node.stop or "finished", text=actor.text(node))

        return [Group(task, tuple(await asyncio.gather(*map(said, range(len(prompts))))), id=ctx.place)]


def _last(trace: Trace, look: int = -1) -> list[dict[str, Any]]:
    return trace.replies[look]


@part(gives="curve")
def judged_rightly(trace: Trace, *, shown: int = GRID) -> Curve:
    """The share of held-out pairs of captions of which the right one is named."""
    shares = [fmean(favours(one["texts"][shown]) == one["needs"]["answer"] for one in said) for said in trace.replies]
    return [(float(look["spent"]), share) for look, share in zip(trace.held_out, shares, strict=True)]


@part(gives="number")
def captioned(trace: Trace, *, look: int = 0) -> float:
    """The share of held-out codes whose caption is right; before anything is judged, or at another look."""
    said = trace.replies[look]
    return fmean(strict_answer(one["texts"][READ])[0] == caption(one["needs"]["things"]) for one in said)


@part(gives="number")
def readable(trace: Trace) -> float:
    """The share of judgements of codes that name a caption."""
    return fmean(favours(one["texts"][GRID]) in ("1", "2") for one in trace.replies[-1])


@part(gives="number")
def in_words(trace: Trace) -> float:
    """The share of judgements of scenes in words that are right, at the end."""
    return judged_rightly(shown=WORDS).on({"trace": trace})[-1][1]


# Arms: makers that end the chain otherwise.


@part(gives="demos")
def dealt(groups: Sequence[Group], scores: Scores, rng: Random) -> list[Group]:
    """Each item with the judgement of another: thinking and scores, dealt by chance."""
    others = rng.sample(list(groups), len(groups))
    made: list[Group] = []
    for group, other in zip(groups, others, strict=True):
        task = replace(group.task, needs={**group.task.needs, "scores": other.task.needs["scores"]})
        made.append(
            replace(group, task=task, rollouts=tuple(replace(r, text=o.text) for r, o in zip(group.rollouts, other.rollouts, strict=True)))
        )
    return made


@part(gives="demos")
def answer_first(groups: Sequence[Group], scores: Scores, rng: Random, renderer: Renderer) -> list[Group]:
    """The verdict, and behind it the reason: as many tokens."""
    made: list[Group] = []
    for group in groups:
        (rollout,) = group.rollouts
        thought, _, verdict = rollout.text.partition("</think>")
        text = f"{verdict}{thought}</think>"
        prompt = rollout.rows[0].segments[0]
        row = Row.of(prompt, Segment("teacher", renderer.reply(text), "0.0"))
        made.append(replace(group, rollouts=(replace(rollout, rows=(row,), text=text),)))
    return made


def tuned(name: str, *makers: Part, traces: int = 60) -> Program:
    tune = FLEX_JUDGE.but(f"flex-judge-{name}", idea=("feed",), feed=Earlier("trace", makers))
    return Program(
        f"flex-judge-{name}", (Stage("trace", TRACE, steps(traces), task="scenes:ask=scores"), Stage("tune", tune, rest(), task="scenes"))
    )
