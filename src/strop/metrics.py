"""The metrics line: what one step was, in numbers. Everything on it outside `t` is the same whenever the step is computed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import xxhash
from torch import Tensor

from strop.batch import Batch
from strop.method import Method
from strop.records import Fate, Group, Scores

Facts = Sequence[Mapping[str, float]]
"""What the learner said of each of a step's updates."""


def drawn(groups: Sequence[Group], scores: Scores, rewards: Mapping[str, float | None], fates: Mapping[str, Fate]) -> dict[str, Any]:
    """Of the rollouts: rewards, every channel, how often a group's rewards differ, lengths, and what was dropped why."""
    members = [r for g in groups for r in g.rollouts]
    return {
        "reward": mean_known(rewards[r.id] for r in members),
        **{name: mean_known(scores.get(r, name) for r in members) for name in scores.channels()},
        "spread": mean_known(float(len({rewards[r.id] for r in g.rollouts}) > 1) for g in groups),
        "length": mean_known(float(r.length) for r in members),
        "cut": mean_known(float(r.stop == "length") for r in members),
        "rollouts": len(members),
        "dropped": dict(Counter(fate.why for fate in fates.values() if fate.kind != "keep")),
        "copies": sum(max((fates[r.id].times for r in g.rollouts), default=1) - 1 for g in groups),
        "incidents": len(scores.incidents),
    }


def learned(method: Method, facts: Facts) -> dict[str, Any]:
    """Of the updates, as means over their decisions, rollouts or number."""
    total = {name: sum(f[name] for f in facts) for name in (facts[0] if facts else {})}
    trained, rollouts, updates = max(total.get("trained", 0), 1), max(total.get("rollouts", 0), 1), max(len(facts), 1)
    line: dict[str, Any] = {
        "entropy": total.get("entropy", 0.0) / trained,
        "off": total.get("off", 0.0) / trained,
        "far": total.get("far", 0.0) / rollouts,
        "mismatch": facts[0]["gap"] if facts else 0.0,
        "grad_norm": total.get("grad_norm", 0.0) / updates,
        "loss": {name[5:]: value / updates for name, value in total.items() if name.startswith("loss/")},
        "updates": len(facts),
    }
    if method.heads:
        count = {"T": trained, "R": rollouts}
        line["heads"] = {h.name: total.get(f"head/{h.track}", 0.0) / count[h.track[-1]] for h in method.heads}
    return line


def distance(batch: Batch) -> dict[str, float]:
    """How far the learner is from whoever drew its rollouts, over the trained decisions: KL(sampler || learner) by k3, the share
    of them that an importance weight leaves effective, and the largest weight."""
    log_T = (batch.tracks["old_logp_T"] - batch.tracks["sampled_logp_T"])[batch.trained_T].double()
    if not len(log_T):
        return {"kl": 0.0, "effective": 1.0, "largest": 1.0}
    ratio_T = log_T.exp()
    effective = ratio_T.sum().square() / ratio_T.square().sum() / len(ratio_T)
    return {"kl": (ratio_T - 1 - log_T).mean().item(), "effective": effective.item(), "largest": ratio_T.max().item()}


def ages(batch: Batch) -> dict[str, float]:
    """Versions between the weights that wrote the trained decisions and those that learn from them."""
    age_T = batch.tracks["age_T"][batch.trained_T].double()
    return {"mean": age_T.mean().item(), "most": age_T.max().item()} if len(age_T) else {"mean": 0.0, "most": 0.0}


def mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def digest(named: Mapping[str, Tensor], like: str = "") -> str:
    """Hash of tensors, by name. It tells accidents apart and no forgery, so it is a fast one. `like` a digest of 16 digits, as earlier
    runs recorded them, it is made as that one was."""
    total = hashlib.sha256() if len(like) == 16 else xxhash.xxh3_128()
    for name in sorted(named):
        total.update(name.encode())
        total.update(named[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[: len(like) or None]
