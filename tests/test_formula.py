"""What `strop explain` prints is what the code computes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from reader import Reader, Value
from test_invariance import CASES
from worlds import Leaves, World, random_world

from strop.cli import main
from strop.identity import explain
from strop.learning import backward, reward_of, settle
from strop.method import Method
from strop.methods import METHODS, method
from strop.records import Scores
from strop.seams.context import keyed
from strop.seams.reward import outcome_and_format
from strop.seams.signal import linear, warmup_cosine
from strop.seams.update import AdamW

BATCHES = 50
FRACTION = 0.25
STEP = 1e-30
"""Of the complex step: so small that it squares to nothing."""


@pytest.fixture(autouse=True)
def in_float64():
    """Rewards and recorded log-probabilities too, which a run keeps in float32."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def structure(world: World) -> tuple[dict[str, list[int]], dict[str, list[float]], dict[str, list[float]]]:
    """From the records alone: parents of every unit, what each decision and rollout is, and where labels lie."""
    parents: dict[str, list[int]] = {letter: [] for letter in "TWRG"}
    facts: dict[str, list[float]] = {f"{n}_T": [] for n in ("trains", "trained", "action", "forced", "teacher")}
    facts |= {"weight_R": [], "truncated_R": [], "length_R": []}
    labels: dict[str, list[float]] = {"late": []}
    for group in world.groups:
        members = [r for r in group.rollouts if world.fates[r.id].kind in ("keep", "context")]
        if not members:
            continue
        parents["G"].append(0)
        for rollout in members:
            parents["R"].append(len(parents["G"]) - 1)
            facts["weight_R"].append(world.fates[rollout.id].weight)
            facts["truncated_R"].append(rollout.stop == "length")
            facts["length_R"].append(rollout.length)
            for row in rollout.rows:
                parents["W"].append(len(parents["R"]) - 1)
                for segment in row.segments:
                    for place in range(len(segment.tokens)) if segment.kind in ("action", "forced", "teacher") else ():
                        trains = segment.id in row.trains and world.fates[rollout.id].kind == "keep"
                        parents["T"].append(len(parents["W"]) - 1)
                        for kind in ("action", "forced", "teacher"):
                            facts[f"{kind}_T"].append(segment.kind == kind)
                        facts["trains_T"].append(trains)
                        facts["trained_T"].append(trains and segment.kind == "action")
                        labels["late"].append(any(s.start <= place < s.stop for s in segment.spans))
    return parents, facts, labels


def rewarded(world: World, one: Method) -> tuple[World, dict[str, list[float]]]:
    """The world with the method's own reward on random channels, and those channels of the rollouts in the batch."""
    rng = random.Random(world.seed)
    channels = sorted({"outcome_R", "lenient_R", *(name for name in one.reward.reads if name.endswith("_R"))})
    values: dict[str, dict[str, float | None]] = {}
    for unit, known in world.rewards.items():
        values[unit] = {c[:-2]: None if known is None else rng.choice((0.0, 1.0, rng.random())) for c in channels}
    rewards = reward_of(one, [r for g in world.groups for r in g.rollouts], Scores(values), FRACTION)
    inside = [r.id for g in world.groups for r in g.rollouts if world.fates[r.id].kind in ("keep", "context")]
    return World(world.groups, world.fates, rewards, world.seed), {c: [values[unit][c[:-2]] for unit in inside] for c in channels}


def compared(one: Method, text: str, seed: int) -> Iterator[tuple[str, float, float]]:
    """(what, the number that the printed text gives, the number that the code gives), for each minibatch of a random batch."""
    world, channels = rewarded(random_world(seed), one)
    parents, facts, labels = structure(world)
    batch = world.batch()
    count = len(parents["T"])
    rng = np.random.default_rng(seed)
    near = rng.choice((1e-4, 0.1, 0.5))
    start = batch.tracks["old_logp_T"].nan_to_num(-1.5).numpy()
    moving = {"logp_T": start + near * rng.normal(size=count), "entropy_T": rng.random(count)}
    moving["value_T"] = batch.tracks["old_value_T"].nan_to_num(0.0).numpy() + near * rng.normal(size=count)
    moving["logz_R"] = rng.normal(size=len(parents["R"]))
    along = {name: rng.normal(size=len(values)) for name, values in moving.items()}

    names = {name: Value(name[-1], np.array(values, dtype=complex)) for name, values in (facts | channels).items()}
    names |= {name: Value("T", track.numpy().astype(complex)) for name, track in batch.tracks.items()}
    names |= {name: Value(name[-1], moving[name] + 1j * STEP * along[name]) for name in moving}
    inside = [r for g in world.groups for r in g.rollouts if world.fates[r.id].kind in ("keep", "context")]
    nested_R = np.empty(len(inside), dtype=object)
    nested_R[:] = [tuple(r.keys.get("nested", ())) for r in inside]
    names["nested_RD"] = Value("R", nested_R)
    names["fraction"] = Value("", np.array([complex(FRACTION)]))

    batch = settle(one, batch.with_(place_T=torch.arange(count, dtype=torch.float64)))
    for number, mini in enumerate(batch.minibatches(2)):
        policy, key = Leaves(moving, batch.units), (seed, 0, number)
        said = backward(one, mini, policy, 10**6, FRACTION, key)
        here, noise = np.zeros(count, dtype=bool), {name: np.ones(count) for name in one.signals}
        places = mini.tracks["place_T"].long().numpy()
        here[places] = True
        for name in one.signals:
            draw = keyed(*key, name, "share")
            noise[name][places] = [draw.random() for _ in places]
        reader = Reader(parents, names, {label: np.array(values) for label, values in labels.items()})
        read = reader.read(text, here, {name: values.astype(complex) for name, values in noise.items()})
        yield "lr", read["lr"].numbers[0].real, one.update.lr * float(one.update.schedule.on({"fraction": FRACTION}))
        for name in one.signals:
            yield name, read[name].numbers[0].real, said[f"loss/{name}"]
        moved = {name: track.grad for name, track in policy.tracks.items() if track.grad is not None}
        slope = sum(float((grad * torch.tensor(along[name])).sum()) for name, grad in moved.items())
        yield "slope", read["loss"].numbers[0].imag / STEP, slope
        yield "loss", read["loss"].numbers[0].real, sum(s.weight_at(FRACTION) * said[f"loss/{name}"] for name, s in one.signals.items())


