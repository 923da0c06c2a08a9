"""Decode and training speed by model size, beside the machine's own matrix-multiply ceiling measured in the same run.

    python benchmarks/scale.py [--quick] [--sizes 0.8M 3M ...] [--json FILE]             decoding, by batch
    python benchmarks/scale.py --learn [--quick] [--sizes 0.8M 3M ...] [--json FILE]     forward and backward, by row length

Random Qwen3 models of about 0.8M, 3M, 10M and 30M parameters; batches of 8 to 512 rows that each write
the same number of tokens after a prompt of 64. The ceiling is the best float32 product seen, of the libraries that
torch brings (GFLOP/s). Sizes run one at a time gather in the same FILE. A token
costs two operations per weight it passes (embedding rows are looked up, not multiplied) and
four per position, query head and head entry it attends to. A trained token costs three times as much: a backward pass is two forward ones.
Rows of the learner are as many as make 4,096 tokens, in passes of the default token budget.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from strop.batch import Batch, pack
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import CausalPolicy
from strop.policies.families import Plain
from strop.policies.families import operations as fastest
from strop.records import Author, Group, Rollout, Row, Segment, Task

PROMPT, VOCAB = 64, 264
LEARNED, LENGTHS = 4096, (64, 128, 256, 512)
"""Tokens of one measured update, and the rows they come in."""
SIZES: dict[str, dict[str, int]] = {
    "0.8M": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384},
    "3M": {"hidden_size": 224, "num_hidden_layers": 5, "num_attention_heads": 7, "intermediate_size": 640},
    "10M": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1024},
    "30M": {"hidden_size": 576, "num_hidden_layers": 8, "num_attention_heads": 18, "intermediate_size": 1536},
}


def model(size: str) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    shape = SIZES[size]
    config = Qwen3Config(
        vocab_size=VOCAB,
        head_dim=32,
        num_key_value_heads=2 if shape["num_attention_heads"] % 2 == 0 else 1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        **shape,  # type: ignore[arg-type]
    )
    return Qwen3ForCausalLM(config).eval()


def ceiling() -> float:
    """GFLOP/s of a product that fits the second-level cache, and of a large one, by MKL and by oneDNN: the largest of the medians."""
    found = []
    for ops in {Plain, fastest(torch.device("cpu"), torch.float32)}:
        for n in (256, 1024):
            a, b = torch.randn(n, n), ops.weight(torch.randn(n, n))
            seconds = []
            for _ in range(25):
                start = time.perf_counter()
                ops.linear(a, b)
                seconds.append(time.perf_counter() - start)
            found.append(2 * n**3 / statistics.median(seconds) / 1e9)
    return max(found)


def decode(engine: EmbeddedEngine, batch: int, tokens: int) -> float:
    """Tokens per second of one batch, its single shared prompt included."""

    async def run() -> None:
        node = await engine.open([i % VOCAB for i in range(PROMPT)], root="r")
        await asyncio.gather(*(engine.generate(node, max=tokens, keep=False) for _ in range(batch)))

    start = time.perf_counter()
    asyncio.run(run())
    return batch * tokens / (time.perf_counter() - start)


def operations(m: Qwen3ForCausalLM, position: float) -> float:
    """Floating-point operations of a token that attends to so many positions."""
    config: Any = m.config
    weights = sum(p.numel() for p in m.parameters())
    return 2 * weights + 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * position


def rows(length: int) -> Batch:
    """Rows of a quarter prompt and three quarters reply."""
    asked, said = length // 4, length - length // 4
    action = Segment("action", (2,) * said, "0.0", Author("actor", 0), (0.0,) * said)
    segments = (Segment("prompt", (1,) * asked, "0"), action)
    group = [Rollout((Row.of(*segments),), str(i)) for i in range(LEARNED // length)]
    return pack([Group(Task("", {}, "bench"), tuple(group))], {}, {rollout.id: 0.0 for rollout in group}, 0)


def learn(policy: CausalPolicy, batch: Batch) -> float:
    """Tokens per second of forward and backward over a batch."""
    start = time.perf_counter()
    for part in batch.micros(8192, "token"):
        policy.evaluate(batch.take(part))["logp_T"].sum().backward()
    seconds = time.perf_counter() - start
    policy.model.zero_grad(set_to_none=True)
    return LEARNED / seconds


def learned(size: str, quick: bool) -> list[dict[str, Any]]:
    """A line for each row length; peak memory is the process's so far."""
    m, found = model(size), []
    policy = CausalPolicy(m, SimpleNamespace(eos_token_id=0), size)
    for length in LENGTHS[:2] if quick else LENGTHS:
        batch = rows(length)
        learn(policy, batch)
        pairs = [(learn(policy, batch), ceiling()) for _ in range(1 if quick else 3)]
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        found.append(row(size, m, {"length": length}, pairs, 3 * operations(m, length / 2), peak_mb=peak))
    return found


def row(size: str, m: Qwen3ForCausalLM, at: dict[str, int], pairs: list[tuple[float, float]], each: float, **more: Any) -> dict[str, Any]:
    """What repeats measured, each a speed beside the ceiling of its moment, at so many operations a token; printed and given."""
    speed, top = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    shown = {
        "tokens_per_second": round(speed),
        "gflops": round(speed * each / 1e9, 1),
        "ceiling_gflops": round(top, 1),
        "fraction": round(statistics.median(s * each / 1e9 / c for s, c in pairs), 3),
    }
    print(f"{size:>6} {next(iter(at.values())):>6} " + " ".join(f"{value:>9}" for value in shown.values()), flush=True)
    return {"size": size, "parameters": m.num_parameters(), **at, **shown, **more}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, three batches, one repeat")
    parser.add_argument("--learn", action="store_true", help="forward and backward instead of decoding")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), help="[all]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = args.sizes or (("0.8M", "3M") if args.quick else tuple(SIZES))
    batches = (8, 64, 256) if args.quick else (8, 16, 32, 64, 128, 256, 512)
    tokens, repeats = (16, 1) if args.quick else (48, 3)
    found: list[dict[str, Any]] = []
    print(f"{'size':>6} {'length' if args.learn else 'batch':>6} {'tok/s':>9} {'GFLOP/s':>9} {'ceiling':>9} {'fraction':>9}")
    for size in sizes:
        if args.learn:
            found += learned(size, args.quick)
            continue
        m = model(size)
        each = operations(m, PROMPT + tokens / 2)
        for batch in batches:
            engine = EmbeddedEngine(m, slots=batch, eos_ids=())
            decode(engine, batch, 4)
            pairs = [(decode(engine, batch, tokens), ceiling()) for _ in range(repeats)]
            found.append(row(size, m, {"batch": batch}, pairs, each, path=engine.path, grade=engine.grade))
    print(f"{args.threads} threads, float32, torch {torch.__version__}, path {found[-1].get('path', 'torch')}", file=sys.stderr)
    if args.json:
        if args.sizes and args.json.exists():
            found = [row for row in json.loads(args.json.read_text())["rows"] if row["size"] not in sizes] + found
        args.json.write_text(json.dumps({"threads": args.threads, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
