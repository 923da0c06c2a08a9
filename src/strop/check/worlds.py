"""Batches of every awkward shape, and a policy small enough to check by hand."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from strop.batch import Batch, pack
from strop.method import Method
from strop.records import UNSCORED, Author, Fate, Group, Rollout, Row, Sampling, Scores, Segment, Span, SpanScores, Task
from strop.seams.grader import spans_of
from strop.seams.mark import channel, is_label
from strop.seams.recorded import taught

VOCABULARY = 6


class Bigram:
    """The next token depends on the last one only; a value per token, whose mean over a prompt is its log Z. Two tables are all its
    parameters."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64, near: Bigram | None = None, far: float = 0.3):
        generator = torch.Generator().manual_seed(seed)
        shape = (VOCABULARY, VOCABULARY + 1)
        table = torch.randn(shape, generator=generator, dtype=torch.float64)
        table = table if near is None else near.table.detach().double() + far * table
        self.table = table.to(dtype).requires_grad_()

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        before = torch.tensor([row.tokens[p - 1] for row in batch.rows for p in row.at], dtype=torch.long)
        target = torch.tensor([row.tokens[p] for row in batch.rows for p in row.at], dtype=torch.long)
        logp = self.table[before, :VOCABULARY].log_softmax(-1)
        tracks = {
            "logp_T": logp.gather(-1, target[:, None])[:, 0],
            "entropy_T": -(logp.exp() * logp).sum(-1),
            "value_T": self.table[before, VOCABULARY],
        }
        if "logz_R" in want:
            tracks["logz_R"] = batch.per_rollout(torch.stack([self.table[list(row.prompt), VOCABULARY].mean() for row in batch.rows]))
        return tracks

    def logp(self, before: int, target: int) -> Tensor:
        return self.table[before, :VOCABULARY].log_softmax(0)[target]

    def gradient(self) -> Tensor:
        """What was accumulated, which is then forgotten."""
        gradient, self.table.grad = self.table.grad, None
        return torch.zeros_like(self.table) if gradient is None else gradient


class Leaves:
    """A policy whose tracks are themselves the parameters, one per decision of the batch, or one per rollout."""

    def __init__(self, tracks: dict[str, np.ndarray], units: tuple[str, ...]):
        self.tracks = {name: torch.tensor(values, requires_grad=True) for name, values in tracks.items()}
        self.units = units

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        at = {"T": batch.tracks["place_T"].long(), "R": torch.tensor([self.units.index(unit) for unit in batch.units])}
        return {name: track[at[name[-1]]] for name, track in self.tracks.items()}


@dataclass(frozen=True)
class World:
    groups: list[Group]
    fates: dict[str, Fate]
    rewards: dict[str, float | None]
    seed: int
    far: float = 0.3
    """How far the old policy and the reference lie from the one that moves."""
    scores: Scores = UNSCORED

    def batch(self, dtype: torch.dtype = torch.float64) -> Batch:
        """Packed and measured as a run would: neither rows that train nothing nor what nobody drew have log-probabilities."""
        made = as_dtype(pack(self.groups, self.fates, self.rewards, 3, self.scores), dtype)
        seen_T = made.index.spread(made.index.sum(made.trains_T.long(), "token", "row") > 0, "row", "token")
        with torch.no_grad():
            old, reference = self.old.evaluate(made, frozenset()), self.reference.evaluate(made, frozenset())
        tracks = {"old_logp_T": old["logp_T"], "old_value_T": old["value_T"], "reference_logp_T": reference["logp_T"]}
        nan = torch.tensor(float("nan"), dtype=dtype)
        tracks = {name: torch.where(seen_T, track.to(dtype), nan) for name, track in tracks.items()}
        tracks["old_logp_T"] = torch.where(made.of_kinds(("action", "teacher")), tracks["old_logp_T"], nan)
        return made.with_(**tracks)

    @property
    def policy(self) -> Bigram:
        return Bigram(self.seed)

    @property
    def old(self) -> Bigram:
        return Bigram(self.seed + 1, near=self.policy, far=self.far)

    @property
    def reference(self) -> Bigram:
        return Bigram(self.seed + 2, near=self.policy, far=self.far)


def as_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    def cast(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in values.items()}

    return dataclasses.replace(batch, weight_R=batch.weight_R.to(dtype), tracks=cast(batch.tracks), facts=cast(batch.facts))


def as_pairs(world: World) -> World:
    """The world with texts of others, each on a side by chance: what a loss over pairs is given."""
    rng = random.Random(world.seed)
    groups = [dataclasses.replace(g, rollouts=tuple(taught(r, r.id) for r in g.rollouts)) for g in world.groups]
    values = {r.id: {**world.scores.values.get(r.id, {}), "chosen": float(rng.random() < 0.5)} for g in groups for r in g.rollouts}
    return dataclasses.replace(world, groups=groups, scores=Scores(values))


