"""What each tripwire sees on the metrics lines: pure functions of lines and a limit, None when all is well.

The last line is the present one and may be unfinished; `watch` on it holds what was measured so far. A window compares
the last WINDOW lines with the first WINDOW.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]
Lines = Sequence[Line]

WINDOW = 5
FELT = 1 / 50
"""Of the limit: a smaller move of the learner's answers may be lost in the engine's rounding."""
ENOUGH, LEAST = 32, 3
"""Groups, and steps, in each of two windows before one outcome is called lower than the other."""
ERRORS = 5.0
"""Standard errors between them: of all windows the best is taken, at every step anew."""


def _now(lines: Lines) -> Mapping[str, Any]:
    return lines[-1].get("watch", {})


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _engine(lines: Lines, limit: float) -> tuple[float, Sequence[float]] | None:
    """How far the engine is from the learner on the canary, when that is beyond the limit; and what the engine said."""
    canary = _now(lines).get("canary")
    if canary is None:
        return None
    gap = _apart(canary["engine"], canary["learner"])
    return (gap, canary["engine"]) if gap > limit else None


def undelivered(lines: Lines, limit: float) -> str | None:
    found = _engine(lines, limit)
    if found is None or len(lines) < 2 or _now(lines).get("redelivered", float("inf")) <= limit:
        return None
    gap, engine = found
    first = next(line["watch"]["canary"]["learner"] for line in lines if "canary" in line.get("watch", {}))
    before = lines[-2].get("watch", {}).get("canary")
    if before is None or _apart(engine, before["engine"]) > limit / 10 or _apart(engine, first) > gap / 10:
        return None
    return (
        f"the engine answers fixed prompts as it did before the first update, {gap:.2g} nats a token from the learner, "
        "and delivering the weights again changed nothing"
    )


def stale(lines: Lines, limit: float) -> str | None:
    found = _engine(lines, limit)
    if found is None:
        return _unmoved(lines, limit)
    if undelivered(lines, limit):
        return None
    gap, engine = found
    past = [(_apart(engine, c["learner"]), line["step"]) for line in lines[:-1] if (c := line.get("watch", {}).get("canary"))]
    said = f"on fixed prompts the engine is {gap:.2g} nats a token from the learner"
    nearest, step = min(past, default=(gap, 0))
    if nearest < gap / 10:
        return f"{said} and {nearest:.2g} from the learner of {lines[-1]['step'] - step} update(s) ago"
    return f"{said}, and near no earlier version of it"


def _unmoved(lines: Lines, limit: float) -> str | None:
    """Within the limit, because the limit is wide or the update was small; but the learner's weights changed and moved its answers, and the
    engine's stood still."""
    now, before = _now(lines).get("canary"), lines[-2].get("watch", {}).get("canary") if len(lines) > 1 else None
    if now is None or before is None or now["digest"] == before.get("digest", now["digest"]):
        return None
    learner, engine = _apart(now["learner"], before["learner"]), _apart(now["engine"], before["engine"])
    if not (learner >= FELT * limit and engine <= learner / 10):  # a NaN is another tripwire's
        return None
    return (
        f"the last update moved the learner's answers to fixed prompts by {learner:.2g} nats a token and the engine's by {engine:.2g}, "
        f"so it did not arrive (their distance is below the limit of {limit:g})"
    )


def retokenised(lines: Lines, limit: float) -> str | None:
    foreign, actions = _now(lines).get("foreign", 0), _now(lines).get("actions", 0)
    return f"{foreign} of {actions} actions are not what the engine wrote there" if foreign > limit else None


def ungraded(lines: Lines, limit: float) -> str | None:
    lost, of, why = _now(lines).get("ungraded", (0, 0, ""))
    return f"{lost} of {of} rollouts could not be graded (limit {limit:.0%}); first reason: {why}" if lost > limit * of else None


def constant(lines: Lines, limit: float) -> str | None:
    value = _now(lines).get("constant")
    return (
        None
        if value is None
        else f"every rollout of the step scored {value:g}, and so do right answers, other tasks' answers and an empty text"
    )


def misplaced(lines: Lines, limit: float) -> str | None:
    wrong = _now(lines).get("misplaced", 0)
    return f"{wrong} decisions are trained against what the rollouts' segments say" if wrong > limit else None


def empty(lines: Lines, limit: float) -> str | None:
    now = _now(lines)
    kept, untrained = now.get("kept", 0), now.get("untrained", 0)
    if kept and not now.get("trained", 1):
        return f"{kept} rollouts are kept and not one token of them is trained"
    return f"{untrained} of {kept} kept rollouts have no trained token" if untrained > limit * kept else None


def cut(lines: Lines, limit: float) -> str | None:
    change = _now(lines).get("cut", 0.0)
    return f"the loss of the same four rows changes by {change:.2%} when they are computed in smaller passes" if change > limit else None


def sampling(lines: Lines, limit: float) -> str | None:
    now = _now(lines)
    if now.get("explained"):
        return now["explained"]
    undrawn, of = now.get("undrawn", 0), now.get("drawn", 0)
    if undrawn > limit and now.get("ratio", 1.0) < 1.01:
        return f"{undrawn} of {of} tokens are not what the run's noise draws from the policy's distribution"
    return None


