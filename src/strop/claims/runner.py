"""Run a claim: every arm under every seed, each a run of its own that can be killed and goes on; then the verdict.

    DIRECTORY/runs/ARM-DIGEST-SEED/    a run as `strop train` makes it, with its held-out evaluations and, once done, arm.json;
                                       the digest is the recipe's, so claims that ask for the same run share it
    DIRECTORY/runs/base-DIGEST-SEED/   what the arms of a seed start from, where the claim makes its own; a run as well
    DIRECTORY/NAME-PROFILE/            record.json, page.html

What would make the comparison worthless ends in the verdict `void`, with the reasons: a mechanism that was off, arms that
spent differently, shared train and test tasks, different starts, seeds that reach nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from typing import Any

from strop import claims, durable, staged
from strop.claims import record as records
from strop.claims.claim import Arm, Claim, World
from strop.claims.statistics import corrected, judge, judge_tie, smallest_detectable
from strop.claims.trace import REPLIES, VALUES, Curve, Trace, at, question, read
from strop.program import Program
from strop.records import Group, Sampling, Scores, canonical, finite
from strop.run import create, resume
from strop.seams.part import describe, fingerprint
from strop.seams.sampler import as_taught
from strop.tasks import source

FAR = 2
"""Work of one kind that one arm has so many times of another's is said, though the budget is equal."""

TOLERANCE = 0.02
"""Spending within this share of each other is equal."""

BASE_SEED = 1000
"""Added to an arm's seed for the run that makes its base: what the base learned from is not what the arms then see."""

Tell = Callable[[str, int, float], None]
"""Progress: arm, seed, share of its budget spent."""


def run_base(claim: Claim, seed: int, directory: Path, tell: Tell | None = None) -> Path | None:
    """The model that every arm of this seed starts from, made once: the last checkpoint of a run, which is gone on with if incomplete."""
    from strop.directory import good_checkpoints

    if claim.base is None:
        return None
    recipe, place = claim.base.but(seed=BASE_SEED + seed), base_place(claim, seed, directory)
    final = place / "checkpoints" / f"{recipe.steps:06d}"
    if not final.parent.exists() or final not in good_checkpoints(place):
        begun = (place / "recipe.json").exists()
        method = None if isinstance(recipe.method, str) else recipe.resolved()
        run = resume(place, say=lambda _: None, method=method) if begun else create(recipe, place)
        run.train(show=None if tell is None else lambda line: tell("base", seed, (line["step"] + 1) / recipe.steps))
    if tell is not None:
        tell("base", seed, 1.0)
    return final


def run_arm(
    claim: Claim,
    arm: Arm,
    seed: int,
    profile: str,
    directory: Path,
    world: World | None = None,
    tell: Tell | None = None,
    model: Path | None = None,
) -> Trace:
    """One arm under one seed: begun, gone on with, or read if it is done. `model` is what the claim's base made."""
    from strop.directory import PROGRAM, read_metrics

    recipe = claim.recipe_of(arm, seed, profile)
    recipe = recipe if model is None else recipe.but(model=str(model))
    if (directory / "arm.json").exists():
        if tell is not None:
            tell(arm.name, seed, 1.0)
        return read(directory, arm.name, seed, recipe)
    world = world or claim.world
    parts = {} if world is None else world(recipe, directory)
    if (directory / "recipe.json").exists() or (directory / PROGRAM).exists():
        run = _resumed(arm, directory, parts)
    else:
        run = staged.create(recipe, directory, **parts) if isinstance(arm.method, Program) else create(recipe, directory, **parts)
    if not (directory / "initial").exists() and not run.step:  # new, or killed before this was written
        durable.write(directory / "initial", run.digest_weights(heads=False).encode())
    tested = HeldOutTests(claim, run)
    tested.when(run.spent or 0.0)

    def show(line: dict[str, Any]) -> None:
        tested.when(run.spent or 0.0)
        if tell is not None:
            tell(arm.name, seed, min(run.spent or 0.0, 1.0))

    run.train(show=show)
    about = {
        "initial": (directory / "initial").read_text(),
        "seconds": round(sum(line["t"]["seconds"] for line in read_metrics(directory)), 2),
        "tested": sorted({*tested.tasks}),
        "asked": sorted(tested.asked),
        "code": records.code(),
    }
    durable.write(directory / "arm.json", canonical(about).encode())
    return read(directory, arm.name, seed, recipe)