def scored_spans(one: Method, units: Iterable[str], rng: random.Random) -> dict[str, dict[str, SpanScores]]:
    """What the method's graders say of the stretches that segments of a world have; now and then one is unknown."""
    channels = [grader.gives for grader in one.graders if spans_of(grader)]

    def said() -> SpanScores:
        return "late", tuple(rng.choice((-1.0, rng.uniform(-1, 1), rng.random(), None)) for _ in range(4))

    return {unit: {name: said() for name in channels} for unit in units} if channels else {}


def labelled(one: Method, units: Iterable[str], rng: random.Random) -> dict[str, dict[str, float | None]]:
    """What the method's marks say of rollouts: a label, or how many tokens lie in a stretch."""
    said = {channel(mark): (-1.0, 0.0, 1.0, 1.0, 2.0) if is_label(mark) else (0.0, 1.0, 4.0) for mark in one.marks}
    return {unit: {name: rng.choice(values) for name, values in said.items()} for unit in units} if said else {}


SHAPES = ("plain", "plain", "turns", "forced", "teacher", "restarted", "tree", "masked row", "masked", "empty", "duplicate")

ONE_ROW = ("plain", "plain", "turns", "forced", "teacher", "masked", "duplicate")
"""Of these, rollouts written in one row: what a head with one number per prompt can read."""


def _segment(rng: random.Random, kind: str, name: str, number: int = 0) -> Segment:
    tokens = tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 5)))
    if kind != "action":
        return Segment(cast(Any, kind), tokens, name)
    logp = tuple(-2 * rng.random() - 0.05 for _ in tokens)
    cut = rng.randint(0, len(tokens))
    return Segment(kind, tokens, name, Author("actor", rng.randint(1, 3), Sampling()), logp, (Span("late", cut, len(tokens), number),))


def _rows(rng: random.Random, shape: str, prompt: Segment, name: str) -> tuple[Row, ...]:
    def write(kind: str, number: int) -> Segment:
        return _segment(rng, kind, f"{name}.{number}", number)

    first, second, third = write("action", 1), write("action", 2), write("action", 3)
    if shape == "turns":
        return (Row.of(prompt, first, write("observation", 4), second),)
    if shape == "forced":
        return (Row.of(prompt, first, write("forced", 4), second),)
    if shape == "teacher":
        return (Row.of(prompt, write("teacher", 4), first),)
    if shape == "restarted":
        return (Row.of(prompt, first), Row.of(prompt, write("observation", 4), second))
    if shape == "tree":  # the second row repeats the first action and leaves it out; the third trains it again
        shared = Row((prompt, first, second), frozenset({second.id}))
        return (Row.of(prompt, first, third), shared, Row.of(prompt, first))
    if shape == "masked row":
        return (Row.of(prompt, first), Row((prompt, first, write("forced", 4)), frozenset()), Row.of(prompt, second))
    if shape == "masked":
        return (Row((prompt, first, second), frozenset()),)
    if shape == "empty":
        return (Row.of(prompt, dataclasses.replace(first, tokens=(), logp=(), spans=())), Row.of(prompt, second))
    return (Row.of(prompt, first),)


def random_world(seed: int) -> World:
    """The same without hypothesis: every seed another world, of two to four groups."""
    rng = random.Random(f"world {seed}")
    return world_of(seed, [[rng.choice(SHAPES) for _ in range(rng.randint(1, 5))] for _ in range(rng.randint(2, 4))])


def world_of(seed: int, shapes: list[list[str]]) -> World:
    """Groups of rollouts of these shapes; everything else follows from the seed."""
    rng = random.Random(seed)
    groups: list[Group] = []
    fates: dict[str, Fate] = {}
    rewards: dict[str, float | None] = {}
    for g, members in enumerate(shapes):
        prompt, grown = _segment(rng, "prompt", "p"), list[Rollout]()
        for r, shape in enumerate(members):
            unit = f"g{g}/{r}"
            rows = grown[-1].rows if shape == "duplicate" and grown else _rows(rng, shape, prompt, f"s{r}")
            keys = {"nested": [f"{r // 3}", f"{r // 4}", f"{r}"][: 1 + r % 3]} if g % 2 == 0 else {}
            grown.append(Rollout(rows, unit, stop=rng.choice(("finished", "length")), keys=keys))
            kind = rng.choice(("keep", "keep", "keep", "keep", "context", "drop"))
            fates[unit] = Fate(kind, rng.choice((1.0, 1.0, 0.5, 2.0)))
            rewards[unit] = rng.choice((0.0, 1.0, 1.0, rng.randrange(9) / 8))
            if kind == "drop" and rng.random() < 0.5:
                rewards[unit] = None
        groups.append(Group(Task(f"task {g}", {}, "worlds"), tuple(grown), id=f"g{g}"))
    return World(groups, fates, rewards, seed)
