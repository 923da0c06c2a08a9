"""What tripwires are judged by: a few numbers a step, each by another road than the one it checks.

The learner is asked by a plain forward pass, as anybody would write it; masks are counted from the rollouts' segments;
a draw is repeated with the run's own noise. What costs a forward pass looks at a handful of rows.

Axes: T decisions, V vocabulary, C rows of the canary.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import mean, pstdev
from typing import Any

import torch
from torch import Tensor

from strop import grading, learning
from strop.batch import Batch
from strop.method import Method
from strop.policies.forward import parted
from strop.records import KEEP, Fate, Group, Rollout, Row, Sampling, Scores
from strop.seams.engine import Engine
from strop.seams.recorded import PAIR
from strop.seams.signal import SIDES, Where

CANARIES, LONGEST = 8, 64
"""Prompts of the canary, and how many of their tokens are looked at."""
EDGE = 2e-4
"""A draw this close to the edge between two tokens may fall either way by rounding."""
TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
TOP_P = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
SMALL = 1e-2
"""A loss below this is compared as if it were this: relative to less, rounding is large."""
TRIED = 4
"""Different tasks whose right answers are graded when every score is the same; fewer would tell too little."""
ROWS = 64
"""Rows looked at to find out why sampler and learner disagree."""
ENTRIES = 1 << 26
"""And logits of them: with a real vocabulary a few hundred decisions."""


# The engine's weights and the learner's, on the same few prompts.


def shortened(prompt: tuple[int, ...]) -> tuple[int, ...]:
    """A prompt of the canary: its first token, without which a model may be out of its senses, and as many of the last."""
    return prompt if len(prompt) <= LONGEST else (prompt[0], *prompt[1 - LONGEST :])


def plain_logits(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """One forward pass over right-padded rows."""
    with torch.no_grad():
        return model(input_ids=padded(rows, model.device), use_cache=False).logits.float()


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """To the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)


def logits_at(model: Any, rows: Sequence[Sequence[int]], place_T2: Tensor) -> Tensor:
    """[T, V] at these (row, position): of nothing else where the head can be told from the body."""
    body, head = parted(model) or (None, None)
    if body is None or head is None:
        return plain_logits(model, rows)[place_T2[:, 0], place_T2[:, 1]]
    ids = padded(rows, model.device)
    with torch.no_grad():
        state = body(input_ids=ids, use_cache=False).last_hidden_state
        return head(state[place_T2[:, 0], place_T2[:, 1]]).float()