def _resumed(arm: Arm, directory: Path, parts: dict[str, Any]) -> Any:
    if isinstance(arm.method, Program):
        return staged.resume(directory, say=lambda _: None, method=arm.method, **parts)
    return resume(directory, say=lambda _: None, method=arm.method, **parts)


class HeldOutTests:
    """The held-out evaluations of one run: due at shares of its budget, kept as files, never billed."""

    def __init__(self, claim: Claim, run: Any):
        self.plan, self.run = claim.held_out, run
        self.tasks: list[str] = []
        self.asked: set[str] = set()
        if self.plan is not None:
            from strop.evaluate import HELD_OUT_SEED, held_out_tasks

            count = held_out_tasks(self.source, self.plan.tasks)

            drawn = [self.source.task("test", HELD_OUT_SEED, i) for i in range(count)]
            self.tasks, self.asked = [task.id for task in drawn], {question(task.prompt) for task in drawn}

    @property
    def source(self) -> Any:
        """Whose held-out tasks are asked."""
        return source(self.plan.task) if self.plan is not None and self.plan.task else self.run.source

    def when(self, spent: float) -> None:
        """Make the one that is due now, unless an earlier life of the run made it."""
        if self.plan is None:
            return
        path = self.run.directory / "eval" / f"{self.run.step:06d}.json"
        made = len(list(path.parent.glob("[0-9]*.json")))
        due = sum(share <= spent for share in self.plan.at)
        if path.exists() or due <= made:
            return
        from strop.bill import spend
        from strop.calibration import at_targets
        from strop.evaluate import as_trained, evaluate

        method, sampler = self.run.method, self.plan.sampler
        asked: dict[str, Any] = (
            as_trained(method, self.source, self.run.held) if sampler is None else {"sampler": as_taught(sampler, method.feed)}
        )
        replies: list[dict[str, Any]] = []

        def look(groups: list[Group], scores: Scores) -> None:
            replies.extend({"needs": dict(group.task.needs), "texts": [r.text for r in group.rollouts]} for group in groups)

        found = asyncio.run(
            evaluate(
                self.run.handle,
                self.source,
                self.plan.tasks,
                samples=self.plan.samples,
                sampling=Sampling(self.plan.temperature),
                max_tokens=self.plan.max_tokens,
                others=self.run.others,
                look=look if self.plan.replies else None,
                **asked,
            )
        )
        self.run.bill.forget()
        bill = self.run.bill.total
        said = {
            "step": self.run.step,
            "spent": spend(bill, self.run.recipe.budget_in_positions[1]),
            "means": {name: found.mean(name) for name in found.values},
            **({"targets": [asdict(line) for line in lines]} if (lines := at_targets(found.values)) else {}),
        }
        if self.plan.replies:
            durable.write(path.with_name(REPLIES.format(path.stem)), canonical(replies).encode())
        each = {"tasks": self.tasks, "values": {name: list(values) for name, values in found.values.items()}}
        durable.write(path.with_name(VALUES.format(path.stem)), canonical(each).encode())
        durable.write(path, canonical(said).encode())


