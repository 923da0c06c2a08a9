"""Bias and variance of a method's gradient: the code that trains, against the exact gradient.

Every batch goes through `learning.settle` and `learning.backward`; the policy behind it is cut at its log-probabilities, so what
the code leaves there is d loss / d logp of each decision, and the rest of the gradient is a softmax by hand. The expectation
over batches is a sum over multisets of sequences with multinomial weights; where there are too many, a sample with its interval.

Axes: M batches, H groups of a batch, G rollouts of a group; N, P, V, D as in `world`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from strop.batch import Batch, Packed
from strop.lab.targets import gradient_of
from strop.lab.world import Language, World, norm
from strop.learning import backward, reward_of, settle
from strop.method import Method
from strop.records import Fate, Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.seams.context import Progress
from strop.seams.feed import Rollouts
from strop.seams.gate import decide, is_whole
from strop.seams.index import Index
from strop.seams.sampler import Independent
from strop.seams.signal import KINDS

MULTISETS = 10**6
"""Groups that are still enumerated."""
CALLS = 4000
"""Batches that are still enumerated where groups act on each other, so that each is a pass of its own."""
DRAWN = 20_000
"""Groups of a sample, where they do not act on each other; a tenth of it where they do."""
ROLLOUTS_AT_ONCE = 100_000
NUMBERS_AT_ONCE = 2 * 10**7

Point = Literal["first", "second"]


class Unsuitable(ValueError):
    """A method that this exam has no answer for, and why."""


@dataclass(frozen=True)
class Finding:
    """One row of the table. g is the gradient of one batch, E[g] its expectation, t the target's."""

    method: str
    fingerprint: str
    target: str
    beta: float
    point: Point
    group: int
    groups: int
    """Groups in the batch that was examined; 1 where they do not act on each other."""
    exact: bool
    batches: int
    scale: float
    """E[g] along t, in lengths of t: what share of the target's step it takes."""
    bias: float
    """|E[g] - t| / |t|."""
    cosine: float
    """Of E[g] and t."""
    skew: float
    """|c E[g] - t| / |t| at the best c >= 0: what no learning rate repairs."""
    noise: float
    """Trace of the covariance of g over |E[g]|^2, times the groups of the batch: for one group."""
    within: float | None
    """With 95% confidence E[g] is known to within this, in lengths of t: `bias` is off by no more. None where it is exact."""

    @property
    def signal_to_noise(self) -> float:
        return self.noise**-0.5 if self.noise > 0 else float("inf")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "signal_to_noise": self.signal_to_noise}


def examine(
    method: Method,
    world: World,
    *,
    point: Point = "first",
    group: int = 4,
    groups: int = 2,
    target: str | None = None,
    beta: float | None = None,
    calls: int = CALLS,
    drawn: int = DRAWN,
    seed: int = 0,
) -> Finding:
    """The method's expected gradient and its spread at one point of a world whose `now` is that point.

    group    rollouts per task, in place of the method's own
    groups   tasks in the batch, where groups act on each other
    target   by default the expected reward, less the KL to the reference where the method pays for it
    """
    check(method, point)
    paid = penalty(method) if beta is None else beta
    target = target or ("reward-kl" if paid else "reward")
    aim_PV = gradient_of(target, world, paid)
    found = expect(method, world, group=group, groups=groups, calls=calls, drawn=drawn, seed=seed)
    length, aim = norm(found.mean_PV), norm(aim_PV)
    along = float((found.mean_PV * aim_PV).sum())
    return Finding(
        method=method.name,
        fingerprint=method.fingerprint,
        target=target,
        beta=paid,
        point=point,
        group=group,
        groups=found.groups,
        exact=found.exact,
        batches=found.batches,
        scale=along / aim**2,
        bias=norm(found.mean_PV - aim_PV) / aim,
        cosine=along / (length * aim) if length else 0.0,
        skew=_skew(found.mean_PV, aim_PV),
        noise=found.trace * found.groups / length**2 if length else float("inf"),
        within=None if found.exact else 1.96 * (found.trace / found.batches) ** 0.5 / aim,
    )


