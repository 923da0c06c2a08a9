"""The planner's forecast against what a run really took.

    python tests/planner.py                 prints the table
    python tests/planner.py measure DIR RECIPE-AS-JSON

Each run is a process of its own. Its peak is the most resident memory that the kernel saw (VmHWM) from the moment when everything is
imported and has computed once; the allocator is told to give memory back at once, so that what is counted was in use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from strop import pico

LONG, SHORT = {"max_tokens": 160, "token_budget": 3072}, {"max_tokens": 64, "token_budget": 2048}
SIZES = {
    "0.8M": {},
    "5M": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4},
    "12M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 7, "num_attention_heads": 12, "num_key_value_heads": 4},
    "30M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 9, "num_attention_heads": 16, "num_key_value_heads": 8},
}
CASES = {
    "0.8M, short": ("0.8M", SHORT),
    "0.8M, long": ("0.8M", LONG),
    "5M, long": ("5M", LONG),
    "5M, long, checkpointing": ("5M", {**LONG, "checkpointing": True}),
    "12M, short, reference": ("12M", {**SHORT, "method": "ppo"}),
    "12M, long, LoRA": ("12M", {**LONG, "lora": 8}),
    "30M, short": ("30M", SHORT),
    "30M, long, LoRA, checkpointing": ("30M", {**LONG, "lora": 8, "checkpointing": True}),
}
BASE = {"method": "grpo", "task": "chain", "steps": 2, "tasks": 2, "group": 16, "slots": 64, "eval_tasks": 0, "checkpoint_every": 2}
DEADLINE = 600


def model(size: str, directory: Path) -> str:
    """A model of random weights in pico's shape, with its tokenizer."""
    place = directory / size
    if not place.exists():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        config = AutoConfig.from_pretrained(str(pico.path()))
        changes = SIZES[size] | {"layer_types": ["full_attention"] * SIZES[size].get("num_hidden_layers", config.num_hidden_layers)}
        for name, value in changes.items():
            setattr(config, name, value)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(place)
        AutoTokenizer.from_pretrained(str(pico.path())).save_pretrained(place)
    return str(place)


def status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def measure(directory: Path, fields: dict) -> None:
    import_module("peft")  # a library like the others: not counted
    import torch

    from strop.loop import Run
    from strop.recipe import Recipe
    from strop.run import create

    torch.set_num_threads(1)
    create(Recipe(**{**fields, "model": "pico", "steps": 1, "tasks": 1, "group": 2, "max_tokens": 8}), directory / "warm").train()
    import gc

    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again
    run: Run = create(Recipe(**fields), directory / "run")
    run.train()
    print(json.dumps({"peak": status("VmHWM") - before, "before": before}))


def measured(fields: dict) -> dict:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    env |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, "measure", place, json.dumps(fields)]
        done = subprocess.run(command, env=env, timeout=DEADLINE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, directory: Path) -> dict:
    from strop.forecast import Lengths, forecast
    from strop.recipe import Recipe

    size, changes = CASES[name]
    fields = {**BASE, **changes, "model": model(size, directory)}
    planned = forecast(Recipe(**fields), Lengths(PROMPT, fields["max_tokens"]))
    took = measured(fields)
    return {"case": name, "forecast": planned.peak, "moment": planned.moment, "measured": took["peak"], "parts": planned.parts}


PROMPT = 24
"""Tokens of the longest prompts of `chain`."""


def main() -> None:
    print(f"{'case':32} forecast  measured  ratio   at the moment of")
    with tempfile.TemporaryDirectory() as place:
        for name in CASES:
            print(line(compare(name, Path(place))), flush=True)


def line(row: dict) -> str:
    took, said = row["measured"] / 2**20, row["forecast"] / 2**20
    return f"{row['case']:32} {said:5.0f} MiB {took:5.0f} MiB  {said / took:5.2f}   {row['moment']}"


if __name__ == "__main__":
    measure(Path(sys.argv[2]), json.loads(sys.argv[3])) if len(sys.argv) > 1 else main()
