"""Flex-Judge (arXiv:2505.18601): how it could be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import ClassVar

from strop.claims.claim import Arm, Check, Claim, HeldOut, Profile
from strop.claims.trace import Curve, Trace
from strop.methods.flex_judge import FLEX_JUDGE, SCENES, TRACE
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Renderer
from strop.seams.part import Part, part
from strop.seams.recorded import Earlier
from strop.seams.signal import constant
from strop.seams.traces import agreeing, longest, reworded
from strop.seams.world import World
from strop.tasks.procedural import strict_answer
from strop.tasks.scenes import PAIR, favours

WORDS, GRID, READ = 0, 1, 2
"""Of what is asked about a held-out scene: which caption is better, of the scene in words and as a code; a caption of the code."""


@dataclass(frozen=True)
class Looks:
    """Three replies a scene: a judgement of it in words, one of its code, and a caption of its code."""

    n: int = 3
    max_tokens: int = 16
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


@part(gives="curve")
def judged_rightly(trace: Trace, *, shown: int = GRID) -> Curve:
    """The share of held-out pairs of captions of which the right one is named."""
    shares = [fmean(favours(one["texts"][shown]) == one["needs"]["answer"] for one in said) for said in trace.replies]
    return [(float(look["spent"]), share) for look, share in zip(trace.held_out, shares, strict=True)]


@part(gives="number")
def captioned(trace: Trace, *, look: int = 0) -> float:
    """The share of held-out codes whose caption is right; before anything is judged, or at another look."""
    said = trace.replies[look]
    return fmean(strict_answer(one["texts"][READ])[0] == " ".join(one["needs"]["things"]) for one in said)


@part(gives="curve")
def forgotten(trace: Trace, *, look: int = -1) -> Curve:
    """The share of codes whose caption is wrong at one of the looks, read at the end."""
    return [(float(trace.held_out[-1]["spent"]), 1 - captioned(look=look).on({"trace": trace}))]


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
def of_others(groups: Sequence[Group], scores: Scores, rng: Random) -> list[Group]:
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


def tuned(name: str, *makers: Part, traces: int = 20, schedule: Part = FLEX_JUDGE.update.schedule) -> Program:
    """Judgements of words by the script, and tuning on what the makers leave of them."""
    update = replace(FLEX_JUDGE.update, schedule=schedule)
    tune = FLEX_JUDGE.but(f"flex-judge-{name}", idea=("feed",), feed=Earlier("trace", makers), update=update)
    stages = (Stage("trace", TRACE, steps(traces), task="scenes:ask=scores"), Stage("tune", tune, rest(), task="scenes"))
    return Program(f"flex-judge-{name}", stages)


KEPT = (agreeing(), longest(n=1000))
PAIRS = reworded(forms=(PAIR,))
BASE = Recipe(method=SFT, task="scenes:ask=taught", tasks=64, steps=2000, lr=1e-3, eval_tasks=0, checkpoint_every=2000)

LOOKS = HeldOut(tasks=500, samples=3, at=(0.0, 1.0), max_tokens=16, temperature=0.0, sampler=Looks(), replies=True)

TRANSFER = Claim(
    "flex-judge-transfer",
    mechanism="Tuning a judge on reasons and verdicts about scenes in words",
    consequence="raises the share of rightly judged codes by 0.10 or more over reasons and verdicts about other scenes",
    regime="on scenes of four things, from one base that captions words and codes, finds one of two captions, and has judged nothing, at "
    "equal trained positions",
    method="flex-judge",
    recipe=Recipe(task="scenes", steps=10_000, lr=3e-4, checkpoint_every=10_000),
    base=BASE,
    base_seeds="one",
    arms=(
        Arm("reason first", tuned("reason", *KEPT, PAIRS)),
        Arm("format only", tuned("format-only", *KEPT, of_others(), PAIRS), control="of another item, dealt by chance", random=True),
        Arm(
            "answer first", tuned("answer-first", *KEPT, PAIRS, answer_first()), control="the verdict before its reason, in as many tokens"
        ),
    ),
    compare=("reason first", "format only"),
    measure=judged_rightly(),
    threshold=0.10,
    refuted_if="the interval of the paired difference lies below 0.10",
    profiles={
        "quick": Profile((0,), "400000 trained", 7, arms=("reason first", "format only")),
        "full": Profile((0, 1, 2, 3), "400000 trained", 14),
    },
    checks=(
        Check("words and codes are one to the base: share of codes captioned rightly", captioned(), "reason first", least=0.9),
        Check("judging is learned in words", in_words(), "reason first", least=0.8),
        Check("the control knows the form: share of its judgements of codes that name a caption", readable(), "format only", least=0.95),
    ),
    held_out=LOOKS,
    selects=True,
    pitfalls="",
)


MANY = tuned("constant", agreeing(), longest(n=8000), reworded(forms=SCENES), traces=150, schedule=constant)
SIZES = (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)
"""Looks: before, and after about 100, 400, 1,600 and 6,400 judgements, none of which came twice."""

FORGETTING = Claim(
    "flex-judge-forgetting",
    mechanism="Sixty-four times as many judgements of words, 6,400 for 100,",
    consequence="raises the share of codes that are no longer captioned rightly",
    regime="on scenes, in three forms, read on the way of runs at a constant learning rate",
    method="flex-judge",
    recipe=TRANSFER.recipe,
    base=BASE,
    base_seeds="one",
    arms=(
        Arm("many", MANY, reads=forgotten()),
        Arm("few", MANY, control="the same runs at their first hundred", reads=forgotten(look=1)),
    ),
    compare=("many", "few"),
    measure=forgotten(),
    threshold=0.0,
    refuted_if="the interval of the paired difference lies below 0",
    profiles={"quick": Profile((0,), "100000 trained", 6), "full": Profile((0, 1, 2, 3), "400000 trained", 14)},
    checks=(
        Check("there is something to forget: share of codes captioned rightly before", captioned(), "many", least=0.9),
        Check("judging is learned in words", in_words(), "many", least=0.8),
    ),
    held_out=replace(LOOKS, at=SIZES),
    pitfalls="Sizes are looks at one run, so they share their beginning, and its learning rate does not end at each. Tuning of 400,000 "
    "tokens is less than a tenth of what the base was taught by.",
)
