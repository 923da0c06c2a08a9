"""FormalMATH (arXiv:2505.02735): proofs are checked by a machine, and a statement is tried for being false before anybody has to prove it.

The paper trains nothing. Of its pipeline two things are for training: a verdict that a checker gives, which is worth what its gates are
(`strop/proofs/gates.py`; the source `proofs` has it as `outcome`), and the negation filter. `FORMALMATH` is what one would train on their
strength: GRPO on the gated verdict, over statements whose negation a prover could not prove. `FORMALMATH_RELEASED` is paid by the rule of
the released code, so that what it leads to can be seen.

Needs statements, some of which are false: where all are true nothing is left out. Left out: translating problems into statements, the
vote of models that translate them back, and experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.program import Program, Stage, rest, steps
from strop.proofs.logic import Formula
from strop.proofs.search import refuted
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx, keyed
from strop.seams.curriculum import State
from strop.seams.feed import Demos
from strop.seams.part import part
from strop.seams.sampler import Independent
from strop.seams.source import Source


@dataclass(frozen=True)
class Unrefuted:
    """Statements drawn by chance, without those whose negation a prover proves. An open statement is closed before it is denied."""

    steps: int = 200
    """Of the search for a proof of the negation."""
    most: int = 100
    """Statements in a row that may be left out; then something is wrong with them all."""
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.most < 1:
            raise ValueError(f"Unrefuted(steps={self.steps}, most={self.most}): both at least 1")

    def init(self, source: Source) -> State:
        stating(source)
        return {"drawn": 0, "refuted": 0}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        said, span = stating(ctx.source), ctx.source.size or 2**31
        drawn, found, out, row = int(state["drawn"]), list[Task](), int(state["refuted"]), 0
        while len(found) < n:
            task = ctx.source.task("train", ctx.seed, keyed(ctx.seed, "unrefuted", drawn).randrange(span))
            drawn += 1
            if refuted(said(task), self.steps) is None:
                found.append(task)
                row = 0
            else:
                out, row = out + 1, row + 1
            if row > self.most:
                raise ValueError(f"{row} statements of {ctx.source.name!r} in a row are false: their negations are proven")
        return found, {"drawn": drawn, "refuted": out}

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        return state


def stating(source: Any) -> Callable[[Task], Formula]:
    """How a source says what a task states."""
    if not hasattr(source, "statement"):
        raise ValueError(f"the tasks of {source.name!r} state nothing to deny: Unrefuted is for `proofs`, or a source with statement(task)")
    return source.statement


@part(gives="reward_R", formula="reward_R = released_R")
def as_released(released_R: Tensor) -> Tensor:
    """What the released rule counts: no error among the messages, or no messages."""
    return released_R


FORMALMATH = GRPO.but("formalmath", paper="2505.02735", idea=("curriculum",), curriculum=Unrefuted())
FORMALMATH_RELEASED = GRPO.but("formalmath-released", paper="2505.02735", idea=("reward",), reward=as_released())

ROOM = Independent(n=8, max_tokens=96)
TAUGHT = SFT.but("sft-proofs", tasks=16, feed=Demos(), sampler=Independent(n=1, max_tokens=160))
FORMALMATH_PROGRAM = Program(
    "formalmath-proofs",
    (
        Stage("imitate", TAUGHT, steps(150), task="proofs:kind=chained", pace=10.0),
        Stage("reinforce", FORMALMATH.but("formalmath-small", sampler=ROOM, tasks=8), rest(), task="proofs:kind=chained,false=0.5"),
    ),
    paper="2505.02735",
)
