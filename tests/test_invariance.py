"""Loss and gradient do not depend on how a minibatch is cut into forward passes."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from worlds import ONE_ROW, SHAPES, Bigram, World, as_dtype, as_pairs, worlds

from strop.batch import Batch
from strop.check.worlds import labelled, scored_spans
from strop.learning import backward, coarsest, settle
from strop.method import Method
from strop.methods import METHODS, method
from strop.methods.flowrl import FLOWRL, group_balance, trajectory_balance
from strop.methods.pathfinder import PATHFINDER_RL
from strop.records import Fate, Group, Rollout, Row, Scores, Segment, Task
from strop.seams import correction, credit, objective
from strop.seams.credit import batch_whiten, gae, group_standardized, kl_in_reward
from strop.seams.head import value
from strop.seams.index import Index
from strop.seams.objective import clipped_surrogate, clipped_value, cross_entropy, entropy_bonus, kl_to
from strop.seams.part import Part, part
from strop.seams.reduction import PER_SEQUENCE, PER_TOKEN, means, over, power_of, sum_over
from strop.seams.signal import Signal, actions, forced, random_share, spans, teacher
from strop.seams.tree import SegmentTree
from strop.seams.update import AdamW

some = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
few = settings(some, max_examples=12)


def parts(module) -> list[Part]:
    return [value for _, value in inspect.getmembers(module, lambda v: isinstance(v, Part)) if value.fn.__module__ == module.__name__]


REDUCTIONS = (
    PER_TOKEN,
    PER_SEQUENCE,
    means("group", "rollout", "row", "token"),
    means("group", "rollout", over("token", 7)),
    means("group", sum_over("rollout"), power_of("token", 0.5)),
    means(power_of("group", 0.3), "token"),
    means("group", "rollout"),
    means(sum_over("rollout")),
    means("group", "row"),
    means("row"),
)


def built(
    name: str, signals: dict[str, Signal], *, chain: tuple[Part, ...] = (group_standardized(),), correct: Part = correction.none
) -> Method:
    """A method of its own around one part, with everything a part may ask for."""
    scored = {name: getattr(PATHFINDER_RL, name) for name in ("marks", "graders", "policies")}
    made = {"correction": correct, "heads": (value,), "reference": True, "update": AdamW(), "sampler": SegmentTree()}
    return Method(name, signals, chain, **made, **scored)


def for_value(loss: Part) -> tuple[Part, ...]:
    return (gae(), batch_whiten()) if loss.name == "clipped_value" else (group_standardized(),)


SURROGATE = Signal(clipped_surrogate(), PER_SEQUENCE)
EVERYTHING = built(
    "everything",
    {
        "policy": SURROGATE,
        "kl": Signal(kl_to(), PER_TOKEN, on=random_share(0.5), weight=0.1),
        "entropy": Signal(entropy_bonus(), means("group", "token"), on=spans("late"), weight=0.01),
        "sft": Signal(cross_entropy(), PER_TOKEN, on=teacher | forced, weight=0.3),
        "both": Signal(cross_entropy(), PER_TOKEN, on=teacher | actions),
        "value": Signal(clipped_value(), PER_TOKEN),
        "sequence": Signal(objective.sequence_ratio(), means("group", "rollout"), weight=0.2),
    },
    chain=(kl_in_reward(estimator="k3"), gae(gamma=0.9, lam=0.8), batch_whiten()),
    correct=correction.truncated(cap=1.1, level="sequence"),
)


@part(grain="rollout")
def never_zero(logp_T: Tensor, index: Index) -> Tensor:
    """A loss that a rollout without decisions has too: it must not count in passes that do not hold the rollout."""
    return 3.0 - index.mean(logp_T, "token", "rollout")


CASES: dict[str, Method] = {
    "everything": EVERYTHING,
    "never zero": built("never zero", {"it": Signal(never_zero, means("group", "rollout"))}),
}
for name in METHODS:
    CASES[f"method {name}"] = method(name)
for form in ({}, {"low": None, "high": None}, {"low": None, "high": 10.0, "length": "sum"}):
    CASES[f"trajectory balance {form}"] = FLOWRL.but(signals={"policy": Signal(trajectory_balance(**form), means("rollout"))})
CASES["group balance"] = built("group balance", {"it": Signal(group_balance(), means("group"))})
for loss in parts(objective):
    for reduce in REDUCTIONS:
        if reduce.grain == loss.grain and (loss is objective.clipped_surrogate or reduce in (PER_SEQUENCE, *REDUCTIONS[6:])):
            label = f"objective {loss.name}, {reduce.words()}"
            CASES[label] = built(label, {"it": Signal(loss(), reduce)}, chain=for_value(loss))
CASES["objective dual clip"] = built("dual", {"it": Signal(clipped_surrogate(dual_clip=1.2), PER_TOKEN)})
for link in parts(credit):
    before = (group_standardized(),) if {"credit_R", "credit_T"} & set(link.reads) else ()
    before = (credit.by_row(gamma=0.7),) if "reward_W" in link.reads else before
    after = {
        "reward_T": (credit.returns_to_go(),),
        "reward_W": (credit.row_standardized(),),
        "reward_R": (group_standardized(),),
        "score_T": (credit.step_returns(),),
    }.get(link.gives, ())
    made = link().reading(score_T="least_step_T") if "score_T" in link.reads else link()
    made = made.reading(greedy_R="length_R") if "greedy_R" in link.reads else made  # any weights do for what is asked here
    CASES[f"credit {link.name}"] = built(link.name, {"it": SURROGATE}, chain=(*before, made, *after))
for correct in parts(correction):
    for level in ("token", "sequence") if "level" in correct.constants else ("",):
        CASES[f"correction {correct.name} {level}"] = built(
            correct.name, {"it": SURROGATE}, correct=correct(level=level) if level else correct
        )


def shapes_for(one: Method) -> tuple[str, ...]:
    """A head with one number per prompt refuses rollouts of several rows; all else takes every shape."""
    return ONE_ROW if one.needs("logz_R") else SHAPES


def fitted(one: Method, world: World) -> World:
    """With pairs, where the method learns from them, and with scores of spans where its graders give some."""
    world = as_pairs(world) if one.paired else world
    spans, said = scored_spans(one, world.fates, random.Random(world.seed)), labelled(one, world.fates, random.Random(world.seed))
    return replace(world, scores=world.scores | Scores(said, spans=spans))


def atoms(mini: Batch, grain: str, used_T: Tensor | None = None) -> list[list[int]]:
    used_W = mini.index.sum((mini.trains_T if used_T is None else used_T).long(), "token", "row").tolist()
    of_W = mini.index.up("row", "row" if grain == "token" else grain).tolist()
    made: dict[int, list[int]] = {}
    for w, atom in enumerate(of_W):
        if used_W[w]:
            made.setdefault(atom, []).append(w)
    return list(made.values())


def one_atom(mini: Batch, budget: int, grain: str, used_T=None) -> list[list[int]]:
    return atoms(mini, grain)


def shuffled(mini: Batch, budget: int, grain: str, used_T=None) -> list[list[int]]:
    rng, packs = random.Random(budget), list[list[int]]()
    loose = atoms(mini, grain, used_T)
    rng.shuffle(loose)
    for atom in loose:
        if packs and rng.random() < 0.5:
            packs[-1] += atom
        else:
            packs.append(list(atom))
    return packs


@contextmanager
def cut_by(how) -> Iterator[None]:
    if how is None:
        yield
    else:
        with mock.patch.object(Batch, "micros", how):
            yield


SPLITS = {
    "one atom": (one_atom, 0),
    "64": (None, 64),
    "120": (None, 120),
    "240": (None, 240),
    "shuffled": (shuffled, 1),
    "shuffled again": (shuffled, 2),
}


def results(one: Method, batch: Batch, policy, how=None, budget: int = 10**6) -> Iterator[tuple[dict[str, float], Tensor]]:
    with cut_by(how):
        for number, mini in enumerate(batch.minibatches(2)):
            yield backward(one, mini, policy, budget, 0.25, (1, 2, number)), policy.gradient()


def agree(one: Method, batch: Batch, policy, tolerance: float, splits=SPLITS) -> None:
    whole = list(results(one, batch, policy))
    room = 4 if coarsest(one) == "group" else 1  # a pass holds a whole group
    for name, (how, budget) in splits.items():
        for (facts, gradient), (wanted, slope) in zip(results(one, batch, policy, how, room * budget), whole, strict=True):
            assert torch.isfinite(slope).all(), one.name
            assert torch.isfinite(gradient).all(), one.name
            assert (gradient - slope).abs().max() <= tolerance * slope.abs().max().clamp_min(1e-2), (one.name, name)
            for signal in one.signals:
                loss, expected = facts[f"loss/{signal}"], wanted[f"loss/{signal}"]
                assert abs(loss - expected) <= tolerance * max(abs(expected), 1.0), (one.name, name, signal)


def parts_later(names):
    """Whole methods for everybody, part by part in CI."""
    return [pytest.param(name, marks=[] if name.startswith("method ") or name == "everything" else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("name", parts_later(CASES))
@few
@given(st.data())
def test_loss_and_gradient_do_not_depend_on_micro_batching(name, data):
    one = CASES[name]
    world = data.draw(worlds(shapes_for(one)))
    agree(one, settle(one, fitted(one, world).batch()), world.policy, 1e-12)


@pytest.mark.full  # every method again, in float32
@few
@given(worlds(), worlds(ONE_ROW))
def test_in_float32_too(any_world, one_row):
    for name in ("everything", *(f"method {m}" for m in METHODS)):
        one = CASES[name]
        world = one_row if shapes_for(one) == ONE_ROW else any_world
        agree(one, settle(one, fitted(one, world).batch(torch.float32)), Bigram(world.seed, torch.float32), 1e-5)


@part()
def mean_of_this_pass(logp_T: Tensor, credit_T: Tensor) -> Tensor:
    """The mistake of most libraries: the mean is over what happens to share the pass."""
    return -logp_T * credit_T / len(logp_T)


@part(grain="rollout")
def mean_of_these_rollouts(logp_T: Tensor, credit_T: Tensor, index: Index) -> Tensor:
    return -index.sum(logp_T * credit_T, "token", "rollout") / index.active("rollout").sum()


PLANTED = [Signal(mean_of_this_pass, means(sum_over("token"))), Signal(mean_of_these_rollouts, means(sum_over("rollout")))]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda signal: signal.objective.name)
def test_a_planted_mean_per_pass_is_caught(planted):
    one = built("planted", {"it": planted})

    @some
    @given(worlds())
    def fails(world):
        agree(one, settle(one, world.batch()), world.policy, 1e-12)

    with pytest.raises(AssertionError):
        fails()


@some
@given(worlds(shapes=("plain", "turns", "restarted", "tree")))
def test_dropped_rollouts_leave_no_trace(world):
    one = CASES["everything"]
    kept = [g.rollouts for g in world.groups]
    without = [
        type(group)(group.task, tuple(r for r in members if world.fates[r.id].kind != "drop"), id=group.id)
        for group, members in zip(world.groups, kept, strict=True)
    ]
    gone = type(world)(without, world.fates, world.rewards, world.seed)
    for (facts, gradient), (wanted, slope) in zip(
        results(one, settle(one, gone.batch()), world.policy), results(one, settle(one, world.batch()), world.policy), strict=True
    ):
        assert torch.equal(gradient, slope)
        assert facts == wanted


@some
@given(worlds())
def test_the_order_of_groups_changes_nothing_within_one_minibatch(world):
    one = CASES["method ppo"]
    batch = settle(one, world.batch())
    order = list(range(batch.index.groups))
    random.Random(world.seed).shuffle(order)
    policy, found = world.policy, []
    for groups in (None, order):
        for mini in batch.minibatches(max(len(order), 1), groups):
            backward(one, mini, policy, 10**6, 0.0, (0,))
        found.append(policy.gradient())
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@some
@given(worlds())
def test_minibatches_hold_every_row_once_and_whole_groups(world):
    batch = world.batch()
    order = list(range(batch.index.groups))
    random.Random(world.seed).shuffle(order)
    minis = list(batch.minibatches(2, order))
    assert sorted(row.tokens for mini in minis for row in mini.rows) == sorted(row.tokens for row in batch.rows)
    held = [list(dict.fromkeys(mini.index.up("row", "group").tolist())) for mini in minis]
    assert [group for groups in held for group in groups] == order
    assert all(len(groups) == 2 for groups in held[:-1])


@some
@given(worlds())
def test_passes_stay_within_the_budget_and_never_split_an_atom(world):
    batch = world.batch()
    for grain in ("token", "row", "rollout", "group"):
        for budget in (64, 120, 240):
            largest = max((max(len(batch.rows[w].tokens) for w in atom) * len(atom) for atom in atoms(batch, grain)), default=0)
            if largest > budget:
                with pytest.raises(ValueError, match="raise token_budget"):
                    batch.micros(budget, grain)
                continue
            packs = batch.micros(budget, grain)
            assert sorted(w for pack in packs for w in pack) == sorted(w for atom in atoms(batch, grain) for w in atom)
            for pack in packs:
                assert max(len(batch.rows[w].tokens) for w in pack) * len(pack) <= budget
                assert all(set(atom) <= set(pack) or not set(atom) & set(pack) for atom in atoms(batch, grain))


@some
@given(worlds(shapes=("plain", "turns")))
def test_doubling_every_fate_weight_doubles_the_gradient(world):
    one = CASES["method grpo@strop-1"]
    double = {unit: Fate(fate.kind, 2 * fate.weight) for unit, fate in world.fates.items()}
    heavy = type(world)(world.groups, double, world.rewards, world.seed)
    light = [slope for _, slope in results(one, settle(one, world.batch()), world.policy)]
    for slope, (_, gradient) in zip(light, results(one, settle(one, heavy.batch()), world.policy), strict=True):
        assert torch.equal(gradient, 2 * slope)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["context", "drop"])
def test_a_batch_that_trains_nothing_has_no_gradient_and_the_same_facts(name, kind):
    one, policy = CASES[name], Bigram(0)
    prompt, action = Segment("prompt", (1, 2), "p"), Segment("action", (3, 4), "a", logp=(-1.0, -1.0))
    group = Group(Task("p", {}, "s"), tuple(Rollout((Row.of(prompt, action),), f"r{i}") for i in range(2)), id="g")
    world = fitted(one, World([group], {f"r{i}": Fate(kind) for i in range(2)}, {"r0": 0.0, "r1": 1.0}, 0))
    for mini in (settle(one, world.batch()), *settle(one, world.batch()).minibatches(1)):
        facts = backward(one, mini, policy, 64, 0.0, (0,))
        assert not policy.gradient().any()
        assert set(facts.values()) == {0.0}
        assert {f"loss/{signal}" for signal in one.signals} < set(facts)


@pytest.mark.parametrize("held", [pytest.param(2**25, id="all logits", marks=pytest.mark.slow), pytest.param(3 * 32, id="three decisions")])
def test_a_real_model_agrees_with_itself_however_the_batch_is_cut_and_padded(held, monkeypatch):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from strop.policies import causal
    from strop.policies.causal import CausalPolicy

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=64, attn_implementation="sdpa",
    )  # fmt: skip
    policy = CausalPolicy(Qwen3ForCausalLM(config).double().eval(), SimpleNamespace(eos_token_id=0), "tiny", heads=(value, *FLOWRL.heads))
    torch.nn.init.normal_(policy.heads["value"].weight)

    def gradient() -> Tensor:
        flat = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in policy.parameters().values()])
        policy.model.zero_grad(), policy.heads.zero_grad()
        return flat

    policy.gradient = gradient

    whole = SimpleNamespace(evaluate=policy.evaluate, gradient=gradient)  # all decisions at once, by torch's own graph

    @settings(few, max_examples=5 if held == 2**25 else 2)
    @given(worlds(), worlds(ONE_ROW))
    def check(any_world, one_row):
        for name in ("everything", "method grpo@strop-1", "method gspo", "method ppo", "method flowrl"):
            drawn = one_row if shapes_for(CASES[name]) == ONE_ROW else any_world
            batch = as_dtype(fitted(CASES[name], drawn).batch(), torch.float64)
            batch = settle(CASES[name], batch)
            monkeypatch.setattr(causal, "LOGITS_AT_ONCE", 2**25)
            wanted = list(results(CASES[name], batch, whole))
            monkeypatch.setattr(causal, "LOGITS_AT_ONCE", held)
            for (_, gradient), (_, slope) in zip(results(CASES[name], batch, policy), wanted, strict=True):
                assert (gradient - slope).abs().max() <= 1e-12 * slope.abs().max().clamp_min(1e-2), name
            agree(CASES[name], batch, policy, 1e-12)

    check()
