"""The table of seams: whose prose, protocol, parts and example stand on which page, and what a part there may read and give.

What may be read is asked of method building itself (`sense.seats`): of a plain method, and of methods with one thing more.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.catalogue import Known
    from strop.method import Method


@dataclass(frozen=True)
class Seam:
    name: str
    """Of its page and of `strop parts NAME`."""
    about: str
    """Whose prose opens the page: `module`, or `module:Class`."""
    stands: str
    """How it goes into a method, or where else."""
    classes: tuple[str, ...] = ()
    """Shown with all their members, the protocol first."""
    helpers: str = ""
    """A module whose plain functions one's own may use."""
    values: tuple[str, ...] = ()
    """Values of that module."""
    seat: str = ""
    """Of a pure part: correction, credit, signals, reward, grader, schedule, claim."""
    gives: str = ""
    """What it gives, where the seat decides that."""
    own: str = ""
    """A file in examples/own/ that holds one of one's own."""
    kept: str = ""
    """What `strop check` holds it to: `module:KEPT`, or a key of one."""
    see: tuple[str, ...] = ()
    """Other pages that one needs."""


SEAMS: dict[str, Seam] = {
    seam.name: seam
    for seam in (
        Seam(
            "source",
            "strop.seams.source",
            '`strop train --task FILE.py`, `task = "FILE.py:NAME"` in a recipe',
            ("strop.seams.source:Source", "strop.seams.source:Extras"),
            "strop.seams.source",
            own="source",
            kept="strop.check.sources:KEPT",
            see=("records",),
        ),
        Seam(
            "curriculum",
            "strop.seams.curriculum",
            "`curriculum=Mine()`",
            ("strop.seams.curriculum:Curriculum",),
            "strop.seams.curriculum",
            own="curriculum",
            kept="strop.check.growing:curriculum",
            see=("context", "records"),
        ),
        Seam(
            "memory",
            "strop.seams.memory",
            "`memory=Mine()`, `memory=Bank(Mine(), k=4)`",
            tuple(f"strop.seams.memory:{name}" for name in ("Memory", "Reader", "Told", "Embed", "Case")),
            "strop.seams.memory",
            own="memory",
            kept="strop.check.growing:memory",
            see=("context", "records", "curriculum"),
        ),
        Seam(
            "feed",
            "strop.seams.feed",
            "`feed=Mine()`",
            ("strop.seams.feed:Feed",),
            "strop.seams.feed",
            own="feed",
            kept="strop.check.growing:feed",
            see=("context", "records", "curriculum"),
        ),
        Seam(
            "program",
            "strop.program",
            "`Recipe(method=Program(…))`, `strop train --method FILE.py`, an arm of a claim",
            ("strop.program:Program", "strop.program:Stage", "strop.program:Repeat"),
            "strop.program",
            see=("feed", "metrics", "curriculum"),
        ),
        Seam(
            "sampler",
            "strop.seams.sampler",
            "`sampler=Mine()`",
            ("strop.seams.sampler:Sampler", "strop.seams.engine:Footprint"),
            own="sampler",
            kept="strop.check.growing:sampler",
            see=("engine", "context", "records"),
        ),
        Seam(
            "world",
            "strop.seams.world",
            "`environment=Mine(), sampler=Episodes(turns=4, observation=48)`, or `world = Mine()` in a source",
            tuple(f"strop.seams.world:{name}" for name in ("World", "Seat", "Said", "Reply", "Called", "Tool", "Call", "Broken")),
            "strop.seams.world",
            own="world",
            kept="strop.check.growing:environment",
            see=("sampler", "window", "records"),
        ),
        Seam(
            "calls",
            "strop.worlds.calls",
            "`sampler=Episodes(calls=Mine())`, in a world with `tools`",
            ("strop.seams.episode:Calls",),
            "strop.worlds.calls",
            own="calls",
            kept="strop.check.growing:calls",
            see=("world", "sampler"),
        ),
        Seam(
            "window",
            "strop.seams.window",
            "`sampler=Episodes(window=Mine())`",
            tuple(f"strop.seams.window:{name}" for name in ("Window", "Past", "Turn", "Summariser")),
            own="window",
            kept="strop.check.growing:window",
            see=("world", "sampler", "context"),
        ),
        Seam(
            "engine",
            "strop.seams.engine",
            'by a recipe: `engine="embedded"` or `"vllm"`; a sampler is handed one behind a handle, `ctx.policies["actor"]`',
            (
                "strop.seams.context:Handle",
                "strop.seams.engine:Node",
                "strop.seams.context:Renderer",
                "strop.seams.engine:Engine",
                "strop.seams.compute:Quantized",
            ),
            own="policy",
            see=("policy", "sampler", "records"),
        ),
        Seam(
            "context",
            "strop.seams.context",
            "handed to every seam as `ctx`",
            ("strop.seams.context:Ctx", "strop.seams.context:Progress", "strop.seams.context:Ledger"),
            see=("engine", "batch", "records"),
        ),
        Seam(
            "mark",
            "strop.seams.mark",
            "`marks=(mine(),)`, and a reward, credit or `on=spans(…)` that reads it",
            seat="mark",
            gives='a label, `@part(gives="format_R")`: a whole number or None; or stretches, `@part(gives="answer_T")`: [(start, stop), …]',
            own="mark",
            kept="strop.check.growing:marks",
            see=("records", "reward", "signal"),
        ),
        Seam(
            "grader",
            "strop.seams.grader",
            "`graders=(mine(),)`, and a reward that reads its channel",
            ("strop.seams.judge:Form",),
            seat="grader",
            gives='its channel: `@part(gives="brief")` gives Scores with the channel `brief`',
            own="grader",
            kept="strop.check.growing:graders",
            see=("context", "batch", "records", "reward"),
        ),
        Seam(
            "reward",
            "strop.seams.reward",
            "`reward=mine()`",
            seat="reward",
            gives="`reward_R`",
            own="grader",
            kept="strop.check.parts:KEPT",
        ),
        Seam(
            "gate",
            "strop.seams.gate",
            "`gate=(Mine(),)`",
            ("strop.seams.gate:Gate", "strop.seams.gate:WholeGate", "strop.seams.gate:Seen"),
            own="gate",
            kept="strop.check.growing:gate",
            see=("records",),
        ),
        Seam(
            "correction",
            "strop.seams.correction",
            "`correction=mine()`",
            seat="correction",
            gives="the pair `weight_T, mask_T`",
            own="correction",
            kept="strop.check.parts:KEPT",
            see=("batch",),
        ),
        Seam(
            "credit",
            "strop.seams.credit",
            "`credit=(first(), mine())`",
            seat="credit",
            gives="what its `gives` says: `credit_R`, `credit_T`, `reward_R`, `reward_T`, or several tracks, as a dict",
            own="credit",
            kept="strop.check.parts:KEPT",
            see=("batch",),
        ),
        Seam(
            "objective",
            "strop.seams.objective",
            '`signals={"policy": Signal(mine(), means("group", "rollout", "token"))}`',
            seat="signals",
            gives="its loss, one number per unit of its grain",
            own="objective",
            kept="strop.check.parts:KEPT",
            see=("signal", "reduction", "batch"),
        ),
        Seam(
            "reduction",
            "strop.seams.reduction",
            '`Signal(…, reduce=means("group", "rollout", "token"))`',
            ("strop.seams.reduction:Level",),
            "strop.seams.reduction",
            ("PER_SEQUENCE", "PER_TOKEN"),
            see=("signal",),
        ),
        Seam(
            "signal",
            "strop.seams.signal",
            '`signals={"policy": …, "mine": Signal(…, weight=0.01)}`',
            ("strop.seams.signal:Signal", "strop.seams.signal:Where"),
            "strop.seams.signal",
            ("actions", "teacher", "forced"),
            seat="schedule",
            gives="`factor`, a number",
            own="schedule",
            kept="strop.check.parts:KEPT",
            see=("objective", "reduction"),
        ),
        Seam(
            "head",
            "strop.seams.head",
            '`heads=(Head("mine"),)`',
            ("strop.seams.head:Head",),
            own="head",
            kept="strop.check.parts:KEPT",
            see=("objective",),
        ),
        Seam("update", "strop.seams.update", "`update=AdamW(minibatch=8)`", ("strop.seams.update:AdamW",), see=("signal",)),
        Seam(
            "claim",
            "strop.claims.claim",
            "a value `Claim(…)` at the top level of a file",
            (*(f"strop.claims.claim:{name}" for name in ("Claim", "Arm", "Profile", "Check", "HeldOut")), "strop.claims.trace:Trace"),
            "strop.claims.trace",
            ("Curve",),
            seat="claim",
            gives="a measure `curve`, [(positions spent, value), …]; a check `number`",
            own="claim",
            kept="strop.check.claims:KEPT",
            see=("recipe", "metrics", "records"),
        ),
        Seam(
            "asked",
            "strop.seams.asked",
            '`policies={"guesser": Trained()}, roles={"guess": Role(policy="guesser")}`',
            ("strop.seams.asked:Asked", "strop.seams.asked:Trained", "strop.seams.role:Role"),
            see=("sampler", "engine", "update", "program"),
        ),
        Seam(
            "policy",
            "strop.seams.policy",
            "a claim's `world`",
            ("strop.seams.policy:Policy",),
            own="policy",
            see=("engine", "claim", "head"),
        ),
    )
}


