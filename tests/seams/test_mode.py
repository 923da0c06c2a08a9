"""Ways to ask a trained policy: an opening that is put in its mouth, a consensus of several, and what they cost."""

import asyncio

import pytest

from strop.check.growing import Script, _context
from strop.check.growing import _sampler as exam
from strop.evaluate import evaluate
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Sampling, Task
from strop.seams.context import Handle
from strop.seams.mode import Consensus, Opening, Vote, mode
from strop.tasks import source


def asked(sampler):
    """The rollouts of one task, and their renderer. The policy is a script."""
    context = _context(Script())
    renderer = context.policies["actor"].renderer
    (group,) = asyncio.run(sampler(Task("2+2", {}, "numbers"), None, context))
    return group.rollouts, renderer


def test_an_opening_is_forced_and_what_follows_is_the_policys():
    rollouts, renderer = asked(Opening("abc", n=3, max_tokens=8))
    assert len(rollouts) == 3
    for one in rollouts:
        (row,) = one.rows
        assert [s.kind for s in row.segments] == ["prompt", "forced", "action"]
        assert one.text == "abc" + renderer.text(row.segments[2].tokens)
        assert one.length == len(row.segments[2].tokens)
    assert len({one.rows[0].segments[2].id for one in rollouts}) == 3
    assert len({one.rows[0].segments[1].id for one in rollouts}) == 1, "computed once"


def consensus(monkeypatch, answers):
    """A consensus over openings a, b and c, whose tries answer as given."""
    from strop.seams import mode as module

    monkeypatch.setattr(module, "answer_of", lambda source, text: answers[text[0]])
    rollouts, _ = asked(Consensus(("a", "b", "c"), n=2, max_tokens=8))
    return rollouts


@pytest.mark.parametrize(
    ("answers", "tries", "said"),
    [
        ({"a": "4", "b": "4", "c": "5"}, 2, "b"),
        ({"a": "4", "b": "5", "c": "4"}, 3, "c"),
        ({"a": None, "b": None, "c": "4"}, 3, "c"),
    ],
)
def test_the_last_opening_is_asked_where_the_others_differ_or_say_nothing_and_every_try_is_on_the_bill(monkeypatch, answers, tries, said):
    for one in consensus(monkeypatch, answers):
        assert len(one.rows) == tries
        assert one.text.startswith(said)
        assert one.length == sum(len(row.segments[-1].tokens) for row in one.rows)


@pytest.mark.parametrize(
    ("answers", "said"),
    [((4, 5, 5), 1), ((4, 5, 6), 0), ((None, 5, None), 1), ((None, None, None), 0), ((4, None, 4), 0), ((5, 4, 4), 1)],
)
def test_a_vote_says_what_most_tries_answer_and_every_try_is_on_the_bill(monkeypatch, answers, said):
    from strop.seams import mode as module

    given = [None if answer is None else str(answer) for answer in answers]
    read = []
    monkeypatch.setattr(module, "answer_of", lambda source, text: (read.append(text), given[(len(read) - 1) % 3])[1])
    rollouts, renderer = asked(Vote(3, n=2, max_tokens=8))
    for number, one in enumerate(rollouts):
        tries = read[3 * number : 3 * number + 3]
        assert one.text == tries[said] == renderer.text(one.rows[-1].segments[-1].tokens)
        assert sorted(renderer.text(row.segments[-1].tokens) for row in one.rows) == sorted(tries)
        assert one.length == sum(len(row.segments[-1].tokens) for row in one.rows)


@pytest.mark.parametrize(
    "sampler",
    [Opening("abc", n=3, max_tokens=8), Consensus(("a", "b", "c"), n=2, max_tokens=8), Vote(3, n=2, max_tokens=8)],
    ids=lambda s: type(s).__name__,
)
def test_they_pass_a_samplers_exam(sampler):
    assert [*exam("sampler", sampler, GRPO, Task("2+2", {}, "numbers"))] == []


def test_a_consensus_trains_nothing_and_an_opening_that_cuts_the_support_neither():
    with pytest.raises(ValueError, match="is a way to evaluate"):
        GRPO.but("mine", sampler=Consensus(("a", "b", "c")))
    with pytest.raises(ValueError, match="is a way to evaluate"):
        GRPO.but("mine", sampler=Vote())
    with pytest.raises(ValueError, match="top_p below 1, top_k and greedy decoding are for evaluation"):
        GRPO.but("mine", sampler=Opening("a", sampling=Sampling(temperature=0)))
    assert GRPO.but("mine", sampler=Opening("a")).sampler.group_size == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("forced:x", "is no way to ask"),
        ("opening", "Written opening:WORDS, consensus"),
        ("opening:", "name the words that a reply begins with"),
        ("consensus:a|b", "name two openings or more"),
        ("judge:7", "Written opening:WORDS, consensus:WORDS|WORDS|WORDS, vote:K, judge, search:WIDTH"),
        ("vote", "is no way to ask"),
        ("vote:1", "at least 2 tries"),
        ("search:wide", "is no way to ask"),
        ("search:0", "at least 1"),
        ("judge", "holds no solution to judge"),
        ("consensus:a|b|", "name two openings or more"),
    ],
)
def test_what_names_no_mode_is_refused_in_words(text, said, refused):
    assert said in refused("eval", "pico", "--sampler", text, "--tasks", 2)


def test_modes_by_name():
    assert mode("opening:a:b") == Opening("a:b")
    assert mode("consensus:a|b|c") == Consensus(("a", "b", "c"))
    assert mode("vote:5") == Vote(5)


def test_votes_are_drawn():
    with pytest.raises(ValueError, match="all tries are one and the same"):
        Vote(5, sampling=Sampling(temperature=0))


def test_an_evaluation_asks_in_that_way_and_reports_what_it_cost():
    from strop import engines

    policy = load("pico")
    handle = Handle(engines.build(policy, Recipe(slots=16)), policy.renderer)
    handle.engine.begin(0)
    shown = {}
    drawn = {"samples": 2, "sampling": Sampling(), "max_tokens": 24, "look": lambda groups, scores: shown.update(groups=groups)}
    made = asyncio.run(evaluate(handle, source("chain"), 3, sampler=Opening("<think>"), **drawn))
    assert made.samples == 2
    assert all(r.text.startswith("<think>") for g in shown["groups"] for r in g.rollouts)
    assert made.mean("length") == pytest.approx(sum(r.length for g in shown["groups"] for r in g.rollouts) / 6)
    with pytest.raises(ValueError, match="cannot be put in the policy's mouth"):
        asyncio.run(evaluate(handle, source("chain"), 1, sampler=Opening("<|im_end|>"), **drawn))
