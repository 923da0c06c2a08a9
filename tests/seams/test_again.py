"""One question asked again in one context: what each answer stands behind, orders that follow from a key, and what has no room."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from strop.check.growing import Script
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load
from strop.policies.chat import ChatRenderer, ModelError
from strop.records import Task
from strop.seams.again import HISTORIES, AskAgain, read, reordered
from strop.seams.context import Ctx, Handle, Progress
from strop.tasks import source

HABITS = source("habits")
TASK = HABITS.task("test", 0, 0)


@pytest.fixture(scope="module")
def policy():
    return load("pico")


def grown(how, policy, task=TASK, engine=None, renderer=None):
    engine = engine or Script()
    ctx = Ctx(0, Progress(), HABITS, {"actor": Handle(engine, renderer or policy.renderer)}, None, place="q#0")
    (group,) = asyncio.run(how(task, None, ctx))
    return group


def turns_of(group):
    return {tuple(r.keys["turn"]): r for r in group.rollouts if "turn" in r.keys}


def test_each_answer_is_a_rollout_behind_all_earlier_turns_of_its_conversation_and_trains_itself_alone(policy):
    group = grown(AskAgain(turns=4, n=3, fresh=5, max_tokens=6), policy)
    assert len(group.rollouts) == 5 + 3 * 4
    assert len({r.id for r in group.rollouts}) == len(group.rollouts)
    assert ["turn" in r.keys for r in group.rollouts] == [False] * 5 + [True] * 12
    found = turns_of(group)
    assert [*found] == [(talk, turn) for talk in range(3) for turn in range(4)]
    for (talk, turn), rollout in found.items():
        (row,) = rollout.rows
        assert [s.kind for s in row.segments] == ["prompt", *["action", "observation"] * turn, "action"]
        assert row.trains == {row.segments[-1].id}
        assert row.segments[-1].tokens[: len(row.segments[-1].tokens)] == row.segments[-1].tokens
        if turn:
            assert row.segments[: 2 * turn] == found[talk, turn - 1].rows[0].segments
    assert [len(r.rows[0].segments) for r in group.rollouts[:5]] == [2] * 5


def test_orders_follow_from_the_key_and_hold_every_option_once(policy):
    def asked(place):
        ctx = Ctx(0, Progress(), HABITS, {}, None, place=place)
        return [AskAgain().asked(TASK, ctx, f"fresh/{i}") for i in range(200)]

    first = asked("q#0")
    assert first == asked("q#0")
    assert first != asked("q#1")
    assert {tuple(sorted(text)) for text in first} == {tuple(sorted(TASK.prompt))}
    assert len(set(first)) == 24, "every order comes"
    for place in range(4):
        assert max(Counter(text[-4:][place] for text in first).values()) < 80, "no option stands anywhere more often than by chance"
    assert AskAgain(shuffle=False).asked(TASK, Ctx(0, Progress(), HABITS, {}, None), "x") == TASK.prompt


def test_with_written_history_each_turn_is_a_prompt_with_what_was_said_before(policy):
    group = grown(AskAgain(turns=4, n=1, history="written", max_tokens=6), policy)
    past = []
    ctx = Ctx(0, Progress(), HABITS, {}, None, place="q#0")
    for turn, rollout in enumerate(group.rollouts):
        (row,) = rollout.rows
        text = AskAgain().asked(TASK, ctx, f"again/0/{turn}")
        assert [s.kind for s in row.segments] == ["prompt", "action"]
        assert row.segments[0].tokens == policy.renderer.prompt(*past, text)
        past += [text, rollout.text]


def test_shuffled_history_holds_the_same_turns_in_another_order(policy):
    how = AskAgain(turns=6, n=1, history="shuffled", max_tokens=6)
    group, differs = grown(how, policy), 0
    written = grown(replace(how, history="written"), policy)
    for shuffled, plain in zip(group.rollouts, written.rollouts, strict=True):
        a, b = (policy.renderer.text(r.rows[0].segments[0].tokens) for r in (shuffled, plain))
        assert a.rpartition("<|user|>")[2] == b.rpartition("<|user|>")[2], "the present question is the same"
        differs += a != b
    assert differs >= 2
    last = policy.renderer.text(group.rollouts[-1].rows[0].segments[0].tokens)
    for earlier in group.rollouts[:-1]:
        said = policy.renderer.text(earlier.rows[0].segments[0].tokens).rpartition("<|user|>")[2].removesuffix("<|im_end|><|assistant|>")
        assert said in last


def test_answers_of_a_real_engine_are_the_same_twice_and_each_is_behind_its_past(policy):
    def drawn():
        engine = EmbeddedEngine(policy.model, policy.tokenizer, seed=0)
        engine.begin(0)
        return grown(AskAgain(turns=3, n=2, fresh=3, max_tokens=6), policy, engine=engine)

    first = drawn()
    assert drawn().to_json() == first.to_json()
    one = read(first, HABITS.answer)
    assert (len(one.single), [len(talk) for talk in one.talks], one.options) == (3, [3, 3], tuple(TASK.needs["options"]))
    found = turns_of(first)
    for (talk, turn), rollout in found.items():
        if turn:
            assert found[talk, turn - 1].text in policy.renderer.text(rollout.rows[0].tokens)


@pytest.mark.parametrize("history", HISTORIES)
def test_what_has_no_room_for_all_turns_is_refused_before_anything_is_drawn(history, policy):
    engine = Script()
    engine.limit = 200
    with pytest.raises(
        ValueError, match=r"AskAgain\(turns=10\): so many turns take up to \d+ positions, and the policy has 200\. Ask \d times"
    ):
        grown(AskAgain(turns=10, history=history), policy, engine=engine)
    assert engine.asked == 0
    fits = AskAgain(turns=4, history=history)
    assert len(grown(fits, policy, engine=engine).rollouts) == 8
    engine.limit = 20
    with pytest.raises(ValueError, match="Lower max_tokens"):
        grown(AskAgain(turns=1), policy, engine=engine)


FORGETS = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and not loop.last %}(said){% else %}{{ m.content }}{% endif %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_that_rewrites_turns_is_refused_and_asked_with_a_history_that_it_writes(policy):
    renderer = ChatRenderer(load("pico").tokenizer)
    renderer.tokenizer.chat_template = FORGETS
    with pytest.raises(ModelError, match="rewrites earlier turns"):
        grown(AskAgain(turns=3), policy, renderer=renderer)
    group = grown(AskAgain(turns=3, n=1, history="written"), policy, renderer=renderer)
    assert "(said)" in renderer.text(group.rollouts[-1].rows[0].segments[0].tokens)


def test_options_are_texts_that_stand_in_the_prompt_once():
    rng = random.Random(0)
    task = Task("1 or 10, or 100?", {"options": ["1", "10", "100"]}, "x")
    found = {reordered(task, rng) for _ in range(60)}
    assert len(found) == 6
    assert all(sorted(text.replace(",", "").replace("?", "").split()) == ["1", "10", "100", "or", "or"] for text in found)
    assert reordered(Task("a number?", {}, "x"), rng) == "a number?"
    for prompt, wrong in (("red or red?", "'red' stands 2 times"), ("green?", "'red' stands 0 times")):
        with pytest.raises(ValueError, match=wrong):
            reordered(Task(prompt, {"options": ["red", "green"]}, "x"), rng)


def test_nothing_to_ask_and_an_unknown_history_are_refused():
    for wrong in ({"turns": 0}, {"n": -1}, {"max_tokens": 0}, {"n": 0, "fresh": 0}):
        with pytest.raises(ValueError, match="at least"):
            AskAgain(**wrong)
    with pytest.raises(ValueError, match="Did you mean 'shuffled'"):
        AskAgain(history="shuffeled")
    assert AskAgain(n=0, fresh=3).group_size == 3