def run(
    claim: Claim,
    directory: Path,
    profile: str = "quick",
    *,
    seeds: int | None = None,
    jobs: int = 1,
    together: int = 1,
    world: World | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """The record. `together` counts the claims that are judged at once; `seeds` runs only the first so many of the profile's."""
    chosen = claim.profile(profile).seeds[:seeds]
    todo = [(arm, seed) for seed in chosen for arm in claim.runs(profile)]
    traces: dict[str, dict[int, Trace]] = {arm.name: {} for arm in claim.runs(profile)}
    there: dict[Path, Trace] = {}  # arms that share a run share what was read of it
    for arm, seed in _each(claim, todo, profile, directory, jobs, world, tell):
        place = run_place(claim, arm, seed, profile, directory)
        traces[arm.name][seed] = there[place] = there.get(place) or read(place, arm.name, seed, claim.recipe_of(arm, seed, profile))
    made = verdict(claim, profile, traces, together=together)
    if claim.base is not None:
        bases = [read_base(claim, seed, directory) for seed in dict.fromkeys(map(claim.base_seed, chosen))]
        made["budgets"]["base"] = records.bill(bases)
        made["base"] = {trace.seed: trace.about["weights"] for trace in bases}
        made["base_seeds"] = claim.base_seeds
    home(claim, profile, directory).mkdir(parents=True, exist_ok=True)
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in finite(made).items())
    durable.write(home(claim, profile, directory) / "record.json", ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return made


def runs_of(claim: Claim, profile: str, seeds: int | None = None) -> int:
    """How many runs it takes: bases too, and arms of one method once."""
    chosen = claim.profile(profile).seeds[:seeds]
    bases = 0 if claim.base is None else len({claim.base_seed(seed) for seed in chosen})
    return bases + len(chosen) * len({arm.method.fingerprint for arm in claim.runs(profile)})


def run_place(claim: Claim, arm: Arm, seed: int, profile: str, directory: Path) -> Path:
    """Arms of one method are readings of one run, which is called after the first of them."""
    said = {**claim.recipe_of(arm, 0, profile).describe(), "held_out": describe(claim.held_out), **claim.place()}
    first = next(one.name for one in claim.arms if one.method.fingerprint == arm.method.fingerprint)
    return directory / "runs" / f"{first}-{fingerprint(said)}-{seed}"


def base_place(claim: Claim, seed: int, directory: Path) -> Path:
    assert claim.base is not None
    return directory / "runs" / f"base-{claim.base.but(seed=0).fingerprint}-{seed}"


def read_base(claim: Claim, seed: int, directory: Path) -> Trace:
    """What making it cost, and the digest of the weights it ended with."""
    from strop.directory import read_metrics

    place = base_place(claim, seed, directory)
    lines = read_metrics(place)
    about = {"seconds": round(sum(line["t"]["seconds"] for line in lines), 2), "weights": lines[-1]["digest"]["weights"]}
    return Trace("base", seed, place, "positions", about)


def home(claim: Claim, profile: str, directory: Path) -> Path:
    """Where a claim's record and page go."""
    return directory / f"{claim.name}-{profile}"


def _each(
    claim: Claim, todo: Sequence[tuple[Arm, int]], profile: str, directory: Path, jobs: int, world: World | None, tell: Tell | None
) -> Iterable[tuple[Arm, int]]:
    """Runs that are done, in order, bases first; with several jobs each run has a process and one thread of its own."""
    readings = dict[Path, list[tuple[Arm, int]]]()
    for arm, seed in todo:
        readings.setdefault(run_place(claim, arm, seed, profile, directory), []).append((arm, seed))
    if jobs == 1:
        bases = {seed: run_base(claim, seed, directory, tell) for seed in dict.fromkeys(claim.base_seed(seed) for _, seed in todo)}
        for place, each in readings.items():
            arm, seed = each[0]
            run_arm(claim, arm, seed, profile, place, world, tell, bases[claim.base_seed(seed)])
            yield from each
        return
    for place, told in _elsewhere(claim, readings, profile, directory, jobs):
        if tell is not None:
            tell(*told)
        if place is not None:
            yield from readings[place]


def _elsewhere(
    claim: Claim, readings: Mapping[Path, Sequence[tuple[Arm, int]]], profile: str, directory: Path, jobs: int
) -> Iterable[tuple[Path | None, tuple[str, int, float]]]:
    """What worker processes tell, and the run that is done, where one is: bases first, and a seed's arms as soon as theirs is there."""
    where, context = claims.CLAIMS[claim.name], get_context("spawn")
    said: SimpleQueue[tuple[str, int, float]] = context.SimpleQueue()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(said,)) as pool:
        bases = dict.fromkeys(claim.base_seed(seed) for each in readings.values() for _, seed in each)
        made = {pool.submit(_base_there, where, seed, directory): seed for seed in bases}
        waiting: dict[Future[Any], Path] = {}
        try:
            while made or waiting:
                done, _ = wait([*made, *waiting], timeout=1.0, return_when=FIRST_COMPLETED)
                while not said.empty():
                    yield None, said.get()
                for future in done:
                    if future in made:
                        base = made.pop(future)
                        for place, ((arm, seed), *_) in readings.items():
                            if claim.base_seed(seed) == base:
                                waiting[pool.submit(_arm_there, where, arm.name, seed, profile, place, future.result())] = place
                    else:
                        future.result()
                        place = waiting.pop(future)
                        arm, seed = readings[place][0]
                        yield place, (arm.name, seed, 1.0)
        finally:
            pool.shutdown(cancel_futures=True)  # where one failed, those that have not begun do not keep it from being told


