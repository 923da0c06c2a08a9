"""What each method is compared with, and what the comparison must notice. `python tests/presets.py` prints docs/presets.md's table.

A batch is given twice: to strop as committed records, to the oracle as plain numbers made from the same records without strop's
arrays. Old weights differ from the moving ones, groups agree on their reward or hold one rollout, rows leave segments out.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from oracles import ORACLES
from torch import Tensor
from worlds import Leaves, World, random_world

from strop.batch import Batch
from strop.check.worlds import labelled, scored_spans
from strop.learning import backward, settle
from strop.method import Method
from strop.methods import METHODS, method
from strop.methods.ampo import AMPO, mode_level
from strop.methods.flowrl import group_balance, trajectory_balance
from strop.methods.pathfinder import PATHFINDER_RL
from strop.methods.stable_reinforce import drop_outliers, raw_window
from strop.records import Fate, Scores
from strop.seams.correction import masked, none, truncated
from strop.seams.credit import (
    batch_whiten,
    by_row,
    credit_at_end,
    gae,
    group_centered,
    group_normalized,
    group_standardized,
    kl_in_outcome,
    kl_in_reward,
    leave_one_out,
    nested_centered,
    returns_to_go,
    reward_itself,
    row_standardized,
    siblings_standardized,
    step_returns,
    steps_standardized,
)
from strop.seams.ends import ENDED, Ends, how
from strop.seams.feed import Rollouts
from strop.seams.gate import DropFlat, MaskOverlong, decide
from strop.seams.index import Index
from strop.seams.objective import (
    clipped_surrogate,
    clipped_value,
    importance_sampling,
    importance_to_sampler,
    kl_to,
    kl_with_score,
    policy_gradient,
    probability_bound,
    product_ratio,
    row_ratio,
    sequence_ratio,
)
from strop.seams.part import Part, part
from strop.seams.reduction import means, over, sum_over
from strop.seams.signal import KINDS, Signal, actions, forced, teacher
from strop.seams.update import AdamW

BATCHES = 50
SAME, OTHER = 1e-12, 1e-10
"""Of loss and slopes: closer than the one on every batch is agreement, further than the other on any is a difference."""

Answer = tuple[float, np.ndarray]


def world(number: int) -> World:
    """One of the batches; in every third the policies lie far apart, so that wide limits are reached too."""
    made = random_world(number)
    spans = scored_spans(PATHFINDER_RL, made.fates, random.Random(f"scores {number}"))
    labels = labelled(AMPO, made.fates, random.Random(f"modes {number}"))
    return dataclasses.replace(made, far=1.5 if number % 3 == 0 else 0.3, scores=Scores(labels, spans=spans))


def plain(world: World) -> list[list[dict[str, Any]]]:
    """The batch as the oracles read it."""
    policies = {"now": world.policy, "old": world.old, "reference": world.reference}
    logs = {name: policy.table[:, :-1].log_softmax(-1).detach().numpy() for name, policy in policies.items()}
    values = {"value": world.policy.table[:, -1].detach().numpy(), "old_value": world.old.table[:, -1].detach().numpy()}
    batch, at = [], 0
    for group in world.groups:
        members = []
        for rollout in group.rollouts:
            fate = world.fates[rollout.id]
            if fate.kind == "drop":
                continue
            _, said = world.scores.spans.get(rollout.id, {}).get("least_step", ("", ()))
            tokens = []
            for number, row in enumerate(rollout.rows if fate.kind == "keep" else ()):
                before = -1
                for segment in row.segments:
                    sampled = segment.logp or [float("nan")] * len(segment.tokens)
                    for token, drawn in zip(segment.tokens, sampled, strict=True):
                        if segment.id in row.trains:
                            numbers = {name: log[before, token] for name, log in logs.items()}
                            numbers |= {name: value[before] for name, value in values.items()} | {"sampled": drawn}
                            kinds = {"action": segment.kind == "action", "taught": segment.kind == "teacher"}
                            tokens.append({"at": at, "row": number, **kinds, **numbers, "score": None})
                            at += 1
                        before = token
                    for span in segment.spans if segment.id in row.trains else ():
                        if span.stop > span.start:  # the segment's last token is the span's
                            tokens[-1]["score"] = dict(enumerate(said)).get(span.number)
            facts = {"kept": fate.kind == "keep", "cut": rollout.stop == "length", "weight": fate.weight, "logz": logz(rollout.id)}
            facts |= {"mode": world.scores.get(rollout, "mode"), "length": rollout.length}
            facts["rows"] = len(rollout.rows)
            facts["nested"] = rollout.keys.get("nested", [])
            members.append({"reward": world.rewards[rollout.id], "tokens": tokens, **facts})
        if members:
            batch.append(members)
    return batch


def logz(unit: str) -> float:
    """What a head says of the rollout's prompt: any number will do."""
    return random.Random(f"log Z of {unit}").gauss(0, 1)


