"""One whole training step (sample, grade, learn): strop beside TRL's GRPOTrainer.

Same model, prompts, group size, lengths and threads; each side is a process of its own, interleaved A B A B, three
repeats; a run is several steps in one process and the first step (warm-up) is not counted. Two workloads:

    fixed       every reply is 64 tokens long: neither side can stop early
    long_tail   reply lengths are geometric with mean 40, cut at 200, and the same for both: a token that ends the
                reply is forced at that length

Another model and other lengths can be given (`benchmarks/real.py` does).

The long tail is forced through each side's own sampler: TRL's through a LogitsProcessor, strop's through the
request's limit. Medians and ratios with their range; peak resident memory of each process.

    python benchmarks/step.py --json step.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Load:
    """What both sides are asked for."""

    workload: str = "long_tail"
    prompts: int = 16
    group: int = 8
    steps: int = 4
    fixed: int = 64
    cap: int = 200
    mean: int = 40

    def lengths(self, step: int) -> list[int]:
        """Forced reply lengths of one step, in prompt-major order."""
        if self.workload == "fixed":
            return [self.fixed] * self.prompts * self.group
        rng = random.Random(f"lengths/{step}")
        return [min(self.cap, 1 + int(rng.expovariate(1 / self.mean))) for _ in range(self.prompts * self.group)]


def grade(text: str) -> float:
    """Cheap and the same for both: the share of digits."""
    return sum(c.isdigit() for c in text) / max(len(text), 1)


def prompts(load: Load) -> list[str]:
    from strop.tasks import source

    return [source("chain").task("train", 0, i).prompt for i in range(load.prompts * load.steps)]


def side_strop(load: Load, model: str) -> list[dict[str, float]]:
    import asyncio

    import torch

    from strop.method import Method
    from strop.methods.grpo import GRPO
    from strop.recipe import Recipe
    from strop.records import Group, Rollout
    from strop.run import create
    from strop.seams.engine import Footprint
    from strop.seams.source import Graded
    from strop.seams.update import AdamW
    from strop.tasks import source

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    chain = source("chain")
    count = {"asked": 0}

    class Source:
        name, size = "bench", None

        def task(self, split: str, seed: int, index: int):
            return chain.task("train", 0, index)

        def grade(self, task, text: str) -> Graded:
            return Graded({"outcome": grade(text)})

        def gold(self, task) -> None:
            return None

    @dataclass(frozen=True)
    class Forced:
        """Independent sampling where every reply has the length the workload gives it."""

        n: int = load.group
        group_size: int = load.group

        def footprint(self, prompt: int) -> Footprint:
            return Footprint(prompt, self.n)

        async def __call__(self, task, environment, ctx):
            at = count["asked"] % load.prompts * load.group
            wanted = load.lengths(ctx.progress.step)[at : at + load.group]
            count["asked"] += 1
            actor = ctx.policies["actor"]
            root = await actor.open(task.prompt, root=ctx.place)
            nodes = await asyncio.gather(*(actor.generate(root, max=m, keep=False) for m in wanted))
            return [
                Group(task, tuple(Rollout((n.row(),), f"{ctx.place}/{i}", text=actor.text(n)) for i, n in enumerate(nodes)), id=ctx.place)
            ]

    method: Method = GRPO.but(sampler=Forced(), tasks=load.prompts, update=AdamW(lr=1e-5))
    recipe = Recipe(method=method, task="chain", model=model, steps=load.steps, eval_tasks=0, checkpoint_every=1000, lr=1e-5)
    directory = Path(tempfile.mkdtemp()) / "run"
    run = create(recipe, directory, source=Source())
    run.engine.eos_ids = ()
    steps: list[dict[str, float]] = []
    for _ in range(load.steps):
        start, before = time.perf_counter(), run.bill.learned["trained"]
        line = run.advance()
        steps.append({"seconds": time.perf_counter() - start, **run.clock, "positions": run.bill.learned["trained"] - before})
        steps[-1]["decisions"] = round(line["length"] * line["rollouts"])
    return steps


def side_trl(load: Load, model: str) -> list[dict[str, float]]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    eos = tokenizer.eos_token_id
    state = {"step": 0}

    class Force(LogitsProcessor):
        """Ends each row at the workload's length and never before."""

        def __init__(self):
            self.start = None

        def __call__(self, input_ids, scores):
            if self.start is None or input_ids.shape[1] < self.start:
                self.start = input_ids.shape[1]
            done = input_ids.shape[1] - self.start
            wanted = torch.tensor(load.lengths(state["step"])) + (load.workload == "fixed")
            scores[:, eos] = -1e4  # in place: transformers made these for the processors
            ends = wanted[: len(scores)] <= done + 1
            scores[ends] = -1e4
            scores[ends, eos] = 0.0
            return scores

    plain = net.generate

    def generate(*args, **kwargs):
        kwargs["logits_processor"] = LogitsProcessorList([Force()])
        return plain(*args, **kwargs)

    net.generate = generate
    times: list[dict[str, float]] = []
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=load.prompts * load.group,
        num_generations=load.group,
        max_completion_length=load.cap if load.workload == "long_tail" else load.fixed,
        max_steps=load.steps,
        learning_rate=1e-5,
        beta=0.0,
        temperature=1.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )

    def reward(completions, **_):
        return [grade(c[0]["content"] if isinstance(c, list) else c) for c in completions]

    data = Dataset.from_list([{"prompt": [{"role": "user", "content": p}]} for p in prompts(load)])
    trainer = GRPOTrainer(model=net, processing_class=tokenizer, args=config, train_dataset=data, reward_funcs=reward)
    step = trainer.training_step

    def timed(*args, **kwargs):
        start = time.perf_counter()
        loss = step(*args, **kwargs)
        times.append({"seconds": time.perf_counter() - start})
        state["step"] += 1
        return loss

    trainer.training_step = timed
    trainer.train()
    return times