_SAID: list[SimpleQueue[tuple[str, int, float]]] = []
"""In a worker process: where it tells how far it is."""
_LAST: dict[tuple[str, int], float] = {}
"""And what it told last."""


def _begin(said: SimpleQueue[tuple[str, int, float]]) -> None:
    """A worker process has one thread, and ends with the process that it works for, however that one ends."""
    import torch

    def follow() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
    torch.set_num_threads(1)
    _SAID.append(said)


def _told(name: str, seed: int, share: float) -> None:
    """A hundred times a run at most: nobody may be listening any more, and a full pipe would be waited for."""
    if share >= 1 or share - _LAST.get((name, seed), -1.0) >= 0.01:
        _LAST[name, seed] = share
        _SAID[0].put((name, seed, share))


def _arm_there(where: str, arm: str, seed: int, profile: str, directory: Path, model: Path | None) -> None:
    """In a worker process: claims travel by the place they stand in."""
    found = claims.at(where)
    run_arm(found, found.arm(arm), seed, profile, directory, tell=_told, model=model)


def _base_there(where: str, seed: int, directory: Path) -> Path | None:
    return run_base(claims.at(where), seed, directory, _told)


def verdict(claim: Claim, profile: str, traces: dict[str, dict[int, Trace]], *, together: int = 1) -> dict[str, Any]:
    """The record of finished runs: a pure function of what they left behind."""
    level = corrected(together)
    seeds = sorted(next(iter(traces.values())))
    curves: dict[str, dict[int, Curve]] = {
        name: {seed: (claim.arm(name).reads or claim.measure).on({"trace": trace}) for seed, trace in by_seed.items()}
        for name, by_seed in traces.items()
    }
    budget, _ = claim.recipe_of(claim.arms[0], 0, profile).budget_in_positions
    wrong = [*_unequal(traces, curves, budget), *_shared(traces), *_starts(traces), *_alike(claim, traces), *_frozen(claim, traces, curves)]
    checks: list[dict[str, Any]] = []
    for check in claim.checks:
        if check.arm not in traces:
            continue
        found = {seed: round(check.value(traces[check.arm][seed]), 6) for seed in seeds}
        checks.append({"says": check.says, "arm": check.arm, "least": check.least, "values": found})
        if off := [seed for seed in seeds if not found[seed] >= check.least]:
            wrong.append(f"mechanism off: {check.says} ({check.arm}, seed {off[0]}: {found[off[0]]:g}, needs {check.least:g})")
    budgets = {name: records.bill(list(by_seed.values())) for name, by_seed in traces.items()}
    first, second = claim.compare
    values = {name: {seed: at(curve, budget) for seed, curve in by_seed.items() if curve} for name, by_seed in curves.items()}
    differences = [values[first][seed] - values[second][seed] for seed in seeds if seed in values[first] and seed in values[second]]
    decide = judge_tie if claim.tie else judge
    judged = decide(differences, claim.threshold, level) if differences else None
    word = judged.verdict if judged is not None else "inconclusive"
    # seeds whose measure has no value are not left out: those that have one may be the lucky ones
    absent = [f"{name}, seed {seed}: no value" for name in claim.compare for seed, curve in curves[name].items() if not curve]
    if absent:
        word = "inconclusive"
    if profile in ("quick", "pilot"):
        word = "direction only"
    if wrong:
        word = "void"
    return {
        "claim": claim.name,
        "method": claim.method,
        "says": claim.says,
        "profile": profile,
        "verdict": word,
        "why_void": wrong,
        "absent": absent,
        "effect": None if judged is None else judged.effect,
        "interval": None if judged is None else list(judged.interval),
        "level": level,
        "threshold": claim.threshold,
        "tie": claim.tie,
        "refuted_if": claim.refuted_if,
        "compare": list(claim.compare),
        "measure": claim.measure.describe(),
        "seeds": seeds,
        "differences": differences,
        "detectable": _detectable(claim, profile, differences, level),
        "values": values,
        "curves": {name: {seed: [list(point) for point in thin(curve)] for seed, curve in c.items()} for name, c in curves.items()},
        "checks": checks,
        "budget": claim.profile(profile).budget,
        "budgets": budgets,
        "apart": _apart(claim, budgets),
        "left_out": [arm.name for arm in claim.arms if arm.name not in traces],
        "arms": {
            arm.name: {"method": arm.method.name, "control": arm.control, "random": arm.random, "fingerprint": arm.method.fingerprint}
            for arm in claim.arms
        },
        "fingerprint": claim.fingerprint,
        "held_out": None if claim.held_out is None else asdict(claim.held_out),
        "evaluations": {name: {seed: list(trace.held_out) for seed, trace in by_seed.items()} for name, by_seed in traces.items()},
        **records.here(),
        # runs may be older than the record: a killed claim goes on, and claims share runs
        "code": sorted({trace.about["code"] for by_seed in traces.values() for trace in by_seed.values()}),
    }


