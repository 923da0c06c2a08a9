"""Write what a run learned as a Hugging Face directory: weights, tokenizer, chat template, generation config and a model card.

Examples:
    strop export runs/gsm8k-grpo-1 my-model                     the last checkpoint
    strop export runs/gsm8k-grpo-1 my-model --dtype bfloat16    half the size, as most models are served
    strop export runs/code-two-players-1:guesser my-model       a policy that was trained beside the actor
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, say

if TYPE_CHECKING:
    from strop.recipe import Recipe

DTYPES = ("float32", "bfloat16", "float16")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's directory, or RUN:POLICY; of a program the last stage is taken")
    parser.add_argument("directory", metavar="DIR", type=Path, help="where the model goes; not there yet, or empty")
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint after this many steps [the last]")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights [float32, as they were trained]")


def run(args: argparse.Namespace) -> int:
    from strop import durable
    from strop.directory import check_policy, good_checkpoints, held, last, one_of, read_metrics, read_recipe
    from strop.saved import brought

    place, which = one_of(args.run)
    origin, out = last(place), args.directory
    about, recipe = read_recipe(origin, brought(origin).get("method"))
    check_policy(origin, about)
    if "method" not in about:
        raise Usage(
            f"{origin} was made before runs kept their whole method. Export it with the version of strop that its recipe.json names."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Usage(f"{out} is there already. Name a directory that is not.")
    good = {int(path.name): path for path in good_checkpoints(origin, say)}
    if not good:
        raise Usage(f"{origin} has no checkpoint yet. Go on with it: strop train --resume {origin}")
    step = max(good) if args.step is None else args.step
    if step not in good:
        raise Usage(f"{origin} keeps no checkpoint of step {step}; it has {', '.join(map(str, sorted(good)))}.")
    weights = held(good[step], which)
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    prompt, stop = _written(weights, beside, recipe, args.dtype, about.get("shots", ()))
    from strop.report.card import card, record

    lines = card(origin, about, recipe, step, args.dtype, prompt, stop, read_metrics(origin), which)
    (beside / "README.md").write_text("\n".join(lines).rstrip() + "\n")
    (beside / "strop.json").write_text(json.dumps(record(about, stop), indent=2, sort_keys=True) + "\n")
    durable.publish(beside, out)
    files = sorted(p.name for p in out.iterdir())
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    said = {
        "directory": str(out),
        "run": args.run if which else str(origin),
        "step": step,
        "dtype": args.dtype,
        "files": files,
        "bytes": size,
    }
    answer(
        args,
        said,
        f"{out}: step {step} of {said['run']}, {args.dtype}, {size / 1e6:.1f} MB\n  {', '.join(files)}\nserve it  vllm serve {out}",
    )
    return 0


def _written(checkpoint: Path, out: Path, recipe: Recipe, dtype: str, shots: Any) -> tuple[str, tuple[str, ...]]:
    """The model's files; gives a prompt as the run wrote it, and what ends a reply beside an end token, for the card."""
    import torch

    from strop.policies.causal import load

    policy: Any = load(str(checkpoint), dtype=getattr(torch, dtype), chat=recipe.prompts)
    policy.export(out)
    if (checkpoint / "adapter").is_dir():  # merged above; here for those who serve adapters
        (out / "adapter").mkdir()
        shutil.copyfile(checkpoint / "adapter" / "adapter_model.safetensors", out / "adapter" / "adapter_model.safetensors")
        about = json.loads((checkpoint / "adapter" / "adapter_config.json").read_text())
        about["base_model_name_or_path"] = Path(recipe.model).name if Path(recipe.model).is_absolute() else recipe.model
        (out / "adapter" / "adapter_config.json").write_text(json.dumps(about, indent=2) + "\n")
    if shots:
        policy.renderer.show(lambda question: shots)
    return policy.tokenizer.decode(policy.renderer.prompt("{question}"), skip_special_tokens=False), policy.renderer.stop