LOOSE = {name: one for name, one in CASES.items() if not name.startswith("method ") and name != "never zero"}
"""Every part by itself, around GRPO; `never zero` is a test's own part and has no formula."""
LOOSE["schedules"] = CASES["everything"].but(
    reward=outcome_and_format(format_share=0.3),
    signals={
        "kl": CASES["everything"].signals["kl"].but(weight=linear(start=0.5, end=0.1)),
        "value": CASES["everything"].signals["value"].but(weight=warmup_cosine(warmup=0.1, floor=0.2)),
        "entropy": CASES["everything"].signals["entropy"].but(weight=warmup_cosine(warmup=0.5)),
    },
    update=AdamW(schedule=linear()),
)


def largest(one: Method, text: str, batches: int) -> tuple[float, int]:
    """Largest difference between text and code, relative where numbers exceed 1; and how many slopes were not 0."""
    rows = [row for seed in range(batches) for row in compared(one, text, seed)]
    return max(abs(read - computed) / max(1.0, abs(computed)) for _, read, computed in rows), sum(
        w == "slope" and c != 0 for w, _, c in rows
    )


@pytest.mark.parametrize("name", METHODS)
def test_what_explain_prints_of_a_method_is_what_the_code_computes(name, capsys):
    main(["explain", name])
    difference, felt = largest(method(name), capsys.readouterr().out, BATCHES)
    assert difference <= 1e-10
    assert felt >= BATCHES


@pytest.mark.parametrize("name", LOOSE)
def test_the_formula_of_every_part_is_what_it_computes(name):
    difference, felt = largest(LOOSE[name], explain(LOOSE[name]), 8)
    assert difference <= 1e-10
    assert felt >= 2


def test_a_sum_of_methods_computes_what_it_prints(capsys):
    main(["explain", "gspo + dr-grpo.only(credit)"])
    assert largest(method("gspo + dr-grpo.only(credit)"), capsys.readouterr().out, 8)[0] <= 1e-10


@pytest.mark.parametrize(
    ("name", "said", "wrongly"),
    [
        ("grpo", "mean(reward_R, group)", "mean(reward_R, batch)"),
        ("grpo", "std(reward_R, group)", "std(reward_R, batch)"),
        ("grpo", "1 + 0.2", "1 + 0.28"),
        ("grpo", "1 - 0.2", "1 - 0.1"),
        ("grpo", "min(ratio_T", "max(ratio_T"),
        ("grpo", "active(rollout, group)", "count(rollout, group)"),
        ("grpo", "active(group, batch)", "count(group, batch)"),
        ("grpo", "count(token, rollout)", "count(token, group)"),
        ("grpo", "weight_R * ", ""),
        ("grpo", "where trains_T and action_T", "where action_T"),
        ("grpo", "where trains_T and action_T", "where trains_T"),
        ("ppo", "where(truncated_R, old_value_T, 0)", "0"),
        ("ppo", "batch, trained_T)", "batch)"),
        ("ppo", "last(rollout)", "trained_T"),
        ("ppo", "0.5 * value", "1 * value"),
        ("reinforce++", "0.01 * log_ratio_T", "0.01 * log_ratio_T ** 2"),
        ("cispo", "detach(clip(ratio_T, 0, 1 + 0.28))", "clip(ratio_T, 0, 1 + 0.28)"),
        ("rloo", "max(n_G - 1, 1)", "max(n_G, 1)"),
        ("gspo", "mean(logp_T - old_logp_T, rollout)", "sum(logp_T - old_logp_T, rollout)"),
    ],
)
def test_a_wrong_word_in_what_is_printed_is_noticed(name, said, wrongly):
    text = explain(method(name))
    assert said in text
    assert largest(method(name), text.replace(said, wrongly), 12)[0] > 1e-6
