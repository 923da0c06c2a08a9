"""Ends: one table from how an episode ended to what becomes of it, as gate and as reward."""

import asyncio
from types import SimpleNamespace

import pytest
import torch

from strop.identity import explain
from strop.methods.grpo import GRPO
from strop.records import Group, Rollout, Scores, Task
from strop.seams.ends import ENDED, Ends, as_it_ended, ended, how
from strop.seams.gate import decide
from strop.seams.part import written
from strop.tasks import source

TASK = Task("?", {}, "test")
EPISODES = {
    "right": (Rollout((), "right", stop="finished", text="<answer>a</answer>"), 1.0),
    "wrong": (Rollout((), "wrong", stop="finished", text="<answer>b</answer>"), 0.0),
    "cut": (Rollout((), "cut", stop="turns", keys={"calls": [[["get", True, ""]]]}), 0.0),
    "form": (Rollout((), "form", stop="finished", text="<answer>a</answer>", keys={"calls": [[], [["get", True, ""]], []]}), 1.0),
    "call": (Rollout((), "call", stop="finished", text="<answer>a</answer>", keys={"calls": [[["", False, "no JSON"]], []]}), 1.0),
    "lost": (Rollout((), "lost", stop="error", keys={"facts": [{"error": "gone"}]}), None),
}
READS = SimpleNamespace(answer=lambda text: text[8:9] or None)


def became(ends):
    """Of each episode its fate's kind and its reward, as a step decides them."""
    group = Group(TASK, tuple(rollout for rollout, _ in EPISODES.values()), id="0")
    scores = asyncio.run(ended().on({"groups": [group], "ctx": SimpleNamespace(source=READS)}))
    codes = [scores.values[name]["ended"] for name in EPISODES]
    assert [ENDED[int(code)] for code in codes] == ["answered", "answered", "cut", "form", "call", "lost"]
    outcomes = [outcome for _, outcome in EPISODES.values()]
    known = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    rewards_R = ends.reward.on(
        {name: torch.tensor([of[n] for n in known], dtype=torch.float64) for name, of in (("outcome_R", outcomes), ("ended_R", codes))}
    )
    rewards = dict.fromkeys(EPISODES, None) | dict(zip([[*EPISODES][n] for n in known], rewards_R.tolist(), strict=True))
    graded = scores | Scores({name: {"outcome": outcome} for name, outcome in zip(EPISODES, outcomes, strict=True)})
    return {unit: (fate.kind, fate.why, rewards[unit]) for unit, fate in decide((ends,), group, rewards, graded).items()}


LOST = ("drop", "ungraded", None)


def test_the_table_by_hand():
    assert became(Ends(cut="context", form=-0.5, call=-1.0)) == {
        "right": ("keep", "", 1.0),
        "wrong": ("keep", "", 0.0),
        "cut": ("context", "cut", 0.0),
        "form": ("keep", "", -0.5),
        "call": ("keep", "", -1.0),
        "lost": LOST,
    }
    assert became(Ends(right=2.0, wrong="context", cut=-0.25, form=None, call="context")) == {
        "right": ("keep", "", 2.0),
        "wrong": ("context", "wrong", 0.0),
        "cut": ("keep", "", -0.25),
        "form": ("drop", "form", 1.0),
        "call": ("context", "call", 1.0),
        "lost": LOST,
    }
    trained = {name: ("keep", "", outcome) for name, (_, outcome) in EPISODES.items() if outcome is not None}
    assert became(Ends(cut="train")) == trained | {"lost": LOST}, "neither masked nor punished"


@pytest.mark.parametrize("stop", ["length", "turns", "budget", "repetition"])
def test_whoever_is_cut_has_not_answered(stop):
    assert how(Rollout((), "", stop=stop, text="<answer>a</answer>")) == "cut"