@dataclass(frozen=True)
class Read:
    """What a part may read: a name, what it is, and what the method must have for it."""

    name: str
    kind: str
    says: str
    when: str


CHANNELS = {
    "outcome_R": "the source's strict verdict",
    "lenient_R": "the source's lenient one, where it has one",
    "<channel>_R": "what else the source, or a mark or grader of the method's, gives",
}
OTHERS = {
    "<channel>_T": "a span's score at its last decision, NaN elsewhere",
    "index": "which row, rollout and group each decision belongs to",
    "groups": "the step's fresh groups",
    "ctx": "the context",
    "trace": "one arm's run under one seed",
    "text": "what was written, as graders read it",
}


def reads(seam: Seam) -> tuple[Read, ...]:
    """What a part at this seat may read, and when."""
    from strop.check.worlds import random_world
    from strop.seams.formula import NAMES
    from strop.sense import JUDGED, MARKED, PROGRESS, SIGHT

    said = {**NAMES, **OTHERS, **CHANNELS}
    alone = {"mark": MARKED, "grader": JUDGED, "schedule": PROGRESS, "claim": ("trace",), "reward": (*CHANNELS, *sorted(SIGHT))}
    if seam.seat in alone:
        names = alone[seam.seat]
        kind = {"fraction": "a number", "step": "a number", "index": "Index", "groups": "list[Group]", "ctx": "Ctx", "trace": "Trace"}
        kind |= {"text": "str"}
        return tuple(Read(name, kind.get(name, "float"), said[name], "") for name in names)
    kinds = {name: _kind(value) for name, value in random_world(0).batch().have().items()} | {"fraction": "a number"}
    found: dict[str, str] = {}
    for when, method in _with():
        for name in sorted(_ready(method, seam.seat) - set(found), key=list(said).index):
            found[name] = when
    if seam.seat == "credit":
        found |= {"<channel>_R": "", "<channel>_T": "a grader that scores spans"}
    return tuple(Read(name, kinds.get(name, "float"), said[name], when) for name, when in found.items())


