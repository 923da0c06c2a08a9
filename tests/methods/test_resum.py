"""Rows of a summarised rollout: without a restart GSPO, with all of the past as the summary the uncut gradient, and n rows weigh n."""

import asyncio
from dataclasses import replace

import pytest
import torch

from strop.batch import pack
from strop.check.growing import Script
from strop.check.worlds import Bigram
from strop.directory import sampled
from strop.learning import backward, settle
from strop.methods.gspo import GSPO
from strop.methods.resum import LONG, ON_CARDS, RESUM, RESUM_PROGRAM, RESUM_ROLLOUT, SHORT, TAUGHT
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Segment, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Played
from strop.seams.objective import policy_gradient
from strop.seams.reduction import means, sum_over
from strop.seams.signal import Signal
from strop.seams.update import AdamW
from strop.seams.window import Past, Turn
from strop.seams.world import Reply, Said
from strop.tasks import source
from strop.worlds.wiki import Extract, Wiki


def segment(kind, name, *tokens):
    logp = (-1.0,) * len(tokens) if kind == "action" else None
    return Segment(kind, tokens, name, Author("actor", 0) if kind == "action" else None, logp)


PROMPT = segment("prompt", "p", 1, 2)
SAID = [segment("action", f"a{i}", 3, 1 + i % 3, 4) for i in range(3)]
HEARD = [segment("observation", f"o{i}", 5, i % 4) for i in range(2)]


def in_rows(*rows):
    return tuple(rows)


WHOLE = in_rows(Row.of(PROMPT, SAID[0], HEARD[0], SAID[1], HEARD[1], SAID[2]))
CUT = in_rows(
    Row.of(PROMPT, SAID[0], HEARD[0]),
    Row((PROMPT, SAID[0], HEARD[0], SAID[1], HEARD[1]), frozenset({"a1"})),
    Row((PROMPT, SAID[0], HEARD[0], SAID[1], HEARD[1], SAID[2]), frozenset({"a2"})),
)
"""The same, begun anew after each answer with a summary that holds all there was."""
ONE = in_rows(Row.of(PROMPT, SAID[0]))
APART = in_rows(Row.of(PROMPT, SAID[0]), Row.of(segment("prompt", "q", 2, 5), SAID[1]), Row.of(segment("prompt", "s", 0, 4), SAID[2]))


def learned(method, first, second):
    """Loss and slope of one group of two rollouts, the first of which was right."""
    group = Group(Task("x", {}, "s"), (Rollout(first, "0"), Rollout(second, "1")))
    batch, policy = pack([group], {}, {"0": 1.0, "1": 0.0}, 0), Bigram(1)
    batch = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]), 0.0)
    return backward(method, batch, policy, 10**6, 0.0, (0,))["loss/policy"], policy.gradient()


@pytest.mark.parametrize("method", [RESUM, RESUM_ROLLOUT], ids=lambda m: m.name)
def test_without_a_restart_it_is_gspo(method):
    ours, gspo = learned(method, WHOLE, ONE), learned(GSPO, WHOLE, ONE)
    assert ours[0] == pytest.approx(gspo[0], abs=1e-12)
    torch.testing.assert_close(ours[1], gspo[1], rtol=0, atol=1e-12)


def test_a_summary_of_everything_that_is_summed_has_the_gradient_of_the_uncut_row():
    summed = RESUM.but("mine", update=AdamW(), signals={"policy": Signal(policy_gradient(), means("group", "rollout", sum_over("token")))})
    rows = means("group", "rollout", sum_over("row"), sum_over("token"))
    by_rows = RESUM.but("mine", update=AdamW(), signals={"policy": Signal(policy_gradient(), rows)})
    torch.testing.assert_close(learned(by_rows, CUT, ONE)[1], learned(summed, WHOLE, ONE)[1], rtol=0, atol=1e-12)
    assert learned(summed, WHOLE, ONE)[1].abs().max() > 1e-3


def test_a_rollout_of_three_rows_weighs_three_and_once_where_rollouts_are_alike():
    group = Group(Task("x", {}, "s"), (Rollout(APART, "0"), Rollout(ONE, "1")))
    index = pack([group], {}, {"0": 1.0, "1": 0.0}, 0).index

    def share(method):
        return index.sum(method.signals["policy"].reduce.shares(index), "row", "rollout").tolist()

    assert share(RESUM) == pytest.approx([0.75, 0.25])
    assert share(RESUM_ROLLOUT) == pytest.approx([0.5, 0.5])


