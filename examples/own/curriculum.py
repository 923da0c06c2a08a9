"""A curriculum: what was solved by some of its rollouts comes once more, the rest of a step is new.

strop train --method examples/own/curriculum.py
"""

from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.records import Group, Scores, Task
from strop.seams.context import Ctx
from strop.seams.curriculum import State, placed
from strop.seams.source import Source


@dataclass(frozen=True)
class OnceMore:
    """Tasks on which rollouts disagreed, at most `most` a step, then the next of the source."""

    most: int = 8

    def init(self, source: Source) -> State:
        return {"next": 0, "again": [], "place": {}}

    def pick(self, n: int, state: State, ctx: Ctx) -> tuple[list[Task], State]:
        again = state["again"][: min(n, self.most)]
        new = range(state["next"], state["next"] + n - len(again))
        places = [at if ctx.source.size is None else at % ctx.source.size for at in (*again, *new)]
        after = {"next": state["next"] + len(new), "again": state["again"][len(again) :], "place": {}}
        return placed(places, after, ctx)

    def observe(self, state: State, groups: list[Group], scores: Scores, ctx: Ctx) -> State:
        solved = [(g.task.id, scores.rate(g) or 0.0) for g in groups if g.role == "solve"]
        open_ones = [state["place"][task] for task, rate in solved if 0 < rate < 1 and task in state["place"]]
        return {**state, "again": state["again"] + open_ones}


ONCE_MORE = GRPO.but("once-more", idea=("curriculum",), curriculum=OnceMore())