def ratio(lines: Lines, limit: float) -> str | None:
    value = _now(lines).get("ratio", 1.0)
    return f"a token is {value:.3g} times as likely for one as for the other (limit {limit:g})" if value > limit else None


def kl(lines: Lines, limit: float) -> str | None:
    value = _now(lines).get("kl", 0.0)
    return f"KL(sampler || learner) is {value:.3g} nats a token (limit {limit:g})" if value > limit else None


def ess(lines: Lines, limit: float) -> str | None:
    value = _now(lines).get("ess", 1.0)
    return f"the effective sample size is {value:.3g} of the tokens (limit {limit:g})" if value < limit else None


def not_finite(lines: Lines, limit: float) -> str | None:
    return _now(lines).get("not_finite")


def lost(lines: Lines, limit: float) -> str | None:
    found = _now(lines).get("lost", ())
    return f"after resuming, {' and '.join(found)} differ from what the run left" if len(found) > limit else None


# Windows, over whole lines.


def _mean(lines: Lines, name: str) -> float | None:
    known = [float(line[name]) for line in lines if line.get(name) is not None]
    return sum(known) / len(known) if len(known) == WINDOW else None


def _ends(lines: Lines, name: str) -> tuple[float, float] | None:
    """Means over the first and over the last WINDOW steps, once they do not overlap."""
    if len(lines) < 2 * WINDOW:
        return None
    first, last = _mean(lines[:WINDOW], name), _mean(lines[-WINDOW:], name)
    return None if first is None or last is None else (first, last)


def no_spread(lines: Lines, limit: float) -> str | None:
    steps = max(int(limit), 1)
    if len(lines) < steps or any(line.get("spread") != 0 for line in lines[-steps:]):
        return None
    return f"for {steps} steps the rollouts of every group have earned the same"


def no_gradient(lines: Lines, limit: float) -> str | None:
    steps = max(int(limit), 1)
    last = lines[-steps:]
    if len(last) < steps or any(line.get("grad_norm") != 0 or not line.get("watch", {}).get("apart") for line in last):
        return None
    return f"for {steps} steps the gradient was exactly zero, though trained rollouts earned different rewards"


def fallen(lines: Lines, limit: float) -> str | None:
    """The outcome of the last steps against that of the best window before, where the groups of both are enough to tell them apart.

    A group's mean is one draw: its rollouts share a task. A window holds ENOUGH groups; the last one is LEAST steps or more, and so are
    those before it, or shorter: a policy may be destroyed before it has made LEAST steps.
    """
    rates = [rate for line in lines if (rate := line.get("watch", {}).get("rates"))]
    short = math.ceil(ENOUGH / min((rate["groups"] for rate in rates), default=ENOUGH))
    steps = max(LEAST, short)
    if len(rates) < steps + short:
        return None
    now, now_error = _window(rates[-steps:])
    windows = [_window(rates[end - width : end]) for width in {short, steps} for end in range(len(rates) - steps, width - 1, -width)]
    better = [best for best, error in windows if best - now > max(limit * best, ERRORS * math.hypot(error, now_error))]
    return f"the mean outcome was {max(better):.3g} at its best and is {now:.3g} over the last {steps} steps" if better else None


def _window(rates: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Mean over the groups of some steps, and its standard error."""
    count = sum(rate["groups"] for rate in rates)
    mean = sum(rate["groups"] * rate["mean"] for rate in rates) / count
    square = sum(rate["groups"] * (rate["deviation"] ** 2 + (rate["mean"] - mean) ** 2) for rate in rates) / count
    return mean, math.sqrt(square / count)


def entropy(lines: Lines, limit: float) -> str | None:
    ends = _ends(lines, "entropy")
    if ends is None or ends[1] >= limit * ends[0]:
        return None
    return f"entropy fell from {ends[0]:.3g} to {ends[1]:.3g} nats a decision"


def short(lines: Lines, limit: float) -> str | None:
    ends = _ends(lines, "length")
    return f"replies fell from {ends[0]:.1f} to {ends[1]:.1f} tokens" if ends and ends[1] < limit * ends[0] else None


def long(lines: Lines, limit: float) -> str | None:
    ends = _ends(lines, "cut")
    lengths = _ends(lines, "length")
    if ends is None or lengths is None or ends[1] <= limit or ends[1] - ends[0] < limit / 2 or lengths[1] <= lengths[0]:
        return None
    return f"{ends[1]:.0%} of the rollouts are cut at the limit, {ends[0]:.0%} were at first"


def format_gap(lines: Lines, limit: float) -> str | None:
    lenient, strict = _ends(lines, "lenient"), _ends(lines, "outcome")
    if lenient is None or strict is None:
        return None
    first, last = lenient[0] - strict[0], lenient[1] - strict[1]
    return f"right leniently but not strictly: {first:.0%} of the rollouts at first, {last:.0%} now" if last - first > limit else None


def forged(lines: Lines, limit: float) -> str | None:
    share = _now(lines).get("forged", 0.0)
    return f"{share:.1%} of the step's rollouts write a mark of the chat template that opens a turn" if share > limit else None


def dead_seed(lines: Lines, limit: float) -> str | None:
    twins = _now(lines).get("twins", ())
    return f"the curve is the same, number by number, as that of {', '.join(twins)}, which has another seed" if twins else None