def _detectable(claim: Claim, profile: str, differences: list[float], level: float) -> dict[str, Any]:
    """The smallest margin over the threshold that the full profile's seeds find at 80 %, by the pilot's spread."""
    pilot = differences if profile == "pilot" else list(claim.pilot)
    seeds = len(claim.profiles["full"].seeds) if "full" in claim.profiles else 0
    known = len(pilot) > 1 and seeds > 1
    return {"pilot": pilot, "seeds": seeds, "smallest": smallest_detectable(pilot, seeds, level=level) if known else None}


def thin(curve: Curve, points: int = 60) -> Curve:
    """At most so many points, the last one among them, to six figures: a record is drawn and read, and shipped."""
    step = max((len(curve) - 1) / (points - 1), 1)
    return [(x, float(f"{y:.6g}")) for x, y in (curve[round(i * step)] for i in range(min(len(curve), points)))]


# What makes a comparison worthless.


def _unequal(traces: dict[str, dict[int, Trace]], curves: dict[str, dict[int, Curve]], budget: int) -> list[str]:
    """A curve that ends before the budget does, or begins after it, cannot be read there."""
    wrong: list[str] = []
    for name, by_seed in traces.items():
        for seed, trace in by_seed.items():
            curve = curves[name][seed]
            if not trace.spent or trace.spent[-1] < (1 - TOLERANCE) * budget:
                spent = trace.spent[-1] if trace.spent else 0
                wrong.append(f"unequal budgets: {name}, seed {seed} spent {spent:,} of {budget:,} {trace.unit}")
            elif curve and (curve[-1][0] < (1 - TOLERANCE) * budget or curve[0][0] > (1 + TOLERANCE) * budget):
                reach = f"[{curve[0][0]:,.0f}, {curve[-1][0]:,.0f}]"
                wrong.append(f"unequal budgets: the measure of {name}, seed {seed} covers {reach}, not {budget:,} {trace.unit}")
    return wrong


