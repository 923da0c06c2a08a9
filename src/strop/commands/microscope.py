"""Compare what methods would do to the same weights with the same recorded batch, without training.

For each method the gradient on one step's rollouts: norms, the cosine between methods, the share of short and long, right and
wrong, early and late decisions, and, on a page, the weight of every token.

Examples:
    strop microscope runs/chain-grpo-1 --step 10 --methods grpo,dr-grpo
    strop microscope runs/chain-grpo-1 --step 10 --methods grpo,dr-grpo,dapo --out page.html
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strop.cli import Usage, answer, say, table
from strop.commands import recipes

if TYPE_CHECKING:
    from strop.lab.microscope import Sight
    from strop.loop import Run
    from strop.policies.causal import CausalPolicy


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's directory")
    parser.add_argument("--step", type=int, required=True, metavar="N", help="whose rollouts and weights: a step of metrics.jsonl, from 0")
    parser.add_argument("--methods", required=True, metavar="A,B", help="with commas: names, FILE.py, FILE.py:NAME, runs, sums")
    parser.add_argument(
        "--nearest", action="store_true", help="weights of the nearest checkpoint, where computing the step's own takes long"
    )
    parser.add_argument("--out", metavar="FILE", help="write the page with every token's weight")


def run(args: argparse.Namespace) -> int:
    from strop.lab.microscope import look
    from strop.run import at_step
    from strop.saved import brought

    names = recipes.listed(args.methods)
    if not names:
        raise Usage("--methods takes at least one method, as in --methods grpo,dr-grpo")
    if len(set(names)) < len(names):
        raise Usage(f"--methods names a method twice: {args.methods}")
    if args.step < 0:
        raise Usage(f"--step is at least 0, got {args.step}")
    directory = Path(args.run)
    methods = [recipes.method(name) for name in names]
    parts = brought(directory)
    work = at_step(directory, args.step, say, nearest=args.nearest, **parts)
    about = {"run": str(directory), "weights": _weights(work, directory)}
    started = time.perf_counter()
    sight = look(work, [work.recipe.but(method=method).resolved() for method in methods])
    value = {**about, **sight.to_json(), "seconds": round(time.perf_counter() - started, 2)}
    said = [text(sight), "", about["weights"]]
    if args.out:
        from strop.report import lens

        tokenizer = cast("CausalPolicy", work.policy).tokenizer
        page = lens.render(sight, lambda token: tokenizer.decode([token]), about)
        Path(args.out).write_text(page, encoding="utf-8")
        value["page"] = args.out
        said.append(f"page  {args.out}")
    answer(args, value, "\n".join(said))
    return 0


def _weights(work: Run, directory: Path) -> str:
    """Whose weights these are, and whether they are the bits that the run had."""
    from strop.directory import read_metrics

    lines = {line["step"]: line for line in read_metrics(directory)}
    theirs = lines.get(work.step - 1, {}).get("digest", {}).get("weights", "")
    mine = work.digest_weights(like=theirs)
    if work.foreign and work.recording is None:
        return f"weights {mine}: of the nearest checkpoint, not those that drew the batch"
    if work.step == 0:
        return f"weights {mine}: the starting ones"
    verdict = "bit for bit those of the run" if theirs == mine else f"rebuilt on another machine or version: the run had {theirs}"
    return f"weights {mine}, after {work.step} updates: {verdict}"


def text(sight: Sight) -> str:
    """Norms, cosines and shares as tables."""
    names = [r.method.name for r in sight.readings]
    rows: list[list[Any]] = []
    for number, reading in enumerate(sight.readings):
        exponent = sight.exponent(reading)
        flat = None if exponent is None else round(exponent, 3) + 0.0
        rows.append([reading.method.name, f"{reading.norm:.4g}", flat, *(c for c in sight.cosine[number])])
    lines = [table(rows, ["method", "norm", "weight per credit ~ length^", *(f"cos {name}" for name in names)])]
    for kind in dict.fromkeys(bucket.kind for bucket in sight.buckets):
        rows = [
            [bucket.name, bucket.decisions, *(v for r in sight.readings for v in (r.shares[b], f"{r.norms[b]:.3g}"))]
            for b, bucket in enumerate(sight.buckets)
            if bucket.kind == kind
        ]
        lines += ["", table(rows, [f"by {kind}", "decisions", *(f"{name} {what}" for name in names for what in ("share", "norm"))])]
    return "\n".join(lines)