def ceiling() -> float:
    """Operations a second of the best large product that torch gives here in float32."""
    import torch

    a, best = torch.randn(2048, 2048), 0.0
    products = [lambda: a @ a]
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, a, None, "none", [], ""))
    for product in products * 8:
        start = time.perf_counter()
        product()
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def once(side: str, load: Load, model: str, threads: int, script: str = __file__) -> dict[str, Any]:
    """One side in a process of its own: what it printed."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    env["THP_MEM_ALLOC_ENABLE"] = "1"  # as strop sets it: a help to whoever uses torch
    command = [sys.executable, script, "--side", side, "--load", json.dumps(asdict(load)), "--model", model]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed on {load.workload}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write everything measured here")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", default="")
    numbers = [f for f in fields(Load) if f.name != "workload"]
    for f in numbers:
        parser.add_argument(f"--{f.name}", type=int, default=f.default)
    parser.add_argument("--side", choices=("strop", "trl"), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.model:
        from strop import pico

        args.model = str(pico.path())
    if args.side:
        steps = (side_strop if args.side == "strop" else side_trl)(Load(**args.load), args.model)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = statistics.median(step["seconds"] for step in steps[1:])
        print(json.dumps({"seconds": seconds, "all": steps, "peak_mib": peak, "ceiling": ceiling()}))
        return
    load = Load(**{f.name: getattr(args, f.name) for f in numbers})
    seen: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for workload in ("long_tail", "fixed"):
        seen[workload] = {"strop": [], "trl": []}
        for repeat in range(args.repeats):
            for side in ("strop", "trl"):
                seen[workload][side].append(once(side, replace(load, workload=workload), args.model, args.threads))
                print(f"{workload} {side} {repeat + 1}: {seen[workload][side][-1]['seconds']:.3f} s a step", file=sys.stderr)

    def ratios(workload: str, key: str) -> list[float]:
        pairs = zip(seen[workload]["trl"], seen[workload]["strop"], strict=True)
        return sorted(t[key] / s[key] for t, s in pairs)

    ranges = {"trl_long_tail": ratios("long_tail", "seconds"), "trl_fixed": ratios("fixed", "seconds")}
    ranges["trl_peak_memory"] = sorted(ratios("long_tail", "peak_mib") + ratios("fixed", "peak_mib"))
    print(f"{'workload':10} {'strop s':>9} {'TRL s':>9} {'ratio':>7}  range        peak MiB strop / TRL")
    for workload in ("long_tail", "fixed"):
        ours, theirs = (statistics.median(r["seconds"] for r in seen[workload][s]) for s in ("strop", "trl"))
        low, high = ratios(workload, "seconds")[0], ratios(workload, "seconds")[-1]
        a, b = (statistics.median(r["peak_mib"] for r in seen[workload][s]) for s in ("strop", "trl"))
        print(f"{workload:10} {ours:9.3f} {theirs:9.3f} {theirs / ours:7.2f}  {low:.2f}-{high:.2f}   {a:.0f} / {b:.0f}")
    if args.json:
        medians = {name: statistics.median(values) for name, values in ranges.items()}
        Path(args.json).write_text(json.dumps({"ratios": medians, "ranges": ranges, "runs": seen, "threads": args.threads}, indent=2))


if __name__ == "__main__":
    main()