def test_the_worst_that_holds_is_what_counts():
    broken = [[["", False, "why"]]]
    assert how(Rollout((), "", stop="error", keys={"calls": broken})) == "lost"
    assert how(Rollout((), "", stop="turns", keys={"calls": broken})) == "call"
    assert how(Rollout((), "", stop="tool")) == "call"
    assert how(Rollout((), "", stop="format")) == "form"
    assert how(Rollout((), "", stop="turns", keys={"calls": [[], [["get", True, ""]]]})) == "form"
    assert how(Rollout((), "", stop="finished", keys={"calls": [[["get", False, "no such page"]], []]})) == "answered"


def test_what_an_action_had_no_room_for_is_cut():
    broken, good = [["", False, "not closed"]], [["get", True, ""]]
    assert how(Rollout((), "", stop="finished", keys={"calls": [broken, good], "cut": [0]})) == "cut"
    assert how(Rollout((), "", stop="finished", keys={"calls": [[], good], "cut": [0]})) == "cut"
    assert how(Rollout((), "", stop="finished", keys={"calls": [good, broken], "cut": [0]})) == "call", "it was another one"
    assert how(Rollout((), "", stop="finished", keys={"calls": [[], good, [], good], "cut": [2]})) == "form"
    assert how(Rollout((), "", stop="finished", keys={"calls": [good, good], "cut": [0, 1]})) == "answered", "what it said was whole"


def test_who_never_calls_where_siblings_do_is_no_better_than_who_stops_calling():
    quiet = {"facts": [{}, {}]}
    assert how(Rollout((), "", stop="turns", keys=quiet)) == "cut", "nobody of its group calls"
    assert how(Rollout((), "", stop="turns", keys=quiet), calling=True) == "form"
    assert how(Rollout((), "", stop="finished", text="<answer>a</answer>", keys={"facts": [{}]}), READS.answer, calling=True) == "answered"
    group = Group(TASK, (EPISODES["cut"][0], Rollout((), "never", stop="turns", keys=quiet)), id="0")
    scores = asyncio.run(ended().on({"groups": [group], "ctx": SimpleNamespace(source=READS)}))
    assert [scores.values[name]["ended"] for name in ("cut", "never")] == [1.0, 2.0]


@pytest.mark.parametrize("name", ["graphs", "clues", "wiki"])
def test_what_a_source_reads_is_an_answer_right_or_wrong_however_it_ends(name):
    tasks = source(name)
    gold = tasks.gold(tasks.task("train", 0, 0))
    for text in (gold, gold + "\n", ">get a.\nb\n" + gold, "<answer>zzzzzz</answer>"):
        assert how(Rollout((), "", stop="finished", text=text), tasks.answer) == "answered", text
    assert how(Rollout((), "", stop="finished", text="<answer></answer>"), tasks.answer) == "form"


def test_an_end_without_an_answer_is_no_form_unless_its_world_graded_it():
    assert how(Rollout((), "", stop="finished", text="<answer>a"), READS.answer) == "answered"
    assert how(Rollout((), "", stop="finished", text=""), READS.answer) == "form"
    assert how(Rollout((), "", stop="finished", text="", keys={"scores": {"outcome": 1.0}}), READS.answer) == "answered"
    assert how(Rollout((), "", stop="finished", text="")) == "answered"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"cut": "contxt"}, "Did you mean 'context'"),
        ({"lost": 0.0}, "our fault"),
        ({"lost": "context"}, "our fault"),
        ({"call": float("nan")}, "a score that is a number"),
        ({"form": True}, "a score that is a number"),
    ],
)
def test_another_word_than_those_of_the_table_is_refused(table, why):
    with pytest.raises(ValueError, match=why):
        Ends(**table)


def test_explain_prints_the_table_and_what_it_pays():
    ends = Ends(right=2.0, cut=-0.25, form=-0.5)
    one = GRPO.but("ends", graders=ends.graders, reward=ends.reward, gate=(ends,), idea=("graders", "reward", "gate"))
    said = explain(one)
    assert written(ends) in said
    assert ends.reward.says() in said
    assert as_it_ended(right=2.0).says() == "reward_R = where(ended_R == 0 and outcome_R == 1, 2, outcome_R)"
    assert as_it_ended().says() == "reward_R = outcome_R"
