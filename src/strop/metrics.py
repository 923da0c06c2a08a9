"""The metrics line: what one step was, in numbers. Everything on it outside `t` is the same whenever the step is computed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import xxhash
from torch import Tensor

from strop.batch import Batch
from strop.method import Method
from strop.records import Fate, Group, Rollout, Scores
from strop.seams.mark import is_label, name_of
from strop.seams.world import calls
from strop.sense import channels_read

Facts = Sequence[Mapping[str, float]]
"""What the learner said of each of a step's updates."""


class Figure(NamedTuple):
    """What one field of the line is."""

    unit: str
    says: str
    when: str = ""
    """Where it stands; empty: on every line."""


AHEAD = "with `ahead`"
PAIRS = "where pairs are learned from, with a reference"
SWARM = "in a swarm"
ROLES = "with roles"
BESIDE = "where policies are trained beside the actor"
ALIEN = (
    "where others than these weights drew the rollouts (another engine or dtype, `ahead`, a replay with another method), or some of it "
    "stands elsewhere than it was drawn: of the rest"
)
MODEL = "where the policy is a language model"
REMINDED = "with a memory"
TOOLS = "where tools are called"
TRIED = "where a task was tried"
MARKED = "where its chat template has marks of its own and rollouts are fresh"
FRESH = "where rollouts are fresh and these weights drew them"

