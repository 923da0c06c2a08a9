"""Threads that fork and meet: the layout by hand, each path as it is alone, the join, and replies that do not keep the form."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from strop.batch import pack
from strop.engines.embedded import EmbeddedEngine
from strop.lab.tabular import TabularPolicy
from strop.lab.world import Language
from strop.learners.wire import decode, encode
from strop.learning import settle
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.records import Group, Rollout, Row, Segment, Task
from strop.seams.branches import Branched, Parallel, Tags, blocks, branched
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.correction import truncated
from strop.seams.layout import Piece, pieces, positions, unseen
from strop.seams.objective import importance_to_sampler
from strop.seams.reduction import means
from strop.seams.signal import Signal

TAGS = Tags(("=", "}"), ("(", ")"), ("[", "]"))
"""An equals sign opens a block: the bundled model writes some without being taught."""


@pytest.fixture(scope="module")
def pico():
    return load("pico")


def row(pico, layout: Any = "branches") -> Row:
    """prompt, a, two threads, d behind both, two threads again, e: two blocks."""
    made = [Segment("prompt", pico.renderer.prompt("1+2"), "p"), Segment("action", (50, 51, 52), "a")]
    for name, tokens, parents in [
        ("1", (60, 61, 62, 63), ("a",)),
        ("2", (70, 71), ("a",)),
        ("d", (80, 81, 82), ("1", "2")),
        ("3", (90,), ("d",)),
        ("4", (91, 92), ("d",)),
        ("e", (93, 94), ("3", "4")),
    ]:
        made.append(Segment("action", tokens, name, parents=parents))
    return Row(tuple(made), frozenset("a12d34e"), layout)


def evaluated(pico, *rows):
    batch = pack([Group(Task("x", {}, "s"), (Rollout(tuple(rows), "r"),))], {}, {"r": 1.0}, 0)
    return batch, pico.evaluate(batch)["logp_T"]


def test_two_blocks_are_laid_out_as_by_hand(pico):
    start = len(pico.renderer.prompt("1+2"))
    laid = pieces(row(pico))
    assert [(piece.position - start, piece.sees) for piece in laid] == [
        (-start, ()),
        (0, (0,)),
        (3, (0, 1)),
        (3, (0, 1)),
        (7, (0, 1, 2, 3)),
        (10, (0, 1, 2, 3, 4)),
        (10, (0, 1, 2, 3, 4)),
        (12, (0, 1, 2, 3, 4, 5, 6)),
    ]
    assert [piece.behind for piece in laid[1:]] == [start - 1, start + 2, start + 2, start + 6, start + 11, start + 11, start + 14]
    tokens = [(number, at) for number, piece in enumerate(laid) for at in range(piece.start, piece.stop)]
    hidden = unseen(laid, len(tokens) + 2)
    for number, place in tokens:
        seen = {at for other, at in tokens if at <= place and (other == number or other in laid[number].sees)}
        assert {at for at in range(len(tokens) + 2) if not hidden[place, at]} == seen
    assert positions(laid, len(tokens) + 2)[-2:] == [len(tokens), len(tokens) + 1]
    assert not hidden.diagonal().any()


def test_a_path_alone_and_packed_agree_and_what_follows_sees_both(pico):
    whole = row(pico)
    p, a, one, two, *_ = whole.segments
    batch, packed_T = evaluated(pico, whole)
    _, first_T = evaluated(pico, Row.of(p, a, one))
    _, second_T = evaluated(pico, Row.of(p, a, two))
    torch.testing.assert_close(packed_T[:7], first_T, rtol=0, atol=1e-5)
    torch.testing.assert_close(packed_T[7:9], second_T[3:], rtol=0, atol=1e-5)
    _, without_T = evaluated(pico, Row.of(p, a, one, replace(whole.segments[4], parents=())))
    assert (packed_T[9:12] - without_T[7:]).abs().max() > 1e-3  # the second path is felt
    _, together_T = evaluated(pico, Row.of(p, a, one), whole)
    torch.testing.assert_close(together_T[7:], packed_T, rtol=0, atol=1e-5)
    assert batch.rows[0].before[7] == batch.rows[0].before[3] == len(p.tokens) + 2


def test_the_gradient_of_a_packed_path_is_that_of_the_path_alone(pico):
    whole = row(pico)
    p, a, _, two, *_ = whole.segments

    def slope(rows, at):
        pico.model.zero_grad()
        evaluated(pico, rows)[1][at].sum().backward()
        return pico.model.get_input_embeddings().weight.grad.clone()

    torch.testing.assert_close(slope(whole, slice(7, 9)), slope(Row.of(p, a, two), slice(3, 5)), rtol=1e-3, atol=1e-4)
    pico.model.zero_grad()


def test_rows_of_branches_travel_and_are_refused_where_they_are_none(pico):
    whole = row(pico)
    assert Row.from_json(whole.to_json()) == whole
    assert "layout" not in row(pico, "causal").to_json()
    batch, _ = evaluated(pico, whole)
    _, (sent,) = decode(encode("evaluate", [batch]))
    assert sent.rows == batch.rows
    assert isinstance(sent.rows[0].pieces[0], Piece)
    with pytest.raises(ValueError, match="every segment comes once, after those that it follows"):
        Row((whole.segments[0], whole.segments[2]), frozenset(), "branches")
    windowed = load("pico")
    windowed.model.config.sliding_window = 8
    with pytest.raises(ValueError, match="see a window of 8 positions"):
        evaluated(windowed, whole)


# The sampler, with the bundled model.


def asked(pico, sampler, prompt="17-9+4=?"):
    engine = EmbeddedEngine(pico.model, pico.tokenizer, eos_ids=pico.eos)
    engine.begin(0)
    ctx = Ctx(0, Progress(), None, {"actor": Handle(engine, pico.renderer)}, None, place="here")

    async def grow():
        async with engine.admit(sampler.footprint(len(pico.renderer.prompt(prompt)))):
            return await sampler(Task(prompt, {}, "chain"), None, ctx)

    (group,) = asyncio.run(grow())
    batch = pack([group], {}, {r.id: 1.0 for r in group.rollouts}, 0)
    with torch.no_grad():
        return group, batch, pico.evaluate(batch)["logp_T"], engine


def parallel(rows, **fields):
    return Parallel(rows=rows, **{"tags": TAGS, "n": 8, "max_tokens": 80, "path_tokens": 6, "blocks": 2, **fields})


@pytest.mark.parametrize("rows", ["seen", "threads", "branches"])
def test_what_is_recorded_is_what_the_learner_computes_where_it_was_drawn(pico, rows):
    group, batch, logp_T, _ = asked(pico, parallel(rows))
    sampled_T, drawn_T = batch.tracks["sampled_logp_T"], batch.trained_T
    known_T = drawn_T & ~sampled_T.isnan()
    assert (logp_T - sampled_T)[known_T].abs().max() < 1e-4
    forked = [r for r in group.rollouts if "(" in r.text]
    assert len(forked) >= 4
    assert any(r.text.count("}[") == 2 for r in forked)
    moved = int((drawn_T & sampled_T.isnan()).sum())
    assert moved == 0 if rows == "threads" else moved > 0
    assert all(len(r.rows) == 1 for r in group.rollouts) or rows == "threads"


def test_the_three_ways_show_the_learner_the_same_replies(pico):
    seen, threads, beside = (asked(pico, parallel(rows))[0] for rows in ("seen", "threads", "branches"))
    for one, two, three in zip(seen.rollouts, threads.rollouts, beside.rollouts, strict=True):
        assert one.text == two.text == three.text
        assert one.length == two.length == three.length
        assert one.rows[0].tokens == two.rows[0].tokens == three.rows[0].tokens
        mine = [s.id for row in two.rows for s in row.segments if s.kind == "action" and s.id in row.trains]
        assert sorted(mine) == sorted(s.id for s in one.rows[0].segments if s.kind == "action")  # each is trained once
        assert len(two.rows) == 1 + one.text.count("}[")
        known = [s.logp is not None for s in three.rows[0].segments if s.kind == "action"]
        assert known == sorted(known, reverse=True)  # up to the first join


def test_a_reply_keeps_its_length_forks_no_more_than_it_may_and_cut_threads_are_closed(pico):
    group, *_ = asked(pico, parallel("threads", blocks=1))
    for rollout in group.rollouts:
        assert rollout.text.count("}[") <= 1
        assert len(rollout.rows[0].tokens) - len(rollout.rows[0].segments[0].tokens) <= 80
    cut = next(r for r in group.rollouts if "}[" in r.text)
    assert re.search(r"=\([^()]*\)\([^()]*\)\}\[", cut.text)
    ended, *_ = asked(pico, parallel("threads", blocks=1, ends=True))
    done = next(r for r in ended.rollouts if "}[" in r.text)
    assert done.stop == "finished"
    assert len(done.text) < len(cut.text) + 80
    tight, *_ = asked(pico, parallel("threads", max_tokens=14))
    assert {r.stop for r in tight.rollouts if r.text.endswith("=")} <= {"length"}  # no room for two threads and a summary
    assert any(r.text.endswith("=") for r in tight.rollouts)


def test_the_room_that_it_declares_is_enough_for_one_reply_that_fills_it(pico):
    filled, begins = 0, Tags(("<think>", "}"), TAGS.path, TAGS.summary)  # which is the first thing that it writes
    for number in range(16):
        sampler = parallel("threads", n=1, max_tokens=18 + number, path_tokens=4, blocks=1, tags=begins)
        (rollout,) = asked(pico, sampler)[0].rollouts
        filled += rollout.stop == "length" and "}[" in rollout.text
    assert filled > 1


def test_a_join_computes_the_later_threads_and_the_words_behind_them_alone(pico):
    engine = EmbeddedEngine(pico.model, pico.tokenizer, eos_ids=pico.eos)
    actor = Handle(engine, pico.renderer)

    async def run():
        root = await actor.open("3+4=?", root="r")
        fork = await actor.generate(root, max=4)
        threads = await asyncio.gather(*(actor.generate(fork, max=5, keep=i == 0) for i in range(3)))
        before = engine.counters.prefilled + engine.counters.recomputed
        joined = await actor.join(fork, threads, close="]")
        await actor.generate(joined, max=1)
        spent = engine.counters.prefilled + engine.counters.recomputed - before
        assert spent == sum(len(thread.segment.tokens) for thread in threads[1:]) + 1
        assert joined.tokens == (*fork.tokens, *(t for thread in threads for t in thread.segment.tokens), *pico.renderer.plain("]"))
        with pytest.raises(ValueError, match="does not stand under it"):
            await actor.join(threads[0], threads, close="]")

    asyncio.run(run())


def test_it_is_refused_in_words():
    for fields, match in [
        ({"paths": 1}, "a block has 2 threads or more"),
        ({"rows": "both"}, "seen, threads or branches"),
        ({"max_tokens": 0}, "needs at least 1"),
    ]:
        with pytest.raises(ValueError, match=match):
            Parallel(**fields)
    with pytest.raises(ValueError, match="all of them different"):
        Tags(("<a>", "</a>"), ("<a>", "</b>"))


def test_a_correction_weighs_what_was_drawn_where_it_stands_and_leaves_the_rest_at_one(pico):
    _, batch, logp_T, _ = asked(pico, parallel("seen"))
    method = GRPO.but("corrected", sampler=parallel("seen"), correction=truncated(cap=1e9))
    settled = settle(method, batch.with_(old_logp_T=logp_T + 0.5))
    moved_T, weight_T = batch.tracks["sampled_logp_T"].isnan() & batch.trained_T, settled.tracks["weight_T"]
    assert moved_T.any()
    assert (weight_T[moved_T] == 1).all()
    drawn_T = batch.trained_T & ~moved_T
    torch.testing.assert_close(weight_T[drawn_T], torch.full_like(weight_T[drawn_T], 0.5).exp(), rtol=1e-3, atol=0)


def test_a_ratio_to_what_was_drawn_asks_for_text_that_stands_where_it_was_drawn():
    signal = Signal(importance_to_sampler(), reduce=means("token"))
    with pytest.raises(ValueError, match=r"stands elsewhere than it was drawn.*rows='threads'"):
        GRPO.but("direct", sampler=Parallel(), signals={"policy": signal})
    GRPO.but("direct", sampler=Parallel(rows="threads"), signals={"policy": signal})


def test_a_table_refuses_a_row_of_branches(pico):
    table = TabularPolicy(1, Language(4, 2))
    with pytest.raises(ValueError, match="rows of one line"):
        table.evaluate(evaluated(pico, row(pico))[0], frozenset())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", 0),
        ("=(a)(b)}[c]d", 1),
        ("x=(a)(b)(c)}[]=()()}[s]", 2),
        ("=(a)}[c]", None),  # one path
        ("=(a)(b)}", None),  # no summary
        ("=(a)(b}[c]", None),  # a path that is open
        ("=(a=(b)(c)}[d])(e)}[f]", None),  # a block in a path
        ("=(a)(b)[c]", None),  # nothing closes it
        ("a)", None),
        ("[c]", None),
    ],
)
def test_well_formed_blocks_are_counted_and_any_other_tag_is_malformed(text, said):
    assert blocks(text, tags=TAGS) == said


def test_a_worked_text_is_cut_where_its_paths_begin_and_meet(pico):
    text = "go=(1+2)(3)}[ok]=(4)(5)}[ no]7"
    tokens = pico.renderer.reply(text)
    plain = Row.of(Segment("prompt", pico.renderer.prompt("?"), "0"), Segment("teacher", tokens, "0.0"))
    laid = branched(plain, pico.renderer, TAGS)
    assert laid.tokens == plain.tokens
    assert laid.layout == "branches"
    said = [(pico.renderer.text(s.tokens), s.parents) for s in laid.segments[1:]]
    assert said == [
        ("go=", ()),
        ("(1+2)", ("0.0.0",)),
        ("(3)", ("0.0.0",)),
        ("}[ok]=", ("0.0.1", "0.0.2")),
        ("(4)", ("0.0.3",)),
        ("(5)", ("0.0.3",)),
        ("}[ no]7", ("0.0.4", "0.0.5")),
    ]
    for other in ("no block", "=(1)}[one path]"):
        told = replace(plain, segments=(plain.segments[0], Segment("teacher", pico.renderer.reply(other), "0.0")))
        assert branched(told, pico.renderer, TAGS) is told
    assert Branched().fresh is False
