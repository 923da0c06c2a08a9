"""Learning: from committed groups to a gradient. Rewards, tracks, correction and credit, and the signals' slope over a minibatch.

Everything here is a function of its arguments: what a step does with it stands in `strop.train`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from strop import sense
from strop.batch import Batch
from strop.method import Method
from strop.records import Group, Row, Scores
from strop.seams.context import Progress
from strop.seams.index import Index
from strop.seams.learner import ALONE, Key, Learner, Look, Peers
from strop.seams.part import Part
from strop.seams.signal import KINDS

ORDER = ("token", "row", "rollout", "group")
FAR = math.log(2)
"""A rollout is far when its ratio of now to old, the product over its decisions, lies outside [1/2, 2]."""


def reward_of(method: Method, groups: Sequence[Group], scores: Scores, progress: Progress) -> dict[str, float | None]:
    """Each role's reward part on its groups' channels; None where a channel it reads is unknown: such a rollout is in no statistic."""
    rewards: dict[str, float | None] = {}
    for role, members in method.by_role(groups):
        rewards |= _rewarded(method, role.reward, members, scores, progress)
    return rewards


def _rewarded(method: Method, part: Part, groups: Sequence[Group], scores: Scores, progress: Progress) -> dict[str, float | None]:
    channels = [name for name in part.reads if name.endswith("_R") and name != "length_R"]
    members = [r for g in groups for r in g.rollouts]
    for r in members:
        if scores.get(r, "outcome") is not None and any(name[:-2] not in scores.values[r.id] for name in channels):
            sense.graded(method, scores.values[r.id])
    rewards: dict[str, float | None] = dict.fromkeys((r.id for r in members), None)
    known = [[r for r in g.rollouts if all(scores.get(r, name[:-2]) is not None for name in channels)] for g in groups]
    inside = [r for rollouts in known for r in rollouts]
    if not inside:
        return rewards
    have: dict[str, Any] = {name: torch.tensor([scores.get(r, name[:-2]) for r in inside], dtype=torch.float64) for name in channels}
    have |= {"fraction": progress.fraction, "step": progress.step}
    if "length_R" in part.reads:
        have["length_R"] = torch.tensor([r.length for r in inside], dtype=torch.float64)
    if "index" in part.reads:
        have["index"] = Index.of([[[decisions(row) for row in r.rows] for r in rollouts] for rollouts in known if rollouts])
    values = part.on(have).tolist()
    return rewards | {r.id: None if v != v else v for r, v in zip(inside, values, strict=True)}


def decisions(row: Row) -> int:
    return sum(len(s.tokens) for s in row.segments if s.kind in KINDS)


def measure(method: Method, batch: Batch, learner: Learner, bill: Counter[str], *, own: bool) -> Batch:
    """Tracks under the weights as they stand, where some part reads them and nobody recorded them.

    `own`: these weights drew the batch themselves, so what was recorded while sampling is the learner's own.
    """
    sampled_T = batch.tracks["sampled_logp_T"]
    readers = (
        s.on.kinds for s in method.signals.values() if any(p is not None and "old_logp_T" in p.reads for p in (s.objective, s.running))
    )
    read_T = batch.of_kinds({kind for kinds in readers for kind in kinds}) & batch.trains_T
    unknown = not own or bool(sampled_T[read_T].isnan().any())
    tracks = {"old_logp_T": sampled_T}
    valued = {head.track for head in method.heads if head.old_track}
    if unknown or valued:
        now, count = learner.evaluate(batch, frozenset({"logp_T", *valued}))
        bill["measured"] += count
        tracks = {f"old_{name}": track for name, track in now.items()}
    if method.reference:
        frozen, count = learner.evaluate(batch, frozenset({"logp_T"}), "frozen")
        bill["reference/measured"] += count
        tracks["reference_logp_T"] = frozen["logp_T"]
    return batch.with_(**tracks)


def evaluated(
    policy: Any, batch: Batch, want: frozenset[str], budget: int, used_T: Tensor | None = None, peers: Peers = ALONE
) -> tuple[dict[str, Tensor], int]:
    """One pass without gradient, and the positions computed. Decisions of rows without a used one (a trained one) stay NaN."""
    sizes = {name: batch.index.size("token" if name.endswith("_T") else "rollout") for name in want}
    tracks = {name: torch.full((size,), float("nan")) for name, size in sizes.items()}
    known = {name: torch.zeros(size, dtype=torch.bool) for name, size in sizes.items()}
    positions = torch.zeros((), dtype=torch.long)
    passes = batch.micros(budget, "row", used_T)
    with torch.no_grad():
        for rows in peers.mine(passes, [batch.padded(rows) for rows in passes]):
            if rows is None:
                policy.evaluate(batch.take(batch.shortest), want)
                continue
            at_T = batch.index.rows(torch.tensor(rows))[1]
            micro = batch.take(rows)
            got = policy.evaluate(micro, want)
            positions += sum(len(row.tokens) for row in micro.rows)
            for name in want:
                place = at_T if name.endswith("_T") else micro.index.rollout_W
                tracks[name][place] = (got[name] if name.endswith("_T") else got[name][place]).to(tracks[name].dtype)
                known[name][place] = True
        for name in sorted(want):
            tracks[name] = gathered(tracks[name], known[name], peers)
    return tracks, int(peers.sum(positions))


def gathered(track: Tensor, known: Tensor, peers: Peers) -> Tensor:
    """A track from the ranks that computed its parts; what none of them did is NaN."""
    total, some = peers.sum(track.masked_fill(~known, 0.0)), peers.sum(known.to(torch.long)) > 0
    return total.masked_fill(~some, float("nan"))


def settle(method: Method, batch: Batch, fraction: float = 0.0) -> Batch:
    """Correction and the credit chain, once, over the whole batch. Both are constants of the update.

    They see the decisions that are trained: a prefix that a row repeats but leaves out is no second decision.
    """
    kept_T = batch.trains_T
    index = batch.index.select(kept_T)
    have: dict[str, Any] = {**batch.have(), "index": index, "fraction": fraction}
    have |= {name: have[name][kept_T] for name in have if name.endswith("_T")}
    have["sampled_logp_T"] = have["sampled_logp_T"].where(have["sampled_logp_T"].isfinite(), have["old_logp_T"])  # nobody drew it here
    weight_T, mask_T = method.correction.on(have)
    reward_T = torch.where(index.last(), index.spread(batch.facts["reward_R"], "rollout", "token"), 0.0)
    tracks: dict[str, Tensor] = {"weight_T": weight_T, "mask_T": mask_T, "reward_T": reward_T}
    have |= tracks
    for link in method.credit:
        if missing := [name for name in link.reads if name not in have]:
            sense.graded(method, [name[:-2] for name in have if name.endswith("_R")])
            raise ValueError(f"method {method.name!r}: its credit {link.name!r} reads {missing[0]}, and nobody scored it here")
        given = link.on(have)
        given = dict(given) if isinstance(given, Mapping) else {link.gives: given}
        for name, level in (("credit_R", "rollout"), ("credit_W", "row")):
            if name in given:
                given["credit_T"] = index.spread(given[name], level, "token")
        tracks |= {name: value for name, value in given.items() if name.endswith("_T")}
        have |= given
    return batch.with_(**{name: track.new_zeros(len(kept_T)).masked_scatter_(kept_T, track.detach()) for name, track in tracks.items()})


def follow(method: Method, mini: Batch, before: Mapping[str, Sequence[float]], key: Key) -> tuple[Batch, dict[str, list[float]]]:
    """A minibatch with the running means that its signals read, and what to go on from: [sum, count] of each signal."""
    sums = {name: [*before.get(name, (0.0, 0))] for name, signal in method.signals.items() if signal.running is not None}
    facts = dict(mini.facts)
    for name, (total, count) in sums.items():
        signal = method.signals[name]
        assert signal.running is not None
        mask_T = mini.selected(signal.on, (*key, name)) & mini.tracks["mask_T"]
        index = mini.index.select(mask_T)
        tracks = {track: values[mask_T] if track.endswith("_T") else values for track, values in (mini.tracks | mini.facts).items()}
        value_R = signal.running.on(tracks | {"index": index})[index.active("rollout")].double()
        total, count = total + value_R.sum().item(), count + len(value_R)
        sums[name] = [total, count]
        facts[f"running_{name}"] = torch.tensor(total / max(count, 1))
    return replace(mini, facts=facts), sums


@dataclass(frozen=True)
class Plan:
    """How one minibatch is computed: settled before the first forward pass and from all of it, whoever computes which pass."""

    masks: Mapping[str, Tensor]
    """The decisions that each signal trains."""
    shares: Mapping[str, Tensor]
    """What each unit of a signal weighs."""
    passes: list[list[int]]
    """The rows of each forward pass."""
    read_T: Tensor
    """The decisions that some signal trains or the record speaks of."""
    atom: str
    """The unit whose decisions are differentiated together: `token` where each decision's loss is its own."""


