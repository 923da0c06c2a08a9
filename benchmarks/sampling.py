"""Tokens per second while sampling a long-tailed batch: strop beside transformers.generate, vLLM's CPU build, and itself in bfloat16.

    python benchmarks/sampling.py [--json FILE] [--vllm-python PYTHON]

32 prompts x 16 samples; lengths are geometric with mean 40, cap 200, forced by the workload and
the same for all. Each side is its own process with the same number of threads, warmed once, then measured
in turn (A B C, A B C, ...); figures are medians over the repeats, ratios are per turn. vLLM needs a virtual environment of
its own, named by --vllm-python or STROP_VLLM_PYTHON; without one its ratio is null. So is that of bfloat16, drawn with a rounded
copy of the weights (`--compute bfloat16`), where the processor has no instructions for it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPTS, SAMPLES, MEAN, CAP = 32, 16, 40, 200
SIDES = ("strop", "bfloat16", "transformers", "vllm")


def workload(seed: int, prompts: int, samples: int, mean: int, cap: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of 48 to 96 byte tokens and, per prompt, the length of each sample."""
    import numpy as np

    state = np.random.default_rng(seed)
    texts = [state.integers(32, 127, int(n)).tolist() for n in state.integers(48, 97, prompts)]
    return texts, np.minimum(state.geometric(1 / mean, (prompts, samples)), cap).tolist()


def strop_side(model_path: str, threads: int, slots: int, dtype: str = "float32") -> tuple[str, Callable[[Any, Any], int]]:
    import asyncio

    import torch
    from transformers import AutoModelForCausalLM

    from strop.engines.embedded import EmbeddedEngine

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    engine = EmbeddedEngine(model, slots=slots, eos_ids=(), dtype=getattr(torch, dtype))
    step = 0

    def go(prompts: list[list[int]], lengths: list[list[int]]) -> int:
        nonlocal step
        step += 1
        engine.begin(step)
        engine.deliver(step)

        async def task(i: int) -> int:
            node = await engine.open(prompts[i], root=str(i))
            done = await asyncio.gather(*(engine.generate(node, max=n, keep=False) for n in lengths[i]))
            return sum(len(d.segment.tokens) for d in done)

        async def run() -> int:
            return sum(await asyncio.gather(*map(task, range(len(prompts)))))

        return asyncio.run(run())

    return f"{engine.path}, {engine.grade}, {slots} slots", go


def bfloat16_side(model_path: str, threads: int, slots: int) -> tuple[str, Callable[[Any, Any], int]]:
    return strop_side(model_path, threads, slots, "bfloat16")


def transformers_side(model_path: str, threads: int, slots: int) -> tuple[str, Callable[[Any, Any], int]]:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()

    class Lengths(StoppingCriteria):
        def __init__(self, start: int, lengths: torch.Tensor) -> None:
            self.end = start + lengths

        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            return input_ids.shape[1] >= self.end

    def go(prompts: list[list[int]], lengths: list[list[int]]) -> int:
        rows = [p for p, ls in zip(prompts, lengths, strict=True) for _ in ls]
        flat = torch.tensor([n for ls in lengths for n in ls])
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            max_new_tokens=int(flat.max()),
            eos_token_id=None,
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([Lengths(width, flat)]),
        )
        return int(flat.sum())

    return f"transformers {transformers.__version__} generate, one padded batch, {model.config._attn_implementation}", go


