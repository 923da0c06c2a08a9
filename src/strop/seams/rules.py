"""rules: what is right with an episode's calls, by program: the rules of MCP-Bench (arXiv:2508.20453), and two that need a task's graph.

    name        calls of a tool that is there, by calls
    schema      of those the ones whose arguments keep to its schema; 0 where calls were made and none is of a tool that is there
    executed    calls that succeeded, by calls
    depends     what a call needs of another one's answer and was given it, by all that is needed so
    fulfilled   of the calls that the task needs those that were made

The first three are official. They say nothing of an episode without a call, and the official average leaves it out; here it scores
`nothing`, which is 0: an agent that seldom acts is not the better for it. The last two stand for what the official judge is asked and a
program cannot say of free text: here the graph of a task is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from strop.records import Group, Rollout, Scores, Task
from strop.seams.context import Ctx
from strop.seams.part import part
from strop.seams.world import calls


class Made(NamedTuple):
    """A call of an episode."""

    turn: int
    """In which it was made, from 0."""
    tool: str
    """Which one it names; empty where nobody could tell, or where there is none of that name."""
    known: bool
    """Whether there is one of that name."""
    fits: bool
    """Whether its arguments keep to the schema."""
    ok: bool
    """Whether it succeeded."""
    given: Mapping[str, Any]
    """Its arguments."""
    told: Mapping[str, Sequence[Any]]
    """What was answered, by field: of one that lists several values all of them."""


def made(rollout: Rollout) -> list[Made]:
    """The calls of an episode, as its world noted them (`made` of a turn's facts). Of another world's it is known which succeeded; a broken
    one counts as a call of no tool."""
    facts = rollout.keys.get("facts", ())
    if any("made" in turn for turn in facts):
        return [Made(number, **call) for number, turn in enumerate(facts) for call in turn.get("made", ())]
    return [Made(0, tool, bool(tool), bool(tool), ok, {}, {}) for tool, ok, _ in calls(rollout)]


def name_rate(made: Sequence[Made]) -> float | None:
    """Officially `valid_tool_name_rate`; None without a call, as all of these."""
    return fmean(call.known for call in made) if made else None


def schema_rate(made: Sequence[Made]) -> float | None:
    """Officially `input_schema_compliance`: 0 where calls were made and none is of a tool that is there."""
    known = [call.fits for call in made if call.known]
    return (fmean(known) if known else 0.0) if made else None


def executed_rate(made: Sequence[Made]) -> float | None:
    """Officially `execution_success_rate`."""
    return fmean(call.ok for call in made) if made else None


def failure_rate(made: Sequence[Made]) -> float | None:
    """Officially `valid_call_failure_rate`: calls of a tool that is there which failed, meant for faults of the infrastructure; 0 where
    there is no such call. Not a score."""
    known = [not call.ok for call in made if call.known]
    return (fmean(known) if known else 0.0) if made else None


def planned_rate(entries: Sequence[Any]) -> float:
    """Officially `planning_json_compliance`: planned entries that carry a tool, by those that are objects; what is none is not counted, and
    where nothing is planned it is 1. Not a score here: it is highest for one who plans nothing.

    >>> planned_rate([{"tool": "a"}, {"server": "b"}, "c"]), planned_rate([])
    (0.5, 1.0)
    """
    objects = ["tool" in entry for entry in entries if isinstance(entry, Mapping)]
    return fmean(objects) if objects else 1.0


def depends_rate(made: Sequence[Made], task: Task) -> float | None:
    """Of what the task's calls need of each other's answers: the share that was handed on. A call of the right tool succeeded with a value
    that a call of the right tool had answered in an earlier turn: those of one turn do not see each other."""
    edges = task.needs.get("edges", ())
    if not made or not edges:
        return None
    return fmean(_handed(made, task.needs["gold"][i][0], task.needs["gold"][j][0], fields) for i, j, fields in edges)


def _handed(made: Sequence[Made], first: str, then: str, fields: Sequence[str]) -> bool:
    """Whether a call of `then` got these fields of what calls of `first` had answered."""
    told = [call for call in made if call.tool == first and call.ok]
    return any(
        all(any(before.turn < call.turn and call.given.get(f) in before.told.get(f, ()) for before in told) for f in fields)
        for call in made
        if call.tool == then and call.ok
    )


def fulfilled_rate(made: Sequence[Made], task: Task) -> float | None:
    """Of the task's own calls: the share that was made and succeeded."""
    gold = task.needs.get("gold", ())
    if not made or not gold:
        return None
    left = [[call.tool, dict(call.given)] for call in made if call.ok]
    done = 0
    for name, arguments in gold:
        if [name, arguments] in left:
            left.remove([name, arguments])
            done += 1
    return done / len(gold)


RULES: dict[str, Callable[[Sequence[Made], Task], float | None]] = {
    "name": lambda made, task: name_rate(made),
    "schema": lambda made, task: schema_rate(made),
    "executed": lambda made, task: executed_rate(made),
    "depends": depends_rate,
    "fulfilled": fulfilled_rate,
}
"""By channel; None of an episode without a call."""
OFFICIAL = ("name", "schema", "executed")
"""Those of which the official average leaves out an episode without a call. The others it asks a judge, who always says something."""


# ------------------------------------------------------------------------------------------------ as graders


def _scores(groups: Sequence[Group], channel: str, nothing: float) -> Scores:
    found = {r.id: RULES[channel](made(r), g.task) for g in groups for r in g.rollouts}
    return Scores({unit: {channel: nothing if value is None else value} for unit, value in found.items()})


@part(gives="name")
async def valid_name(groups: list[Group], ctx: Ctx, *, nothing: float = 0.0) -> Scores:
    """`name` is the share of a rollout's calls that name a tool which is there; `nothing` without a call."""
    return _scores(groups, "name", nothing)


@part(gives="schema")
async def valid_schema(groups: list[Group], ctx: Ctx, *, nothing: float = 0.0) -> Scores:
    """`schema` is, of the calls of tools that are there, the share whose arguments keep to the schema; 0 where all names are wrong,
    `nothing` without a call."""
    return _scores(groups, "schema", nothing)


@part(gives="executed")
async def executed(groups: list[Group], ctx: Ctx, *, nothing: float = 0.0) -> Scores:
    """`executed` is the share of a rollout's calls that succeeded; `nothing` without a call."""
    return _scores(groups, "executed", nothing)


@part(gives="depends")
async def depends(groups: list[Group], ctx: Ctx, *, nothing: float = 0.0) -> Scores:
    """`depends` is the share of what a task's calls need of each other's answers that was handed on from an earlier turn; `nothing` without
    a call, or where the task says of no call that it needs another's answer."""
    return _scores(groups, "depends", nothing)


@part(gives="fulfilled")
async def fulfilled(groups: list[Group], ctx: Ctx, *, nothing: float = 0.0) -> Scores:
    """`fulfilled` is the share of the task's own calls that were made and succeeded; `nothing` without a call."""
    return _scores(groups, "fulfilled", nothing)