@dataclass(frozen=True, eq=False)
class Expected:
    """The gradient of one batch: its mean, the trace of its covariance, and how they were found."""

    mean_PV: Tensor
    trace: float
    groups: int
    exact: bool
    batches: int


def expect(
    method: Method, world: World, *, group: int = 4, groups: int = 2, calls: int = CALLS, drawn: int = DRAWN, seed: int = 0
) -> Expected:
    """Over all batches where they can be counted, else over a sample."""
    if group < 1 or groups < 1:
        raise ValueError(f"group={group}, groups={groups}: a batch holds at least one group of one rollout")
    estimator = Estimator(method.but(sampler=replace(method.sampler, n=group)), world)  # type: ignore[type-var]
    power = separable(estimator)
    count, size = comb(world.language.count + group - 1, group), groups if power is None else 1
    countable = count <= MULTISETS if power is not None else groups <= 2 and comb(count + groups - 1, groups) <= calls
    exact = countable and all(signal.on.share == 1 for signal in method.signals.values())
    if exact:
        plan = _all_batches(*multisets(world, group), size)
    else:
        plan = _drawn_batches(world, drawn if power is not None else max(drawn // 10, 1), size, group, seed)
    mean_PV, square, batches = _moments(estimator, plan, power, seed)
    return Expected(mean_PV, max(square - norm(mean_PV) ** 2, 0.0), size, exact, batches)


def _skew(mean_PV: Tensor, aim_PV: Tensor) -> float:
    """Distance from the target to the half line of E[g]; as a residual, since 1 - cosine^2 would lose half the digits."""
    along = float((mean_PV * aim_PV).sum())
    if along <= 0:
        return 1.0
    return norm(mean_PV * (along / float(mean_PV.square().sum())) - aim_PV) / norm(aim_PV)


def check(method: Method, point: Point) -> None:
    """Refuse, in words, what a table over one turn's sequences cannot stand for."""

    def refuse(why: str) -> None:
        raise Unsuitable(why)

    sampler = method.sampler
    if method.heads:
        refuse("it has a head, and how biased its estimate is depends on what that head has learned so far.")
    if method.environment is not None or not isinstance(sampler, Independent) or sampler.turns > 1:
        refuse("its rollouts take several turns or know of each other; the lab draws sequences of one turn, independently.")
    elif sampler.sampling != Sampling():
        refuse(f"it samples with {sampler.sampling}; the lab draws at temperature 1 from all tokens.")
    if method.graders:
        refuse("its reward is a score of its own graders; the lab's sequences have the verdict only.")
    if "index" in method.reward.reads:
        refuse("its reward compares siblings; the lab rewards a sequence once, whoever stands beside it.")
    if any(is_whole(gate) for gate in method.gate):
        refuse("one of its gates looks at a whole step; the lab weighs groups one by one.")
    if not isinstance(method.feed, Rollouts):
        refuse("its groups do not all come from the policy; the lab knows only fresh rollouts.")
    for name, signal in method.signals.items():
        if signal.on.kinds != ("action",) or signal.on.labels:
            refuse(f"signal {name!r} trains {' and '.join((*signal.on.kinds, *signal.on.labels))}; the lab's sequences are actions only.")
    if point == "second" and method.update.updates(method.tasks) < 2:
        refuse("it makes one update per batch, so there is no second.")


def penalty(method: Method) -> float:
    """What the method charges for KL to its reference, over all its parts; 0 where it has none."""
    links = (link for link in method.credit if "reference_logp_T" in link.reads)
    charged = sum(float(link.constants.get("coefficient", 0.0)) for link in links)
    return charged + sum(s.weight_at(0.0) for s in method.signals.values() if "reference_logp_T" in s.objective.reads)


# The gradient of one batch.


class Probe:
    """The policy as `backward` sees it, cut at its log-probabilities: their gradient is all that is kept."""

    def __init__(self, world: World, edge_T: Tensor):
        self.language, self.edge_T = world.language, edge_T
        self.logp_PV = world.now_PV.log_softmax(-1)
        self.entropy_P = -(self.logp_PV.exp() * self.logp_PV).sum(-1)
        self.logp_T = self.logp_PV.reshape(-1)[edge_T].requires_grad_()
        self.entropy_T = self.entropy_P[edge_T // self.language.vocab].requires_grad_()

    def evaluate(self, batch: Batch, want: frozenset[str]) -> dict[str, Tensor]:
        at_T = batch.tracks["place_T"]
        return {"logp_T": self.logp_T[at_T], "entropy_T": self.entropy_T[at_T]}

    def ascent(self, home_T: Tensor, groups: int) -> Tensor:
        """Minus the gradient in the logits, [H, P, V]: each group's own share of it."""
        prefixes, vocab = self.logp_PV.shape
        chance_PV = self.logp_PV.exp()
        up_HPV = self.logp_PV.new_zeros(groups, prefixes, vocab)
        if self.logp_T.grad is not None:
            pull_HPV = up_HPV.view(-1).index_add(0, home_T * prefixes * vocab + self.edge_T, -self.logp_T.grad).view_as(up_HPV)
            up_HPV = pull_HPV - pull_HPV.sum(-1, keepdim=True) * chance_PV
        if self.entropy_T.grad is not None:
            pull_HP = up_HPV.new_zeros(groups * prefixes).index_add(0, home_T * prefixes + self.edge_T // vocab, -self.entropy_T.grad)
            up_HPV = up_HPV - pull_HP.view(groups, prefixes, 1) * chance_PV * (self.logp_PV + self.entropy_P[:, None])
        return up_HPV


@dataclass(frozen=True, eq=False)
class Estimator:
    """A method at a point of a world: batches of sequences in, what the update would do to the logits out."""

    method: Method
    world: World

    def weigh(self, ids_HG: Tensor, key: tuple[int, ...] = (0,)) -> tuple[Tensor, Tensor]:
        """Each group's share [H, P, V] in the update of this batch, and which groups had anything to train."""
        batch, edge_T, home_T = self.batch_of(ids_HG)
        trained_H = torch.zeros(len(ids_HG), dtype=torch.bool)
        trained_H[home_T[batch.trains_T]] = True
        if not bool(trained_H.any()):
            return torch.zeros(len(ids_HG), *self.world.now_PV.shape, dtype=torch.float64), trained_H
        probe = Probe(self.world, edge_T)
        backward(self.method, settle(self.method, batch, 0.0), probe, sys.maxsize, 0.0, key)
        return probe.ascent(home_T, len(ids_HG)), trained_H

    def batch_of(self, ids_HG: Tensor) -> tuple[Batch, Tensor, Tensor]:
        """The batch that `batch.pack` would make of these sequences, in float64; the edge of each decision, and its group."""
        language = self.world.language
        member_HG, trains_HG, weight_HG = self._fates(ids_HG)
        sequence_R = ids_HG[member_HG]
        home_R = torch.arange(len(ids_HG))[:, None].expand_as(ids_HG)[member_HG]
        length_R = language.length_N[sequence_R]
        row_T = torch.repeat_interleave(torch.arange(len(sequence_R)), length_R)
        place_T = torch.arange(len(row_T))
        start_R = torch.cumsum(length_R, 0) - length_R
        edge_T = language.edge_K[language.start_N[sequence_R][row_T] + place_T - start_R[row_T]]
        old_T = self._old_D[edge_T]
        tracks = {"sampled_logp_T": self._sampled_D[edge_T], "old_logp_T": old_T, "age_T": torch.zeros_like(old_T), "place_T": place_T}
        if self.method.reference:
            tracks["reference_logp_T"] = self._reference_D[edge_T]
        present_H = member_HG.any(1)
        group_R = (torch.cumsum(present_H.long(), 0) - 1)[home_R]
        rows: list[Packed] = [self._written[n] for n in numbers(sequence_R)]
        verdicts = dict.fromkeys(("outcome_R", "lenient_R"), self.world.reward_N[sequence_R])
        batch = Batch(
            rows=tuple(rows),
            index=Index(row_T, torch.arange(len(sequence_R)), group_R, int(present_H.sum())),
            units=tuple(map(str, range(len(sequence_R)))),
            kind_T=torch.full_like(edge_T, KINDS.index("action")),
            trains_T=trains_HG[member_HG][row_T],
            sampling_T=torch.zeros_like(edge_T),
            samplings=(Sampling(),),
            weight_R=weight_HG[member_HG],
            tracks=tracks,
            facts={
                "reward_R": self.reward_N[sequence_R],
                "truncated_R": language.cut_N[sequence_R],
                "length_R": length_R.double(),
                **verdicts,
            },
        )
        return batch, edge_T, home_R[row_T]

    @cached_property
    def reward_N(self) -> Tensor:
        """The method's reward part on the world's verdicts."""
        members = [rollout(self.world.language, n, str(n)) for n in range(self.world.language.count)]
        scores = Scores({r.id: {"outcome": v, "lenient": v} for r, v in zip(members, numbers(self.world.reward_N), strict=True)})
        given = reward_of(self.method, [Group(_TASK, tuple(members), id="lab")], scores, Progress())
        return torch.tensor([float("nan") if (v := given[r.id]) is None else v for r in members], dtype=torch.float64)

    @cached_property
    def _old_D(self) -> Tensor:
        return self.world.old_PV.log_softmax(-1).reshape(-1)

    @cached_property
    def _sampled_D(self) -> Tensor:
        return self.world.sampler_PV.log_softmax(-1).reshape(-1)

    @cached_property
    def _reference_D(self) -> Tensor:
        return self.world.reference_PV.log_softmax(-1).reshape(-1)

    @cached_property
    def _written(self) -> list[Packed]:
        """Each sequence as a row, behind a prompt of one token."""
        language = self.world.language
        tokens = [language.tokens(n) for n in range(language.count)]
        return [Packed((language.vocab, *text), tuple(range(1, len(text) + 1))) for text in tokens]

    def _fates(self, ids_HG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Who is in the batch, who is trained, with what weight: the method's gates on every group."""
        if not self.method.gate:
            everyone = torch.ones_like(ids_HG, dtype=torch.bool)
            return everyone, everyone, torch.ones(ids_HG.shape, dtype=torch.float64)
        fates: list[Fate] = []
        reward, verdict, known = numbers(self.reward_N), numbers(self.world.reward_N), self._rollouts
        for ids in numbers(ids_HG):
            for place, n in enumerate(ids):
                if (place, n) not in known:
                    known[place, n] = rollout(self.world.language, n, str(place))
            group = Group(_TASK, tuple(known[place, n] for place, n in enumerate(ids)), id="lab")
            verdicts = {str(place): {"outcome": verdict[n], "lenient": verdict[n]} for place, n in enumerate(ids)}
            decided = decide(self.method.gate, group, {str(place): reward[n] for place, n in enumerate(ids)}, Scores(verdicts))
            fates += [decided[str(place)] for place in range(len(ids))]
        member = torch.tensor([f.kind in ("keep", "context") for f in fates])
        trains = torch.tensor([f.kind == "keep" for f in fates])
        weight = torch.tensor([f.weight for f in fates], dtype=torch.float64)
        return member.view(ids_HG.shape), trains.view(ids_HG.shape), weight.view(ids_HG.shape)

    @cached_property
    def _rollouts(self) -> dict[tuple[int, int], Rollout]:
        """By place in the group and sequence."""
        return {}


_TASK = Task("", {}, "lab")


def rollout(language: Language, number: int, name: str) -> Rollout:
    """A sequence as the record that gates and rewards see."""
    prompt, text = Segment("prompt", (language.vocab,), "0"), language.tokens(number)
    written = Row.of(prompt, Segment("action", text, "0.0"))
    return Rollout((written,), name, stop="length" if bool(language.cut_N[number]) else "finished")


# The batches there are, and how likely each is.


def multisets(world: World, size: int) -> tuple[Tensor, Tensor]:
    """Every group as a multiset of sequences [M, G], and its chance: size! / (product of counts!) times the product of chances."""
    count = world.language.count
    flat = np.fromiter(
        (n for ids in combinations_with_replacement(range(count), size) for n in ids), np.int64, comb(count + size - 1, size) * size
    )
    ids_MG = torch.tensor(flat).view(-1, size)
    log_M = world.language.logp_N(world.sampler_PV)[ids_MG].sum(1)
    run_M = torch.ones(len(ids_MG), dtype=torch.float64)
    for place in range(size):  # the product over runs of equal ids of 1, 2, …, count is the product of counts!
        again_M = (ids_MG[:, place] == ids_MG[:, place - 1]) if place else torch.zeros(len(ids_MG), dtype=torch.bool)
        run_M = torch.where(again_M, run_M + 1, torch.ones_like(run_M))
        log_M = log_M + torch.log(torch.tensor(place + 1.0, dtype=torch.float64)) - run_M.log()
    return ids_MG, log_M.exp()


Plan = Iterator[tuple[Tensor, Tensor]]
"""Pieces of batches: their sequences [M, H, G] and their chances [M]."""


def _all_batches(ids_NG: Tensor, chance_N: Tensor, groups: int) -> Plan:
    """Groups of a batch are alike, so it is a multiset of groups."""
    if groups == 1:
        yield ids_NG[:, None], chance_N
        return
    first, second = torch.combinations(torch.arange(len(ids_NG)), 2, with_replacement=True).T
    twice = torch.where(first == second, 1.0, 2.0)
    yield torch.stack([ids_NG[first], ids_NG[second]], 1), twice * chance_N[first] * chance_N[second]


def _drawn_batches(world: World, batches: int, groups: int, size: int, seed: int) -> Plan:
    chance = world.chance_N.numpy()
    ids = np.random.default_rng(seed).choice(len(chance), (batches, groups, size), p=chance / chance.sum())
    yield torch.tensor(ids), torch.full((batches,), 1 / batches, dtype=torch.float64)


def separable(estimator: Estimator) -> int | None:
    """How groups share a batch: 1 where its gradient is the mean of theirs, 0 the sum; None where they act on each other.

    Tried, not read off the parts: 48 groups of all kinds, each alone and all together.
    """
    size, count = estimator.method.sampler.group_size, estimator.world.language.count
    ids = np.random.default_rng(0).integers(0, count, (48, size))
    ids_HG = torch.tensor(ids)
    alone = [estimator.weigh(ids_HG[h : h + 1]) for h in range(len(ids_HG))]
    fit = [h for h, (_, trained_H) in enumerate(alone) if bool(trained_H[0])]
    if not fit:
        return 1
    alone_HPV = torch.cat([alone[h][0] for h in fit])
    together_HPV, _ = estimator.weigh(ids_HG[fit])
    for power in (1, 0):
        if torch.allclose(together_HPV * len(fit) ** power, alone_HPV, rtol=1e-9, atol=1e-12):
            return power
    return None


def _moments(estimator: Estimator, plan: Plan, power: int | None, seed: int) -> tuple[Tensor, float, int]:
    """E[g], E[|g|^2] and how many batches: over those whose groups all have something to train, as a step refills the others."""
    mean_PV, square, mass, batches = torch.zeros_like(estimator.world.now_PV), 0.0, 0.0, 0
    for ids_MHG, chance_M in plan:
        per_call = 1 if power is None else _at_once(estimator.world, ids_MHG.shape[-1])
        for start in range(0, len(ids_MHG), per_call):
            ids, chance = ids_MHG[start : start + per_call], chance_M[start : start + per_call]
            if power is None:
                up_HPV, trained_H = estimator.weigh(ids[0], (seed, start))
                up_MPV, kept_M = up_HPV.sum(0, keepdim=True), trained_H.all().view(1)
            else:
                up_MPV, kept_M = estimator.weigh(ids[:, 0], (seed, start))
                up_MPV = up_MPV * int(kept_M.sum()) ** power
            chance = chance * kept_M
            mean_PV = mean_PV + torch.einsum("m,mpv->pv", chance, up_MPV)
            square += float((chance * up_MPV.square().sum((1, 2))).sum())
            mass += float(chance.sum())
            batches += int(kept_M.sum())
    if not mass:
        raise Unsuitable("its gates leave nothing to train in this world.")
    return mean_PV / mass, square / mass, batches


def _at_once(world: World, size: int) -> int:
    return max(1, min(ROLLOUTS_AT_ONCE // size, NUMBERS_AT_ONCE // world.now_PV.numel()))


def numbers(x: Tensor) -> list[Any]:
    return cast(list[Any], x.tolist())  # pyright: ignore[reportUnknownMemberType]