def past(*answers, place="r", seed=0):
    turns = tuple(Turn(Said(""), (), Reply(answer)) for answer in answers)
    ctx = Ctx(seed, Progress(), None, {}, None)
    return Past(Task("c?", {}, "wiki"), "c?", turns, "c?", 0, 96, 10, 20, None, place, lambda text, since: 1), ctx


def said(summariser, *answers, **more):
    told, ctx = past(*answers, **more)
    return asyncio.run(summariser(None, told, ctx))[1]


ANSWERS = ("cm kd", "mq xa", "error: no JSON", "no call", "no z xa", "qf cm")


def test_the_extractor_keeps_what_was_answered_in_its_order_and_nothing_else():
    assert said(Extract(keep=1, extra=0), *ANSWERS) == "cm mq qf"
    assert said(Extract(keep=0, extra=0), *ANSWERS) == ""
    assert said(Extract(keep=1, extra=1), *ANSWERS) == "cm kd mq xa qf"
    kept = [said(Extract(), *ANSWERS, place=str(i)).split() for i in range(300)]
    assert 0.85 < sum("mq" in one for one in kept) / 300 < 0.95
    assert said(Extract(), *ANSWERS) == said(Extract(), *ANSWERS), "keyed"
    shown = {pair for answer in ANSWERS for pair in answer.split() if len(pair) == 2 and pair != "no"}
    assert all(set(one) <= shown for one in kept)


def test_the_summary_of_another_episode_has_nothing_of_this_one():
    other = [said(Extract(keep=1, extra=0, others=True), *ANSWERS, place=str(i)).split() for i in range(50)]
    assert {len(one) for one in other} == {3}
    assert sum("cm" in one for one in other) <= 2


class Whole:
    """Plays as the world's expert does."""

    def __call__(self, state, turn):
        return Wiki().expert(state)


def test_an_expert_solves_every_chain_of_wiki_and_a_long_one_is_closed_before_the_row_is_full():
    asked = source("wiki:least=4,most=12")
    renderer = load("pico").renderer
    engine = Script()
    for index in range(12):
        task = asked.task("train", 0, index)
        ctx = Ctx(0, Progress(), asked, {"actor": Handle(engine, renderer)}, None, place=f"{index}")
        (group,) = asyncio.run(Played(Whole(), replace(LONG, n=1))(task, asked.world, ctx))
        (rollout,) = group.rollouts
        assert asked.grade(task, rollout.text)["outcome"] == 1
        assert len(rollout.keys["calls"]) == task.needs["hops"] + 1
        assert all(len(row.tokens) <= 96 for row in rollout.rows)
        assert (len(rollout.rows) > 1) is (task.needs["hops"] > 4)


def test_the_recipe_imitates_short_chains_and_goes_on_with_long_ones():
    assert [stage.name for stage in RESUM_PROGRAM.plan] == ["imitate", "summarised"]
    assert SHORT.window != LONG.window
    assert ON_CARDS.policies == {}
    assert RESUM.policies["summary"].start == "initial"


SMALL = {"tasks": 2, "group": 4, "eval_tasks": 0, "slots": 64}


def test_both_of_its_methods_are_trained(tmp_path):
    create(Recipe(method=TAUGHT, task="wiki:known=0.5", steps=1, **SMALL), tmp_path / "taught").train()
    groups, _ = sampled(tmp_path / "taught")
    assert all("get " in r.text and r.text.endswith("</answer>") for g in groups for r in g.rollouts)
    run = create(Recipe(method=ON_CARDS, task="wiki:least=9,most=12", steps=1, **SMALL), tmp_path / "long")
    run.train()
    groups, _ = sampled(tmp_path / "long")
    assert all(len(row.tokens) <= 96 for g in groups for r in g.rollouts for row in r.rows)


def test_a_world_with_tools_is_not_played_by_who_reads_no_calls(tmp_path):
    with pytest.raises(ValueError, match=r"Wiki answers to calls of get, and its sampler Independent reads none.*--method resum"):
        create(Recipe(task="wiki", steps=1, **SMALL), tmp_path / "run")
