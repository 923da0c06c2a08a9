"""AgentFounder (arXiv:2509.13310): a stage of plain text about acting, before an agent imitates and is reinforced.

    agent        somebody acts already: a policy that imitated a little
    act          its episodes, right ones and failed ones
    first-steps  from the initial weights: question, plan and first action as one text, no tool called
    choices      those episodes, at each step the real action among others, in the end the verdict
    imitate      a few right episodes of a teacher
    reinforce    GRPO

    loss of a text   L = -sum_t log p(x_t | x_1 .. x_t-1), question and answers of tools included; here the mean over a batch's tokens

The paper's texts are written by models and, as to first steps, kept by a judge: 43.5 % are dropped, and what is right among them rises from
50 % to 82 %. Here a world's expert knows the step, so nothing is dropped. Number of other options, learning rate and batch are not printed.
Left out: reasoning from given knowledge without a tool, longer contexts in a second stage (`choices(longest=…)` is where they would grow).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from strop.methods.cascade import COLLECT
from strop.methods.grpo import GRPO
from strop.methods.resum import SHORT
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.feed import Demos
from strop.seams.recorded import Earlier
from strop.seams.source import Source
from strop.seams.texts import Retold, choices, first_steps

State = dict[str, Any]


@dataclass(frozen=True)
class Few:
    """The same `count` tasks of a stream, each once before any comes again, every time in another order. Counted from 0 no other curriculum
    comes as far as `first`, so nothing else is learned of them."""

    count: int = 320
    """How many."""
    first: int = 1 << 20
    """The number of the first one."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.first < 0:
            raise ValueError(f"Few(count={self.count}, first={self.first}): at least 1 task, counted from 0")

    def init(self, source: Source) -> State:
        if source.size is not None:
            raise ValueError(f"Few takes a few tasks of a stream, and {source.name!r} has {source.size}: Epochs() takes each of those")
        return {"drawn": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        start, orders, numbers = int(state["drawn"]), dict[int, list[int]](), list[int]()
        for at in range(start, start + n):
            turn, place = divmod(at, self.count)
            if turn not in orders:
                orders[turn] = keyed(ctx.seed, "few", turn).sample(range(self.count), self.count)
            numbers.append(self.first + orders[turn][place])
        return [ctx.source.task("train", ctx.seed, number) for number in numbers], {"drawn": start + n}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state


ONE = replace(SHORT, n=1)
"""Chains of four cards at most, an episode a question."""
FIRST_STEPS = SFT.but("agentfounder-first-steps", paper="2509.13310", idea=("feed", "sampler"), feed=Retold(first_steps()), sampler=ONE)
CHOICES = SFT.but(
    "agentfounder-choices", paper="2509.13310", idea=("feed", "sampler"), feed=Earlier("act", choices(n=3)), sampler=ONE, tasks=16
)
IMITATE = SFT.but("sft-few", idea=("feed", "sampler", "curriculum"), feed=Demos(text="episode"), sampler=ONE, curriculum=Few(), tasks=16)
ACT = COLLECT.but("act-cards", idea=("sampler",), sampler=replace(SHORT, n=4), tasks=32)
REINFORCE = GRPO.but("grpo-cards", idea=("sampler",), sampler=SHORT, tasks=8)

TASK = "wiki:letters=12"
AGENTFOUNDER = Program(
    "agentfounder",
    (
        Stage("agent", IMITATE, steps(40), task=TASK, pace=10.0),
        Stage("act", ACT, steps(4), task=TASK),
        Stage("first-steps", FIRST_STEPS, steps(110), task=TASK, begins="initial", pace=10.0),
        Stage("choices", CHOICES, steps(20), task=TASK, pace=10.0),
        Stage("imitate", IMITATE, steps(80), task=TASK, pace=10.0),
        Stage("reinforce", REINFORCE, rest(), task=TASK),
    ),
    paper="2509.13310",
)