def gated(one: Method, world: World) -> World:
    """With the fates that the method's gates give."""
    fates = dict(world.fates)
    for group in world.groups:
        rewards = {r.id: None if fates[r.id].kind == "drop" else world.rewards[r.id] for r in group.rollouts}
        ended = {r.id: {"ended": float(ENDED.index(how(r))), "outcome": world.rewards[r.id]} for r in group.rollouts}
        given = decide(one.gate, group, rewards, Scores(ended))
        fates |= {unit: Fate(fate.kind, fates[unit].weight) for unit, fate in given.items() if fate.kind != "keep"}
    return dataclasses.replace(world, fates=fates)


@contextmanager
def in_float64() -> Iterator[None]:
    """Rewards and recorded log-probabilities too, which a run keeps in float32."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def computed(one: Method, world: World, change: Callable[[Batch], Batch] = lambda batch: batch) -> Answer:
    """Loss and slopes as strop computes them, the slopes in the order of the world's trained decisions."""
    with in_float64():
        whole, batch = world.batch(), change(gated(one, world).batch())
        place = {name: at for at, name in enumerate(_names(whole))}
        batch = batch.with_(place_T=torch.tensor([float(place[name]) for name in _names(batch)]))
        moving = {name: values.detach().numpy() for name, values in world.policy.evaluate(whole, frozenset()).items()}
        moving["logz_R"] = np.array([logz(unit) for unit in whole.units])
        policy = Leaves(moving, whole.units)
        facts = backward(one, settle(one, batch), policy, 10**6, 0.0, (0,))
    loss = sum(s.weight_at(0.0) * facts[f"loss/{name}"] for name, s in one.signals.items())
    slopes = {name: torch.zeros_like(track) if track.grad is None else track.grad for name, track in policy.tracks.items()}
    trained = {"T": whole.trains_T, "R": torch.tensor([world.fates[unit].kind == "keep" for unit in whole.units])}
    return loss, torch.cat([slopes[name][trained[name[-1]]] for name in ("logp_T", *(head.track for head in one.heads))]).numpy()


def _names(batch: Batch) -> Iterator[tuple[str, int]]:
    """Each decision as (rollout, which of its decisions)."""
    seen: Counter[str] = Counter()
    for rollout in batch.index.up("token", "rollout").tolist():
        unit = batch.units[rollout]
        yield unit, seen[unit]
        seen[unit] += 1


def distance(a: Answer, b: Answer) -> tuple[float, float]:
    """Largest difference in loss and in slope, relative where the number is above 1; what is not a number differs infinitely."""
    loss = abs(a[0] - b[0]) / max(1.0, abs(b[0]))
    slope = float((np.abs(a[1] - b[1]) / np.maximum(1.0, np.abs(b[1]))).max(initial=0.0))
    return (loss if loss == loss else np.inf), (slope if slope == slope else np.inf)


@cache
def agreement(name: str) -> tuple[float, float]:
    """The same over all batches."""
    found = [distance(computed(method(name), world(n)), ORACLES[name](plain(world(n)))) for n in range(BATCHES)]
    return max(loss for loss, _ in found), max(slope for _, slope in found)


@part(formula="loss_T = -max(exp(logp_T - old_logp_T) * credit_T, clip(exp(logp_T - old_logp_T), 0.8, 1.2) * credit_T)")
def optimistic_surrogate(logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor) -> Tensor:
    """The clip on the wrong side of the credit."""
    ratio_T = (logp_T - old_logp_T).exp()
    return -torch.maximum(ratio_T * credit_T, ratio_T.clamp(0.8, 1.2) * credit_T)


@part(formula="loss_T = -min(exp(logp_T - sampled_logp_T) * credit_T, clip(exp(logp_T - sampled_logp_T), 0.8, 1.2) * credit_T)")
def surrogate_to_sampler(logp_T: Tensor, sampled_logp_T: Tensor, credit_T: Tensor) -> Tensor:
    ratio_T = (logp_T - sampled_logp_T).exp()
    return -torch.minimum(ratio_T * credit_T, ratio_T.clamp(0.8, 1.2) * credit_T)


