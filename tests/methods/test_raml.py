"""Training a part of a group: which part, and the mean over all of them; demonstrations of several ways; the probe against plain passes."""

import asyncio
import itertools
import math
from dataclasses import replace

import pytest
import torch

from strop.batch import pack
from strop.check.worlds import Bigram
from strop.evaluate import mg_pass_at_k
from strop.lab import probe
from strop.learning import backward, settle
from strop.methods.grpo import GRPO
from strop.methods.raml import RAML, formed, thought_and_answered
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.records import Author, Fate, Group, Rollout, Row, Segment, Task
from strop.run import create
from strop.seams.context import Handle
from strop.seams.credit import group_centered
from strop.seams.feed import Demos
from strop.seams.gate import DropFlat, TrainOnly, decide
from strop.seams.objective import policy_gradient
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.update import AdamW
from strop.tasks import source

REWARDS = [(1.0, 0.0, 0.0, 1.0), (0.0, 0.25, 0.5, 0.0)]


def groups() -> tuple[list[Group], dict[str, float | None]]:
    draw, made, rewards = torch.Generator().manual_seed(0), [], dict[str, float | None]()
    for h, given in enumerate(REWARDS):
        members = []
        for r, reward in enumerate(given):
            tokens = tuple(torch.randint(0, 6, (2 + (3 * h + 2 * r) % 5,), generator=draw).tolist())
            action = Segment("action", tokens, f"{r}", Author("actor", 0), (-1.0,) * len(tokens))
            members.append(Rollout((Row.of(Segment("prompt", (h,), "p"), action),), f"{h}/{r}"))
            rewards[f"{h}/{r}"] = reward
        made.append(Group(Task(str(h), {}, "s"), tuple(members)))
    return made, rewards


