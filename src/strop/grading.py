"""Grading: the source's verdict on every rollout, and what the method's own graders say.

The policy's fault is a score with a reason; ours is None with an incident.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from strop.records import Group, Incident, Scores, SpanScores
from strop.seams.context import Ctx
from strop.seams.grader import patience, spans_of
from strop.seams.mark import stretches
from strop.seams.part import Part
from strop.seams.source import Graded, Source, grade_of
from strop.tripwires import BY_NAME, Tripped, sees

SECONDS = 60.0
"""How long one batch of rollouts may be graded before our patience is the fault."""


async def grade(source: Source, groups: list[Group], seconds: float = SECONDS) -> Scores:
    """Scores of all rollouts, in canonical order. A source that batches offers `grade_many`. Where a world has graded, nobody else does."""
    pairs = [(group.task, rollout.text) for group in groups for rollout in group.rollouts]
    members = [rollout for group in groups for rollout in group.rollouts]
    units = [rollout.id for rollout in members]
    many: Callable[[list[Any]], list[Graded]] | None = getattr(source, "grade_many", None)
    done = {number: Graded(dict(r.keys["scores"])) for number, r in enumerate(members) if "outcome" in r.keys.get("scores", ())}
    asked = [number for number in range(len(members)) if number not in done]

    def work() -> None:
        if many is not None:
            done.update(zip(asked, map(grade_of, many([pairs[number] for number in asked])), strict=False))
            return
        for number in asked:
            task, text = pairs[number]
            try:
                done[number] = grade_of(source.grade(task, text))
            except BaseException as error:  # SystemExit too: it would end this thread, and nobody would know
                why = f"grader raised {type(error).__name__}: {error}"
                done[number] = Graded({"outcome": None}, incidents=(Incident("", "outcome", why),))

    fault = await _with_deadline(work, seconds) if asked else ""
    values: dict[str, dict[str, float | None]] = {}
    reasons: dict[str, str] = {}
    incidents: list[Incident] = []
    for number, unit in enumerate(units):
        graded = done.get(number)
        if members[number].stop == "error":  # what stands there is not all that the policy would have said
            said = [fact["error"] for fact in members[number].keys.get("facts", ()) if "error" in fact]
            why = said[-1] if said else "the rollout was broken off"
            graded = Graded({"outcome": None}, incidents=(Incident(unit, "outcome", why),))
        if graded is None:
            graded = Graded({"outcome": None}, incidents=(Incident(unit, "outcome", fault or "grader gave no answer"),))
        values[unit] = {}
        for channel, value in graded.items():
            if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
                incidents.append(Incident(unit, channel, f"grader returned {value!r}"))
                value = None
            values[unit][channel] = None if value is None else float(value)
        if graded.reason:
            reasons[unit] = graded.reason
        incidents += [Incident(unit, i.channel, i.why) for i in graded.incidents]
    return Scores(values, reasons, tuple(incidents))


async def judged(graders: Sequence[Part], groups: list[Group], ctx: Ctx, seconds: float = SECONDS) -> Scores:
    """Scores of a method's own graders, merged in the order written."""

    async def one(grader: Part) -> Scores:
        try:
            asked: Any = grader.on({"groups": groups, "ctx": ctx})
            given: Any = "what is no `async def`"
            if inspect.isawaitable(asked):
                given = await asyncio.wait_for(_stays(asked), seconds + patience(grader))
            if not isinstance(given, Scores):
                raise ValueError(f"it gives {given!r:.60}, and it is Scores(…)")
            fault = "grader gave no answer"
        except TimeoutError:
            given, fault = Scores(), f"grader did not answer within {seconds + patience(grader):g} s"
        except (Exception, SystemExit) as error:
            given, fault = Scores(), f"grader raised {type(error).__name__}: {error}"
        values, incidents, explained = dict[str, dict[str, float | None]](), list(given.incidents), {i.unit for i in given.incidents}
        label, spans = spans_of(grader), dict[str, dict[str, SpanScores]]()
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            unit, value = rollout.id, given.get(rollout, grader.gives)
            known = isinstance(value, int | float) and math.isfinite(value)
            values[unit] = {grader.gives: value if known else None}
            if not known and unit not in explained:
                incidents.append(Incident(unit, grader.gives, fault if value is None else f"grader returned {value!r}"))
            if label:
                _, said = given.spans.get(unit, {}).get(grader.gives, (label, ()))
                found, wanted = tuple(one if one is not None and math.isfinite(one) else None for one in said), stretches(rollout, label)
                spans[unit] = {grader.gives: (label, found)}
                if known and (len(found) != wanted or None in found):
                    scored = len(found) - found.count(None)
                    incidents.append(Incident(unit, grader.gives, f"grader scored {scored} spans {label!r}, and the reply has {wanted}"))
        return Scores(values, given.reasons, tuple(incidents), spans)

    scores = Scores()
    for given in await asyncio.gather(*(one(grader) for grader in graders)):
        scores |= given
    return scores


async def _stays(asked: Awaitable[Any]) -> Any:
    """What it gives; a wish to end the process is an error like another, which no event loop passes on."""
    try:
        return await asked
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error


async def _with_deadline(work: Callable[[], None], seconds: float) -> str:
    """Run it in a thread of its own and stop waiting at the deadline; says what went wrong, or nothing.

    The thread is a daemon: one that hangs for ever cannot keep the run from ending.
    """
    loop, finished = asyncio.get_running_loop(), asyncio.Event()
    fault: list[str] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:  # SystemExit too
            fault.append(f"grader raised {type(error).__name__}: {error}")
        if not loop.is_closed():
            loop.call_soon_threadsafe(finished.set)

    threading.Thread(target=body, daemon=True, name="strop-grader").start()
    try:
        await asyncio.wait_for(finished.wait(), seconds)
    except TimeoutError:
        return f"grader did not answer within {seconds:g} s"
    return fault[0] if fault else ""


def check(scores: Scores, limit: float | None) -> None:
    """Stop when more than `limit` of the rollouts are ungraded: the tripwire `grader`, outside of a training step."""
    seen = None if limit is None else sees.ungraded([{"watch": {"ungraded": ungraded(scores)}}], limit)
    if seen is not None:
        raise Tripped([(BY_NAME["grader"], seen)])


def ungraded(scores: Scores, reads: Sequence[str] = ("outcome",)) -> tuple[int, int, str]:
    """(rollouts without a score on the channels that matter, all of them, the first reason).

    A channel that nobody grades is not lost: it is the wrong task for the reward, which says so itself.
    """
    graded = {"outcome", *scores.channels()}
    lost = sum(any(channels.get(name) is None for name in reads if name in graded) for channels in scores.values.values())
    return lost, len(scores.values), scores.incidents[0].why if scores.incidents else "no reason given"