@part(formula="loss_T = (logp_T - old_logp_T) ** 2")
def drift_from_old(logp_T: Tensor, old_logp_T: Tensor) -> Tensor:
    return (logp_T - old_logp_T).square()


@part(formula="loss_T = exp(logp_T - reference_logp_T) - 1 - logp_T + reference_logp_T")
def kl_of_the_reference(logp_T: Tensor, reference_logp_T: Tensor) -> Tensor:
    """k3 with policy and reference exchanged."""
    return (logp_T - reference_logp_T).exp() - 1 - (logp_T - reference_logp_T)


@part(grain="rollout", formula=trajectory_balance.says().replace("sum(logp_T - old", "mean(logp_T - old"))
def weight_by_the_mean_ratio(
    logp_T: Tensor, old_logp_T: Tensor, reference_logp_T: Tensor, logz_R: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index
) -> Tensor:
    """The geometric mean of the ratios where FlowRL takes their product."""
    gap_R = logz_R + index.mean(logp_T - reference_logp_T - 15 * credit_T, "token", "rollout")
    ratio_R = index.mean(logp_T - old_logp_T, "token", "rollout").exp().detach()
    return index.mean(weight_T, "token", "rollout") * ratio_R.clamp(0.8, 1.2) * gap_R.square()


@part(grain="rollout", formula=trajectory_balance.says().replace("detach(", "("))
def weight_with_gradient(
    logp_T: Tensor, old_logp_T: Tensor, reference_logp_T: Tensor, logz_R: Tensor, credit_T: Tensor, weight_T: Tensor, index: Index
) -> Tensor:
    gap_R = logz_R + index.mean(logp_T - reference_logp_T - 15 * credit_T, "token", "rollout")
    ratio_R = index.sum(logp_T - old_logp_T, "token", "rollout").exp()
    return index.mean(weight_T, "token", "rollout") * ratio_R.clamp(0.8, 1.2) * gap_R.square()


@part(gives="credit_R", needs=("group",))
def nested_singles(reward_R: Tensor, nested_RD: Tensor, index: Index) -> Tensor:
    """Sub-groups of one rollout counted too: there it earns nothing, and the mean is pulled to 0."""
    depth_R = 1 + (nested_RD >= 0).sum(1)
    same = (nested_RD[:, None] == nested_RD[None, :]) & (nested_RD >= 0)
    counted_R = 1 + (same.sum(1) > 1).sum(1)
    return nested_centered(reward_R, nested_RD, index) * counted_R / depth_R


@part(gives="credit_R", needs=("group",))
def first_centered(reward_R: Tensor, nested_RD: Tensor, index: Index) -> Tensor:
    """The first sub-group alone."""
    return nested_centered(reward_R, nested_RD[:, :1], index)


@part(gives="credit_R")
def nothing(reward_R: Tensor) -> Tensor:
    return torch.zeros_like(reward_R)


@part(gives="credit_R", needs=("group",))
def malformed_too(reward_R: Tensor, length_R: Tensor, mode_R: Tensor, credit_R: Tensor, index: Index) -> Tensor:
    """As if what is malformed were a mode."""
    return mode_level(reward_R, length_R, mode_R + 1, credit_R, index)


@part(gives="credit_R", needs=("group",))
def modes_by_rollout(reward_R: Tensor, mode_R: Tensor, credit_R: Tensor, index: Index) -> Tensor:
    """A mode weighs as much as there are rollouts in it."""
    return credit_R + group_normalized(index.alike(reward_R, mode_R), index, eps=1e-6)


@part(gives="credit_T")
def own_step(score_T: Tensor) -> Tensor:
    """What ends here, and nothing for what led there."""
    return score_T.nan_to_num(0.0)


Change = Callable[[Method], Method]


def credited(*chain: Part) -> Change:
    return lambda m: m.but(credit=chain)


def link(number: int, other: Part) -> Change:
    """One link of the credit exchanged."""
    return lambda m: m.but(credit=(*m.credit[:number], other, *m.credit[number + 1 :]))


def corrected(correction: Part) -> Change:
    return lambda m: m.but(correction=correction)


def aimed(objective: Part, *levels: Any, signal: str = "policy") -> Change:
    """Another objective, with another reduction where levels are named."""
    return lambda m: m.but(signals={signal: m.signals[signal].but(objective=objective, **({"reduce": means(*levels)} if levels else {}))})


