"""Say what a recipe needs of memory, before anything is loaded: from the model's config.json, and what to change where it does not fit.

Examples:
    strop plan                                     the bundled model on the default task
    strop plan --model Qwen/Qwen3-0.6B --max-tokens 1024 --lora 16
    strop plan recipe.toml --checkpointing --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, table
from strop.commands import recipes

if TYPE_CHECKING:
    from strop.forecast import Lengths
    from strop.recipe import Recipe

PROCESS = 700 * 2**20
"""Python with its libraries, before a model is there."""
LOOKED_AT = 64
"""Tasks whose prompts are looked at for the longest."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a .json, .toml or .py file")
    parser.add_argument("--prompt", type=int, metavar="N", help=f"tokens of the longest prompt [of the first {LOOKED_AT} tasks]")
    recipes.add_flags(parser)


def run(args: argparse.Namespace) -> int:
    from strop.forecast import forecast

    if args.prompt is not None and args.prompt < 1:
        raise Usage(f"--prompt {args.prompt}: a prompt has at least 1 token")
    recipe, parts = recipes.build(args)
    looked = [(one, longest(one, parts, args.prompt)) for one in recipe.each()]
    forecasts = [forecast(one, lengths) for one, lengths in looked]
    most = max(range(len(looked)), key=lambda at: forecasts[at].peak)
    found, lengths = forecasts[most], looked[most][1]
    on_gpu = gpu(recipe.device)
    room = available(on_gpu)
    needs = found.peak + (0 if on_gpu else PROCESS)
    fits = room is None or needs <= room
    rows = [[name, _mib(size)] for name, size in sorted(found.parts.items(), key=lambda item: -item[1])]
    rows += [] if on_gpu else [["Python and its libraries", _mib(PROCESS)]]
    rows += [["peak", _mib(needs)], ["free here", "unknown" if room is None else _mib(room)]]
    shape = found.shape
    text = [
        f"{recipe.model}: {shape['parameters']:,} parameters, {shape['trained']:,} of them trained; prompts of {lengths.prompt} tokens, "
        f"replies of {lengths.reply}, {shape['rows']} rows in a pass",
        f"most is needed at {found.moment}" + (f", in stage {program.place(most)}" if (program := recipe.program) else ""),
        "",
        table(rows, ["what", "MiB"]),
        "",
        "what is free there is not known" if room is None else "it fits" if fits else f"it does not fit: {found.advice}",
    ]
    answer(args, {**found.to_json(), "needs": needs, "free": room, "fits": fits, "advice": None if fits else found.advice}, "\n".join(text))
    return 0 if fits else 1


def longest(recipe: Recipe, parts: dict[str, Any], prompt: int | None) -> Lengths:
    """Of the first tasks' prompts, and of what the method's sampler may write."""
    from strop.forecast import Lengths
    from strop.policies.causal import renderer
    from strop.tasks import source
    from strop.tasks.shots import show

    sampler = recipe.resolved().sampler
    reply = getattr(sampler, "max_tokens", 0) * getattr(sampler, "turns", 1) or sampler.footprint(0).positions // sampler.group_size
    if prompt is None:
        drawn, reads = parts.get("source") or source(recipe.task_name()), renderer(recipe)
        show(reads, drawn, recipe.shots)
        count = min(drawn.size or LOOKED_AT, LOOKED_AT)
        prompt = max(len(reads.prompt(drawn.task("train", recipe.seed, i).prompt)) for i in range(count))
    return Lengths(prompt, reply)


def gpu(device: str) -> bool:
    import torch

    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def available(on_gpu: bool) -> int | None:
    """Free bytes where the model would be."""
    import torch

    if on_gpu:
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("MemAvailable")) * 1024


def _mib(size: int) -> int:
    return round(size / 2**20)
