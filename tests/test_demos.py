"""A supervised share beside reinforcement: demonstrations enter by the feed and are learned by a signal of their own."""

import asyncio
import json
from dataclasses import replace
from unittest import mock

import pytest
import torch

from strop import pico, train
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.run import create
from strop.seams.feed import Demos, WithDemos, demo
from strop.seams.objective import cross_entropy
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher

MIX = GRPO.but(
    "sft-mix",
    feed=WithDemos(demos=4),
    signals={"demo": Signal(cross_entropy(), on=teacher, reduce=means("rollout", "token"), weight=0.1)},
    sampler=replace(GRPO.sampler, n=4, max_tokens=8),
)


def small(tmp_path, method):
    recipe = Recipe(method=method, model=str(pico.path()), steps=1, tasks=2, eval_tasks=0, slots=16, lr=1e-3)
    return create(recipe, tmp_path / "run")


def test_demonstrations_are_learned_and_counted_apart_from_what_was_tried(tmp_path):
    run = small(tmp_path, MIX)
    line = asyncio.run(train.step(run))
    assert line["rollouts"] == 2 * 4
    assert line["loss"]["demo"] > 0
    record = json.loads(json.dumps(line))
    assert record["incidents"] == 0


def test_without_a_teacher_signal_demonstrations_change_nothing(tmp_path):
    alone = small(tmp_path / "a", GRPO.but(sampler=MIX.sampler))
    beside = small(tmp_path / "b", GRPO.but(sampler=MIX.sampler, feed=WithDemos(demos=4)))
    asyncio.run(train.step(alone))
    asyncio.run(train.step(beside))
    assert alone.digest_weights() == beside.digest_weights()


def test_supervised_learning_samples_nothing_and_gives_the_cross_entropy_of_the_gold_texts(tmp_path):
    run = small(tmp_path, SFT)
    tasks = [run.source.task("train", 0, i) for i in range(2)]
    logp = []
    for task in tasks:
        prompt, reply = run.policy.renderer.prompt(task.prompt), run.policy.renderer.reply(run.source.gold(task))
        with torch.no_grad():
            all_logp = run.policy.model(torch.tensor([[*prompt, *reply]])).logits[0].log_softmax(-1)
        logp += [all_logp[len(prompt) + i - 1, token].item() for i, token in enumerate(reply)]
    line = asyncio.run(train.step(run))
    assert line["loss"]["teacher"] == pytest.approx(-sum(logp) / len(logp), rel=1e-5)
    assert line["bill"]["decoded"] == line["bill"]["prefilled"] == line["rollouts"] == 0
    assert line["bill"]["trained"] > 0


def test_demonstrations_may_be_a_sources_worked_examples(tmp_path):
    run = small(tmp_path, SFT.but("worked", feed=Demos(text="worked"), tasks=2))
    task = run.source.task("train", 0, 0)
    gold = demo(task, "here", run.context())
    assert demo(task, "here", run.context(), "worked") == gold, "where there are none, the gold text"
    with mock.patch.object(type(run.source), "example", create=True, return_value="shown <answer>1</answer>"):
        line = asyncio.run(train.step(run))
        assert demo(task, "here", run.context(), "worked").rollouts[0].text == "shown <answer>1</answer>"
    assert line["loss"]["teacher"] > 0
    with pytest.raises(ValueError, match=r"Demos\(text='shown'\): gold or worked"):
        Demos(text="shown")