def vllm_side(model_path: str, threads: int, slots: int) -> tuple[str, Callable[[Any, Any], int]]:
    os.environ |= {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    import torch
    import vllm
    from vllm import LLM, SamplingParams

    llm = LLM(model=model_path, dtype="float32", max_num_seqs=slots, max_model_len=512, enable_prefix_caching=True, disable_log_stats=True)
    torch.set_num_threads(threads)

    def go(prompts: list[list[int]], lengths: list[list[int]]) -> int:
        asks = [
            ({"prompt_token_ids": p}, SamplingParams(temperature=1.0, max_tokens=n, ignore_eos=True, detokenize=False))
            for p, ls in zip(prompts, lengths, strict=True)
            for n in ls
        ]
        done = llm.generate([a for a, _ in asks], [s for _, s in asks], use_tqdm=False)
        return sum(len(d.outputs[0].token_ids) for d in done)

    return f"vllm {vllm.__version__}, max_num_seqs {slots}", go


def serve(args: argparse.Namespace) -> None:
    """A side: one JSON line when ready, then one per line read."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    what, go = globals()[f"{args.side}_side"](args.model, args.threads, args.slots)
    print(json.dumps({"path": what}), file=out, flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        prompts, lengths = ask["prompts"], ask["lengths"]
        start, cpu = time.perf_counter(), time.process_time()
        tokens = go(prompts, lengths)
        print(
            json.dumps({"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "tokens": tokens, "peak": peak()}),
            file=out,
            flush=True,
        )


def peak() -> int:
    """Largest resident memory of this process, in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Side:
    def __init__(self, name: str, python: str, args: argparse.Namespace, log: Path) -> None:
        command = [python, __file__, "--side", name, "--model", args.model, "--threads", str(args.threads), "--slots", str(args.slots)]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # as strop sets it: a help to whoever uses torch
        self.name, self.log = name, log / f"{name}.log"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, env=environment
        )
        self.path = self._read()["path"]
        self.runs: list[dict[str, Any]] = []

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} side ended early:\n" + "\n".join(self.log.read_text().splitlines()[-15:]))
        return json.loads(line)

    def run(self, prompts: Any, lengths: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"prompts": prompts, "lengths": lengths}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", default=str(Path(__file__).parents[1] / "src" / "strop" / "pico"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slots", type=int, default=256, help="largest decode batch of strop and vLLM")
    parser.add_argument("--repeats", type=int, default=3)
    for name, usual in (("prompts", PROMPTS), ("samples", SAMPLES), ("mean", MEAN), ("cap", CAP)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--vllm-python", default=os.environ.get("STROP_VLLM_PYTHON"))
    parser.add_argument("--skip", nargs="*", default=[], choices=SIDES[1:])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.side:
        serve(args)
        return
    pythons = {**dict.fromkeys(SIDES, sys.executable), "vllm": args.vllm_python}
    if not rounds_fast():
        pythons["bfloat16"] = None
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Side] = {}
        try:
            for name in SIDES:
                if pythons[name] and name not in args.skip:
                    sides[name] = Side(name, pythons[name], args, Path(folder))
            for repeat in range(-1, args.repeats):
                prompts, lengths = workload(repeat + 1, args.prompts, args.samples, args.mean, args.cap)
                for side in sides.values():
                    result = side.run(prompts, lengths)
                    print(
                        f"{'warm-up' if repeat < 0 else repeat + 1} {side.name}: {result['tokens'] / result['seconds']:.0f} tok/s",
                        file=sys.stderr,
                    )
                    if repeat >= 0:
                        side.runs.append(result)
        finally:
            for side in sides.values():
                side.close()
    report(sides, args)


def rounds_fast() -> bool:
    """Whether this machine has instructions for bfloat16."""
    import torch

    from strop.policies.twin import fast

    return fast(torch.bfloat16, torch.device("cpu"))


def report(sides: dict[str, Side], args: argparse.Namespace) -> None:
    speeds = {name: [r["tokens"] / r["seconds"] for r in side.runs] for name, side in sides.items()}
    ratios: dict[str, Any] = dict.fromkeys(SIDES[1:])
    ranges: dict[str, Any] = dict.fromkeys(SIDES[1:])
    for name in SIDES[1:]:
        if name in speeds:
            each = [a / b for a, b in zip(speeds["strop"], speeds[name], strict=True)]
            ratios[name], ranges[name] = round(statistics.median(each), 2), [round(min(each), 2), round(max(each), 2)]
    lengths = f"lengths geometric(mean {args.mean}, cap {args.cap})"
    print(f"{args.prompts} prompts x {args.samples} samples, {lengths}, {args.threads} threads, float32 but where it says otherwise")
    for name, side in sides.items():
        s = speeds[name]
        line = f"{name:13} {statistics.median(s):8.0f} tok/s ({min(s):.0f} to {max(s):.0f})  {side.runs[-1]['peak']:5} MiB peak"
        if name != "strop":
            line += f"  strop is {ratios[name]}x ({ranges[name][0]} to {ranges[name][1]})"
        print(line + f"  [{side.path}]")
    if args.json:
        medians = {
            name: {"tokens_per_second": statistics.median(s), "path": sides[name].path, "runs": sides[name].runs}
            for name, s in speeds.items()
        }
        args.json.write_text(
            json.dumps({"ratios": ratios, "ranges": ranges, "sides": medians, "threads": args.threads, "slots": args.slots}, indent=1)
        )


if __name__ == "__main__":
    main()