def _shared(traces: dict[str, dict[int, Trace]]) -> list[str]:
    """Tasks that were trained on and tested on."""
    for name, by_seed in traces.items():
        for seed, trace in by_seed.items():
            tested = frozenset(trace.about["tested"])
            if both := tested and trace.trained_on & tested:
                return [f"train and test share {len(both)} tasks ({name}, seed {seed}: {sorted(both)[0]})"]
            if both := frozenset(trace.about.get("asked", ())) & trace.asked:
                return [f"train and test ask {len(both)} questions alike, under other ids ({name}, seed {seed})"]
    return []


def _starts(traces: dict[str, dict[int, Trace]]) -> list[str]:
    """Paired arms begin at the same weights."""
    seeds = next(iter(traces.values()))
    for seed in seeds:
        starts = {by_seed[seed].about["initial"] for by_seed in traces.values()}
        if len(starts) > 1:
            return [f"the arms start from different weights under seed {seed}"]
    return []


def _weights(line: Mapping[str, Any]) -> list[str]:
    """Digests of all that learns, after a step."""
    held = [line["memory"]["digest"]] if "memory" in line else []
    return held + [one["digest"]["weights"] for one in (line, *line.get("policies", {}).values())]


def _alike(claim: Claim, traces: dict[str, dict[int, Trace]]) -> list[str]:
    """Arms that moved the same weights at every step are one, however they are called, but where they differ in what is read."""
    one, other = (claim.arm(name) for name in claim.compare)
    if one.reads != other.reads:
        return []
    for seed in traces[one.name]:
        first, second = ([_weights(line) for line in traces[arm.name][seed].lines] for arm in (one, other))
        if first and first == second:
            return [
                f"{one.name} and {other.name} have the same weights after each of {len(first)} steps under seed {seed}: nothing "
                "tells them apart"
            ]
    return []


def _apart(claim: Claim, budgets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Work that the compared arms do not share, though they share the budget."""
    one, other = (budgets[name] for name in claim.compare)
    return [
        f"{claim.compare[0]} and {claim.compare[1]} have {a:,.0f} and {b:,.0f} positions {kind}, {max(a, b) / min(a, b):.1f} times apart"
        for kind in ("prefilled", "decoded", "scored", "measured", "trained")
        if (a := one.get(kind, 0)) and (b := other.get(kind, 0)) and max(a, b) > FAR * min(a, b)
    ]


def _frozen(claim: Claim, traces: dict[str, dict[int, Trace]], curves: dict[str, dict[int, Curve]]) -> list[str]:
    """A seed that changes nothing reached nothing."""
    if not claim.random:
        return []
    for name, by_seed in curves.items():
        seen: dict[str, int] = {}
        for seed, curve in by_seed.items():
            # shares of a few hundred tasks may agree by chance: what was seen and learned may not
            key = canonical([[[x, y] for x, y in curve], [line.get("digest") for line in traces[name][seed].lines]])
            if key in seen and len(curve) > 0:
                return [f"seeds {seen[key]} and {seed} of {name} gave identical curves: the seed reached nothing"]
            seen[key] = seed
        if len(seen) > 2 and (first := next(iter(by_seed.values()))) and all(curve == first for curve in by_seed.values()):
            return [f"all {len(seen)} seeds of {name} gave identical curves: what is measured does not depend on the run"]
    return []