def plan(method: Method, mini: Batch, budget: int, key: Key) -> Plan:
    masks = {name: mini.selected(s.on, (*key, name)) & mini.tracks["mask_T"] for name, s in method.signals.items()}
    shares = {name: s.reduce.shares(mini.index.select(masks[name])) for name, s in method.signals.items()}
    grain = coarsest(method)
    used_T = torch.stack(list(masks.values())).any(0)
    return Plan(masks, shares, mini.micros(budget, grain, used_T), used_T | mini.trained_T, atom(method))


def coarsest(method: Method) -> str:
    """The largest grain of its losses: a forward pass holds such units whole."""
    return max((s.objective.grain for s in method.signals.values()), key=ORDER.index)


def atom(method: Method) -> str:
    """The smallest unit that its losses can be cut into."""
    grain = coarsest(method)
    apart = not any("index" in s.objective.reads for s in method.signals.values())
    return grain if apart or grain != "token" else "row"


def backward(
    method: Method,
    mini: Batch,
    policy: Any,
    budget: int,
    fraction: float,
    key: Key,
    look: Look | None = None,
    peers: Peers = ALONE,
) -> dict[str, float]:
    """The gradient of all signals over one minibatch, in as many forward passes as the budget asks for, by as many ranks as there are.

    Shares are settled from counts over the whole minibatch before the first pass, so how it is cut changes nothing.
    `look` only looks on.
    """
    if any(s.running is not None and f"running_{name}" not in mini.facts for name, s in method.signals.items()):
        mini, _ = follow(method, mini, {}, key)
    planned = plan(method, mini, budget, key)
    masks, shares = planned.masks, planned.shares
    heads = tuple(head.track for head in method.heads)
    want = frozenset({"logp_T", "entropy_T", *(track for track in heads if method.needs(track))})
    names = ("trained", "positions", "entropy", "off", "gap", "rollouts", "far")
    facts = dict.fromkeys((*names, *(f"loss/{name}" for name in method.signals), *(f"head/{name}" for name in heads)), 0.0)
    pairs = "chosen_R" in mini.facts and method.reference
    moved_R = torch.zeros(mini.index.size("rollout"), dtype=torch.float64)
    apart_R = torch.zeros_like(moved_R)
    seen_R = torch.zeros_like(moved_R, dtype=torch.long)
    if look is not None:
        look.masks(masks)
        want |= look.want
    for rows in peers.mine(planned.passes, [mini.padded(rows) for rows in planned.passes]):
        if rows is None:
            moving = policy.evaluate(mini.take(mini.shortest), want)
            peers.backward(moving["logp_T"].new_zeros(()), moving)
            continue
        facts["positions"] += sum(len(mini.rows[row].tokens) for row in rows)
        for micro, at_T, moving in passed(policy, mini, rows, want, planned):
            if look is not None:
                look.see(micro, moving, at_T)
            loss = moving["logp_T"].new_zeros(())
            for name, signal in method.signals.items():
                mask_T = masks[name][at_T]
                index = micro.index.select(mask_T)
                have: dict[str, Any] = {
                    track: values[mask_T] if track.endswith("_T") else values for track, values in {**micro.tracks, **moving}.items()
                }
                facts_here = micro.facts if signal.running is None else {**micro.facts, "running": micro.facts[f"running_{name}"]}
                unit_loss = signal.objective.on(have | facts_here | {"index": index})
                share = _share_here(shares[name], signal.reduce.grain, masks[name], at_T[mask_T], rows, index)
                share = share * mini.weight_R[index.up(signal.reduce.grain, "rollout")] if signal.reduce.grain != "group" else share
                active = share != 0
                value = (share[active].to(unit_loss.dtype) * unit_loss[active]).sum()
                facts[f"loss/{name}"] += value.item()
                loss = loss + signal.weight_at(fraction) * value
            trained_T = micro.trained_T
            with torch.no_grad():
                gap_T = (moving["logp_T"] - micro.tracks["old_logp_T"])[trained_T]
                facts["trained"] += int(trained_T.sum())
                facts["entropy"] += moving["entropy_T"][trained_T].sum().item()
                facts["off"] += int((gap_T.exp() - 1).abs().gt(0.2).sum())
                facts["gap"] = max(facts["gap"], gap_T.abs().max().item() if len(gap_T) else 0.0)
                index = micro.index.select(trained_T)
                moved_R += index.sum(gap_T.double(), "token", "rollout").cpu()
                seen_R |= index.active("rollout").long()
                if pairs:
                    apart_T = (moving["logp_T"] - micro.tracks["reference_logp_T"]).where(micro.trains_T, 0.0)
                    apart_R += micro.index.sum(apart_T.double(), "token", "rollout").cpu()
                for track in heads:
                    if track in want:
                        known = moving[track][trained_T] if track.endswith("_T") else moving[track][index.active("rollout")]
                        facts[f"head/{track}"] += known.sum().item()
            peers.backward(loss, moving)
    gap, summed = facts["gap"], peers.sum(torch.tensor(list(facts.values()), dtype=torch.float64))
    facts = dict(zip(facts, summed.tolist(), strict=True)) | {"gap": peers.max(torch.tensor(gap, dtype=torch.float64)).item()}
    moved_R, seen_R = peers.sum(moved_R), peers.sum(seen_R)
    facts["rollouts"], facts["far"] = int((seen_R > 0).sum()), int((moved_R.abs() > FAR).sum())
    return facts | (_preferred(mini, peers.sum(apart_R)) if pairs else {})


