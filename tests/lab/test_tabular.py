"""A run on tables is a run: it learns, repeats, resumes; and what it should sample is known exactly."""

import asyncio
import json

import pytest
import torch

from strop.directory import read_metrics
from strop.evaluate import evaluate
from strop.lab import tabular
from strop.lab.tabular import Modes, Table, TabularEngine, TabularPolicy
from strop.recipe import Recipe
from strop.records import Sampling
from strop.seams.context import Handle

RECIPE = Recipe(method="grpo", model="table", steps=6, tasks=4, group=4, lr=0.1, eval_tasks=0, checkpoint_every=3)
SOURCE = Table(tasks=4)


def lines(directory):
    return [json.dumps({k: v for k, v in line.items() if k != "t"}) for line in read_metrics(directory)]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_engine_draws_each_sequence_as_often_as_the_table_says_and_records_what_the_learner_computes(temperature):
    policy = TabularPolicy(2, SOURCE.language, seed=3)
    engine, count = TabularEngine(policy), 4000

    async def drawn():
        root = await engine.open(policy.renderer.prompt("1"), root="r")
        nodes = [await engine.generate(root, max=99, sampling=Sampling(temperature)) for _ in range(count)]
        return [(node, await engine.score(node)) for node in nodes]

    with torch.no_grad():
        logp_N = SOURCE.language.logp_N(policy.logits[1] / temperature)
    seen_N = torch.zeros(SOURCE.language.count, dtype=torch.float64)
    for node, scored in asyncio.run(drawn()):
        number = SOURCE.language.number(node.segment.tokens)
        seen_N[number] += 1
        assert sum(node.segment.logp) == pytest.approx(logp_N[number].item(), abs=1e-5)
        assert scored == node.segment.logp
        assert (node.stop == "length") == bool(SOURCE.language.cut_N[number])
    expected_N = count * logp_N.exp()
    chi_square = ((seen_N - expected_N).square() / expected_N)[expected_N > 5].sum().item()
    assert chi_square < 1.7 * int((expected_N > 5).sum())


def test_greedy_decoding_takes_the_likeliest_token():
    policy = TabularPolicy(1, SOURCE.language)
    engine = TabularEngine(policy)

    async def first():
        root = await engine.open(policy.renderer.prompt("0"), root="r")
        return await engine.generate(root, max=1, sampling=Sampling(temperature=0))

    node = asyncio.run(first())
    assert node.segment.tokens == (int(policy.logits[0, 0].argmax()),)
    assert node.segment.logp == (0.0,)


LATER = [pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "dapo", "reinforce++", "cispo")]


@pytest.mark.parametrize("method", ["grpo", "ppo", *LATER])
def test_a_run_raises_the_exact_pass_rate(tmp_path, method):
    run = tabular.create(RECIPE.but(method=method, steps=15), tmp_path / "run", SOURCE)
    before = sum(run.policy.rates(SOURCE)) / 4
    run.train()
    assert sum(run.policy.rates(SOURCE)) / 4 > before + 0.15
    assert all(line["mismatch"] < 1e-6 for line in read_metrics(tmp_path / "run")[:1])


def test_the_reported_reward_is_a_sample_of_the_exact_rate(tmp_path):
    source = Table(tasks=16)
    run = tabular.create(RECIPE.but(tasks=16, group=64, steps=1, lr=0.0), tmp_path / "run", source)
    run.train()
    rate = sum(run.policy.rates(source)) / 16
    assert read_metrics(tmp_path / "run")[0]["reward"] == pytest.approx(rate, abs=4 * (0.25 / 1024) ** 0.5)


def test_the_seed_reaches_the_samples_and_the_same_seed_repeats_the_run(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tabular.create(RECIPE.but(seed=seed), tmp_path / name, SOURCE).train()
    assert lines(tmp_path / "a") == lines(tmp_path / "b") != lines(tmp_path / "c")


def test_a_run_that_stopped_goes_on_as_if_it_had_not(tmp_path):
    recipe = RECIPE.but(method="reinforce++")
    tabular.create(recipe, tmp_path / "whole", SOURCE).train()

    def stop(line):
        if line["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tabular.create(recipe, tmp_path / "cut", SOURCE).train(show=stop)
    again = tabular.resume(tmp_path / "cut", SOURCE)
    assert again.step == 3
    again.train()
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_evaluation_estimates_the_exact_rates():
    source = Table(tasks=8)
    policy = TabularPolicy(8, source.language, seed=1)
    handle = Handle(TabularEngine(policy), policy.renderer)
    found = asyncio.run(evaluate(handle, source, 8, samples=200, sampling=Sampling(), max_tokens=9))
    low, high = found.interval("pass@1")
    assert low <= sum(policy.rates(source)) / 8 <= high
    for seen, rate in zip(found.values["pass@1"], policy.rates(source), strict=True):
        assert seen == pytest.approx(rate, abs=4 * (0.25 / 200) ** 0.5)


def test_gold_texts_are_right_and_tasks_differ():
    tasks = [SOURCE.task("train", 0, i) for i in range(4)]
    assert all(SOURCE.grade(task, SOURCE.gold(task))["outcome"] == 1 for task in tasks)
    assert len({task.id for task in tasks}) == 4
    letters = TabularPolicy(4, SOURCE.language).renderer
    assert letters.text(letters.reply("ba")) == "ba"


def test_modes_are_balls_that_do_not_meet():
    source = Modes(tasks=2, vocab=9, length=4)
    for task in range(2):
        balls = [set(ball) for ball in source.balls(task)]
        assert [len(ball) for ball in balls] == [1 + 4 * 7] * 3, "a centre and every word with one letter changed"
        assert len(set().union(*balls)) == 3 * 29
        assert set(source.task("train", 0, task).needs["right"]) == set().union(*balls)
    assert source.balls(0) != source.balls(1)


def test_what_a_table_cannot_do_is_refused_in_words():
    policy = TabularPolicy(1, SOURCE.language)
    with pytest.raises(ValueError, match="number of a task below 1"):
        policy.renderer.prompt("7")
    root = asyncio.run(TabularEngine(policy).open((4,), root="r"))
    with pytest.raises(ValueError, match="sampled whole"):
        TabularEngine(policy).generate(root, max=3, sampling=Sampling(top_p=0.9))