LINE: dict[str, Figure] = {
    "step": Figure("count", "steps done before this one"),
    "version": Figure("count", "updates of the weights, this step's among them"),
    "fingerprint": Figure("hash", "of the method"),
    "reward": Figure("reward", "mean over the rollouts; None where none has one"),
    "<channel>": Figure("score", "mean over the rollouts of a channel: `outcome`, `lenient`, a grader's"),
    "labels.<label>.<value>": Figure("share", "of rollouts that a mark gave this label; -1: none", "with marks that label"),
    "spread": Figure("share", "of groups whose rewards differ"),
    "length": Figure("tokens", "mean length of what the policy wrote"),
    "cut": Figure("share", "of rollouts that reached the longest reply"),
    "rollouts": Figure("count", "of this step; demonstrations and other trainers' are not among them"),
    "dropped.<why>": Figure(
        "count", "rollouts that are not trained, by the gate's word: those in the context alone too", "where a gate has one"
    ),
    "copies": Figure("count", "groups beyond their first that a gate packed again"),
    "incidents": Figure("count", "scores that nobody could give: our fault"),
    "tools.<tool>.calls": Figure("count", "of this tool, in all rollouts", TOOLS),
    "tools.<tool>.failed": Figure("count", "of them, those that were no good; what named no tool stands under `?`", TOOLS),
    "memory.cases": Figure("count", "that it holds", REMINDED),
    "memory.written": Figure("count", "cases that were ever written", REMINDED),
    "memory.right": Figure("share", "of the cases it holds, those that were right", REMINDED),
    "memory.read": Figure("count", "cases that the step's rollouts were shown", REMINDED),
    "memory.read_right": Figure("count", "of them, those that were right", REMINDED),
    "memory.learned.<fact>": Figure("as there", "what its reader said when it last learned: `rows`, `loss`", REMINDED),
    "memory.digest": Figure("hash", "of all that it holds", REMINDED),
    "world.<what>": Figure(
        "count", "what its worlds did beside answering, in all rollouts: retried, cached, …; or which faults they made", "where one did"
    ),
    "roles.<role>.rollouts": Figure("count", "of another role than solving the task", ROLES),
    "roles.<role>.reward": Figure("reward", "mean over them", ROLES),
    "roles.<role>.length": Figure("tokens", "mean length of what the policy wrote in them", ROLES),
    "roles.<role>.kept": Figure("count", "of them, those that are trained", ROLES),
    "policies.<policy>.<field>": Figure(
        "as there", "of a policy that is trained beside the actor, what the line says of the actor under this name: `watch` too", BESIDE
    ),
    "entropy": Figure("nats", "mean over the trained decisions, of the distribution each was drawn from"),
    "off": Figure("share", "of trained decisions whose ratio of now to old lies outside [0.8, 1.2], over all updates"),
    "far": Figure("share", "of rollouts whose ratio of now to old, the product over their decisions, lies outside [1/2, 2]"),
    "mismatch": Figure("nats", "largest |logp - old_logp| at the step's first update: 0 but for rounding"),
    "grad_norm": Figure("norm", "of the gradient before it is clipped, mean over the updates"),
    "loss.<signal>": Figure("loss", "before its weight, mean over the updates"),
    "updates": Figure("count", "optimiser steps"),
    "pairs.count": Figure("count", "pairs that were learned from", PAIRS),
    "pairs.margin": Figure("nats", "log-ratio to the reference of the better text less the other's, before each update", PAIRS),
    "pairs.preferred": Figure("share", "of the pairs whose margin is above 0", PAIRS),
    "running.<signal>": Figure("number", "the mean that a signal keeps over all minibatches so far", "where one does"),
    "heads.<head>": Figure("number", "what a head says, mean over decisions or rollouts", "where the method has heads"),
    "bill.<kind>": Figure(
        "positions",
        "spent since the run began: prefilled, decoded, scored, recomputed, copied; trained, measured; calls; POLICY/kind of others",
    ),
    "digest.groups": Figure("hash", "of what was committed: groups, scores, fates, rewards"),
    "digest.credit": Figure("hash", "of all tracks at the update"),
    "digest.weights": Figure("hash", "of the weights after it"),
    "digest.optimiser": Figure("hash", "of its moments"),
    "sampler.kl": Figure("nats", "KL(sampler || learner) a decision, by k3", ALIEN),
    "sampler.effective": Figure("share", "of the decisions that importance weights leave effective", ALIEN),
    "sampler.largest": Figure("ratio", "the largest importance weight", ALIEN),
    "age.mean": Figure("versions", "between the weights that wrote the trained decisions and those that learn from them", AHEAD),
    "age.most": Figure("versions", "the largest of them", AHEAD),
    "stale": Figure("list", "groups discarded for their age since the last step: place, age, mean length, pass rate", AHEAD),
    "taken": Figure("list", "mean length and pass rate of each group that was learned from", AHEAD),
    "swarm.own": Figure("count", "own groups", SWARM),
    "swarm.foreign": Figure("count", "other trainers' groups", SWARM),
    "swarm.reward": Figure("reward", "mean over their rollouts, by our own grader", SWARM),
    "swarm.<tally>": Figure("count", "what was shared, and what was refused from whom, since the run began (docs/swarm.md)", SWARM),
    "watch.canary.<who>": Figure("nats", "what learner and engine say of eight prompts before the step, and the weights' digest", MODEL),
    "watch.kept": Figure("count", "rollouts that are trained, of those with an action"),
    "watch.untrained": Figure("count", "of them, those without a trained decision"),
    "watch.trained": Figure("count", "decisions that some signal trains"),
    "watch.apart": Figure(
        "count", "groups whose trained rollouts earned different rewards; one for the step where credit compares no siblings"
    ),
    "watch.forged": Figure("share", "rollouts in which the policy writes what opens a turn in its template", MARKED),
    "watch.rates.groups": Figure("count", "groups with an outcome", TRIED),
    "watch.rates.mean": Figure("score", "mean of their mean outcomes", TRIED),
    "watch.rates.deviation": Figure("score", "how far those lie apart", TRIED),
    "watch.cut": Figure(
        "ratio", "how much the loss of four rows changes in smaller passes", "every third step, where two rows are trained"
    ),
    "watch.misplaced": Figure("count", "decisions whose mask is not what the records say"),
    "watch.kl": Figure("nats", "KL(sampler || learner) a decision, at the first update", FRESH),
    "watch.ess": Figure("share", "of those decisions that importance weights leave effective", FRESH),
    "watch.ratio": Figure("ratio", "the largest of their ratios, either way", FRESH),
    "watch.tokens": Figure("count", "such decisions", FRESH),
    "watch.drawn": Figure("count", "of them, those whose draw was repeated with the run's noise", FRESH),
    "watch.undrawn": Figure("count", "of them, those that would have been drawn otherwise", FRESH),
    "watch.holding": Figure("list", "tripwires that hold, by name (docs/tripwires.md)"),
    "warnings.<tripwire>": Figure("text", "what a tripwire says that did not hold a step ago", "on the step where it begins"),
    "t.seconds": Figure("seconds", "of the step; what stands under `t` is no part of what is the same again"),
    "t.<phase>": Figure("seconds", "of them: sample, grade, commit, learn"),
    "t.tools.<tool>.<what>": Figure("seconds", "`median` and `most` of its answers", "where a world says how long its tools took"),
    "t.at": Figure("time", "when it ended, in seconds since 1970"),
    "t.replayed": Figure("truth", "it was computed from a record: nothing was sampled"),
}
"""Every field of the line, by its path; what stands in brackets is a name of the run's own."""


