"""Replies in turns: the parser by its properties, marks, segmenters, demonstrations that a policy completes, and replies stopped early."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.check.growing import _sampler as exam
from strop.methods.grpo import GRPO
from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.seams.context import Ctx, Footprint, Handle
from strop.seams.mode import EarlyExit, answers_agree, mode, tokens_spent
from strop.seams.recorded import Earlier
from strop.seams.turns import TAG, TAGS, Turn, by_asking, by_markers, each_turn, places, turn_count, turns, turns_of, written

PURE = settings(derandomize=True, database=None, max_examples=200, deadline=None)
PLAIN = st.text(alphabet="<>/thinkaswer 3+=\n", max_size=24).filter(lambda text: not TAG.search(text))
TURNS = st.lists(st.builds(Turn, PLAIN, PLAIN), min_size=1, max_size=6)
TORN = st.lists(st.one_of(st.sampled_from(TAGS), st.sampled_from(["", " ", "\n", "4", "<", "</", "think>"])), max_size=13).map("".join)


@PURE
@given(TURNS)
def test_what_is_written_as_turns_is_read_as_these_turns(said):
    assert turns(written(said)) == said
    assert turn_count(written(said)) == len(said)


@PURE
@given(TORN)
def test_a_text_is_turns_exactly_where_it_is_their_writing_with_blanks_between(text):
    found = turns(text)
    if found is None:
        assert each_turn(text) == []
        return
    pieces = [text[start:stop] for start, stop in each_turn(text)]
    assert "".join(pieces) + text[sum(map(len, pieces)) :] == text
    assert [turns(piece) for piece in pieces] == [[turn] for turn in found]
    assert text[sum(map(len, pieces)) :].strip() == ""


@PURE
@given(TURNS, st.integers(0, 10**6), st.sampled_from(TAGS))
def test_a_tag_too_many_or_one_less_makes_no_turns(said, at, tag):
    text = written(said)
    cut = at % (len(text) + 1)
    inside = any(found.start() < cut < found.end() for found in TAG.finditer(text))
    if not inside:
        assert turns(text[:cut] + tag + text[cut:]) is None
    lost = [*TAG.finditer(text)][at % (4 * len(said))]
    assert turns(text[: lost.start()] + text[lost.end() :]) is None


@PURE
@given(st.lists(st.text(alphabet="ab+=\n ", max_size=8).filter(lambda text: text.strip() and "\n\n" not in text), min_size=1, max_size=5))
def test_markers_cut_a_thought_into_what_was_put_together_and_lose_nothing(units):
    units = [unit.strip() for unit in units]
    thought = "\n\n".join(units)
    cut = by_markers(thought, markers=("\n\n",))
    assert cut == units
    ends = places(cut, thought)
    assert len(ends) == len(units)
    assert thought[ends[-1] :] == ""


def test_units_that_are_not_the_thought_are_none():
    assert places(["a b", "c"], "a b\nc") == [3, 5]
    assert places(["a b", "d"], "a b\nc") == []
    assert places(["b", "c"], "a b\nc") == [], "something was left out in front"
    assert places(["a b"], "a b\nc") == [], "or behind"
    assert places(["c", "a b"], "a b\nc") == [], "another order"


def test_without_a_marker_nothing_can_be_cut():
    with pytest.raises(ValueError, match="name what a new attempt begins with"):
        by_markers("x", markers=())


# Policies that say what a table says.


class Said:
    """Stands in for a policy: what it says to a prompt with what was forced behind it. It notes what it was asked."""

    def __init__(self, say):
        self.say, self.asked, self.engine, self.renderer = say, [], self, self

    def admit(self, footprint):
        assert isinstance(footprint, Footprint)
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *why):
        return None

    async def open(self, text, *, root):
        return text

    async def force(self, node, text):
        return f"{node}|{text}"

    async def generate(self, node, *, max, sampling, keep, stop=()):
        assert sampling.temperature == 0
        self.asked.append(node)
        return self.say(node)

    def text(self, node):
        return node

    def prompt(self, text):
        return (1, *text.encode())

    def reply(self, text):
        return (*text.encode(), 0)


def collected(*texts):
    """Right replies to one question, as an earlier stage left them."""
    row = Row.of(Segment("prompt", (1,), "0"), Segment("action", (2,), "0.0"))
    rows = [Row.of(row.segments[0], Segment("action", tuple(text.encode()), "0.0")) for text in texts]
    members = tuple(Rollout((row,), f"0/{i}", text=text) for i, (row, text) in enumerate(zip(rows, texts, strict=True)))
    return [Group(Task("3+8=?", {}, "made"), members, id="0")], Scores({r.id: {"outcome": 1.0} for r in members})


def made(writer, *texts, **changes):
    groups, scores = collected(*texts)
    policies = {"actor": writer, "writer": writer, "segmenter": writer}
    ctx = Ctx(0, None, None, policies, grade=None)
    return asyncio.run(turns_of(**changes).on({"groups": groups, "scores": scores, "rng": Random(0), "ctx": ctx}))


FLAT = "<think>3+8=2\n\n3+8=1\n\n3+8=1</think><answer>1</answer>"


def test_a_thought_is_cut_and_the_policy_states_the_answer_behind_each_unit_but_the_last():
    writer = Said(lambda node: node.rpartition("=")[2][0] + "</answer>")
    (group,) = made(writer, FLAT)
    (rollout,) = group.rollouts
    assert turns(rollout.text) == [Turn("3+8=2", "2"), Turn("3+8=1", "1"), Turn("3+8=1", "1")]
    assert writer.asked == [
        "3+8=?|<think>3+8=2</think><answer>",
        "3+8=?|<think>3+8=2\n\n3+8=1</think><answer>",
    ]
    assert rollout.provenance == "0/0"
    assert [s.kind for s in rollout.rows[0].segments] == ["prompt", "teacher"]
    assert group.role == "demo"


@pytest.mark.parametrize(
    ("text", "say"),
    [
        (FLAT, lambda node: "1"),  # never closes its answer
        (FLAT, lambda node: " </answer>"),
        (FLAT, lambda node: "<think></answer>"),
        ("<think>1</think><answer>1</answer><think>1</think><answer>1</answer>", lambda node: "1</answer>"),
        ("so it is 1", lambda node: "1</answer>"),
        ("<think>\n\n</think><answer>1</answer>", lambda node: "1</answer>"),
    ],
)
def test_what_cannot_be_made_into_turns_is_left_out(text, say):
    assert made(Said(say), text) == []


def test_another_policy_may_cut_and_is_held_to_the_words_of_the_thought():
    def cutter(node):
        if not node.startswith("Below"):
            return "1</answer>"
        return "3+8=2\n=====\n3+8=1\n\n3+8=1\n" if cutter.honest else "3+8=2\n=====\n3+8=11"

    cutter.honest = True
    writer = Said(cutter)
    (group,) = made(writer, FLAT, segmenter=by_asking())
    assert turns(group.rollouts[0].text) == [Turn("3+8=2", "1"), Turn("3+8=1\n\n3+8=1", "1")]
    assert "3+8=2\n\n3+8=1\n\n3+8=1" in writer.asked[0]
    cutter.honest = False
    assert made(writer, FLAT, segmenter=by_asking()) == []


def test_a_feed_waits_for_a_maker_that_asks_and_asks_once_a_stage():
    from collections import Counter

    from strop.seams.context import Progress

    groups, scores = collected(FLAT)
    writer = Said(lambda node: "1</answer>")
    ctx = Ctx(0, Progress(0, 9), None, {"actor": writer, "writer": writer}, grade=None, earlier=lambda stage: (groups, scores))
    feed = Earlier("collect", turns_of())
    first, again = (asyncio.run(feed.take(None, 1, None, None, ctx, Counter())) for _ in range(2))
    assert first[0].rollouts[0].text == again[0].rollouts[0].text
    assert len(writer.asked) == 2


# Stopping early.


class Speaks:
    """A handle whose policy says these pieces, one an action."""

    def __init__(self, *pieces):
        self.pieces = pieces

    async def open(self, text, *, root):
        return Node(0, "", None)

    async def generate(self, node, *, max, stop, sampling):
        assert stop == ("</answer>",)
        text = self.pieces[node.count]
        return Node(node.count + 1, text, "finished", node.length + len(text))

    def text(self, node):
        return node.said


class Node:
    def __init__(self, count, said, stop, length=0):
        self.count, self.said, self.stop, self.length = count, said, stop, length

    def row(self):
        return Row.of(Segment("prompt", (1,), "0"))


def turn(answer):
    return f"<think>x</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("words", "count"),
    [("1", 1), ("3", 3), ("9", 4), ("agree", 3), ("tokens=1", 1), ("tokens=60", 2), ("tokens=1000", 4)],
)
def test_a_reply_ends_behind_the_answer_that_says_so_or_where_the_policy_ends_it(words, count):
    pieces = [turn("5"), turn("4"), turn("4"), turn("4"), ""]
    ctx = Ctx(0, None, None, {"actor": Speaks(*pieces)}, grade=None, place="p")
    (group,) = asyncio.run(EarlyExit(mode(f"exit:{words}").when, n=2, max_tokens=1000)(Task("?", {}, "made"), None, ctx))
    for one in group.rollouts:
        assert one.text == "".join(pieces[:count])
        assert one.stop == "finished"


def test_a_reply_without_room_for_a_turn_is_cut():
    ctx = Ctx(0, None, None, {"actor": Speaks(turn("5"), turn("4"))}, grade=None, place="p")
    (group,) = asyncio.run(EarlyExit(answers_agree(), n=1, max_tokens=len(turn("5")))(Task("?", {}, "made"), None, ctx))
    assert group.rollouts[0].stop == "length"


def test_it_passes_a_samplers_exam_and_trains_nothing():
    assert [*exam("sampler", EarlyExit(n=3, max_tokens=8), GRPO, Task("2+2", {}, "numbers"))] == []
    with pytest.raises(ValueError, match="is a way to evaluate"):
        GRPO.but("mine", sampler=EarlyExit())


def test_with_a_real_engine_nothing_is_written_behind_the_answer_that_ends_it():
    from strop import engines
    from strop.policies.causal import load
    from strop.recipe import Recipe
    from strop.tasks import source

    policy = load("pico")
    handle = Handle(engines.build(policy, Recipe(slots=16)), policy.renderer)
    handle.engine.begin(0)
    chain = source("chain")
    ctx = Ctx(0, None, chain, {"actor": handle}, grade=None, place="p")
    (group,) = asyncio.run(EarlyExit(n=4, max_tokens=64)(chain.task("test", 0, 0), None, ctx))
    assert any(one.text.endswith("</answer>") for one in group.rollouts)
    for one in group.rollouts:
        assert one.text.count("</answer>") == (one.stop == "finished")
        assert sum(len(s.tokens) for s in one.rows[0].segments if s.kind == "action") <= 64


@pytest.mark.parametrize(
    ("text", "said"), [("exit", "is no way to ask"), ("exit:0", "says not where to stop"), ("exit:agree=2", "says not")]
)
def test_what_names_no_exit_is_refused_in_words(text, said):
    with pytest.raises(ValueError, match=said):
        mode(text)


def test_an_exit_is_a_part_that_stops():
    assert mode("exit:tokens=7") == EarlyExit(tokens_spent(most=7))
    with pytest.raises(ValueError, match="a part that gives 'stops'"):
        EarlyExit(by_markers())
