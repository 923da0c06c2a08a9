"""Threads that meet again: what a join computes, against computing the row once more.

    python benchmarks/branches.py [--model DIR] [--json FILE]

Eight replies fork into threads behind a prompt; then they are joined and one token is drawn behind each. `join` prefills what later threads
wrote and the words behind them; `again` opens the whole row as a prompt of its own. Both are timed in alternation, in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load
from strop.seams.context import Handle

REPLIES = 8


async def grown(actor: Handle, prompt: str, threads: int, tokens: int) -> list[tuple[Any, list[Any]]]:
    """(fork, its threads) of each reply."""
    root = await actor.open(prompt, root="bench")
    forks = await asyncio.gather(*(actor.generate(root, max=tokens) for _ in range(REPLIES)))
    made = []
    for fork in forks:
        ends = await asyncio.gather(*(actor.generate(fork, max=tokens, keep=i == 0) for i in range(threads)))
        made.append((fork, list(ends)))
    return made


async def timed(actor: Handle, made: list[tuple[Any, list[Any]]], joins: bool) -> tuple[float, int]:
    """Seconds until a token stands behind every block, and the positions that were prefilled for it."""
    engine: Any = actor.engine
    joined = [await actor.join(fork, ends, close="]") for fork, ends in made]
    if not joins:
        joined = [await engine.open(node.tokens, root=f"again/{i}") for i, node in enumerate(joined)]
    before, start = engine.counters.prefilled + engine.counters.recomputed, time.perf_counter()
    await asyncio.gather(*(actor.generate(node, max=1, keep=False) for node in joined))
    return time.perf_counter() - start, engine.counters.prefilled + engine.counters.recomputed - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pico", help="a model's directory, or pico")
    parser.add_argument("--threads", type=int, default=2, help="of a block")
    parser.add_argument("--tokens", type=int, default=128, help="before the fork, and in each thread")
    parser.add_argument("--prompt", type=int, default=200, help="tokens of the prompt, about")
    parser.add_argument("--repeats", type=int, default=7, help="of each side, in alternation")
    parser.add_argument("--json", help="write the numbers there")
    args = parser.parse_args()
    torch.manual_seed(0)
    policy = load(args.model)
    actor = Handle(EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=(), cache=1 << 20), policy.renderer)
    rounds: dict[str, list[tuple[float, int]]] = {"join": [], "again": []}
    for number in range(2 * args.repeats + 2):  # the first of each warms up
        actor.engine.begin(number)
        actor.engine.deliver(number)  # nothing is kept from the round before
        made = asyncio.run(grown(actor, "12+7=? " * (args.prompt // 7), args.threads, args.tokens))
        side = ("join", "again")[number % 2]
        rounds[side].append(asyncio.run(timed(actor, made, side == "join")))
    seconds = {side: [s for s, _ in found[1:]] for side, found in rounds.items()}
    positions = {side: found[-1][1] for side, found in rounds.items()}
    ratios = [again / join for join, again in zip(seconds["join"], seconds["again"], strict=True)]
    said = {"positions": positions, "seconds": seconds, "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)]}
    for side in rounds:
        print(f"{side:6} {statistics.median(seconds[side]):8.4f} s   {positions[side]:6d} positions prefilled")
    print(f"a join is {said['ratio']:.2f} times as fast as the row again ({said['range'][0]:.2f} to {said['range'][1]:.2f})")
    if args.json:
        Path(args.json).write_text(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