def _kind(value: Any) -> str:
    """Of what numbers a tensor is; another thing by its class."""
    dtype = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
    return "float" if dtype.startswith("float") else "whole" if dtype.startswith("int") else dtype


def _with() -> Iterator[tuple[str, Method]]:
    """A plain method, and one thing more at a time."""
    from strop.methods.cascade import MPO
    from strop.methods.grpo import GRPO
    from strop.seams.credit import credit_at_end, gae
    from strop.seams.head import Head, value
    from strop.seams.recorded import Pairs
    from strop.seams.tree import SegmentTree

    valued = GRPO.but(heads=(value,))
    yield "", GRPO
    yield "`reference=True`", GRPO.but(reference=True)
    yield '`heads=(Head("value"),)`', valued
    yield '`heads=(Head("logz", per="prompt"),)`', GRPO.but(heads=(Head("logz", per="prompt"),))
    yield "a sampler that names sub-groups", GRPO.but(sampler=SegmentTree())
    yield "a feed of pairs", (paired := GRPO.but(feed=Pairs(), reference=True))
    yield "`Signal(…, running=implicit_reward())`", paired.but(signals={"policy": MPO.signals["quality"]})
    yield "a link before gives it", GRPO.but(credit=(*GRPO.credit, credit_at_end()))
    yield "a link before gives it", valued.but(credit=(gae(), gae()))