def _preferred(mini: Batch, apart_R: Tensor) -> dict[str, float]:
    """Of a minibatch's pairs before its update: how many, how far the better text's log-ratio lies above the other's, how often it does."""
    chosen_R = mini.facts["chosen_R"].double()
    margin_G = mini.index.sum(torch.where(chosen_R == 1, apart_R, -apart_R), "rollout", "group")
    here_G = mini.index.count("token", "group") > 0
    here_G &= mini.index.sum((chosen_R == 1).double(), "rollout", "group") == 1
    return {"pairs": int(here_G.sum()), "margin": margin_G[here_G].sum().item(), "preferred": int((margin_G[here_G] > 0).sum())}


def passed(
    policy: Any, mini: Batch, rows: list[int], want: frozenset[str], planned: Plan
) -> Iterator[tuple[Batch, Tensor, Mapping[str, Tensor]]]:
    """One forward pass over rows of a minibatch, its decisions some at a time: a batch of them, where they stand, and their tracks.

    The loss of each part is differentiated before the next one is asked for (`seams.policy.InParts`). Other policies give all at once.
    """
    micro, at_T = mini.take(rows), mini.index.rows(torch.tensor(rows))[1]
    if not hasattr(policy, "parts"):
        yield micro, at_T, policy.evaluate(micro, want)
        return
    read_T = planned.read_T[at_T].nonzero()[:, 0]
    pieces = whole_atoms(micro.index.up("token", planned.atom)[read_T], policy.at_once)
    for part_T, moving in policy.parts(micro, want, read_T.split(pieces)):
        yield micro.only(part_T), at_T[part_T], moving


def whole_atoms(atom_T: Tensor, most: int) -> list[int]:
    """Sizes of consecutive pieces, about equal and of at most so many decisions, which cut no atom; one that is larger stands alone.

    >>> whole_atoms(torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3]), 4)
    [3, 3, 5]
    """
    even = -(-len(atom_T) // max(-(-len(atom_T) // most), 1))
    sizes: list[int] = []
    for count in atom_T.unique_consecutive(return_counts=True)[1].tolist():
        if sizes and sizes[-1] + count <= even:
            sizes[-1] += count
        else:
            sizes.append(count)
    return sizes


def _share_here(share: Tensor, grain: str, mask: Tensor, at_T: Tensor, rows: list[int], index: Index) -> Tensor:
    """The minibatch's shares at the units of one pass, in the pass's order."""
    if grain == "token":
        place = torch.cumsum(mask.to(torch.long), 0) - 1
        return share[place[at_T]]
    if grain == "row":
        share = share[torch.tensor(rows)]
    return share * index.active(grain)