def gradient(trained: set[str], reduce=means("group", "rollout", "token")) -> torch.Tensor:
    made, rewards = groups()
    one = GRPO.but("mine", credit=(group_centered(),), signals={"policy": Signal(policy_gradient(), reduce)}, update=AdamW())
    fates = {unit: Fate("keep" if unit in trained else "context") for unit in rewards}
    batch, policy = pack(made, fates, rewards, 0), Bigram(1)
    batch = settle(one, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    backward(one, batch, policy, 10**6, 0.0, (0,))
    return policy.gradient()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_under_the_rollout_mean_a_part_by_chance_is_the_whole_in_expectation(n):
    parts = [
        {f"0/{i}" for i in a} | {f"1/{i}" for i in b}
        for a in itertools.combinations(range(4), n)
        for b in itertools.combinations(range(4), n)
    ]
    mean = torch.stack([gradient(part) for part in parts]).mean(0)
    torch.testing.assert_close(mean, gradient({f"{h}/{r}" for h in range(2) for r in range(4)}), rtol=1e-10, atol=1e-12)


def test_under_the_token_mean_it_is_not():
    """A long reply takes a larger share of a part than of the whole."""
    parts = [{f"0/{i}", f"1/{j}"} for i in range(4) for j in range(4)]
    mean = torch.stack([gradient(part, means("token")) for part in parts]).mean(0)
    assert (mean - gradient({f"{h}/{r}" for h in range(2) for r in range(4)}, means("token"))).abs().max() > 1e-3


def test_which_part():
    (group, flat), rewards = groups()[0], groups()[1]
    drawn = set()
    for step in range(60):
        fates = decide((TrainOnly(2),), group, rewards, key=(0, step))
        kept = frozenset(unit for unit, fate in fates.items() if fate.kind == "keep")
        assert {fate.why for unit, fate in fates.items() if unit not in kept} == {"not chosen"}
        assert len(kept) == 2
        drawn.add(kept)
    assert len(drawn) == 6, "each pair is drawn"
    for step in range(20):
        fates = decide((TrainOnly(3, "extremes"),), flat, rewards, key=(0, step))
        kept = {unit for unit, fate in fates.items() if fate.kind == "keep"}
        assert kept >= {"1/1", "1/2"}, "the two best"
        assert len(kept) == 3, "and one of the worst, by chance"
    assert {fate.kind for fate in decide((TrainOnly(9),), group, rewards).values()} == {"keep"}
    dropped = decide((DropFlat(tolerance=1), TrainOnly(2)), group, rewards)
    assert {fate.why for fate in dropped.values()} == {"flat"}
    for wrong in ({"n": 0}, {"rule": "extreme"}):
        with pytest.raises(ValueError, match=r"Did you mean 'extremes'|n is at least 1"):
            TrainOnly(**wrong)


def test_a_step_of_which_nothing_is_trained_is_an_ordinary_one(tmp_path):
    method = RAML.but("none", sampler=Independent(n=2, max_tokens=2), gate=(DropFlat(tolerance=9), TrainOnly(1)))
    run = create(Recipe(method=method, task="chain", steps=2, tasks=2, eval_tasks=0), tmp_path / "run")
    before = run.digest_weights()
    run.train()
    assert run.digest_weights() == before


def test_what_a_reply_out_of_form_costs():
    texts = ("<think>a</think> <answer>b</answer>\n", "<think></think>b", "<answer>b</answer>", "")
    assert [thought_and_answered(text) for text in texts] == [0, None, None, None]
    outcome_R, lenient_R, format_R = (torch.tensor(x) for x in ([1.0, 0, 0, 0], [1.0, 0, 1, 0], [0.0, 0, -1, -1]))
    assert formed(outcome_R, lenient_R, format_R).tolist() == [1, 0, -0.5, -1]


def test_steadiness_is_the_mean_over_thresholds_by_enumeration():
    for samples, right, k in ((8, 5, 4), (8, 8, 8), (6, 0, 3), (6, 4, 5), (9, 6, 2)):
        draws = list(itertools.combinations([1] * right + [0] * (samples - right), k))
        steady = [sum(sum(draw) >= math.ceil(i) for draw in draws) / len(draws) for i in range(math.ceil(k / 2) + 1, k + 1)]
        assert mg_pass_at_k(samples, right, k) == pytest.approx(2 / k * sum(steady))


def test_a_task_is_shown_several_ways(tmp_path):
    countdown = source("countdown")
    tasks = [countdown.task("train", 0, i) for i in range(30)]
    several = max((countdown.examples(task, 4) for task in tasks), key=len)
    assert len(several) == len(set(several)) > 1
    task = next(task for task in tasks if countdown.examples(task, 4) == several)
    assert all(countdown.grade(task, text)["outcome"] == 1 for text in several)
    method = SFT.but("ways", idea=("feed",), feed=Demos(text="worked", per_task=4))
    run = create(Recipe(method=method, task="countdown", steps=3, tasks=8, eval_tasks=0), tmp_path / "run")
    run.train()
    with pytest.raises(ValueError, match=r"source 'chain' has one answer to a task, and Demos\(per_task=4\) asks for examples"):
        create(Recipe(method=method, task="chain", steps=1, eval_tasks=0), tmp_path / "other").train()
    with pytest.raises(ValueError, match="are asked of `worked` texts"):
        Demos(per_task=2)


def test_the_probe_is_a_pass_of_its_own_for_each_beginning():
    from strop.engines.embedded import EmbeddedEngine
    from strop.policies.causal import load

    policy = load("pico")
    handle = Handle(EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos), policy.renderer)
    prompt = policy.renderer.prompt("3+4+5=?")
    texts = {"<think>3+4=7\n7+5=12</think><answer>12</answer>": True, "<think>3+4=8\n8+5=13</think><answer>13</answer>": False}
    said = [probe.Said(prompt, text, "12", right, text[-11:-9]) for text, right in texts.items()]
    chains = asyncio.run(probe.probed(handle, said))
    for chain in chains:
        thought = chain.said.text.partition("</think>")[0]
        assert "".join(chain.pieces) == thought
        for at, logp, held in zip(chain.at, chain.logp, chain.held, strict=True):
            begun = policy.renderer.plain(thought)[:at]
            context = [*prompt, *begun, *policy.renderer.plain(probe.OPENS)]
            answer = policy.renderer.plain("12")
            with torch.no_grad():
                logits = policy.model(torch.tensor([[*context, *answer]])).logits[0].log_softmax(-1)
            by_hand = sum(logits[len(context) - 1 + i, token].item() for i, token in enumerate(answer)) / len(answer)
            assert logp == pytest.approx(by_hand, abs=1e-4)
            assert held == (policy.renderer.text(begun).endswith(("12", "13")))
    thinner = asyncio.run(probe.probed(handle, said, every=5))
    for chain, thin in zip(chains, thinner, strict=True):
        assert thin.at == (*range(0, chain.at[-1], 5), chain.at[-1])
        assert thin.logp == pytest.approx([chain.logp[at] for at in thin.at], abs=1e-4)
    found = probe.summary(chains)
    assert found["curve"]["right"][0] == pytest.approx(chains[0].logp[0])
    assert found["auroc"]["forecast"] in (0.0, 1.0)
    assert chains[0].forecast == [logp for logp, held in zip(chains[0].logp, chains[0].held, strict=True) if not held][-1]
    with pytest.raises(ValueError, match="opens cannot be asked about"):
        asyncio.run(probe.probed(handle, said, opens="<|im_end|>"))
    with pytest.raises(ValueError, match="a beginning every 0 tokens"):
        asyncio.run(probe.probed(handle, said, every=0))


def test_how_far_a_word_moves_the_answer():
    said = probe.Said((1,), "", "12", True)
    one = probe.Chain(said, 5, (0, 1, 2, 3), (-4.0, -2.0, -2.0, -1.0), (False,) * 4, ("", "Wait", " so", " on"))
    assert probe.steps([one], ("Wait", "on", "W")) == {"": (3, pytest.approx(1 / 3), 0.5), "Wait": (1, 0.5, 0.5), "on": (1, 0.5, 0.5)}
    assert probe.curve([one, replace(one, logp=(-2.0, -2.0, -2.0, -3.0))], 1) == [-3.0, -2.0]
    assert probe.curve([], 1) == [None, None]
