"""What parts of anybody's own give back is held to what it is where strop takes it, in words that name the part."""

import asyncio
import re
from dataclasses import dataclass

import pytest

from strop import grading
from strop.records import Fate, Group, Rollout, Scores, Task
from strop.seams.context import Ctx, Progress
from strop.seams.curriculum import picked
from strop.seams.gate import decide
from strop.seams.part import part
from strop.seams.source import Graded, drawn, grade_of
from strop.seams.world import Reply, Said, replied

TASK = Task("2+2=", {"answer": 4}, "sums")
GROUP = Group(TASK, (Rollout((), "a"), Rollout((), "b")))
CTX = Ctx(0, Progress(), None, {}, grade=None)


@dataclass(frozen=True)
class Gives:
    """A curriculum, gate, world and source of whatever."""

    it: object
    refill: int = 0
    name = "gives"

    def pick(self, n, state, ctx):
        return self.it

    def __call__(self, group, seen):
        return self.it

    async def reply(self, state, said, ask):
        return self.it

    def task(self, split, seed, index):
        return self.it


class Plain(Gives):
    def reply(self, state, said, ask):
        return self.it


TAKEN = {
    "pick gives None": (lambda: picked(Gives(None), 2, {}, CTX), r"pick gives None, and it is (list of tasks, state)"),
    "pick gives texts": (lambda: picked(Gives((["a"], {})), 1, {}, CTX), "and it is (list of tasks, state)"),
    "pick gives too few": (lambda: picked(Gives(([TASK], {})), 2, {}, CTX), "was asked for 2 tasks and picks 1"),
    "a gate gives None": (lambda: decide((Gives(None),), GROUP, {"a": 0.0, "b": 1.0}), "the gate Gives(it=None, refill=0) gives None"),
    "a gate gives words": (lambda: decide((Gives({"a": "keep"}),), GROUP, {"a": 0.0, "b": 1.0}), "a dict of Fate by the ids"),
    "a gate gives another's": (lambda: decide((Gives({"c": Fate()}),), GROUP, {"a": 0.0, "b": 1.0}), "a dict of Fate by the ids"),
    "a world gives None": (
        lambda: asyncio.run(replied(Gives(None), 0, Said("x"), {})),
        "the world Gives: reply gives None, and it is (state, Reply(…))",
    ),
    "a world gives a text": (lambda: asyncio.run(replied(Gives((0, "hi")), 0, Said("x"), {})), "and it is (state, Reply(…))"),
    "a world is no coroutine": (lambda: asyncio.run(replied(Plain((0, Reply("x"))), 0, Said("x"), {})), "what is no `async def`"),
    "a source gives None": (
        lambda: drawn(Gives(None), "train", 0, 3),
        "the source 'gives': task('train', 0, 3) gives None, which is no Task",
    ),
    "a grade is a number": (lambda: grade_of(1.0), "grade() gives 1.0: it is Graded({channel: score})"),
    "an observation is no text": (lambda: Reply(3), "a world's observation is a text, got 3"),
    "an ending that there is not": (lambda: Reply("", done=True, stop="whatever"), "an episode ends by one of finished"),
    "facts that are no JSON": (lambda: Reply("", facts={"a": {1}}), "a world's facts, scores and calls are plain JSON"),
    "a fate that there is not": (lambda: Fate("kep"), "a fate is keep, context, drop, carry, got 'kep'"),
    "a weight that is no number": (lambda: Fate(weight=float("nan")), "a fate's weight is a finite number"),
    "copies below none": (lambda: Fate(times=-1), "its times at least 0"),
    "a prompt that is no text": (lambda: Task(5, {}, "x"), "a task's prompt is a text, got 5"),
    "needs that are no JSON": (lambda: Task("x", {"a": {1}}, "x"), "a task's needs are plain JSON"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_given_back_is_held_to_what_it_is(case):
    work, said = TAKEN[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        work()


def test_a_dict_of_channels_is_a_grade_without_a_reason():
    assert grade_of({"outcome": 1.0}) == Graded({"outcome": 1.0})
    assert grade_of({"outcome": 1.0}).reason == ""


@part(gives="brief")
def plain(groups, ctx):
    """No coroutine."""
    return Scores({"a": {"brief": 1.0}})


@part(gives="brief")
async def a_dict(groups, ctx):
    """No Scores."""
    return {"a": 1.0}


@part(gives="brief")
async def ends(groups, ctx):
    """Ends the process."""
    raise SystemExit(5)


@part(gives="brief")
async def in_words(groups, ctx):
    """A number in words."""
    return Scores({"a": {"brief": "1"}, "b": {"brief": 1}})


@pytest.mark.parametrize(("grader", "why"), [(plain, "no `async def`"), (a_dict, "and it is Scores"), (ends, "SystemExit: 5")])
def test_a_grader_that_gives_no_scores_is_our_fault(grader, why):
    given = asyncio.run(grading.judged((grader,), [GROUP], CTX))
    assert given.get("a", "brief") is None
    assert all(why in incident.why for incident in given.incidents)
    assert {incident.unit for incident in given.incidents} == {"a", "b"}


def test_a_score_in_words_is_no_score_and_its_siblings_keep_theirs():
    given = asyncio.run(grading.judged((in_words,), [GROUP], CTX))
    assert (given.get("a", "brief"), given.get("b", "brief")) == (None, 1)
    assert [incident.why for incident in given.incidents] == ["grader returned '1'"]
