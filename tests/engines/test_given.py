"""Texts that begin alike are computed once, and each is as likely as alone; in every family of the fast path and in the generic one."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedModel

from strop.engines.embedded import EmbeddedEngine
from strop.engines.stems import portions, stems
from strop.lab.tabular import Table, TabularEngine, TabularPolicy
from strop.seams.context import Ctx, Handle
from strop.seams.likelihood import chances, likelihood

from .models import FAMILIES, VOCAB, make


def ctx_of(engine) -> Ctx:
    return replace(Ctx(0, None, None, {}, None), policies={"judge": Handle(engine, SimpleNamespace())})  # pyright: ignore


def asked_of(state: random.Random) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Beginnings of two chains under one prompt, each with an answer; options of one context; a chain as its own answer; one alone."""
    prompt = tuple(state.randrange(VOCAB) for _ in range(17))
    chains = [tuple(state.randrange(VOCAB) for _ in range(count)) for count in (40, 33)]
    asked = [((*prompt, *chain[:i], 5, 6), (7, state.randrange(VOCAB))) for chain in chains for i in range(0, len(chain), 3)]
    asked += [((*prompt, 9), (option,)) for option in range(4)]
    return [*asked, (prompt, chains[0]), ((3,), (4, 5)), ((3,), (4, 5))]


def alone(model: PreTrainedModel, context: tuple[int, ...], target: tuple[int, ...]) -> list[float]:
    with torch.no_grad():
        logp = model(torch.tensor([[*context, *target]]), use_cache=False).logits[0].float().log_softmax(-1)
    return [logp[len(context) + i - 1, token].item() for i, token in enumerate(target)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_text_is_as_likely_as_alone(family, folder):
    model, asked = make(family, folder), asked_of(random.Random(3))
    engine = EmbeddedEngine(model, name="judge")
    found = asyncio.run(likelihood(ctx_of(engine), "judge", asked))
    for (context, target), logp in zip(asked, found, strict=True):
        assert list(logp) == pytest.approx(alone(model, context, target), abs=2e-4)
    beginnings = {(*context, *target)[:i] for context, target in asked for i in range(1, len(context) + len(target))}
    assert engine.counters.to_json() == {**dict.fromkeys(engine.counters.to_json(), 0), "scored": len(beginnings)}, "each beginning once"


def test_an_engine_without_that_scores_text_by_text(qwen3):
    class Plain:
        """The protocol's own methods alone."""

        def __init__(self, engine):
            self.engine = engine
            self.open, self.extend, self.limit, self.name = engine.open, engine.extend, engine.limit, engine.name
            self.new = 0

        @property
        def version(self):
            return self.engine.version

        async def score(self, node):
            if self.new:
                self.new -= 1
                self.engine.deliver(self.engine.version + 1)
            return await self.engine.score(node)

    asked, engine = asked_of(random.Random(4))[::5], EmbeddedEngine(qwen3, name="judge")
    plain = Plain(engine)
    together = asyncio.run(likelihood(ctx_of(engine), "judge", asked))
    for new in (0, 2):  # weights that come in between: asked again, so that all is of one version
        plain.new = new
        found = asyncio.run(likelihood(ctx_of(plain), "judge", asked))
        assert [pytest.approx(one, abs=1e-4) for one in together] == found
    plain.new = 1000
    with pytest.raises(ValueError, match=r"new weights came to the policy 'judge' 3 times while it scored \d+ texts"):
        asyncio.run(likelihood(ctx_of(plain), "judge", asked))


def test_an_answer_is_the_same_to_the_bit_whatever_others_ask_meanwhile(qwen3):
    calls = [asked_of(random.Random(seed)) for seed in range(6)]

    async def all_at_once(engine, chosen):
        return await asyncio.gather(*(likelihood(ctx_of(engine), "judge", calls[i]) for i in chosen))

    alone = [asyncio.run(all_at_once(EmbeddedEngine(qwen3), [i]))[0] for i in range(6)]
    assert asyncio.run(all_at_once(EmbeddedEngine(qwen3), range(6))) == alone
    assert asyncio.run(all_at_once(EmbeddedEngine(qwen3), (4, 1, 3))) == [alone[i] for i in (4, 1, 3)]


def test_calls_that_hold_more_than_may_be_held_are_computed_in_portions(qwen3, monkeypatch):
    asked = asked_of(random.Random(1))
    whole = asyncio.run(likelihood(ctx_of(EmbeddedEngine(qwen3)), "judge", asked))
    monkeypatch.setattr("strop.engines.given.HELD", 1 << 15)
    small = EmbeddedEngine(qwen3)
    assert [pytest.approx(one, abs=1e-4) for one in whole] == asyncio.run(likelihood(ctx_of(small), "judge", asked))
    assert small.counters.scored > len({(*context, *target)[:i] for context, target in asked for i in range(1, len(context) + len(target))})


def test_chances_over_a_closed_set(qwen3):
    ctx, context, options = ctx_of(EmbeddedEngine(qwen3)), (1, 2, 3), [(4,), (5,), (6, 7)]
    found = asyncio.run(chances(ctx, "judge", context, options))
    by_hand = torch.tensor([sum(alone(qwen3, context, option)) for option in options]).softmax(0)
    assert found == pytest.approx(by_hand.tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="at least two options, each once; got 3"):
        asyncio.run(chances(ctx, "judge", context, [(4,), (5,), (4,)]))


def test_on_a_table():
    policy = TabularPolicy(2, Table(tasks=2).language, seed=5)
    engine = TabularEngine(policy)
    prompt = policy.renderer.prompt("1")
    language, logp_N = policy.language, policy.language.logp_N(policy.logits[1])

    async def drawn():
        node = await engine.generate(await engine.open(prompt, root="r"), max=99)
        whole = node.segment.tokens
        parts = [(prompt, whole), *(((*prompt, *whole[:i]), whole[i:]) for i in range(1, len(whole)))]
        return whole, await likelihood(ctx_of(engine), "judge", parts)

    whole, found = asyncio.run(drawn())
    assert sum(found[0]) == pytest.approx(logp_N[language.number(whole)].item(), abs=1e-6)
    assert found == [found[0][i:] for i in range(len(whole))]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([((1, 2), (3,)), ((1,), ())], "the target of pair 1 is empty"),
        ([((), (3,))], "the context of pair 0 is empty"),
        ([((1,) * 500, (2,) * 20)], "pair 0 has 500 \\+ 20 tokens, and 'judge' has 512 positions"),
        ([((1,), (VOCAB,))], f"token {VOCAB}, outside the model's {VOCAB}"),
    ],
)
def test_what_cannot_be_scored_is_refused(qwen3, asked, said):
    with pytest.raises(ValueError, match=said):
        asyncio.run(likelihood(ctx_of(EmbeddedEngine(qwen3, name="judge")), "judge", asked))