def constants(signal: str = "policy", **changed: Any) -> Change:
    return lambda m: aimed(m.signals[signal].objective(**changed), signal=signal)(m)


def reduced(*levels: Any, signal: str = "policy") -> Change:
    return lambda m: m.but(signals={signal: m.signals[signal].but(reduce=means(*levels))})


def weighing(signal: str, weight: float) -> Change:
    return lambda m: m.but(signals={signal: m.signals[signal].but(weight=weight)})


def added(**signals: Signal) -> Change:
    return lambda m: m.but(reference=True, signals=signals)


def gates(*gate: Any) -> Change:
    return lambda m: m.but(gate=gate)


KL = Signal(kl_to(), means("token"), weight=0.01)
CLIP = {
    "lower clip moved": constants(clip_low=0.28),
    "upper clip moved": constants(clip_high=0.3),
    "clip on the wrong side": aimed(optimistic_surrogate),
    "no clip": aimed(importance_sampling()),
    "ratio to the sampler": aimed(surrogate_to_sampler),
}
MOVED_CLIP = {mistake: change for mistake, change in CLIP.items() if mistake != "ratio to the sampler"}
"""Of text that stands elsewhere than it was drawn: a ratio to its sampler is refused as the method is written."""
PER_TOKEN = {
    "each rollout its own mean": reduced("rollout", "token"),
    "each row its own mean": reduced("row", "token"),
    "each group its own mean": reduced("group", "token"),
    "summed": reduced(sum_over("token")),
}
PER_ROLLOUT = {
    "tokens alike": reduced("token"),
    "rollouts alike": reduced("rollout", "token"),
    "rows alike": reduced("group", "row", "token"),
    "tokens summed": reduced("group", "rollout", sum_over("token")),
}
STANDARDIZED = {
    "std with G - 1": credited(group_standardized(unbiased=True)),
    "a constant added to the std": credited(group_normalized(eps=1e-4)),
    "no division": credited(group_centered()),
    "no baseline": credited(reward_itself()),
}


def normalized(eps: float, other: float) -> dict[str, Change]:
    """Mistakes about a deviation with G - 1 and a constant added, at the head of the chain."""
    return {
        "std with G": link(0, group_standardized(std_floor=eps)),
        "the constant as a floor": link(0, group_standardized(std_floor=eps, unbiased=True)),
        "another library's constant": link(0, group_normalized(eps=other)),
        "baseline of the siblings": link(0, siblings_standardized(eps=eps)),
        "no division": link(0, group_centered()),
    }


