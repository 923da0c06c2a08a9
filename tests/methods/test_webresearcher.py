"""Reports in the place of a transcript: a state of the same size however many rounds there were, and what each of them is needed for."""

import asyncio
import random
from dataclasses import replace
from statistics import fmean, pstdev

import pytest
import torch

from strop.batch import pack
from strop.check.growing import Script
from strop.experiments.webresearcher import TRANSCRIPT, WINDOW, Blank, most_at_once
from strop.learning import settle
from strop.methods.webresearcher import DISCOUNTED, IMITATED, ROLLOUT, ROUNDS, WEBRESEARCHER, WEBRESEARCHER_STREAM
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Rollout, Row, Segment, Task
from strop.run import create
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Played
from strop.seams.index import Index
from strop.seams.objective import clipped_surrogate, row_ratio
from strop.seams.window import Append
from strop.seams.world import Said, Seat
from strop.tasks import source
from strop.worlds.stream import Stream, known

LONGEST = source("stream:least=24")


@pytest.fixture(scope="module")
def renderer():
    return load("pico").renderer


def played(window, task, renderer, world):
    """An episode of the expert, in the rows that a window makes of it."""
    ctx = Ctx(0, Progress(), LONGEST, {"actor": Handle(Script(), renderer)}, None, place="0")
    how = replace(ROUNDS, n=1, window=window)
    (group,) = asyncio.run(Played(lambda state, turn: world.expert(state), how)(task, world, ctx))
    return group.rollouts[0]


def test_a_row_of_the_last_round_is_as_long_as_one_of_the_first_but_for_its_report(renderer):
    prompts, actions = set(), set()
    for index in range(8):
        task = LONGEST.task("train", 0, index)
        rollout = played(ROUNDS.window, task, renderer, Stream())
        assert LONGEST.grade(task, rollout.text)["outcome"] == 1
        assert len(rollout.rows) == len(rollout.keys["facts"]) > 16, "an action is a row"
        for row in rollout.rows[1:-1]:
            prompt, said = row.segments
            told = renderer.text(prompt.tokens).split("\n")[1]
            prompts.add(len(prompt.tokens) - len(told))
            actions.add(len(said.tokens) - len(renderer.text(said.tokens)))
            assert len(row.tokens) <= ROUNDS.window.limit
    assert len(prompts) == len(actions) == 1


def test_a_row_holds_the_report_and_the_last_output_and_blanked_the_output_alone(renderer):
    task = Task("abc?", {"asked": "abc", "outputs": ["x1 a2", "b3 y4", "z5 c6"], "answer": "a2 b3 c6"}, "stream")

    def rows(window):
        return [row.segments[0].tokens for row in played(window, task, renderer, Stream()).rows]

    def asked(*texts):
        return [renderer.prompt(text) for text in texts]

    assert rows(ROUNDS.window) == asked("abc?", "abc?\n\nx1 a2", "abc?\na2\nb3 y4", "abc?\na2 b3\nz5 c6")
    assert rows(Blank("r", most=12)) == asked("abc?", "abc?\n\nx1 a2", "abc?\n\nb3 y4", "abc?\n\nz5 c6")


@pytest.mark.parametrize(("outputs", "rows"), [(8, 1), (9, 2)])
def test_eight_outputs_stand_in_the_window_of_the_transcript_and_a_ninth_does_not(outputs, rows, renderer):
    shown = [*["x1 y2"] * (outputs - 3), "a1 x2", "y3 b2", "z0 c3"]
    task = Task("abc?", {"asked": "abc", "outputs": shown, "answer": "a1 b2 c3"}, "stream")
    assert len(played(WINDOW, task, renderer, Stream(tag="")).rows) == rows
    assert len(played(Append(), task, renderer, Stream(tag="")).rows) == 1


