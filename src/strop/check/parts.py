"""The exam of a method's own parts: what they are given and what they give, on batches of every awkward shape.

Each part is watched where it stands, inside the learning of its own method, so nothing is tested that a run does not do.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from strop import own
from strop.batch import Batch
from strop.check.finding import Broken, Finding, called, generators, guarded
from strop.check.formulas import FRACTION, in_float64, largest, rewarded
from strop.check.worlds import ONE_ROW, SHAPES, Leaves, World, world_of
from strop.identity import explain
from strop.learning import backward, settle
from strop.method import Method
from strop.records import Fate
from strop.seams.credit import by_row, group_standardized, returns_to_go, row_standardized
from strop.seams.formula import UNITS
from strop.seams.head import value
from strop.seams.index import Index
from strop.seams.objective import clipped_surrogate
from strop.seams.part import Part
from strop.seams.reduction import PER_SEQUENCE
from strop.seams.signal import Signal
from strop.seams.tree import SegmentTree

WORLDS, BATCHES = 8, 6
"""Random batches on which parts are watched, and on which formulas are held to code."""
KEPT = f"shape, precision and numbers on {WORLDS} awkward batches; the same twice"
CLOSE, AGREES = 1e-9, 1e-8
"""Relative: the same batch in another order; what is printed and what is computed."""
LEVEL = {letter: unit for unit, letter in UNITS.items() if letter}
NOISE = (
    "draws from a generator that is not the run's, so nothing it does can be repeated. Train a random share with "
    "`Signal(…, on=random_share(0.6))`; a grader, sampler or curriculum has ctx.rng(name)"
)


def of_method(method: Method, everything: bool = False) -> Iterator[Finding]:
    """Its own parts, one by one; with `everything` strop's too."""
    parts = [(seam, part) for seam, part in seated(method) if everything or own.is_own(part.fn.__module__)]
    try:
        if parts:
            yield from _watched(method, parts)
            yield from _ordered(method, parts)
            yield from _printed(method, parts)
    except Broken as broken:  # nothing more can be seen of a method with a part that does not answer
        yield broken.finding


def seated(method: Method) -> list[tuple[str, Part]]:
    """Every pure part with its seat: reward, correction, credit[0], signals.policy, …"""
    found = [("reward", method.reward), ("correction", method.correction)]
    found += [(f"credit[{i}]", link) for i, link in enumerate(method.credit)]
    found += [(f"signals.{name}", signal.objective) for name, signal in method.signals.items()]
    found += [(f"weight of signals.{name}", s.weight) for name, s in method.signals.items() if isinstance(s.weight, Part)]
    return [*found, ("schedule", method.update.schedule)]


def replaced(method: Method, by: Callable[[str, Part], Part]) -> Method:
    """The method with another part in every seat; a random share of decisions is all of them, since its noise goes by place."""
    signals = {
        name: replace(
            s,
            objective=by(f"signals.{name}", s.objective),
            weight=by(f"weight of signals.{name}", s.weight) if isinstance(s.weight, Part) else s.weight,
            on=replace(s.on, share=1.0),
        )
        for name, s in method.signals.items()
    }
    return replace(
        method,
        reward=by("reward", method.reward),
        correction=by("correction", method.correction),
        credit=tuple(by(f"credit[{i}]", link) for i, link in enumerate(method.credit)),
        signals=signals,
        update=replace(method.update, schedule=by("schedule", method.update.schedule)),
    )


# ------------------------------------------------------------------------------------------------ watched where it stands


UNUSABLE = ("kind", "pair", "names", "shape", "number")
"""Faults after which nobody could go on."""


