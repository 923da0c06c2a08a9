"""One step of learning from pairs: strop beside TRL's DPOTrainer.

Same model, pairs, dtype (float32) and threads; each side is a process of its own, interleaved A B A B; a run is several steps in one
process and the first two (warm-up) are not counted. A step is all of it: pairs in, weights moved, and strop's record of it on disk.

    dpo     -log sigmoid of the margin alone
    mpo     0.8 DPO + 0.2 BCO + 1.0 negative log-likelihood of the chosen text; TRL's `bco_pair` has no shift, strop's has one

Workloads are those of `step.py`, a text of a pair in a reply's place: `long_tail` with geometric lengths of mean 40, cut at 200, and
`fixed` with 64. TRL computes a batch of pairs in one pass, as its `per_device_train_batch_size` says; `--device_batch N` gives it N at a
time. strop cuts by its `token_budget`. Medians, ratios with their range, also of the processor's
seconds, which neighbours on a busy machine disturb less, and the peak resident memory of each process.

    python benchmarks/pairs.py --json pairs.json
    python benchmarks/pairs.py --method dpo --shape qwen3-0.6b-8 --prompts 8 --repeats 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import step

WARM = 2
"""Steps that are not counted."""
WEIGHTS = {"dpo": {"sigmoid": 1.0}, "mpo": {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}}
"""TRL's words for a method, and what each weighs."""


@dataclass(frozen=True)
class Load(step.Load):
    """Pairs are prompts, and a group is the two texts of one."""

    prompts: int = 32
    group: int = 2
    steps: int = 6
    device_batch: int = 0
    """Pairs that TRL computes at a time; 0: all of a step's."""
    token_budget: int = 8192
    """Padded tokens that strop computes at a time."""
    method: str = "mpo"


@cache
def pairs(load: Load) -> list[dict[str, str]]:
    """The pairs of all steps, in order."""
    from strop.tasks import source

    chain, rng, made = source("chain"), random.Random("texts"), list[dict[str, str]]()
    for number in range(load.steps):
        lengths = iter(load.lengths(number))
        for _ in range(load.prompts):
            chosen, rejected = ("".join(rng.choice("0123456789+-=") for _ in range(next(lengths))) for _ in range(2))
            made.append({"prompt": chain.task("train", 0, len(made)).prompt, "chosen": chosen, "rejected": rejected})
    return made


def side_strop(load: Load, model: str) -> list[dict[str, float]]:
    import torch

    from strop.methods import method
    from strop.recipe import Recipe
    from strop.records import Task
    from strop.run import create
    from strop.seams.update import AdamW

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    class Source:
        name, size, ungraded = "bench", None, True

        def task(self, split: str, seed: int, index: int) -> Task:
            pair = pairs(load)[index]
            return Task(pair["prompt"], {side: pair[side] for side in ("chosen", "rejected")}, self.name)

        def gold(self, task: Task) -> None:
            return None

    one = method(load.method).but(tasks=load.prompts, update=AdamW(lr=1e-5))
    settings: dict[str, Any] = {"eval_tasks": 0, "checkpoint_every": 1000, "token_budget": load.token_budget, "lr": 1e-5}
    run = create(Recipe(method=one, model=model, steps=load.steps, **settings), Path(tempfile.mkdtemp()) / "run", source=Source())
    steps: list[dict[str, float]] = []
    for _ in range(load.steps):
        start, worked = time.perf_counter(), time.process_time()
        line = run.advance()
        took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - worked}
        steps.append({**took, **run.clock, "pairs": line["pairs"]["count"]})
    return steps


def side_trl(load: Load, model: str) -> list[dict[str, float]]:
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    weights, ends = WEIGHTS[load.method], [(time.perf_counter(), time.process_time())]

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append((time.perf_counter(), time.process_time()))

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    batch = load.device_batch or load.prompts
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        loss_type=[*weights],
        loss_weights=[*weights.values()],
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=load.prompts // batch,
        max_steps=load.steps,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    said = [{"prompt": "user", "chosen": "assistant", "rejected": "assistant"}] * load.prompts * load.steps
    data = [{f: [{"role": role, "content": pair[f]}] for f, role in roles.items()} for pair, roles in zip(pairs(load), said, strict=True)]
    InOrder(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(model),
        args=config,
        train_dataset=Dataset.from_list(data),
        callbacks=[Clock()],
    ).train()
    return [{"seconds": then[0] - now[0], "cpu": then[1] - now[1]} for now, then in pairwise(ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write everything measured here")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", default="", help="a directory; without it pico")
    parser.add_argument("--shape", default="", help="a random model of a published shape, as in real.py")
    parser.add_argument("--method", choices=WEIGHTS, default="mpo")
    numbers = [f for f in fields(Load) if f.name not in ("workload", "method", "group")]
    for f in numbers:
        parser.add_argument(f"--{f.name}", type=int, default=f.default)
    parser.add_argument("--side", choices=("strop", "trl"), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        steps = (side_strop if args.side == "strop" else side_trl)(Load(**args.load), args.model)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        medians = {name: statistics.median(one[name] for one in steps[WARM:]) for name in ("seconds", "cpu")}
        print(json.dumps({**medians, "all": steps, "peak_mib": peak}))
        return
    if args.prompts % (args.device_batch or 1) or args.steps <= WARM:
        parser.error(f"needs more than {WARM} steps, and a device batch that divides {args.prompts} pairs")
    with tempfile.TemporaryDirectory() as folder:
        if args.shape:
            from real import random_model

            args.model = str(random_model(args.shape, Path(folder)))
        elif not args.model:
            from strop import pico

            args.model = str(pico.path())
        load = Load(method=args.method, **{f.name: getattr(args, f.name) for f in numbers})
        seen = {workload: measured(replace(load, workload=workload), args) for workload in ("long_tail", "fixed")}
    print(f"{args.method:10} {'strop s':>9} {'TRL s':>9} {'ratio':>7}  range       of CPU seconds   peak MiB strop / TRL")
    for workload, runs in seen.items():

        def median(side: str, name: str, runs: dict[str, list[dict[str, Any]]] = runs) -> float:
            return statistics.median(run[name] for run in runs[side])

        ratios, busy = (sorted(t[of] / s[of] for t, s in zip(runs["trl"], runs["strop"], strict=True)) for of in ("seconds", "cpu"))
        print(
            f"{workload:10} {median('strop', 'seconds'):9.3f} {median('trl', 'seconds'):9.3f} {statistics.median(ratios):7.2f}  "
            f"{ratios[0]:.2f}-{ratios[-1]:.2f} {statistics.median(busy):12.2f}           "
            f"{median('strop', 'peak_mib'):.0f} / {median('trl', 'peak_mib'):.0f}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps({"load": asdict(load), "runs": seen, "threads": args.threads}, indent=2))


def measured(load: Load, args: Any) -> dict[str, list[dict[str, Any]]]:
    """All repeats of both sides, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {"strop": [], "trl": []}
    for repeat in range(args.repeats):
        for side, made in runs.items():
            made.append(step.once(side, load, args.model, args.threads, __file__))
            print(f"{load.workload} {side} {repeat + 1}: {made[-1]['seconds']:.3f} s a step", file=sys.stderr)
    return runs


if __name__ == "__main__":
    main()
