"""Is what a method prints what it computes? The text, read by `check.reader`, against the code: loss and slope on random batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from strop.check.reader import Reader, Value
from strop.check.worlds import Leaves, World, as_pairs, random_world, scored_spans
from strop.learning import backward, reward_of, settle
from strop.method import Method
from strop.records import Scores
from strop.seams.context import Progress, keyed
from strop.seams.mark import channel
from strop.sense import channels_read

FRACTION = 0.25
STEP = 1e-30
"""Of the complex step: so small that it squares to nothing."""


@contextmanager
def in_float64() -> Iterator[None]:
    """Rewards and recorded log-probabilities too, which a run keeps in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


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


def rewarded(world: World, one: Method) -> tuple[World, dict[str, list[float | None]]]:
    """The world with the method's own reward on random channels, and those channels of the rollouts in the batch."""
    rng = random.Random(world.seed)
    world = as_pairs(world) if one.paired else world
    paired = {"chosen_R"} if one.paired else set[str]()
    channels = sorted({"outcome_R", "lenient_R", *(f"{name}_R" for name in channels_read(one)), *paired})
    labels = {channel(mark) for mark in one.marks}
    values: dict[str, dict[str, float | None]] = {}
    for unit, known in world.rewards.items():
        values[unit] = {c[:-2]: None if known is None else _score(c, rng, c[:-2] in labels) for c in channels}
    if "index" in one.reward.reads:  # its statistics are of all that was graded, its formula's of what is in the batch: here the same
        inside = {unit: replace(fate, kind="keep") for unit, fate in world.fates.items() if world.rewards[unit] is not None}
        world = replace(world, fates=world.fates | inside)
    scores = Scores(values, spans=scored_spans(one, values, rng))
    rewards = reward_of(one, world.groups, scores, Progress(spent=FRACTION))
    inside = [r.id for g in world.groups for r in g.rollouts if world.fates[r.id].kind in ("keep", "context")]
    return replace(world, rewards=rewards, scores=scores), {c: [values[unit][c[:-2]] for unit in inside] for c in channels}


def _score(channel: str, rng: random.Random, whole: bool) -> float:
    """A verdict is often 0 or 1, a text of a pair always; a mark says a whole number, and what else a source says lies between them."""
    if whole:
        return float(rng.choice((-1, 0, 1, 2)))
    if channel == "chosen_R":
        return float(rng.random() < 0.5)
    return rng.choice((0.0, 1.0, rng.random())) if channel in ("outcome_R", "lenient_R") else 0.98 * rng.random()


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
    for head in (head for head in one.heads if head.track not in moving):
        moving[head.track] = rng.normal(size=count if head.old_track else len(parents["R"]))
        if head.old_track:
            batch = batch.with_(**{head.old_track: torch.tensor(moving[head.track] + near * rng.normal(size=count))})
    along = {name: rng.normal(size=len(values)) for name, values in moving.items()}

    names = {name: Value(name[-1], np.array(values, dtype=complex)) for name, values in (facts | channels).items()}
    names |= {name: Value("T", track.numpy().astype(complex)) for name, track in batch.tracks.items()}
    names |= {name: Value(name[-1], moving[name] + 1j * STEP * along[name]) for name in moving}
    inside = [r for g in world.groups for r in g.rollouts if world.fates[r.id].kind in ("keep", "context")]
    nested_R = np.empty(len(inside), dtype=object)
    nested_R[:] = [tuple(r.keys.get("nested", ())) for r in inside]
    names["nested_RD"] = Value("R", nested_R)
    names["step"] = Value("", np.array([complex(0)]))
    names |= {name: Value("", np.array([complex(0)])) for name in ("earlier_sum", "earlier_count")}
    names["fraction"] = Value("", np.array([complex(FRACTION)]))

    batch = settle(one, batch.with_(place_T=torch.arange(count, dtype=torch.float64)), FRACTION)
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


def largest(one: Method, text: str, batches: int) -> tuple[float, int]:
    """Largest difference between text and code, relative where numbers exceed 1; and how many slopes were not 0."""
    rows = [row for seed in range(batches) for row in compared(one, text, seed)]
    return max(abs(read - computed) / max(1.0, abs(computed)) for _, read, computed in rows), sum(
        w == "slope" and c != 0 for w, _, c in rows
    )