def _ready(method: Method, seat: str) -> frozenset[str]:
    from strop.sense import seats

    return [ready for seam, _, ready in seats(method) if seam.partition("[")[0].partition(".")[0] == seat][-1]


@cache
def shared() -> dict[str, list[Known]]:
    """strop's own parts and records, by seam."""
    from strop.catalogue import own
    from strop.claims import trace
    from strop.seams.part import Part

    found: dict[str, list[Known]] = {name: [] for name in SEAMS}
    measures = [value for value in vars(trace).values() if isinstance(value, Part)]
    for thing in (*own().values(), *measures):
        if (seam := seam_of(thing)) is not None:
            found[seam].append(thing)
    return found


BESIDE = {
    "judge": "grader",
    "rubric": "grader",
    "attacks": "sampler",
    "mode": "sampler",
    "episode": "sampler",
    "steps": "sampler",
    "tree": "sampler",
    "variants": "sampler",
    "branches": "sampler",
    "again": "sampler",
    "search": "sampler",
    "climbs": "sampler",
    "company": "sampler",
    "swarm": "feed",
    "recorded": "feed",
    "turns": "feed",
    "traces": "feed",
    "texts": "feed",
    "preference": "objective",
    "role": "reward",
    "ends": "reward",
    "trace": "claim",
}
"""Files whose parts stand on another's page."""


def seam_of(thing: Known) -> str | None:
    """Where it goes: a grader or mark by what it reads, else by the file of strop's it stands in, else by what it gives and does."""
    from strop.seams.part import Part
    from strop.sense import JUDGED, MARKED

    last = thing.__module__.rpartition(".")[2]
    does = {
        "pick": "curriculum",
        "take": "feed",
        "holds": "memory",
        "learn": "memory",
        "footprint": "sampler",
        "refill": "gate",
        "next": "window",
        "written": "calls",
        "start": "world",
    }
    done = next((seam for word, seam in does.items() if hasattr(thing, word)), None)
    if done is None and inspect.isclass(thing) and "past" in inspect.signature(thing.__call__).parameters:
        return "window"  # who summarises for one
    module = done if last in BESIDE and done and inspect.isclass(thing) else BESIDE.get(last, last)
    if isinstance(thing, Part) and thing.reads in (JUDGED, MARKED):
        return "grader" if thing.reads == JUDGED else "mark"
    if thing.__module__.startswith(("strop.seams.", "strop.claims.")):
        return module if module in SEAMS else None
    if isinstance(thing, Part):
        given = {"": "objective", "reward_R": "reward", "done": "program", "demos": "feed", "pairs": "feed"}
        return given.get(thing.gives or "", "credit")
    return done


def parts(things: Iterable[Any]) -> list[Any]:
    from strop.seams.part import Part

    return [thing for thing in things if isinstance(thing, Part)]


def records(seam: Seam) -> list[type]:
    """Its records that are not shown as classes already."""
    shown = {place.rpartition(":")[2] for place in seam.classes}
    return [thing for thing in shared()[seam.name] if inspect.isclass(thing) and thing.__name__ not in shown]