SHARED = {
    **{mistake: change for mistake, change in CLIP.items() if mistake != "ratio to the sampler"},  # refused: nobody sampled it here
    "clip sides swapped": constants(clip_low=0.28, clip_high=0.2),
    **PER_TOKEN,
    "own groups alone": lambda m: m.but(feed=Rollouts(), signals={"policy": m.signals["policy"].but(on=actions)}),
    "forced tokens trained": lambda m: m.but(signals={"policy": m.signals["policy"].but(on=actions | forced | teacher)}),
}
MUTANTS: dict[str, dict[str, Change]] = {
    "grpo@strop-1": {**STANDARDIZED, **CLIP, **PER_ROLLOUT, "a KL": added(kl=KL)},
    "grpo@deepseekmath-2402.03300": {
        **STANDARDIZED,
        **CLIP,
        **PER_ROLLOUT,
        "k1": constants("kl", estimator="k1"),
        "k2": constants("kl", estimator="k2"),
        "KL the other way round": aimed(kl_of_the_reference, signal="kl"),
        "KL with its score term": aimed(kl_with_score(), signal="kl"),
        "half the KL": weighing("kl", 0.02),
        "KL over tokens alike": reduced("token", signal="kl"),
    },
    "grpo@trl-1.16": {
        **normalized(1e-4, 1e-6),
        **CLIP,
        **PER_TOKEN,
        "ratio to the sampler": lambda m: aimed(surrogate_to_sampler)(m.but(correction=none)),
        "a KL": added(kl=KL),
        "no correction": corrected(none),
        "correction token by token": lambda m: corrected(m.correction(level="token"))(m),
        "correction capped at 2": lambda m: corrected(m.correction(cap=2.0))(m),
        "correction truncated": corrected(truncated(cap=3.0, level="sequence")),
        "zeroed tokens not counted": corrected(masked(low=0.0, high=3.0, level="sequence")),
    },
    "grpo@verl-0.9": {
        **normalized(1e-6, 1e-4),
        **CLIP,
        **PER_TOKEN,
        "a KL": added(kl=KL),
        "no dual clip": constants(dual_clip=None),
        "dual clip at 2": constants(dual_clip=2.0),
        "corrected": corrected(truncated(cap=2.0)),
    },
    "grpo@openrlhf-0.11": {
        **normalized(1e-9, 1e-6),
        **CLIP,
        **PER_TOKEN,
        "k2": link(2, kl_in_reward(coefficient=0.01, estimator="k2")),
        "k3": link(2, kl_in_reward(coefficient=0.01, estimator="k3")),
        "double the KL": link(2, kl_in_reward(coefficient=0.02)),
        "no KL": credited(group_normalized(eps=1e-9)),
        "KL in the loss": lambda m: added(kl=KL)(credited(group_normalized(eps=1e-9))(m)),
        "KL inside the normalisation": credited(kl_in_outcome(coefficient=0.01), group_normalized(eps=1e-9)),
        "KL outside, for the rollout as a whole": credited(
            group_normalized(eps=1e-9), credit_at_end(), kl_in_reward(coefficient=0.01), returns_to_go(gamma=0.0)
        ),
        "discounted": link(3, returns_to_go(gamma=0.99)),
        "whitened": lambda m: m.but(credit=(*m.credit, batch_whiten())),
    },
    "grpo@prime-rl-0.8": {
        "std": credited(group_standardized()),
        "baseline without itself": credited(leave_one_out()),
        "bound below moved": constants(low=0.3),
        "bound above moved": constants(high=0.3),
        "no bound": aimed(importance_to_sampler()),
        "a clip on the ratio": aimed(surrogate_to_sampler),
        "ratio to the old weights": aimed(importance_sampling()),
        "bound on both sides": aimed(probability_bound(low=0.0, high=0.0)),
        "no drift": weighing("drift", 0.0),
        "drift halved": weighing("drift", 5e-4),
        "drift from the old weights": aimed(drift_from_old, signal="drift"),
        "zero credit trained": gates(),
        "flat groups only left out": gates(DropFlat()),
        **PER_TOKEN,
    },
    "grpo@nemo-rl-0.7": {
        "baseline with itself": credited(group_centered()),
        "std of the whole group": credited(group_normalized(eps=1e-6)),
        "no division": credited(leave_one_out()),
        "another constant": credited(siblings_standardized(eps=1e-4)),
        **CLIP,
        **PER_TOKEN,
        "KL without its score term": aimed(kl_to(), signal="kl"),
        "k1": constants("kl", estimator="k1"),
        "k2": constants("kl", estimator="k2"),
        "KL the other way round": aimed(kl_of_the_reference, signal="kl"),
        "KL limited at 5": constants("kl", limit=5.0),
        "double the KL": weighing("kl", 0.02),
    },
    "grpo@tinker-0.6": {
        "std": credited(group_standardized()),
        "baseline without itself": credited(leave_one_out()),
        "ratio to the old weights": aimed(importance_sampling()),
        "clipped": aimed(surrogate_to_sampler),
        "no ratio": aimed(policy_gradient()),
        "mean over tokens": reduced("token"),
        "mean over rollouts": reduced("rollout", sum_over("token")),
        "mean over groups": reduced("group", sum_over("token")),
    },
    "dr-grpo": {
        "std": credited(group_standardized()),
        "baseline without itself": credited(leave_one_out()),
        **CLIP,
        "each rollout its own length": reduced("group", "rollout", "token"),
        "tokens alike": reduced("token"),
        "another largest length": reduced("group", "rollout", over("token", 64)),
        "rollouts alike": reduced("rollout", over("token", 128)),
    },
    "dapo": {
        **STANDARDIZED,
        **CLIP,
        "clip sides swapped": constants(clip_low=0.28, clip_high=0.2),
        **PER_TOKEN,
        "flat groups counted": gates(MaskOverlong()),
        "overlong trained": gates(DropFlat()),
        "overlong left out of the statistics": gates(DropFlat(), MaskOverlong(fate="drop")),
    },
    "ada-grpo": {**normalized(1e-6, 1e-4), **CLIP, **PER_ROLLOUT},
    "ampo": {
        **normalized(1e-6, 1e-4),
        **CLIP,
        **PER_ROLLOUT,
        "no mode level": lambda m: m.but(credit=m.credit[:1]),
        "the mode level alone": link(0, nothing),
        "every mode twice": link(1, mode_level(times=2)),
        "three modes": link(1, mode_level(modes=3)),
        "nothing malformed": link(1, mode_level(strict=True)),
        "rewards never tie": link(1, mode_level(tie=-1.0)),
        "rewards always tie": link(1, mode_level(tie=9.0)),
        "each mode as often as it occurs": link(1, modes_by_rollout),
        "what is malformed is a mode": link(1, malformed_too),
        "ten times the KL": weighing("kl", 0.01),
        "KL over tokens alike": reduced("token", signal="kl"),
    },
    "ampo@mozerwang-88e70d5": {
        **normalized(1e-6, 1e-4),
        **CLIP,
        **PER_TOKEN,
        "any two modes": link(1, mode_level()),
        "ten times the KL": weighing("kl", 0.01),
        "KL: each rollout its own mean": reduced("group", "rollout", "token", signal="kl"),
    },
    "mind-grpo": {**STANDARDIZED, **CLIP, **PER_ROLLOUT},
    "webexplorer-grpo": {**STANDARDIZED, **CLIP, **PER_ROLLOUT},
    "doctoragent-rl-grpo": {
        **normalized(1e-6, 1e-4),
        **CLIP,
        "clip sides swapped": constants(clip_low=0.28, clip_high=0.2),
        **PER_TOKEN,
        "a KL, as the paper's figure has": added(kl=KL),
    },
    "mcp-bench": {**STANDARDIZED, **CLIP, **PER_ROLLOUT},
    "webweaver-grpo": {**STANDARDIZED, **CLIP, **PER_ROLLOUT},
    "websailor-grpo": {
        "std": credited(group_standardized()),
        "baseline without itself": credited(leave_one_out()),
        "no baseline": credited(reward_itself()),
        **CLIP,
        "clip sides swapped": constants(clip_low=0.28, clip_high=0.2),
        **PER_TOKEN,
        "what was cut is trained": gates(Ends(cut="train")),
        "what was cut is left out of the statistics": gates(Ends(cut=None)),
    },
    "formalmath-released": {**STANDARDIZED, **CLIP, **PER_ROLLOUT},
    "parallel-grpo": {**normalized(1e-6, 1e-4), **MOVED_CLIP, **PER_ROLLOUT},
    "parallel-bonus": {**normalized(1e-6, 1e-4), **MOVED_CLIP, **PER_ROLLOUT},
    "swarm": {**STANDARDIZED, **SHARED},
    "swarm@genrl-0.1.4": {**normalized(1e-8, 1e-6), **SHARED},
    "rloo": {
        "baseline with itself": credited(group_centered()),
        "std": credited(group_standardized()),
        "no baseline": credited(reward_itself()),
        "KL in the outcome": lambda m: m.but(reference=True, credit=(kl_in_outcome(), leave_one_out())),
        "mean over tokens": reduced("group", "rollout", "token"),
        "rollouts alike": reduced("rollout", sum_over("token")),
        "a ratio": aimed(importance_sampling()),
        "the rollout's ratio": aimed(product_ratio(), "group", "rollout"),
    },
    "rloo@trl-1.16": {
        "baseline with itself": link(1, group_centered()),
        "std": link(1, group_normalized()),
        "no KL": credited(leave_one_out()),
        "double the KL": link(0, kl_in_outcome(coefficient=0.1)),
        "KL after the baseline": credited(leave_one_out(), credit_at_end(), kl_in_reward(coefficient=0.05), returns_to_go()),
        "mean of the log-ratios": aimed(sequence_ratio(clip_low=0.2, clip_high=0.2)),
        "token by token": aimed(clipped_surrogate(), "rollout", sum_over("token")),
        "lower clip moved": constants(clip_low=0.28),
        "upper clip moved": constants(clip_high=0.28),
        "groups alike": reduced("group", "rollout"),
        "summed": reduced(sum_over("rollout")),
    },
    "reinforce++": {
        "not whitened": lambda m: m.but(credit=m.credit[:2]),
        "whitened without centre": link(2, batch_whiten(center=False)),
        "whitened in its group": credited(group_standardized()),
        "discounted": link(1, returns_to_go(gamma=0.99)),
        "k2": link(0, kl_in_reward(estimator="k2")),
        "k3": link(0, kl_in_reward(estimator="k3")),
        "double the KL": link(0, kl_in_reward(coefficient=0.02)),
        "no KL": lambda m: m.but(credit=m.credit[1:]),
        **CLIP,
        **PER_TOKEN,
    },
    "stable-reinforce": {
        "not whitened": lambda m: m.but(credit=m.credit[:1]),
        "whitened without centre": link(1, batch_whiten(center=False)),
        "beyond one deviation left out": link(2, drop_outliers(limit=1.0)),
        "as released": credited(returns_to_go(), raw_window()),
        "bounds of a half and two": constants(low=0.5, high=2.0),
        "lower clip moved": constants(clip_low=0.28),
        "upper clip moved": constants(clip_high=0.28),
        "tokens alike": reduced("token"),
    },
    "stable-reinforce@r1-reward-3693413": {
        "three deviations": lambda m: m.but(credit=(*m.credit[:2], batch_whiten(std_floor=1e-4), drop_outliers())),
        "no KL": lambda m: m.but(credit=m.credit[1:]),
        "double the KL": link(0, kl_in_reward(coefficient=0.002)),
        "a window of two": link(2, raw_window(limit=2.0)),
        "bounds of a half and two": constants(low=0.5, high=2.0),
        "lower clip moved": constants(clip_low=0.28),
        "upper clip moved": constants(clip_high=0.28),
        "tokens alike": reduced("token"),
    },
    "gspo": {
        **STANDARDIZED,
        "clip sides swapped": constants(clip_low=4e-4, clip_high=3e-4),
        "token by token": aimed(clipped_surrogate(clip_low=3e-4, clip_high=4e-4), "group", "rollout", "token"),
        "the product of the ratios": aimed(product_ratio(clip_low=3e-4, clip_high=4e-4)),
        "row by row": aimed(row_ratio(), "group", "row"),
        "rollouts alike": reduced("rollout"),
        "summed": reduced(sum_over("rollout")),
    },
    "resum-grpo": {
        **STANDARDIZED,
        "clip sides swapped": constants(clip_low=4e-4, clip_high=3e-4),
        "one ratio for all rows": aimed(sequence_ratio(), "group", "rollout"),
        "rollouts alike": reduced("group", "rollout", "row"),
        "rows alike": reduced("row"),
        "summed": reduced(sum_over("row")),
    },
    "webresearcher": {
        **STANDARDIZED,
        "mean and deviation over rollouts": credited(by_row(), row_standardized(over="rollout")),
        "later rows earn more": link(0, by_row(gamma=0.995)),
        "clip sides swapped": constants(clip_low=4e-4, clip_high=3e-4),
        "one ratio for all rows": aimed(sequence_ratio(), "group", "rollout"),
        "rollouts alike": reduced("group", "rollout", "row"),
        "rows alike": reduced("row"),
        "summed": reduced(sum_over("row")),
    },
    "cispo": {
        **STANDARDIZED,
        "cap moved": constants(clip_high=0.2),
        "capped below too": constants(clip_low=0.2),
        "gradient through the ratio": aimed(importance_sampling()),
        "PPO's clip": aimed(clipped_surrogate(clip_high=0.28)),
        "no weight": lambda m: aimed(policy_gradient())(m.but(update=AdamW())),
        **PER_TOKEN,
    },
    "ppo": {
        "lambda 1": link(1, gae(lam=1.0)),
        "discounted": link(1, gae(gamma=0.99)),
        "not whitened": lambda m: m.but(credit=m.credit[:2]),
        "whitened without centre": link(2, batch_whiten(center=False)),
        "k3": link(0, kl_in_reward(coefficient=0.05, estimator="k3")),
        "no KL": lambda m: m.but(credit=m.credit[1:]),
        "value unclipped": aimed(clipped_value(clip=None), signal="value"),
        "value clip moved": aimed(clipped_value(clip=0.5), signal="value"),
        "value weighs 1": weighing("value", 1.0),
        "value: each rollout its own mean": reduced("rollout", "token", signal="value"),
        **CLIP,
        **PER_TOKEN,
    },
    "treepo": {
        "the group alone": link(0, group_centered()),
        "sub-groups of one counted": link(0, nested_singles),
        "only the first sub-group": link(0, first_centered),
        "baseline without itself": link(0, leave_one_out()),
        "no baseline": link(0, reward_itself()),
        "divided by the group's std": link(0, group_standardized()),
        "not whitened": lambda m: m.but(credit=m.credit[:1]),
        "whitened without centre": link(1, batch_whiten(center=False)),
        **CLIP,
        "clip sides swapped": constants(clip_low=0.28, clip_high=0.2),
        **PER_TOKEN,
        "flat groups counted": gates(),
    },
    "flowrl": {
        **normalized(1e-6, 1e-4),
        "weight unclipped": constants(low=None, high=None),
        "weight capped above only": constants(low=None),
        "weight capped at 10": constants(low=None, high=10.0),
        "weight of the mean ratio": aimed(weight_by_the_mean_ratio),
        "gradient through the weight": aimed(weight_with_gradient),
        "log-probabilities summed": constants(length="sum"),
        "beta 10": constants(beta=10.0),
        "log Z of the group": aimed(group_balance(), "group"),
        "groups alike": reduced("group", "rollout"),
        "summed": reduced(sum_over("rollout")),
    },
    "intuitor": {
        **STANDARDIZED,
        "sample deviation": credited(group_normalized(eps=1e-4)),
        **CLIP,
        **PER_ROLLOUT,
        "k2": constants("kl", estimator="k2"),
        "KL the other way round": aimed(kl_of_the_reference, signal="kl"),
        "ten times the KL": weighing("kl", 0.05),
        "KL over tokens alike": reduced("token", signal="kl"),
    },
    "abstain": {
        "std": credited(group_standardized()),
        "baseline without itself": credited(leave_one_out()),
        "no baseline": credited(reward_itself()),
        **CLIP,
        **PER_ROLLOUT,
    },
    "pathfinder-rl": {
        **CLIP,
        **PER_ROLLOUT,
        "scores as they are": credited(step_returns.reading(score_T="least_step_T")),
        "later steps count less": link(1, step_returns(gamma=0.9)),
        "its own score alone": link(1, own_step),
        "another floor": link(0, steps_standardized(std_floor=0.5).reading(score_T="least_step_T")),
        "paid by the verdict": credited(group_standardized()),
    },
}
"""One mistake each, in the method."""