@dataclass
class Probe:
    """Looks at every call of one part. Of each kind of fault the first is kept."""

    seam: str
    part: Part
    faults: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def about(self) -> str:
        return called(self.seam, self.part)

    def standing(self) -> Part:
        fn = self.part.fn

        @functools.wraps(fn)
        def looked(*args: Any, **constants: Any) -> Any:
            return self.look(fn, args, constants)

        return replace(self.part, fn=looked)

    def look(self, fn: Callable[..., Any], args: tuple[Any, ...], constants: dict[str, Any]) -> Any:
        kept, spare, noise = [_copied(a) for a in args], [_copied(a) for a in args], generators()
        given = guarded(self.about, lambda: fn(*args, **constants), self.part)
        if generators() != noise:
            self.faults.setdefault("noise", NOISE)
        elif not _same(given, fn(*spare, **constants)):
            self.faults.setdefault("twice", "gives other numbers for the same batch the second time")
        if changed := [name for name, a, b in zip(self.part.reads, args, kept, strict=True) if not _same(a, b)]:
            self.faults.setdefault("in place", f"changes {changed[0]} in place: others read it after this part. Work on a copy")
        have = dict(zip(self.part.reads, args, strict=True))
        for name, track in self._named(given).items():
            self._track(name, track, have)
        if said := next((self.faults.pop(kind) for kind in UNUSABLE if kind in self.faults), None):
            raise Broken(Finding(self.about, said, fine=False))
        return given

    def _named(self, given: Any) -> dict[str, Any]:
        """What it gives, by name."""
        gives = self.part.gives.split(",")
        if self.seam in ("schedule",) or self.seam.startswith("weight of"):
            if not isinstance(given, int | float) or given != given:
                self.faults.setdefault("number", f"gives {_kind(given)}: a schedule gives one number for a fraction of the run")
            return {}
        if self.seam.startswith("signals."):
            return {f"loss_{UNITS[self.part.grain]}": given}
        if self.seam == "correction":
            if not isinstance(given, tuple) or len(cast(tuple[Any, ...], given)) != 2:
                self.faults.setdefault("pair", f"gives {_kind(given)}: a correction gives the pair weight_T, mask_T")
                return {}
            return dict(zip(("weight_T", "mask_T"), cast(tuple[Any, ...], given), strict=True))
        if self.seam == "reward":
            return {"reward_R": given}
        if isinstance(given, Mapping):
            named = dict(cast(Mapping[str, Any], given))
            if set(named) != set(gives):
                self.faults.setdefault("names", f"says that it gives {', '.join(gives)}, and gives {', '.join(map(str, named))}")
            return named
        if len(gives) > 1:
            self.faults.setdefault(
                "names", f"says that it gives {', '.join(gives)}, so it returns a dict of them, and gives {_kind(given)}"
            )
            return {}
        return {gives[0]: given}

    def _track(self, name: str, track: Any, have: Mapping[str, Any]) -> None:
        if not isinstance(track, Tensor):
            self.faults.setdefault("kind", f"gives {_kind(track)} as {name}: a part gives a tensor")
            return
        letter, sizes = name[-1], _sizes(have)
        if letter in sizes and tuple(track.shape) != (sizes[letter],):
            expected = f"{sizes[letter]} {LEVEL[letter]}{'s' * (sizes[letter] != 1)}"
            self.faults.setdefault("shape", f"gives {name} of shape {tuple(track.shape)} for {expected}: it has one number for each")
        floats = {n: v for n, v in have.items() if isinstance(v, Tensor) and v.is_floating_point()}
        if name == "mask_T":
            if track.dtype != torch.bool:
                self.faults.setdefault("dtype", f"gives mask_T as {_short(track.dtype)}: a mask is true or false")
        elif not track.is_floating_point():
            self.faults.setdefault("dtype", f"gives {name} as {_short(track.dtype)}: numbers are floats. End with .to(…)")
        elif floats and all(v.dtype == torch.float64 for v in floats.values()) and track.dtype != torch.float64:
            like = next(iter(floats))
            self.faults.setdefault(
                "dtype",
                f"gives {name} as {_short(track.dtype)} where it was given float64: a constant of its own decides the precision, as "
                f"torch.where(c, 0.1, -1.0) does. End with .to({like})",
            )
        if name != "mask_T" and not bool(track.isfinite().all()) and all(bool(v.isfinite().all()) for v in floats.values()):
            some = {n: [round(x, 4) for x in v.flatten()[:6].tolist()] for n, v in floats.items()}
            said = ", ".join(f"{n} {v}" for n, v in some.items())
            self.faults.setdefault("finite", f"gives {name} that is no number for finite ones: {said}")


def _watched(method: Method, parts: Sequence[tuple[str, Part]]) -> Iterator[Finding]:
    """Shape, dtype, kind, finiteness, noise, nothing changed in place; and a slope somewhere."""
    probes = {seam: Probe(seam, part) for seam, part in parts}
    standing = replaced(method, lambda seam, part: probes[seam].standing() if seam in probes else part)
    broken, slopes = None, 0.0
    for world in worlds_for(method):
        try:
            slopes += sum(abs(x) for x in _played(standing, world)[1].values())
        except Broken as error:
            broken = error
            break
    for probe in probes.values():
        yield from (Finding(probe.about, said, fine=False) for said in probe.faults.values())
        if not probe.faults and not (broken and broken.finding.about == probe.about):
            yield Finding(probe.about, KEPT)
    if broken is not None:
        raise broken
    if not slopes and (seams := [called(seam, part) for seam, part in parts if not seam.startswith(("weight", "schedule"))]):
        yield Finding(seams[-1], "the loss has no slope on any batch: nothing is learned", fine=False)