def learner_says(model: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """Mean log-probability of each row's tokens after its first."""
    logits = plain_logits(model, rows)
    said: list[float] = []
    for i, row in enumerate(rows):
        target = torch.tensor(row[1:], device=logits.device)[:, None]
        said.append(logits[i, : len(row) - 1].log_softmax(-1).gather(-1, target).double().mean().item())
    return said


async def engine_says(engine: Engine, rows: Sequence[Sequence[int]]) -> list[float]:
    async def one(row: Sequence[int]) -> float:
        root = await engine.open(row[:1], root="canary")
        known = await engine.score(await engine.extend(root, row[1:], kind="observation"))
        return sum(known) / len(known)

    return list(await asyncio.gather(*(one(row) for row in rows)))


# What the engine wrote, and what arrived.


def foreign(engine: Any, groups: Sequence[Group]) -> dict[str, int]:
    """Actions that a row trains and the engine did not write in this very context."""
    wrong = actions = 0
    for row in (row for group in groups for rollout in group.rollouts for row in rollout.rows):
        tokens: tuple[int, ...] = ()
        for segment in row.segments:
            tokens += segment.tokens
            if segment.kind == "action" and segment.id in row.trains:
                actions += 1
                wrong += segment.logp is None or hash(tokens) not in engine.wrote
    return {"foreign": wrong, "actions": actions}


def forged(renderer: Any, groups: Sequence[Group]) -> float:
    """Share of the rollouts in which the policy itself wrote what opens a turn in its template."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]

    def writes(rollout: Rollout) -> bool:
        marks = [mark for mark in renderer.marks if mark in rollout.text]  # which holds what was answered to it too
        own = (s for row in rollout.rows for s in row.segments if s.kind == "action" and s.id in row.trains) if marks else ()
        return any(mark in renderer.text(segment.tokens) for segment in own for mark in marks)

    return sum(map(writes, rollouts)) / max(len(rollouts), 1)


# The grader.


async def constant(source: Any, groups: Sequence[Group], scores: Scores) -> float | None:
    """The score that everything gets, right answers and wrong ones included; None where something differs or nothing is known.

    For a few tasks their own right answer, another task's, and an empty text are graded; some task tells them apart.
    """
    known = {v for channels in scores.values.values() if (v := channels.get("outcome")) is not None}
    if len(known) != 1:
        return None
    tasks = list({group.task.id: group.task for group in groups}.values())[:TRIED]
    golds = [source.gold(task) for task in tasks]
    if None in golds or len(tasks) < TRIED:
        return None
    tried: list[Group] = []
    for i, task in enumerate(tasks):
        texts = (golds[i], golds[i - 1], "")
        tried.append(Group(task, tuple(Rollout((), f"{i}/{n}", text=text) for n, text in enumerate(texts))))
    again = await grading.grade(source, tried)
    return known.pop() if {again.get(r, "outcome") for group in tried for r in group.rollouts} == known else None


def rates(groups: Sequence[Group], scores: Scores) -> dict[str, float] | None:
    """Groups with an outcome, the mean of their mean outcomes, and how far those lie apart."""
    known = [rate for group in groups if (rate := scores.rate(group)) is not None]
    return {"groups": len(known), "mean": mean(known), "deviation": pstdev(known)} if known else None


def apart(batch: Batch, trained_T: Tensor, relative: bool) -> int:
    """Groups in which trained rollouts earned different rewards; where credit compares no siblings, the step is one group."""
    count_R = batch.index.sum(trained_T.long(), "token", "rollout").tolist()
    group_R = batch.index.up("rollout", "group").tolist()
    earned: dict[int, set[float]] = {}
    for reward, count, group in zip(batch.facts["reward_R"].tolist(), count_R, group_R, strict=True):
        if count and reward == reward:
            earned.setdefault(group if relative else 0, set()).add(reward)
    return sum(len(rewards) > 1 for rewards in earned.values())


# Masks, counted from the records.


def due(row: Row, fate: Fate, where: Where) -> list[tuple[int, int, float | None]]:
    """(position, token, its recorded log-probability) of what a signal should train in this row."""
    found: list[tuple[int, int, float | None]] = []
    start = 0
    for segment in row.segments:
        if segment.kind in where.kinds and segment.id in row.trains and fate.kind == "keep":
            wanted = range(len(segment.tokens))
            if where.labels:
                wanted = sorted({i for span in segment.spans if span.label in where.labels for i in range(span.start, span.stop)})
            logp = [None] * len(segment.tokens) if segment.logp is None else array("f", segment.logp)  # as a track holds it
            found += [(start + i, segment.tokens[i], logp[i]) for i in wanted]
        start += len(segment.tokens)
    return found


def misplaced(
    method: Method, rollouts: Mapping[str, tuple[Group, Rollout]], fates: Mapping[str, Fate], mini: Batch, masks: Mapping[str, Tensor]
) -> int:
    """Decisions that are trained and should not be, or the other way round, over the signals of one minibatch."""
    counts, rollout_W = mini.index.count("token", "row").tolist(), mini.index.rollout_W.tolist()
    sampled = [None if v != v else v for v in mini.tracks["sampled_logp_T"].tolist()]
    whole = bool(mini.tracks["mask_T"].all())
    wrong = 0
    for name, signal in method.signals.items():
        mask, at, seen = masks[name].tolist(), 0, Counter[int]()
        for packed, count, number in zip(mini.rows, counts, rollout_W, strict=True):
            unit = mini.units[number]
            group, rollout = rollouts[unit]
            row = rollout.rows[seen[number]]
            seen[number] += 1
            beside = signal.on.side and (group.role != PAIR or unit != group.rollouts[SIDES.index(signal.on.side)].id)
            should = set(due(row, fates.get(unit, KEEP), signal.on)) if not beside else set[tuple[int, int, float | None]]()
            does = {(p, packed.tokens[p], sampled[at + i]) for i, p in enumerate(packed.at) if mask[at + i]}
            wrong += len(does - should)
            if whole and signal.on.share >= 1:
                wrong += len(should - does)
            at += count
    return wrong


def coverage(
    method: Method, groups: Sequence[Group], fates: Mapping[str, Fate], batch: Batch, key: tuple[Any, ...], relative: bool
) -> dict[str, int]:
    """Kept rollouts with actions, how many of them train no token, how many decisions are trained, and in how many groups differently."""
    kept = {r.id for g in groups for r in g.rollouts if fates.get(r.id, KEEP).kind == "keep" and r.length}
    per_rollout = batch.index.sum(batch.trains_T.long(), "token", "rollout").tolist()
    trains = {unit for unit, count in zip(batch.units, per_rollout, strict=True) if count}
    trained_T = selected(method, batch, key)
    return {
        "kept": len(kept),
        "untrained": len(kept - trains),
        "trained": int(trained_T.sum()),
        "apart": apart(batch, trained_T, relative),
    }


def selected(method: Method, batch: Batch, key: tuple[Any, ...]) -> Tensor:
    """The decisions that some signal trains."""
    masks = [batch.selected(s.on, (*key, name)) & batch.tracks["mask_T"] for name, s in method.signals.items()]
    return torch.stack(masks).any(0) if masks else torch.zeros_like(batch.trains_T)


# The loss of a few rows, whole and cut.


def cut(method: Method, batch: Batch, policy: Any, fraction: float, key: tuple[Any, ...]) -> float | None:
    """How much the loss of four rows changes, relatively, when they are computed in smaller passes. Credits are made up: none is zero."""
    lengths = [len(row.tokens) for row in batch.rows]
    counts = batch.index.sum(batch.trains_T.long(), "token", "row").tolist()
    group_W = batch.index.up("row", "group").tolist()
    by_group: dict[int, list[int]] = {}
    for row, (count, group) in enumerate(zip(counts, group_W, strict=True)):
        if count:
            by_group.setdefault(group, []).append(row)
    picked = [f(rows, key=lambda r: counts[r]) for rows in list(by_group.values())[:2] for f in (min, max)]
    rows = sorted(set(picked))
    if len(rows) < 2:
        return None
    few = batch.take(rows)
    if "credit_T" in few.tracks:
        few = few.with_(credit_T=1 + torch.arange(len(few.kind_T), dtype=few.tracks["credit_T"].dtype) % 7 / 7)
    longest = max(lengths[r] for r in rows)
    atom = learning.coarsest(method)
    per_atom = Counter(few.index.up("row", atom if atom != "token" else "row").tolist())
    with torch.no_grad():
        whole = learning.backward(method, few, policy, longest * len(rows), fraction, key)
        parts = learning.backward(method, few, policy, longest * max(per_atom.values()), fraction, key)
    changes = [abs(parts[n] - v) / max(abs(v), SMALL) for n, v in whole.items() if n.startswith("loss/") and math.isfinite(v)]
    return max(changes, default=0.0)


# Sampler and learner on the same tokens.


class Comparison:
    """Sums over the first minibatch's fresh decisions, before any update: only there do sampler and learner agree."""

    def __init__(self, noise_T: Tensor | None):
        self.noise_T = noise_T
        self.want = frozenset[str]() if noise_T is None else frozenset({"below_T"})
        self.count = self.drawn = self.undrawn = 0
        self.kl = self.weight = self.square = 0.0
        self.ratio = 1.0

    def see(self, micro: Batch, moving: Mapping[str, Tensor], at_T: Tensor) -> None:
        with torch.no_grad():
            fresh_T = micro.trained_T & (micro.tracks["age_T"] == 0) & ~micro.tracks["sampled_logp_T"].isnan()
            logp_T, sampled_T = moving["logp_T"][fresh_T].double(), micro.tracks["sampled_logp_T"][fresh_T].double()
            log_T = logp_T - sampled_T
            ratio_T = log_T.exp()
            self.count += len(log_T)
            self.kl += (ratio_T - 1 - log_T).sum().item()
            self.weight, self.square = self.weight + ratio_T.sum().item(), self.square + ratio_T.square().sum().item()
            self.ratio = max(self.ratio, log_T.abs().max().exp().item() if len(log_T) else 1.0)
            if self.noise_T is None:
                return
            noise_T, below_T = self.noise_T[at_T][fresh_T], moving["below_T"][fresh_T].double()
            outside_T = (noise_T < below_T - EDGE) | (noise_T > below_T + logp_T.exp() + EDGE)
            known_T = ~noise_T.isnan()
            self.drawn, self.undrawn = self.drawn + int(known_T.sum()), self.undrawn + int((outside_T & known_T).sum())

    def facts(self) -> dict[str, Any]:
        if not self.count:
            return {}
        said = {"kl": self.kl / self.count, "ess": self.weight**2 / (self.count * self.square), "ratio": self.ratio, "tokens": self.count}
        return {**said, "drawn": self.drawn, "undrawn": self.undrawn} if self.drawn else said


def noise(engine: Any, rollouts: Mapping[str, tuple[Group, Rollout]], batch: Batch) -> Tensor:
    """The number in [0, 1) each action was drawn with, by its address (group, segment, position); NaN where nobody drew."""
    seen, found = Counter[int](), list[float]()
    for number in batch.index.rollout_W.tolist():
        group, rollout = rollouts[batch.units[number]]
        start = 0
        for segment in rollout.rows[seen[number]].segments:
            count = len(segment.tokens)
            if segment.kind == "action":
                found += engine.noise(group.id, segment.id, start, count).tolist()
            elif segment.kind in ("forced", "teacher"):
                found += [math.nan] * count
            start += count
        seen[number] += 1
    return torch.tensor(found, dtype=torch.float64)


# Why they disagree: only looked into when they do.


def explain(policy: Any, batch: Batch, noise_T: Tensor | None) -> str | None:
    """In words, when one temperature or top-p accounts for it."""
    most = max(1, ENTRIES // policy.model.get_output_embeddings().weight.shape[0])
    until = accumulate(len(row.at) for row in batch.rows[:ROWS])
    rows = [n for n, count in enumerate(until) if count <= most or not n]
    some, at_T = batch.take(rows), batch.index.rows(torch.tensor(rows))[1]
    fresh_T = some.trained_T & (some.tracks["age_T"] == 0) & ~some.tracks["sampled_logp_T"].isnan()
    fresh_T &= fresh_T.cumsum(0) <= most
    if not fresh_T.any():
        return None
    with torch.no_grad():
        learner_T = policy.evaluate(some)["logp_T"][fresh_T].double()
    place = [(w, p) for w, row in enumerate(some.rows) for p in row.at]
    logits_TV = logits_at(policy.model, [row.tokens for row in some.rows], torch.tensor(place)[fresh_T] - torch.tensor([0, 1])).cpu()
    token_T = torch.tensor([some.rows[w].tokens[p] for w, p in place])[fresh_T]
    sampled_T = some.tracks["sampled_logp_T"][fresh_T].double()
    drawn = some.samplings[int(some.sampling_T[fresh_T].mode().values)]
    said = drawn.temperature
    if drawn.allowed is not None:
        barred = torch.ones(logits_TV.shape[-1], dtype=torch.bool)
        barred[list(drawn.allowed)] = False
        logits_TV = logits_TV.masked_fill(barred, -torch.inf)
    recorded, learned = _fits(logits_TV, token_T, sampled_T), _fits(logits_TV, token_T, learner_T)
    if learned is not None and learned != said and recorded == said:
        return f"the learner's log-probabilities are those of temperature {learned:g}, the rollouts say {said:g}"
    if recorded is not None and recorded != said:
        return f"the engine's log-probabilities are those of temperature {recorded:g}, its segments say {said:g}"
    if noise_T is None or (recorded is None and _fits(logits_TV, token_T, sampled_T, loose=True) is None):
        return None
    noise_T = noise_T[at_T][fresh_T]
    known_T = ~noise_T.isnan()
    trials = [Sampling(temperature=t) for t in sorted({said, *TEMPERATURES})] + [Sampling(temperature=said, top_p=p) for p in TOP_P]
    missed = {s: _missed(logits_TV[known_T], token_T[known_T], noise_T[known_T], s) for s in trials}
    least = min(trials, key=lambda s: missed[s])
    if missed[least] >= missed[Sampling(temperature=said)] / 4:
        return None
    what = f"top_p={least.top_p:g}" if least.top_p < 1 else f"temperature {least.temperature:g}"
    return f"the tokens are those that {what} draws, the rollouts say temperature {said:g} and top_p={drawn.top_p:g}"


def _fits(logits_TV: Tensor, token_T: Tensor, logp_T: Tensor, loose: bool = False) -> float | None:
    """The temperature at which a plain softmax gives these log-probabilities."""
    gaps = {}
    for t in TEMPERATURES:
        gaps[t] = ((logits_TV / t).log_softmax(-1).gather(-1, token_T[:, None])[:, 0].double() - logp_T).abs().mean().item()
    best = min(gaps, key=lambda t: gaps[t])
    return best if gaps[best] < (0.1 if loose else 1e-3) else None


def _missed(logits_TV: Tensor, token_T: Tensor, noise_T: Tensor, sampling: Sampling) -> int:
    """How many of the tokens this sampling would not have drawn with this noise."""
    p_TV = (logits_TV / sampling.temperature).double().softmax(-1)
    if sampling.top_p < 1:
        sorted_TV, order_TV = torch.sort(p_TV, dim=-1, descending=True, stable=True)
        out_TV = torch.zeros_like(p_TV, dtype=torch.bool).scatter(-1, order_TV, sorted_TV.cumsum(-1) - sorted_TV >= sampling.top_p)
        p_TV = p_TV.masked_fill(out_TV, 0)
        p_TV = p_TV / p_TV.sum(-1, keepdim=True)
    above_T = p_TV.cumsum(-1).gather(-1, token_T[:, None])[:, 0]
    below_T = above_T - p_TV.gather(-1, token_T[:, None])[:, 0]
    return int(((noise_T < below_T - EDGE) | (noise_T > above_T + EDGE)).sum())
