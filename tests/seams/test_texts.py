"""Episodes as plain text: what stands in one, that all of it is learned, and that choices are fair."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from strop.batch import pack
from strop.check.growing import Script
from strop.methods.resum import SHORT
from strop.policies.causal import load
from strop.records import Author, Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Played
from strop.seams.feed import Demos, demo
from strop.seams.recorded import Earlier
from strop.seams.texts import VERDICTS, Pools, Retold, choices, first_steps, options, steps_of, transcripts
from strop.seams.world import Call
from strop.tasks import source

RENDERER = load("pico").renderer
WIKI = source("wiki:known=0.5")


def ctx(place="0", grade=None, **given):
    return Ctx(0, Progress(), WIKI, {"actor": Handle(Script(), RENDERER)}, grade, place=place, **given)


def wanders(rng):
    """Follows the chain, and now and then goes astray."""

    def said(state, turn):
        right = WIKI.world.expert(state)
        if rng.random() < 0.7:
            return right
        return f"<answer>{rng.randrange(10)}</answer>" if isinstance(right, str) else Call("get", {"key": rng.choice([*state["cards"]])})

    return said


@cache
def episodes(tasks=60, n=4):
    """Groups of siblings, and the verdict on each."""
    groups, scores = [], {}
    for index in range(tasks):
        task = WIKI.task("train", 0, index)
        played = Played(wanders(Random(index)), replace(SHORT, n=n))
        groups += asyncio.run(played(task, WIKI.world, ctx(f"{index}")))
        scores |= {r.id: {"outcome": WIKI.grade(task, r.text)["outcome"]} for r in groups[-1].rollouts}
    return groups, Scores(scores)


def written(group):
    return RENDERER.tokenizer.decode(group.rollouts[0].rows[0].tokens)


def learned(groups):
    """How many tokens of each."""
    batch = pack(groups, {}, {r.id: 1.0 for g in groups for r in g.rollouts}, 0)
    return int(batch.trains_T.sum())


@pytest.mark.parametrize("make", [first_steps(k=2), choices(n=2), transcripts()])
def test_every_token_of_a_text_is_learned_but_the_first(make):
    groups, scores = episodes(8)
    made = make.on({"groups": groups, "scores": scores, "rng": Random(0), "renderer": RENDERER})
    assert made
    assert {g.role for g in made} == {"demo"}
    assert learned(made) == sum(len(g.rollouts[0].rows[0].tokens) - 1 for g in made)


def test_a_worked_text_is_learned_whole_with_its_question():
    task = source("chain").task("train", 0, 0)
    at = replace(ctx(), source=source("chain"))
    whole, worked = demo(task, "0", at, "whole"), demo(task, "0", at, "worked")
    assert written(whole) == written(worked)
    tokens = whole.rollouts[0].rows[0].tokens
    assert learned([whole]) == len(tokens) - 1
    assert learned([worked]) == len(tokens) - len(RENDERER.prompt(task.prompt))
    with pytest.raises(ValueError, match="Did you mean 'whole'"):
        Demos(text="whol")


@pytest.mark.parametrize("k", [1, 2, 9])
def test_first_steps_are_question_plan_and_actions_and_nothing_that_was_answered(k):
    groups, _ = episodes(20)
    for made, (group, rollout) in zip(first_steps(groups, RENDERER, k=k), ((g, r) for g in groups for r in g.rollouts), strict=True):
        steps = steps_of(rollout, RENDERER)
        plan = " ".join(["Plan:", *(["get"] * sum(">get" in step.said for step in steps))])
        said = "\n".join([plan, *(step.said for step in steps[:k])])
        assert written(made) == RENDERER.tokenizer.decode((*rollout.rows[0].segments[0].tokens, *RENDERER.reply(said)))
        assert made.task == group.task
        assert made.rollouts[0].provenance == rollout.id


def test_a_transcript_is_the_episode():
    groups, _ = episodes(4)
    rollouts = [r for g in groups for r in g.rollouts]
    assert [g.rollouts[0].rows[0].tokens for g in transcripts(groups, RENDERER)] == [r.rows[0].tokens for r in rollouts]


TURN = re.compile(r"<\|assistant\|>((?:\d\. .*\n)+)I choose (\d)")


def read(text):
    """The lines and the choice of each step, and what is said of them all."""
    steps = [(dict(line.split(". ", 1) for line in lines.splitlines()), place) for lines, place in TURN.findall(text)]
    return steps, re.search(r"(My decision is \w+)<\|im_end\|>$", text)[1]


@pytest.mark.parametrize("n", [1, 3])
def test_the_real_action_stands_at_every_place_equally_often_and_its_verdict_is_the_stored_one(n):
    groups, scores = episodes()
    by_id = {r.id: r for g in groups for r in g.rollouts}
    made, places, verdicts = choices(groups, scores, Random(1), RENDERER, n=n), Counter(), Counter()
    for one in made:
        rollout = by_id[one.rollouts[0].provenance]
        steps, verdict = read(written(one))
        assert [lines[place] for lines, place in steps] == [step.said for step in steps_of(rollout, RENDERER)]
        assert all(len({*lines.values()}) == n + 1 for lines, _ in steps), "the others are others, each once"
        assert verdict == VERDICTS["right" if scores.get(rollout, "outcome") == 1 else "wrong"]
        places.update(place for _, place in steps)
        verdicts[verdict] += 1
    assert len(made) > 60
    assert verdicts[VERDICTS["right"]] == verdicts[VERDICTS["wrong"]], "both equally often"
    each = sum(places.values()) / (n + 1)
    chi_square = sum((places[str(place)] - each) ** 2 / each for place in range(1, n + 2))
    assert chi_square < {1: 10.83, 3: 16.27}[n], "once in a thousand by chance"


def test_the_others_are_the_siblings_at_that_step_first():
    pools = Pools([("a", ["x", "y"]), ("a", ["z"]), ("b", ["w", "v"])])
    asked = {frozenset(options("x", pools.at("a", 0), 1, Random(seed))[0]) for seed in range(20)}
    assert asked == {frozenset("xz")}
    asked = {frozenset(options("x", pools.at("a", 0), 2, Random(seed))[0]) for seed in range(20)}
    assert asked == {frozenset("xzw")}, "then the same step of other tasks"
    assert options("x", pools.at("a", 0), 5, Random(0)) is None


def test_what_has_no_verdict_or_no_others_or_no_room_is_no_choice():
    groups, scores = episodes(12)
    lost = next(r for g in groups for r in g.rollouts if scores.get(r, "outcome") == 1)
    missing = replace(scores, values={**scores.values, lost.id: {"outcome": None}})
    assert lost.id not in {g.rollouts[0].provenance for g in choices(groups, missing, Random(0), RENDERER)}
    assert choices(groups[:1], scores, Random(0), RENDERER, n=99) == []
    made = choices(groups, scores, Random(0), RENDERER, longest=200)
    assert made
    assert max(len(g.rollouts[0].rows[0].tokens) for g in made) <= 200
    broken = [replace(g, rollouts=tuple(replace(r, stop="error") for r in g.rollouts)) for g in groups]
    assert choices(broken, scores, Random(0), RENDERER) == first_steps(broken, RENDERER) == []
    with pytest.raises(ValueError, match="at least 1 other"):
        choices(groups, scores, Random(0), RENDERER, n=0)


def test_where_all_are_right_there_is_nothing_to_choose_and_counts_say_so():
    groups, _ = episodes(12)
    right = Scores({r.id: {"outcome": 1.0} for g in groups for r in g.rollouts})
    feed = Earlier("act", choices())
    with pytest.raises(ValueError, match=r"choices finds nothing in stage 'act': 12 groups with 48 right rollouts, 0 wrong"):
        asyncio.run(feed.take(None, 1, None, None, ctx(earlier=lambda stage: (groups, right)), Counter()))


def test_the_same_seed_gives_the_same_texts():
    groups, scores = episodes(12)
    one, again, other = (choices(groups, scores, Random(seed), RENDERER) for seed in (0, 0, 1))
    assert one == again != other


def test_an_action_that_went_on_under_new_weights_is_one_and_what_a_row_repeats_is_none():
    author = Author("actor", 0)

    def segment(kind, text, name):
        return Segment(kind, RENDERER.plain(text), name, author if kind == "action" else None)

    asked, half, rest = segment("prompt", "q?", "0"), segment("action", ">ge", "a"), segment("action", "t c", "b")
    heard, last = segment("observation", "cm", "c"), segment("action", "m", "d")
    anew = segment("prompt", "q? again", "1")
    rows = (Row.of(asked, half, rest, heard), Row((anew, rest, heard, last), frozenset("d")))
    found = steps_of(Rollout(rows, "0"), RENDERER)
    assert [step.said for step in found] == [">get c", "m"]
    assert [step.heard for step in found] == [heard.tokens, ()]


def test_a_feed_is_retold_step_by_step_and_keeps_the_verdict_on_what_it_was_made_of():
    groups, scores = episodes(4)
    asked, known = [], []

    async def grade(of):
        asked.append(of)
        return scores

    class Given:
        fresh = True

        async def take(self, *given):
            return groups

    def taken(make):
        feed = Retold(make, Given())
        return asyncio.run(feed.take(None, 4, None, None, ctx(grade=grade, graded=known.append), Counter()))

    first = taken(first_steps())
    assert len(first) == 16
    chosen = taken(choices(n=1))
    assert chosen
    assert asked == [groups, groups]
    for said, made in zip(known, (first, chosen), strict=True):
        assert {**said.values} == {r.id: scores.values[r.provenance] for g in made for r in g.rollouts}
    assert not Retold((first_steps(),), Given()).fresh


def test_no_graph_of_a_test_stands_in_a_text():
    groups, scores = episodes()
    made = [*first_steps(groups, RENDERER), *choices(groups, scores, Random(0), RENDERER), *transcripts(groups, RENDERER)]
    held = [WIKI.task("test", seed, index).needs["cards"] for seed in range(3) for index in range(60)]
    assert not [g for g in made if g.task.needs["cards"] in held]


def test_groups_of_other_roles_are_no_episodes():
    groups, scores = episodes(4)
    other = [Group(Task("x", {}, "s"), g.rollouts, role="write", id=g.id) for g in groups]
    assert choices(other, scores, Random(0), RENDERER) == transcripts(other, RENDERER) == []
