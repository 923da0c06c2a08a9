"""The engine's promises: same bits whatever the schedule, counters in closed form, no hang."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from strop.engines.embedded import EmbeddedEngine
from strop.records import Sampling, Segment
from strop.seams.engine import Footprint, Node

from .models import VOCAB, Letters

TASKS, FORKS = 12, 5


def prompt_of(i: int) -> list[int]:
    return [(11 * i + j * j) % VOCAB for j in range(20 + 4 * i)]


def footprint_of(i: int) -> Footprint:
    return Footprint(20 + 4 * i + FORKS * 70 + 3 * (7 + 30), FORKS + 3)


async def tree(engine: EmbeddedEngine, i: int, delay: random.Random | None = None, keep: bool = True) -> list[Node]:
    """A fork at the prompt, then a turn of the environment and a second turn, forked again, under some children."""

    async def pause() -> None:
        for _ in range(delay.randrange(4) if delay else 0):
            await asyncio.sleep(0)

    async def branch(k: int, call: Any) -> list[Node]:
        await pause()
        first = await call
        if k >= 3:
            return [first]
        await pause()
        seen = await engine.extend(first, [(i + k + j) % VOCAB for j in range(3 + 2 * k)], kind="observation")
        second = engine.generate(seen, max=10 + 5 * k), engine.generate(seen, max=6, sampling=Sampling(0.5, allowed=tuple(range(30))))
        await pause()
        return [first, *await asyncio.gather(*second)] if k else [first, await second[0], await second[1]]

    await pause()
    async with engine.admit(Footprint(footprint_of(i).positions + 60, FORKS)):
        prompt = await engine.open(prompt_of(i), root=f"task-{i}")
        calls = [engine.generate(prompt, max=10 + 14 * k, keep=keep or k < 3) for k in range(FORKS)]
        return [node for nodes in await asyncio.gather(*(branch(k, call) for k, call in enumerate(calls))) for node in nodes]


def segments(engine: EmbeddedEngine, order: Any = range(TASKS), delay: int | None = None) -> dict[int, list[Segment]]:
    source = None if delay is None else random.Random(delay)

    async def run() -> dict[int, list[Segment]]:
        order_ = list(order)
        found = await asyncio.gather(*(tree(engine, i, source) for i in order_))
        return {i: [n.segment for n in nodes] for i, nodes in zip(order_, found, strict=True)}

    return asyncio.run(run())


@pytest.fixture(scope="module")
def reference(qwen3: PreTrainedModel) -> dict[int, list[Segment]]:
    engine = EmbeddedEngine(qwen3, seed=3)
    assert engine.grade == "exact"
    return segments(engine)


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_random_delays_leave_every_bit(qwen3: PreTrainedModel, reference: dict[int, list[Segment]], delay: int):
    assert segments(EmbeddedEngine(qwen3, seed=3), delay=delay) == reference


@pytest.mark.parametrize("slots", [16, 256, 5])
def test_slots_and_reverse_submission_leave_every_bit(qwen3: PreTrainedModel, reference: dict[int, list[Segment]], slots: int):
    assert segments(EmbeddedEngine(qwen3, seed=3, slots=slots), order=reversed(range(TASKS))) == reference


def test_a_task_alone_writes_what_it_writes_in_company(qwen3: PreTrainedModel, reference: dict[int, list[Segment]]):
    engine = EmbeddedEngine(qwen3, seed=3)
    for i in (0, 7):
        assert segments(engine, order=[i])[i] == reference[i]


def test_the_generic_path_is_schedule_free_too(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, seed=3, path="generic")
    assert engine.grade == "exact"
    forward = segments(engine, order=range(5))
    assert segments(EmbeddedEngine(qwen3, seed=3, path="generic", slots=7), order=reversed(range(5)), delay=5) == forward


def test_seed_step_and_root_each_change_the_draws(qwen3: PreTrainedModel):
    def first(seed: int, step: int, root: str) -> tuple[int, ...]:
        engine = EmbeddedEngine(qwen3, seed=seed)
        engine.begin(step)

        async def run() -> Node:
            return await engine.generate(await engine.open(prompt_of(0), root=root), max=30)

        return asyncio.run(run()).segment.tokens

    assert len({first(0, 0, "a"), first(1, 0, "a"), first(0, 1, "a"), first(0, 0, "b")}) == 4
    assert first(0, 0, "a") == first(0, 0, "a")


def test_an_ordinal_is_fixed_by_the_call_not_by_the_await(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3)

    async def run(backwards: bool) -> list[Segment]:
        node = await engine.open(prompt_of(1), root="x")
        calls = [engine.generate(node, max=8) for _ in range(4)]
        done = [await call for call in (reversed(calls) if backwards else calls)]
        return sorted((n.segment for n in done), key=lambda s: s.id)

    forwards = asyncio.run(run(False))
    assert [s.id for s in forwards] == ["0.0", "0.1", "0.2", "0.3"]
    assert asyncio.run(run(True)) == forwards


def expected_counts(found: dict[int, list[Segment]]) -> tuple[int, int]:
    prompts = sum(len(prompt_of(i)) for i in found)
    seen = sum(3 + 2 * k for _ in found for k in range(3))
    return prompts + seen, sum(len(s.tokens) for segments in found.values() for s in segments)


def test_counters_are_the_closed_form(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, seed=3)
    found = segments(engine)
    prefilled, decoded = expected_counts(found)
    counters = engine.counters
    assert (counters.prefilled, counters.decoded, counters.recomputed, counters.scored) == (prefilled, decoded, 0, 0)


def test_a_third_of_the_cache_leaves_an_exact_run_its_bits_and_an_evicting_run_its_numbers(
    qwen3: PreTrainedModel, reference: dict[int, list[Segment]]
):
    whole = sum(footprint_of(i).positions + 60 for i in range(TASKS))
    exact = EmbeddedEngine(qwen3, seed=3, cache=whole // 3)
    assert segments(exact) == reference
    assert exact.counters.recomputed == 0

    evicting = EmbeddedEngine(qwen3, seed=3, cache=600, evict=True)
    found = segments(evicting)
    assert evicting.counters.recomputed > 0
    assert (evicting.counters.prefilled, evicting.counters.decoded) == expected_counts(found)
    for i in range(TASKS):
        for a, b in zip(found[i], reference[i], strict=True):
            assert a.tokens == b.tokens
            assert a.logp == pytest.approx(b.logp, abs=1e-5)


def test_sixteen_samples_of_one_prompt_prefill_it_once(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, slots=4)

    async def run() -> None:
        node = await engine.open(prompt_of(0), root="a")
        await asyncio.gather(*(engine.generate(node, max=5, keep=False) for _ in range(16)))
        again = await engine.open(prompt_of(0), root="b")
        await engine.generate(again, max=5, keep=False)

    asyncio.run(run())
    assert (engine.counters.prefilled, engine.counters.decoded) == (20, 85)


SHOTS = [(7 * j + j * j) % VOCAB for j in range(100)]
"""What several prompts begin with: its first 96 tokens end where prompts are cut."""


async def asks(engine: EmbeddedEngine, which: range, leased: bool = False) -> list[tuple[int, ...]]:
    async def ask(i: int) -> list[tuple[int, ...]]:
        async with engine.admit(Footprint(500, 8)) if leased else nullcontext():
            node = await engine.open([*SHOTS, *prompt_of(i)], root=f"task-{i}")
            return [n.segment.tokens for n in await asyncio.gather(*(engine.generate(node, max=6, keep=False) for _ in range(8)))]

    return [tokens for found in await asyncio.gather(*map(ask, which)) for tokens in found]


@pytest.mark.parametrize("path", ["fast", pytest.param("generic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("leased", [True, False])
def test_what_prompts_begin_with_is_computed_once_for_all_tasks_of_a_step(qwen3: PreTrainedModel, path: Any, leased: bool):
    engine = EmbeddedEngine(qwen3, seed=3, path=path)
    together = asyncio.run(asks(engine, range(6), leased))
    own = sum(4 + len(prompt_of(i)) for i in range(6))
    assert (engine.counters.prefilled, engine.counters.recomputed) == (96 + own, 0)
    asyncio.run(asks(engine, range(6, 7), leased))  # nobody holds it any more, but it was asked for lately
    assert engine.counters.prefilled == 96 + own + 4 + len(prompt_of(6))
    engine.deliver(1)
    asyncio.run(asks(engine, range(6, 7), leased))
    assert engine.counters.prefilled == 96 + own + 96 + 2 * (4 + len(prompt_of(6)))

    alone: list[tuple[int, ...]] = []
    for i in range(6):
        engine = EmbeddedEngine(qwen3, seed=3, path=path)
        alone += asyncio.run(asks(engine, range(i, i + 1), leased))
    assert alone == together


def test_a_remembered_beginning_gives_way_to_a_task_that_needs_the_room(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, seed=3, cache=500)
    asyncio.run(asks(engine, range(2), leased=True))  # one at a time, each with the whole cache
    assert engine.counters.prefilled == 2 * 96 + sum(4 + len(prompt_of(i)) for i in range(2))
    assert not engine._store._recent


def test_the_head_runs_on_states_that_are_drawn_from(qwen3: PreTrainedModel, monkeypatch: pytest.MonkeyPatch):
    """Once a prompt and not once a reply, on no padding row beyond the least, and not on what is only kept to be built on."""
    engine, rows = EmbeddedEngine(qwen3), list[int]()
    head = engine.runner.head
    monkeypatch.setattr(engine.runner, "head", lambda state: rows.append(len(state)) or head(state))
    found = asyncio.run(asks(engine, range(3)))
    drawn_later = sum(len(tokens) - 1 for tokens in found)
    assert sum(rows) == 3 + drawn_later
    monkeypatch.setattr("strop.engines.embedded.LOGITS", 5 * VOCAB)
    rows.clear()
    assert asyncio.run(asks(engine, range(3))) == found
    assert (max(rows), sum(rows)) == (5, 3 + drawn_later)


def test_nodes_nobody_holds_free_their_cache(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, cache=200)

    async def run() -> None:
        for i in range(20):
            node = await engine.open(prompt_of(2), root=str(i))
            await engine.generate(node, max=60)
            del node
            gc.collect()

    asyncio.run(run())


def test_a_full_cache_and_a_large_footprint_name_the_setting(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, cache=100)

    async def fill() -> None:
        node = await engine.open(prompt_of(0), root="a")
        await asyncio.gather(*(engine.generate(node, max=60) for _ in range(4)))

    with pytest.raises(ValueError, match="cache of 100 positions is full"):
        asyncio.run(fill())
    with pytest.raises(ValueError, match="cache=101"):
        engine.admit(Footprint(101, 1))

    async def overrun() -> None:
        async with engine.admit(Footprint(30, 1)):
            await engine.generate(await engine.open(prompt_of(0), root="a"), max=60)

    with pytest.raises(ValueError, match="declared a footprint of 30"):
        asyncio.run(overrun())

    async def usable() -> Node:
        return await engine.generate(await engine.open(prompt_of(0), root="a"), max=5, keep=False)

    assert asyncio.run(usable()).stop == "length"


def test_a_lease_inside_a_lease_is_refused(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, cache=100)

    async def run() -> None:
        async with engine.admit(Footprint(30, 1)), engine.admit(Footprint(30, 1)):
            pass

    with pytest.raises(RuntimeError, match="already holds a lease"):
        asyncio.run(run())


def test_leases_are_given_in_order_and_survive_a_cancelled_waiter(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, cache=100)
    log: list[str] = []

    async def hold(name: str, positions: int) -> None:
        async with engine.admit(Footprint(positions, 1)):
            log.append(name)
            await asyncio.sleep(0.01)

    async def run() -> None:
        tasks = [asyncio.create_task(hold(n, p)) for n, p in (("a", 80), ("b", 90), ("c", 10), ("d", 90))]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert log == ["a", "c", "d"]
    asyncio.run(hold("e", 100))


def test_stops(qwen3: PreTrainedModel):
    text = Letters()
    free = EmbeddedEngine(qwen3, text, eos_ids=())

    async def one(engine: EmbeddedEngine, **more: Any) -> Node:
        return await engine.generate(await engine.open(prompt_of(3), root="s"), max=60, **more)

    plain = asyncio.run(one(free))
    assert plain.stop == "length"
    assert len(plain.segment.tokens) == 60
    written = text.decode(list(plain.segment.tokens))
    ended = asyncio.run(one(free, stop=("no such text~~~", written[20:23])))
    cut = written.index(written[20:23]) + 3
    assert (ended.stop, ended.segment.tokens) == ("stop", plain.segment.tokens[:cut])
    assert ended.segment.logp == plain.segment.logp[:cut]

    end = plain.segment.tokens[10]
    finished = asyncio.run(one(EmbeddedEngine(qwen3, text, eos_ids=(end,))))
    first = plain.segment.tokens.index(end) + 1
    assert (finished.stop, finished.segment.tokens) == ("finished", plain.segment.tokens[:first])
    assert finished.length == plain.parent.length + first


def test_allowed_and_author_travel_on_the_segment(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3, name="judge")
    engine.deliver(7)
    sampling = Sampling(temperature=0.8, allowed=(3, 4, 5))

    async def run() -> tuple[Node, tuple[float, ...]]:
        node = await engine.generate(await engine.open(prompt_of(0), root="a"), max=12, sampling=sampling)
        return node, await engine.score(node)

    node, scored = asyncio.run(run())
    assert set(node.segment.tokens) <= {3, 4, 5}
    assert node.segment.author is not None
    assert (node.segment.author.policy, node.segment.author.version, node.segment.author.sampling) == ("judge", 7, sampling)
    assert scored == pytest.approx(node.segment.logp, abs=1e-5)
    assert engine.counters.scored == node.length


def test_delivered_weights_are_the_ones_that_write(qwen3: PreTrainedModel):
    import copy

    model = copy.deepcopy(qwen3)
    engine = EmbeddedEngine(model)

    async def run(engine: EmbeddedEngine) -> Node:
        return await engine.generate(await engine.open(prompt_of(4), root="a"), max=20)

    before = asyncio.run(run(engine))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.ones_like(weight))
    engine.deliver(1)
    after = asyncio.run(run(engine))
    fresh = EmbeddedEngine(model)
    fresh.deliver(1)
    assert after.segment == asyncio.run(run(fresh)).segment
    assert after.segment.logp != before.segment.logp

    async def on_old() -> Node:
        return await engine.generate(before, max=4)

    assert asyncio.run(on_old()).segment.author.version == 1
    # the prompt was computed under version 1 already, for `after`
    assert engine.counters.recomputed == len(before.segment.tokens)


def test_a_failure_in_the_pump_reaches_everybody_and_the_engine_lives(qwen3: PreTrainedModel, monkeypatch: pytest.MonkeyPatch):
    engine = EmbeddedEngine(qwen3)

    async def run() -> list[Any]:
        node = await engine.open(prompt_of(0), root="a")
        return await asyncio.gather(*(engine.generate(node, max=9) for _ in range(20)), return_exceptions=True)

    good = asyncio.run(run())
    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "run", lambda *a, **k: 1 / 0)
        assert all(isinstance(r, ZeroDivisionError) for r in asyncio.run(run()))
    assert [n.segment for n in asyncio.run(run())] == [n.segment for n in good]


def test_diverged_weights_are_named(qwen3: PreTrainedModel):
    import copy

    model = copy.deepcopy(qwen3)
    engine = EmbeddedEngine(model)
    kept = model.model.norm.weight.clone()

    async def run() -> Node:
        return await engine.generate(await engine.open(prompt_of(0), root="a"), max=9)

    good = asyncio.run(run())
    model.model.norm.weight.data.fill_(float("nan"))
    engine.deliver(1)
    with pytest.raises(FloatingPointError, match="version 1 are not finite"):
        asyncio.run(run())
    model.model.norm.weight.data.copy_(kept)
    engine.deliver(0)
    assert asyncio.run(run()).segment == good.segment


def test_a_cancelled_or_abandoned_loop_leaves_a_usable_engine(qwen3: PreTrainedModel):
    engine = EmbeddedEngine(qwen3)

    async def give_up() -> None:
        node = await engine.open(prompt_of(0), root="a")
        calls = [asyncio.create_task(engine.generate(node, max=300)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        calls[0].cancel()
        await asyncio.sleep(0)
        raise KeyError("the caller failed")

    async def run() -> Node:
        return await engine.generate(await engine.open(prompt_of(0), root="a"), max=9)

    for _ in range(2):
        with pytest.raises(KeyError):
            asyncio.run(give_up())
        assert len(asyncio.run(run()).segment.tokens) == 9


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda e, n: e.generate(n, max=0), "at least 1"),
        (lambda e, n: e.generate(n, max=10**6), "positions"),
        (lambda e, n: e.generate(n, max=4, stop=("x",)), "tokenizer"),
        (lambda e, n: e.generate(n, max=4, sampling=Sampling(temperature=-1)), "temperature"),
        (lambda e, n: e.generate(n, max=4, sampling=Sampling(allowed=())), "allowed"),
        (lambda e, n: e.extend(n, [], kind="observation"), "at least one token"),
        (lambda e, n: e.extend(n, [VOCAB], kind="forced"), "outside"),
    ],
)
def test_bad_requests_say_what_to_do(qwen3: PreTrainedModel, call: Any, match: str):
    engine = EmbeddedEngine(qwen3)

    async def run() -> None:
        with pytest.raises(ValueError, match=match):
            call(engine, await engine.open(prompt_of(0), root="a"))

    asyncio.run(run())
