"""A probe behind every beginning of a reply: all in one question, against a pass for each.

    python benchmarks/likelihood.py [--model DIR] [--json FILE]

`--chains` replies of `--tokens` tokens behind a prompt; behind each of their beginnings stand a header and an answer, whose
log-probabilities are asked for. `together` asks `likely`, which computes once what the texts have in common; `alone` scores each text as a
row of its own, all of them at the same time, so that the engine fills its passes. Both are timed in alternation, in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load
from strop.seams.likelihood import likely, one_by_one

Asked = list[tuple[tuple[int, ...], tuple[int, ...]]]


def questions(vocab: int, chains: int, tokens: int, prompt: int, answer: int) -> Asked:
    state = random.Random(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(state.randrange(vocab) for _ in range(count))

    header, asked = some(4), Asked()
    for _ in range(chains):
        question, chain, target = some(prompt), some(tokens), some(answer)
        asked += [((*question, *chain[:i], *header), target) for i in range(tokens + 1)]
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pico", help="a model's directory, or pico")
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48, help="of a reply")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of the prompt")
    parser.add_argument("--answer", type=int, default=3, help="tokens of the answer")
    parser.add_argument("--repeats", type=int, default=3, help="of each side, in alternation")
    parser.add_argument("--json", help="write the numbers there")
    args = parser.parse_args()
    policy = load(args.model)
    engine: Any = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos)
    asked = questions(engine.vocab, args.chains, args.tokens, args.prompt, args.answer)
    texts = [((*context, *target), len(context)) for context, target in asked]
    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    positions: dict[str, int] = {}
    found: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(args.repeats):
        for side in seconds:
            before, start = engine.counters.scored, time.perf_counter()
            found[side] = asyncio.run(likely(engine, asked) if side == "together" else one_by_one(engine, texts))
            seconds[side].append(time.perf_counter() - start)
            positions[side] = engine.counters.scored - before
    gap = max(abs(a - b) for one, other in zip(found["together"], found["alone"], strict=True) for a, b in zip(one, other, strict=True))
    ratios = sorted(alone / together for together, alone in zip(seconds["together"], seconds["alone"], strict=True))
    for side, took in seconds.items():
        print(f"{side:10} {statistics.median(took):8.2f} s   {positions[side]:9,} positions", flush=True)
    print(f"together is {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}; asked: at least 3)")
    print(f"{len(asked):,} texts; the largest gap between the two {gap:.1e}; {torch.get_num_threads()} threads")
    if args.json:
        said = {"seconds": seconds, "positions": positions, "ratios": ratios, "gap": gap, "texts": len(asked)}
        Path(args.json).write_text(json.dumps(said))


if __name__ == "__main__":
    main()