def drawn(
    method: Method, groups: Sequence[Group], scores: Scores, rewards: Mapping[str, float | None], fates: Mapping[str, Fate]
) -> dict[str, Any]:
    """Of the rollouts: rewards, every channel but those that only other roles earn by, how often a group's rewards differ, lengths, and
    what was dropped why."""
    members = [r for g in groups for r in g.rollouts]
    said = earned(groups, rewards)
    names = [name_of(mark) for mark in method.marks if is_label(mark)]
    aside = (
        {name[:-2] for role in method.roles.values() for name in role.reward.reads}
        - channels_read(method, roles=False)
        - {"outcome", "lenient"}
    )
    labels = {name: _shares(scores.get(r, name) for r in members) for name in names}
    return {
        "reward": said.pop("reward"),
        **{name: mean_known(scores.get(r, name) for r in members) for name in scores.channels() if name not in (*labels, *aside)},
        **({"labels": labels} if labels else {}),
        **said,
        "dropped": dict(Counter(fate.why for fate in fates.values() if fate.kind != "keep")),
        "copies": sum(max((fates[r.id].times for r in g.rollouts), default=1) - 1 for g in groups),
        "incidents": len(scores.incidents),
        **({"tools": tools} if (tools := of_tools(members)) else {}),
        **({"world": done} if (done := of_worlds(members)) else {}),
    }


def of_tools(rollouts: Sequence[Rollout]) -> dict[str, dict[str, int]]:
    """Calls of every tool, and those that were no good."""
    found: dict[str, dict[str, int]] = {}
    for tool, ok, _ in (call for rollout in rollouts for call in calls(rollout)):
        one = found.setdefault(tool or "?", {"calls": 0, "failed": 0})
        one["calls"] += 1
        one["failed"] += not ok
    return dict(sorted(found.items()))


def of_worlds(rollouts: Sequence[Rollout]) -> dict[str, int]:
    """What worlds counted in their facts (`counts`)."""
    found = Counter[str]()
    for turn in (turn for rollout in rollouts for turn in rollout.keys.get("facts", ())):
        counts = turn.get("counts")
        found.update({name: much for name, much in counts.items() if type(much) is int} if isinstance(counts, dict) else {})
    return dict(sorted(found.items()))


def earned(groups: Sequence[Group], rewards: Mapping[str, float | None]) -> dict[str, Any]:
    """Of these groups' rollouts: how many, rewards, lengths, and how often a group's rewards differ."""
    members = [r for g in groups for r in g.rollouts]
    return {
        "reward": mean_known(rewards[r.id] for r in members),
        "spread": mean_known(float(len({rewards[r.id] for r in g.rollouts}) > 1) for g in groups),
        "length": mean_known(float(r.length) for r in members),
        "cut": mean_known(float(r.stop == "length") for r in members),
        "rollouts": len(members),
    }


def by_role(
    method: Method, groups: Sequence[Group], rewards: Mapping[str, float | None], fates: Mapping[str, Fate]
) -> dict[str, dict[str, float | None]]:
    """Of what else was done with the tasks than solving them, by role."""
    found: dict[str, dict[str, float | None]] = {}
    for role in method.roles:
        members = [r for g in groups if g.role == role for r in g.rollouts]
        found[role] = {
            "rollouts": len(members),
            "reward": mean_known(rewards[r.id] for r in members),
            "length": mean_known(float(r.length) for r in members),
            "kept": sum(fates[r.id].kind == "keep" for r in members),
        }
    return found


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
    if total.get("pairs"):
        pairs = total["pairs"]
        line["pairs"] = {"count": pairs, "margin": total["margin"] / pairs, "preferred": total["preferred"] / pairs}
    if method.heads:
        count = {"T": trained, "R": rollouts}
        line["heads"] = {h.name: total.get(f"head/{h.track}", 0.0) / count[h.track[-1]] for h in method.heads}
    return line


def distance(batch: Batch) -> dict[str, float]:
    """How far the learner is from whoever drew its rollouts, over the trained decisions: KL(sampler || learner) by k3, the share
    of them that an importance weight leaves effective, and the largest weight."""
    log_T = (batch.tracks["old_logp_T"] - batch.tracks["sampled_logp_T"])[batch.trained_T].double()
    log_T = log_T[~log_T.isnan()]  # what stands in another context than it was drawn in
    if not len(log_T):
        return {"kl": 0.0, "effective": 1.0, "largest": 1.0}
    ratio_T = log_T.exp()
    effective = ratio_T.sum().square() / ratio_T.square().sum() / len(ratio_T)
    return {"kl": (ratio_T - 1 - log_T).mean().item(), "effective": effective.item(), "largest": ratio_T.max().item()}


def ages(batch: Batch) -> dict[str, float]:
    """Versions between the weights that wrote the trained decisions and those that learn from them."""
    age_T = batch.tracks["age_T"][batch.trained_T].double()
    return {"mean": age_T.mean().item(), "most": age_T.max().item()} if len(age_T) else {"mean": 0.0, "most": 0.0}


def _shares(values: Iterable[float | None]) -> dict[str, float]:
    """How often each label was given, of all that were."""
    counts = Counter(int(value) for value in values if value is not None)
    return {str(label): counts[label] / counts.total() for label in sorted(counts)}


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