def test_each_third_of_a_stream_shows_one_fact_and_a_report_cannot_hold_it_all():
    seen = set()
    for index in range(60):
        needs = source("stream").task("train", 0, index).needs
        outputs, asked = needs["outputs"], needs["asked"]
        places = [place for place, output in enumerate(outputs) for pair in output.split() if pair[0] in asked]
        ends = [len(outputs) * part // 3 for part in range(4)]
        assert [low <= place < high for place, low, high in zip(places, ends, ends[1:], strict=False)] == [True] * 3
        assert len(places) == 3
        assert most_at_once(needs) == 1
        assert " ".join(known({**needs, "shown": len(outputs)})) == needs["answer"]
        assert sum(map(len, outputs)) > 3 * ROUNDS.window.most
        seen.add(len(outputs))
    assert min(seen) >= 8
    assert max(seen) <= 24
    assert {len(source("stream:step=8").task("test", 0, i).needs["outputs"]) for i in range(30)} == {8, 16, 24}


def test_the_world_says_what_a_report_holds_and_makes_up():
    world, task = Stream(), Task("ab?", {"asked": "ab", "outputs": ["a1 x2", "y3 b4"], "answer": "a1 b4"}, "stream")

    def said(text, shown):
        return asyncio.run(world.reply({**world.start(task, Seat("g", "o")), "shown": shown}, Said(text), {}))

    assert said("<r>a1 b4 x9</r>go", 1)[1].facts == {"known": 1, "held": 1, "made_up": 2}
    assert said("<r>" * 9 + "go", 1)[1].facts == {"known": 1, "held": 0, "made_up": 0}, "never closed"
    state, reply = said("", 2)
    assert (reply.observation, reply.done, state["shown"]) == ("end", False, 2)
    assert said("a<answer>", 0)[1].done
    assert "held" not in asyncio.run(Stream(tag="").reply(world.start(task, Seat("g", "o")), Said("<r>a1</r>"), {}))[1].facts


def test_an_expert_without_reports_says_what_it_finds_where_it_finds_it():
    needs = {"asked": "abc", "outputs": ["a2 x1", "y3 z4", "b4 x2", "q0 c5"]}

    def says(tag):
        return [Stream(tag).expert({**needs, "shown": shown}) for shown in range(5)]

    assert says("") == ["go", "a2", "go", "b4", "<answer>a2 b4 c5</answer>"]
    assert says("r")[1:3] == ["<r>a2</r>go", "<r>a2</r>go"]
    assert says("r")[-1] == "<r>a2 b4 c5</r><answer>a2 b4 c5</answer>"


def test_fewer_than_two_facts_are_no_stream():
    with pytest.raises(ValueError, match="facts is a whole number from 2 to 8"):
        source("stream:facts=1")
    with pytest.raises(ValueError, match="least is a whole number from 3"):
        source("stream:least=2")
    with pytest.raises(ValueError, match="names is a whole number from 3"):
        source("stream:names=2")


SMALL = {"tasks": 2, "eval_tasks": 0, "slots": 64, "steps": 1}


def test_both_ways_of_writing_are_taught(tmp_path):
    from strop.directory import sampled

    made = {}
    for method in (IMITATED, TRANSCRIPT):
        create(Recipe(method=method, task="stream", **SMALL), tmp_path / method.name).train()
        groups, _ = sampled(tmp_path / method.name)
        made[method.name] = [r for g in groups for r in g.rollouts]
    assert all(len(r.rows) == len(r.keys["facts"]) for r in made[IMITATED.name])
    assert all(len(r.rows) == 1 and "<r>" not in r.text for r in made[TRANSCRIPT.name])


def drawn(lengths, tokens=2):
    """One rollout for each number of rounds, and the batch of their group."""
    rollouts = []
    for number, rounds in enumerate(lengths):
        said = [Segment("action", (3,) * tokens, f"{number}.{i}", Author("actor", 0), (-1.0,) * tokens) for i in range(rounds)]
        asked = [Segment("prompt", (1, 2), f"p{number}.{i}") for i in range(rounds)]
        rollouts.append(Rollout(tuple(Row.of(*pair) for pair in zip(asked, said, strict=True)), str(number)))
    return Group(Task("x", {}, "s"), tuple(rollouts))


def earned(method, lengths, rewards):
    """Credit of each round, by rollouts."""
    batch = pack([drawn(lengths)], {}, {str(i): reward for i, reward in enumerate(rewards)}, 0)
    batch = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]), 0.0)
    each = batch.index.mean(batch.tracks["credit_T"].double(), "token", "row").split(lengths)
    return [rounds.tolist() for rounds in each]


def test_the_baseline_is_the_share_of_rounds_and_not_of_rollouts_that_were_right():
    rng = random.Random(0)
    for _ in range(20):
        lengths = [rng.randint(1, 25) for _ in range(8)]
        rewards = [1.0, 0.0, *(float(rng.random() < 0.4) for _ in range(6))]
        mean = sum(t * r for t, r in zip(lengths, rewards, strict=True)) / sum(lengths)
        by_rows, by_rollouts = earned(WEBRESEARCHER, lengths, rewards), earned(ROLLOUT, lengths, rewards)
        for rounds, alike, reward in zip(by_rows, by_rollouts, rewards, strict=True):
            assert rounds == pytest.approx([(reward - mean) / (mean * (1 - mean)) ** 0.5] * len(rounds), rel=1e-5)
            assert alike == pytest.approx([(reward - fmean(rewards)) / pstdev(rewards)] * len(alike), rel=1e-5)
        assert sum(map(sum, by_rows)) == pytest.approx(0, abs=1e-4), "over rounds; over rollouts long failures weigh more"


def test_failures_that_run_long_lower_the_baseline_below_the_share_of_successes():
    (right,), wrong = earned(WEBRESEARCHER, [1, 9], [1.0, 0.0])
    assert right == pytest.approx(3.0)
    assert wrong == pytest.approx([-1 / 3] * 9)


def test_of_a_discounted_success_the_last_round_earns_most():
    right, wrong = earned(DISCOUNTED, [4, 2], [1.0, 0.0])
    assert right == sorted(right)
    assert right[0] < right[-1]
    raw = [0.995**i for i in (3, 2, 1, 0)] + [0.0, 0.0]
    assert right[0] - right[1] == pytest.approx((raw[0] - raw[1]) / pstdev(raw), rel=1e-3)
    assert wrong == pytest.approx([-fmean(raw) / pstdev(raw)] * 2, rel=1e-5)


def test_for_a_reply_of_one_token_the_ratio_of_the_row_is_the_tokens():
    index, generator = Index.of([[[1], [1, 1]], [[1, 1, 1]]]), torch.Generator().manual_seed(0)
    logp_T, old_T, credit_T = torch.randn(3, 6, generator=generator, dtype=torch.float64) * 3e-4
    one_T, clip = torch.ones(6, dtype=torch.float64), {"clip_low": 3e-4, "clip_high": 4e-4}
    have = {"logp_T": logp_T, "old_logp_T": old_T, "credit_T": credit_T, "weight_T": one_T, "index": index}
    torch.testing.assert_close(row_ratio(**clip).on(have), clipped_surrogate(**clip).on(have), rtol=0, atol=1e-15)


def test_the_recipe_imitates_reports_and_goes_on_by_itself():
    assert [stage.name for stage in WEBRESEARCHER_STREAM.plan] == ["imitate", "explore"]
    assert len({WEBRESEARCHER.fingerprint, ROLLOUT.fingerprint, DISCOUNTED.fingerprint}) == 3
