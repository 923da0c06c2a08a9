"""Exact bias and variance of a method's gradient, in a world small enough to count.

Examples:
    strop lab bias grpo                       one method at the first update of a batch
    strop lab bias --all                      every combination of the lab and every registered method
    strop lab bias grpo rloo --point second   after a step, where the ratio has moved and a clip is felt
    strop lab bias grpo --vocab 3 --length 3 --group 8
    strop lab bias bridge-none bridge-token bridge-rollout --quantized 0.5     an engine that rounds, and what bridges it
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, say, table

if TYPE_CHECKING:
    from strop.lab.bias import Finding
    from strop.lab.world import World

HEAD = ["method", "target", "batch", "scale", "|bias|", "cosine", "skew", "noise", "signal/noise"]
LEGEND = """\
g is the gradient of one batch, E[g] its mean, t the target's gradient.
scale         E[g] along t, in lengths of t      |bias|   |E[g] - t| / |t|      cosine   of E[g] and t
skew          what is left of the bias at the best learning rate: |c E[g] - t| / |t|
noise         trace of the covariance of g over |E[g]|^2, for one group; a batch of n groups has 1/n of it
signal/noise  1 / sqrt(noise)"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="METHOD", help="methods (`strop methods`) or combinations of the lab (shown by --all)")
    parser.add_argument("--all", action="store_true", help="every combination and every registered method")
    parser.add_argument("--vocab", type=int, default=2, metavar="N", help="tokens, the one that ends a sequence among them [2]")
    parser.add_argument("--length", type=int, default=4, metavar="N", help="longest sequence [4]")
    parser.add_argument("--group", type=int, default=4, metavar="N", help="rollouts per task [4]")
    parser.add_argument("--groups", type=int, default=2, metavar="N", help="tasks per batch, where groups act on each other [2]")
    parser.add_argument(
        "--point", choices=("first", "second"), default="first", help="the batch's first update, or one after a step [first]"
    )
    parser.add_argument("--step", type=float, default=0.25, metavar="X", help="with --point second: how far the logits have moved [0.25]")
    parser.add_argument(
        "--target", metavar="NAME", help="reward, reward-kl or tilted [reward-kl where the method pays for KL, else reward]"
    )
    parser.add_argument("--beta", type=float, metavar="X", help="weight of the KL in the target [what the method pays]")
    parser.add_argument(
        "--quantized",
        type=float,
        metavar="X",
        help="the engine rounds logits to multiples of X (bfloat16: 0.125 between 16 and 32) [it draws as the learner]",
    )
    parser.add_argument("--binary", action="store_true", help="rewards 0 and 1 only, instead of 0, 1/2 and 1")
    parser.add_argument(
        "--calls", type=int, metavar="N", help="batches to enumerate where groups act on each other; above it, a sample [4000]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the world: its logits and rewards [0]")


def run(args: argparse.Namespace) -> int:
    from strop.lab.bias import CALLS, Unsuitable, examine
    from strop.lab.combinations import COMBINATIONS, find
    from strop.lab.world import World
    from strop.methods import METHODS

    if bool(args.names) == args.all:
        raise Usage("name one or more methods, or give --all: strop lab bias grpo")
    if args.quantized is not None and not args.quantized > 0:
        raise Usage(f"--quantized {args.quantized:g}: the step between two logits of the engine is above 0")
    methods = [find(name) for name in ([*COMBINATIONS, *METHODS] if args.all else args.names)]
    world = World.random(args.vocab, args.length, args.seed, (0.0, 1.0) if args.binary else (0.0, 0.5, 1.0))
    if args.point == "second":
        world = world.moved(args.step)
    if args.quantized:
        world = world.quantized(args.quantized)
    found: list[Finding] = []
    refused: dict[str, list[str]] = {}
    for method in methods:
        say(f"{method.name} …")
        try:
            found.append(
                examine(
                    method,
                    world,
                    point=args.point,
                    group=args.group,
                    groups=args.groups,
                    target=args.target,
                    beta=args.beta,
                    calls=args.calls or CALLS,
                    seed=args.seed,
                )
            )
        except Unsuitable as why:
            refused.setdefault(str(why), []).append(method.name)
    if not found:
        raise Unsuitable(_left_out(refused))
    where = _where(world, args)
    text = "\n\n".join(filter(None, [where, table([_row(f) for f in found], HEAD), LEGEND, _left_out(refused)]))
    answer(args, {"world": where, "rows": [f.to_json() for f in found], "left_out": refused}, text)
    return 0


def _where(world: World, args: argparse.Namespace) -> str:
    language = world.language
    said = f"{language.count} sequences: at most {language.length} of {language.vocab} tokens; "
    said += f"rewards {'0, 1' if args.binary else '0, 1/2, 1'}; seed {args.seed}; "
    said += f"drawn from logits rounded to multiples of {args.quantized:g}; " if args.quantized else ""
    if args.point == "first":
        return said + "first update of a batch"
    return said + f"second update, {args.step:g} up the expected reward: {world.off:.0%} of decisions have a ratio outside [0.8, 1.2]"


def _left_out(refused: dict[str, list[str]]) -> str:
    return "\n".join(f"left out: {', '.join(names)}: {why}" for why, names in refused.items())


def _row(f: Finding) -> list[Any]:
    how = "exact" if f.exact else "sampled"
    bias = _number(f.bias) + ("" if f.within is None else f" ± {_number(f.within)}")
    target = f.target if f.target == "reward" else f"{f.target} {f.beta:g}"
    batch = f"{f.groups}x{f.group} {how}"
    return [f.method, target, batch, *map(_number, (f.scale,)), bias, *map(_number, (f.cosine, f.skew, f.noise, f.signal_to_noise))]


def _number(x: float) -> str:
    """Three decimals; rounding error is 0."""
    return "0" if abs(x) < 1e-9 else f"{x:.3f}"