def _counted(world: World) -> Callable[[Batch], Batch]:
    """Every decision of a kept rollout is trained, as an action, and somebody measured it."""

    def change(batch: Batch) -> Batch:
        kept_R = torch.tensor([world.fates[unit].kind == "keep" for unit in batch.units])
        tracks = {name: track.nan_to_num(-1.0) for name, track in batch.tracks.items()}
        return dataclasses.replace(
            batch,
            trains_T=batch.index.spread(kept_R, "rollout", "token"),
            kind_T=torch.full_like(batch.kind_T, KINDS.index("action")),
            tracks=tracks,
        )

    return change


def _unweighted(world: World) -> World:
    return dataclasses.replace(world, fates={unit: dataclasses.replace(fate, weight=1.0) for unit, fate in world.fates.items()})


def _alone(world: World) -> World:
    """What is not trained is not in the statistics either."""
    fates = {unit: fate if fate.kind == "keep" else dataclasses.replace(fate, kind="drop") for unit, fate in world.fates.items()}
    return dataclasses.replace(world, fates=fates)


RIVALLED = ("dpo", "rft", "mpo", "sft")
"""Losses over pairs and demonstrations: their oracle is a library itself, and a loop (tests/test_trl_pairs.py, with mutants; of
demonstrations tests/test_demos.py)."""
ESTIMATORS = [
    name
    for name in METHODS
    if name not in RIVALLED
    and (not method(name).idea or set(method(name).idea) - {"curriculum", "sampler", "gate", "graders", "roles", "feed", "memory"})
]
"""Methods with a loss of their own. One whose idea is which rollouts there are trains them as its parent does."""


def mutants(name: str) -> dict[str, Callable[[World], Answer]]:
    """What strop would compute with one mistake each, in the method or about the batch."""
    one = method(name)
    made: dict[str, Callable[[World], Answer]] = {mistake: partial(computed, change(one)) for mistake, change in MUTANTS[name].items()}
    made["masked tokens counted"] = lambda world: computed(one, world, _counted(world))
    made["weights of the gate forgotten"] = lambda world: computed(one, _unweighted(world))
    if any("group" in link.needs for link in one.credit):
        made["siblings out of the statistics"] = lambda world: computed(one, _alone(world))
    return made


@cache
def kills(name: str) -> dict[str, int | None]:
    """For each mutant the first batch that tells it from the oracle; None where it survives them all."""
    made, found = mutants(name), dict[str, int | None]()
    for number in range(BATCHES):
        here = world(number)
        wanted = ORACLES[name](plain(here))
        killed = [mistake for mistake in made if mistake not in found and max(distance(made[mistake](here), wanted)) > OTHER]
        found |= dict.fromkeys(killed, number)
        if len(found) == len(made):
            break
    return {mistake: found.get(mistake) for mistake in made}