def test_a_policy_that_is_not_there(qwen3):
    with pytest.raises(ValueError, match=r"the policy 'jugde', and there is none. Did you mean 'judge'"):
        asyncio.run(likelihood(ctx_of(EmbeddedEngine(qwen3)), "jugde", [((1,), (2,))]))


def test_stems_hold_every_beginning_once_and_hang_little():
    state = random.Random(0)
    for _ in range(400):
        texts = [tuple(state.randrange(3) for _ in range(state.randint(1, 7))) for _ in range(state.randint(1, 14))]
        found, ends = stems(texts)

        def line(number: int) -> tuple[int, ...]:
            stem = found[number]  # noqa: B023
            return (line(stem.behind)[: stem.start] if stem.behind >= 0 else ()) + stem.tokens

        assert all(line(end)[: len(text)] == text and found[end].start < len(text) for text, end in zip(texts, ends, strict=True))
        assert all(stem.depth == (found[stem.behind].depth + 1 if stem.behind >= 0 else 0) for stem in found)
        assert sum(len(stem.tokens) for stem in found) == len({text[:i] for text in texts for i in range(1, len(text) + 1)})
        assert stems(state.sample(texts, len(texts)))[0] == found, "whatever their order"
        assert sorted(i for part in portions(texts, state.randint(1, 20)) for i in part) == list(range(len(texts)))
    chain = tuple(range(300))
    assert max(stem.depth for stem in stems([chain[:i] + (mark,) * 3 for i in range(1, 300) for mark in (-1, 999)])[0]) == 1