def worlds_for(method: Method) -> Iterator[World]:
    """Several rows, trees, masked and dropped rollouts, single tokens; in some every rollout earned the same."""
    shapes = ONE_ROW if any(head.per == "prompt" for head in method.heads) else SHAPES
    for seed in range(WORLDS):
        rng = random.Random(f"check {seed}")
        world = world_of(seed, [[rng.choice(shapes) for _ in range(rng.randint(1, 5))] for _ in range(rng.randint(2, 4))])
        if seed % 4 == 3:
            world = replace(world, rewards={unit: 1.0 for unit in world.rewards}, fates=dict.fromkeys(world.fates, Fate()))
        yield world


Decision = tuple[str, str, int]
"""Track, rollout, and which of its decisions (0 for one number per rollout)."""


def _played(method: Method, world: World) -> tuple[dict[Decision, float], dict[Decision, float]]:
    """What is settled before the update, and the slope of the loss in everything that moves, by decision."""
    world = rewarded(world, method)[0]
    batch = world.batch()
    keys = _decisions(batch)
    count = len(keys)
    batch = batch.with_(place_T=torch.arange(count, dtype=torch.float64))

    def moved(track: str, unit: str, k: int) -> float:
        return random.Random(f"{world.seed} {track} {unit} {k}").gauss(0, 1)

    for track in (head.old_track for head in method.heads if head.old_track and head.old_track not in batch.tracks):
        batch = batch.with_(**{track: torch.tensor([moved(track, *key) for key in keys], dtype=torch.float64)})
    settled = settle(method, batch, FRACTION)
    old = batch.tracks["old_logp_T"].nan_to_num(-1.5).tolist()
    near = (1e-4, 0.1, 0.5)[world.seed % 3]
    moving = {"logp_T": np.array([o + near * moved("logp_T", *key) for o, key in zip(old, keys, strict=True)])}
    moving["entropy_T"] = np.array([abs(moved("entropy_T", *key)) for key in keys])
    moving["value_T"] = np.array([moved("value_T", *key) for key in keys])
    moving["logz_R"] = np.array([moved("logz_R", unit, 0) for unit in batch.units])
    for head in method.heads:
        moving.setdefault(
            head.track, np.array([moved(head.track, *key) for key in (keys if head.old_track else [(u, 0) for u in batch.units])])
        )
    policy = Leaves(moving, batch.units)
    backward(method, settled, policy, 10**6, 0.25, (world.seed, 0, 0))
    kept = settled.trains_T.tolist()
    before = {
        (track, *key): x
        for track in ("weight_T", "mask_T", "credit_T")
        if track in settled.tracks
        for key, x, trains in zip(keys, settled.tracks[track].double().tolist(), kept, strict=True)
        if trains
    }
    slopes: dict[Decision, float] = {}
    for track, leaf in policy.tracks.items():
        if leaf.grad is not None:
            names = keys if track.endswith("_T") else [(unit, 0) for unit in batch.units]
            slopes |= {(track, *key): x for key, x in zip(names, leaf.grad.tolist(), strict=True)}
    return before, slopes


def _decisions(batch: Batch) -> list[tuple[str, int]]:
    seen: dict[str, int] = {}
    keys: list[tuple[str, int]] = []
    for rollout in batch.index.up("token", "rollout").tolist():
        unit = batch.units[rollout]
        keys.append((unit, seen.get(unit, 0)))
        seen[unit] = seen.get(unit, 0) + 1
    return keys


# ------------------------------------------------------------------------------------------------ in another order


def _ordered(method: Method, parts: Sequence[tuple[str, Part]]) -> Iterator[Finding]:
    """Groups and rollouts the other way round give each decision what it had."""
    plain = replaced(method, lambda seam, part: part)
    stages = {"weight_T": "correction", "mask_T": "correction", "credit_T": "credit", "": "signals"}
    odd: dict[str, str] = {}
    for world in worlds_for(method):
        turned = replace(world, groups=[replace(g, rollouts=g.rollouts[::-1]) for g in world.groups[::-1]])
        one, other = _numbers(plain, world), _numbers(plain, turned)
        for key, x in one.items():
            y = other.get(key, float("nan"))
            if x == x and not abs(x - y) <= CLOSE * max(1.0, abs(x)):
                said = f"decision {key[2]} of rollout {key[1]} gets {x:.6g}, and {y:.6g} with the batch turned round"
                odd.setdefault(stages[key[0]], said)
    for stage in ("correction", "credit", "signals"):
        if stage in odd:
            whose = [called(seam, part) for seam, part in parts if seam.startswith(stage)] or [called(*parts[0])]
            yield Finding(" or ".join(whose), f"depends on the order of the batch: {odd[stage]}", fine=False)
            return


