"""PathFinder-PRM (arXiv:2505.19706): a judge of steps that says first in which way a step is wrong, and only then whether it is right.

    teach     a step makes two rows:  math: A, consistency: B, correctness: O      A and O are trained, B is given
                                      math: ?, consistency: B                      B is trained, behind a mask where A would stand
    judge     pass 1 asks for A, and for B behind the mask. One that is wrong is a veto. Else pass 2 writes both in and asks for O

The loss is cross-entropy over all tokens at what is trained, as in the release, which feeds a mask and trains the label in its place: what
stands before a label is the same there and here. A and B do not see each other, O sees both; that order is the idea, and finer labels alone
are not (`Typed(shown=False)`, `Typed(ways=())`).

    reinforce a policy is paid by a judge's scores of its steps, a step by its own and those that follow, and by no verdict

A step's score is the chance of right over the two labels, as the release's search has it; over all tokens as its benchmark has it
(`Judge(over="all")`). The release puts steps in the assistant's turn when it trains and in the user's when it searches; here they stand
in the reply both times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT, SFT_WORKED
from strop.program import INITIAL, Program, Stage, rest
from strop.program import steps as count
from strop.records import Group, Rollout
from strop.seams.asked import Asked
from strop.seams.context import Ctx
from strop.seams.credit import step_returns, steps_standardized
from strop.seams.feed import Pick
from strop.seams.sampler import Independent, Sampler
from strop.seams.steps import TYPED, Judge, Typed, least_step, steps
from strop.seams.world import World
from strop.tasks.judging import right


@dataclass(frozen=True)
class Judged:
    """Feed: every step of a task's solution with its labels, a rollout of some rows each, role `demo`."""

    typed: Typed = TYPED
    """What is said of a step."""
    permuted: int = 0
    """Wrong steps have the labels of the ways of others, dealt from those of so many other tasks; 0: their own."""
    fresh: ClassVar[bool] = False

    async def take(self, pick: Pick, want: int, sampler: Sampler, world: World | None, ctx: Ctx, seen: Counter[str]) -> list[Group]:
        renderer = ctx.policies["actor"].renderer
        self.typed.tokens(renderer)
        tasks = pick(want)
        if lacking := next((task for task in tasks if not {"question", "steps", "labels"} <= task.needs.keys()), None):
            raise ValueError(
                f"a task of {lacking.source!r} has no steps with labels to teach a judge by: its needs hold question, steps and labels, "
                "for each step whether it is right in each way, as those of slips do (--task slips)"
            )
        told = [list(labels) for task in tasks for labels in task.needs["labels"]]
        if self.permuted:
            rng, size = ctx.rng("permuted"), ctx.source.size or 1 << 30
            others = [ctx.source.task("train", ctx.seed, rng.randrange(size)) for _ in range(self.permuted)]
            pool = [labels for task in others for labels in task.needs["labels"] if not right(labels)]
            for labels in told:
                if not right(labels):
                    labels[:] = rng.choice(pool)
        labels, groups = iter(told), list[Group]()
        for number, task in enumerate(tasks):
            place, rollouts = f"steps/{task.id}#{number}", list[Rollout]()
            for step in range(len(task.needs["steps"])):
                mine = next(labels)
                taught = [*mine[: len(self.typed.ways)], right(task.needs["labels"][step])]
                rows = self.typed.rows(renderer, task.needs["question"], task.needs["steps"][: step + 1], taught)
                rollouts.append(Rollout(tuple(rows), f"{place}/{step}", provenance="gold", text=str(taught)))
            groups.append(Group(task, tuple(rollouts), role="demo", id=place))
        return groups


PATHFINDER = SFT.but("pathfinder", paper="2505.19706", idea=("feed",), feed=Judged(), tasks=8)

PATHFINDER_RL = GRPO.but(
    "pathfinder-rl",
    paper="2505.19706",
    idea=("marks", "graders", "credit", "policies"),
    marks=(steps(),),
    graders=(least_step(spans="step"),),
    credit=(steps_standardized.reading(score_T="least_step_T"), step_returns()),
    policies={"prm": Asked()},
)
"""Name a judge that was taught: `--policy prm=RUN`, or `policies={"prm": Asked("stage:judge")}` in a program."""

SHORT = Typed(ways=("w", "f"), verdict="o")
"""Words of a letter: a label stands near the step that it is about, which a small model needs (w for `way`, f for `fit` of `walks`)."""

PATHFINDER_WALKS = Program(
    "pathfinder-walks",
    (
        Stage("look", SFT_WORKED.but(tasks=32), count(400), task="walks:judged=0,wrong=0.5", pace=10.0),
        Stage("judge", PATHFINDER.but(feed=Judged(SHORT), tasks=4), count(800), task="walks", pace=3.3),
        Stage("walk", SFT.but(tasks=32), count(250), task="walks:judged=0", begins=INITIAL, pace=10.0),
        Stage(
            "reinforce",
            PATHFINDER_RL.but(
                graders=(least_step(judge=Judge(SHORT), spans="step"),),
                policies={"prm": Asked("stage:judge")},
                sampler=Independent(n=8, max_tokens=24),
                tasks=16,
            ),
            rest(),
            task="walks:judged=0",
        ),
    ),
    paper="2505.19706",
)
