"""Claims: experiments that could refute a method.

    strop claim list                                    every claim with its verdict
    strop claim show NAME                               what it says, its arms, budget, threshold and checks
    strop claim run NAME [NAME …] [--profile quick]     run it; killed, the same line goes on where it stopped
    strop claim run FILE.py                             the claims of a Python file of your own, or one: FILE.py:NAME

A quick profile shows activity and direction in minutes and never ends in a verdict; a full one does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from strop import shape
from strop.claims import CLAIMS, asked, named
from strop.cli import Usage, answer, say, table
from strop.commands import check

if TYPE_CHECKING:
    from strop.claims.claim import Claim

VERBS = ("list", "show", "run")
CHECKED = ["mechanism on", "arm", "needs", "least seen"]
BILLED = ("prefilled", "decoded", "recomputed", "scored", "measured", "reference/measured", "trained", "steps", "seconds")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", metavar="list|show|run")
    parser.add_argument("names", nargs="*", metavar="NAME", help="claims by name, or FILE.py, FILE.py:NAME; judged together")
    parser.add_argument("--profile", default="quick", metavar="P", help="quick, pilot, full or extended [quick]")
    parser.add_argument("--seeds", type=int, metavar="N", help="only the first N of the profile's seeds")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once, one thread each [1, with all threads]")
    parser.add_argument("--unchecked", action="store_true", help="do not look at claims and parts of your own first (`strop check`)")
    parser.add_argument("--out", default="runs/claims", metavar="DIR", help="where its runs are kept [runs/claims]")


def run(args: argparse.Namespace) -> int:
    if args.verb not in VERBS:
        from strop.seams.part import nearest

        raise Usage(f"strop claim has no {args.verb!r}. {nearest(args.verb, VERBS)}")
    if args.verb == "list":
        return _list(args)
    if not args.names:
        raise Usage(f"strop claim {args.verb} needs a claim's name. Known: {', '.join(sorted(CLAIMS))}.")
    names = [name for said in args.names for name in asked(said)]
    found = [named(name) for name in dict.fromkeys(names)]
    return _show(args, found) if args.verb == "show" else _run(args, found)


def _list(args: argparse.Namespace) -> int:
    from strop.claims.record import verdict_of

    rows = [
        {
            "name": claim.name,
            "method": claim.method,
            "profile_minutes": {key: profile.minutes for key, profile in claim.profiles.items()},
            "verdict": verdict_of(claim.name),
        }
        for claim in map(named, sorted(CLAIMS))
    ]
    shown = [[r["name"], r["method"], ", ".join(f"{k} {m:g} min" for k, m in r["profile_minutes"].items()), r["verdict"]] for r in rows]
    answer(args, rows, table(shown, ["claim", "method", "takes", "verdict"]))
    return 0


def _show(args: argparse.Namespace, claims: list[Claim]) -> int:
    records = [last(claim, Path(args.out)) for claim in claims]
    said = [{**claim.describe(), "record": record} for claim, record in zip(claims, records, strict=True)]
    shown = [text(claim, record) for claim, record in zip(claims, records, strict=True)]
    answer(args, said[0] if len(said) == 1 else said, "\n\n".join(shown))
    return 0


def last(claim: Claim, directory: Path) -> dict[str, Any] | None:
    """The record that strop ships, or the latest that was made here."""
    from strop.claims.record import shipped
    from strop.claims.runner import home

    if claim.name in shipped():
        return shipped()[claim.name]
    made = [place for name in ("pilot", *claim.profiles) if (place := home(claim, name, directory) / "record.json").is_file()]
    return shape.read(max(made, key=lambda place: place.stat().st_mtime), shape.RECORD) if made else None


def text(claim: Claim, record: dict[str, Any] | None) -> str:
    sign = "within" if claim.tie else "above"
    lines = [f"{claim.name} ({claim.fingerprint}), for the method {claim.method}", "", f"  {claim.says}.", ""]
    lines += [f"effect    {claim.compare[0]} - {claim.compare[1]}, in {claim.measure}, {sign} {claim.threshold:g}"]
    lines += [f"refuted   if {claim.refuted_if}"]
    if claim.world is not None:
        lines += [f"world     {claim.place()['world']}"]
    else:
        lines += [f"task      {claim.recipe.task_name()}, model {claim.recipe.model}"]
    if claim.base is not None:
        lines += [f"begins    with that model after {claim.base.steps} steps of {claim.base.resolved().name} on {claim.base.task_name()}"]
    lines += [
        "",
        table(
            [[a.name, a.control or "the method on trial", a.method.fingerprint] for a in claim.arms], ["arm", "controls for", "fingerprint"]
        ),
    ]
    lines += ["", table([[c.says, c.arm, f"at least {c.least:g}"] for c in claim.checks], ["mechanism on", "arm", "needs"]), ""]
    for name, profile in claim.profiles.items():
        arms = ", ".join(a.name for a in claim.runs(name))
        lines.append(f"{name:9} {len(profile.seeds)} seeds, {profile.budget}, about {profile.minutes:g} min: {arms}")
    if claim.pitfalls:
        lines += ["", claim.pitfalls]
    if record is not None:
        lines += ["", measured(record)]
    return "\n".join(lines)


def measured(record: dict[str, Any]) -> str:
    """A record for readers: verdict, every arm by seed, held-out means, checks, budget, what made it."""
    seeds = record["seeds"]
    rows = [[arm, *(by_seed.get(str(s)) for s in seeds), mean_of(by_seed.values())] for arm, by_seed in record["values"].items() if by_seed]
    lines = [summary(record), "", f"{record['measure']['part']} at the common budget", ""]
    lines += [table(rows, ["arm", *(f"seed {s}" for s in seeds), "mean"])]
    if any(tests for by_seed in record["evaluations"].values() for tests in by_seed.values()):
        shares = record["held_out"]["at"]
        lines += ["", "held-out mean at these shares of the budget, over seeds", ""]
        lines += [
            table(
                [
                    [arm, *(mean_of(t[i]["means"].get("mean") for t in by_seed.values() if i < len(t)) for i in range(len(shares)))]
                    for arm, by_seed in record["evaluations"].items()
                ],
                ["arm", *(f"{share:.0%}" for share in shares)],
            )
        ]
    lines += by_target(record)
    lines += [
        "",
        table(
            [
                [c["says"], c["arm"], f">= {c['least']:g}", min((v for v in c["values"].values() if v is not None), default=None)]
                for c in record["checks"]
            ],
            CHECKED,
        ),
    ]
    kinds = [k for k in BILLED if any(said.get(k) for said in record["budgets"].values())]
    lines += ["", f"positions a run, discarded ones included; the budget is {record['budget']}", ""]
    lines += [table([[arm, *(round(said.get(k, 0)) for k in kinds)] for arm, said in record["budgets"].items()], ["arm", *kinds])]
    detectable = record["detectable"]
    if detectable["smallest"] is not None:
        lines += ["", f"the pilot's differences {detectable['pilot']} say that {detectable['seeds']} seeds find a margin of "]
        lines[-1] += f"{detectable['smallest']:.3g} over the threshold four times in five"
    lines += [f"arms not run: {', '.join(record['left_out']) or 'none'}"]
    lines += [f"claim {record['fingerprint']}, code {', '.join(record['code'])}, {record['machine']['processor']}"]
    return "\n".join(lines)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Of those that have one."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def by_target(record: dict[str, Any]) -> list[str]:
    """What the arms did in the end under each confidence target, where the task states one."""
    last = {
        arm: [tests[-1]["targets"] for tests in by_seed.values() if tests and "targets" in tests[-1]]
        for arm, by_seed in record["evaluations"].items()
        if by_seed
    }
    if not last or not all(last.values()):
        return []
    lines: list[str] = []
    for name in ("coverage", "score"):
        rows = [[arm, *(mean_of(line[name] for line in at) for at in zip(*seeds, strict=True))] for arm, seeds in last.items()]
        head = [f"t = {line['target']:.2f}" for line in next(iter(last.values()))[0]]
        lines += ["", f"{name} of held-out questions at the end, by confidence target, over seeds", "", table(rows, ["arm", *head])]
    return lines


def summary(record: dict[str, Any]) -> str:
    low, high = record["interval"] or (None, None)
    said = f"{record['claim']}: {record['verdict']}"
    if record["effect"] is not None:
        ends = ", ".join("no end" if end is None else f"{end:+.4g}" for end in (low, high))  # as JSON writes what is not finite
        said += f", effect {record['effect']:+.4g} [{ends}] against {record['threshold']:g}"
        said += f" ({record['compare'][0]} - {record['compare'][1]}, {len(record['seeds'])} seeds, {record['profile']})"
    if record["profile"] == "pilot" and record["detectable"]["smallest"] is not None:
        said += f"\n  differences {[round(d, 4) for d in record['differences']]}: {record['detectable']['seeds']} seeds find a margin of "
        said += f"{record['detectable']['smallest']:.3g} over the threshold four times in five"
    return "\n".join(
        [said, *(f"  void: {why}" for why in record["why_void"]), *(f"  note: {why}" for why in record.get("apart", ())), *_absent(record)]
    )


def _absent(record: dict[str, Any]) -> list[str]:
    part = record["measure"]["part"]
    return [f"  {which}: {part} gives nothing there, so there is no verdict" for which in record.get("absent", ())]


def _run(args: argparse.Namespace, claims: list[Claim]) -> int:
    from strop.claims import runner
    from strop.report import claim as page

    if args.jobs < 1 or (args.seeds is not None and args.seeds < 1):
        raise Usage("--jobs and --seeds are at least 1")
    for claim in claims:
        claim.profile(args.profile)
        check.before(claim.recipe, None, [claim], unchecked=args.unchecked)
    made: list[dict[str, Any]] = []
    for claim in claims:
        runs = runner.runs_of(claim, args.profile, args.seeds)
        say(f"{claim.name}: {runs} runs in {args.out}, about {claim.profile(args.profile).minutes:g} min for the whole profile")
        record = runner.run(claim, Path(args.out), args.profile, seeds=args.seeds, jobs=args.jobs, together=len(claims), tell=Teller(runs))
        page.write(record, runner.home(claim, args.profile, Path(args.out)) / "page.html")
        made.append(record)
    shown = []
    for record, claim in zip(made, claims, strict=True):
        where = runner.home(claim, args.profile, Path(args.out))
        shown.append(f"{summary(record)}\n  record {where / 'record.json'}\n  page   {where / 'page.html'}")
    answer(args, made[0] if len(made) == 1 else made, "\n".join(shown))
    return 1 if any(record.get("absent") for record in made) else 0


class Teller:
    """Progress on stderr: one line that is rewritten on a terminal; elsewhere one for each run that ends."""

    def __init__(self, runs: int):
        self.runs, self.shares, self.began, self.terminal = runs, dict[tuple[str, int], float](), time.perf_counter(), sys.stderr.isatty()

    def __call__(self, arm: str, seed: int, share: float) -> None:
        if self.shares.get((arm, seed), 0.0) >= 1:
            return  # another reading of a run that is done
        self.shares[arm, seed] = share
        spent, whole = time.perf_counter() - self.began, sum(self.shares.values()) / self.runs
        ended = sum(one >= 1 for one in self.shares.values())
        left = f", about {spent * (1 - whole) / whole:.0f} s left" if whole > 0 else ""
        line = f"{arm} seed {seed}: {share:.0%}; {ended} of {self.runs} runs done in {spent:.0f} s{left}"
        if self.terminal:
            print(f"\r\033[K{line}", end="\n" if ended == self.runs else "", file=sys.stderr, flush=True)
        elif share >= 1:
            say(line)