def _numbers(method: Method, world: World) -> dict[Decision, float]:
    before, slopes = _played(method, world)
    return {**before, **{("", f"{key[1]} ({key[0]})", key[2]): x for key, x in slopes.items()}}


# ------------------------------------------------------------------------------------------------ what it prints


def _printed(method: Method, parts: Sequence[tuple[str, Part]]) -> Iterator[Finding]:
    """Each part's formula against its code, around a method that is known; where it cannot stand alone, the method as a whole."""
    for seam, part in parts:
        about = called(seam, part)
        if not part.formula:
            yield Finding(about, "has no formula: `strop explain` prints a call, and nothing holds it to its code", None)
            continue
        alone = next((way for way in _alone(seam, part, method) if all(other.formula for _, other in seated(way))), None)
        if alone is None:
            yield Finding(about, "cannot be held to its formula: it stands beside parts that have none", None)
            continue
        try:
            with in_float64():
                difference, felt = largest(alone, explain(alone), BATCHES)
        except Exception as error:
            yield Finding(about, f"its formula cannot be computed: {type(error).__name__}: {error}", fine=False)
            continue
        if difference > AGREES:
            said = "what `strop explain` prints and what it computes differ"
            yield Finding(about, f"{said}, by up to {difference:.3g} in loss or slope on {BATCHES} random batches", fine=False)
        else:
            yield Finding(about, f"computes what it prints: loss and slope on {BATCHES} random batches" + ("" if felt else ", all flat"))


def _alone(seam: str, part: Part, method: Method) -> Iterator[Method]:
    """Methods of known parts around this one, and last its own."""
    ways: list[dict[str, Any]] = []
    if seam.startswith("signals."):
        signal = method.signals[seam.partition(".")[2]]
        ways = [{"signals": {"policy": Signal(part, signal.reduce, on=signal.on)}}]
        ways += [{**way, "credit": method.credit} for way in ways]
    elif seam.startswith("credit"):
        standard = {"signals": {"policy": _SURROGATE}}
        before = ((group_standardized(),), (), (by_row(),))
        after: dict[str, tuple[Part, ...]] = {
            "reward_T": (returns_to_go(),),
            "reward_W": (row_standardized(),),
            "reward_R": (group_standardized(),),
        }
        ways = [{"credit": (*first, part, *after.get(part.gives, ())), **standard} for first in before]
    elif seam == "correction":
        ways = [{"correction": part, "signals": {"policy": _SURROGATE}}]
    elif seam == "reward":
        ways = [{"reward": part, "signals": {"policy": _SURROGATE}}]
    elif seam == "schedule":
        ways = [{"update": replace(method.update, schedule=part), "signals": {"policy": _SURROGATE}}]
    else:
        ways = [{"signals": {"policy": replace(_SURROGATE, weight=part)}}]
    for way in ways:
        heads = tuple(dict.fromkeys((value, *method.heads)))
        base: dict[str, Any] = {"credit": (group_standardized(),), "heads": heads, "reference": True, "sampler": SegmentTree()}
        try:
            yield Method("alone", **{**base, **way})
        except (ValueError, NotImplementedError):
            continue
    yield method


_SURROGATE = Signal(clipped_surrogate(), PER_SEQUENCE)


# ------------------------------------------------------------------------------------------------ small things


def _sizes(have: Mapping[str, Any]) -> dict[str, int]:
    """How many units of each letter the arguments speak of."""
    sizes = {n[-1]: len(v) for n, v in have.items() if isinstance(v, Tensor) and n[-2:-1] == "_" and n[-1] in LEVEL}
    if isinstance(index := have.get("index"), Index):
        sizes |= {letter: index.size(unit) for letter, unit in LEVEL.items()}
    return sizes


def _copied(x: Any) -> Any:
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(torch.eq(a, b).logical_or((a != a) & (b != b)).all())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        one, other = cast(Mapping[str, Any], a), cast(Mapping[str, Any], b)
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(cast(Sequence[Any], a)) == len(cast(Sequence[Any], b)) and all(map(_same, a, b))
    return a is b or bool(a == b) or bool(a != a and b != b)


def _kind(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of shape {tuple(x.shape)}"
    return "nothing" if x is None else f"a {type(x).__name__}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
