"""A real model's shape on this machine: strop beside TRL, transformers.generate and vLLM's CPU build, as ratios of one run.

    python benchmarks/real.py [--quick] [--json FILE] [--model DIR] [--vllm-python PYTHON]

Everything is measured by `step.py` and `sampling.py`, each side in a process of its own, in turn, in float32, on the same prompts and
forced lengths. Without --model the models are random ones of published shapes: Gemma 3 270M's, and Qwen3-0.6B's with 8 of its 28
layers; what they write is noise, what it costs is not. --quick is a look of some minutes at shorter replies: its ratios say less.

    step      4 questions x 8 replies: 32 tokens each, and a long tail (mean 20, cap 64)
    sampling  8 prompts x 8 replies, a long tail (mean 20, cap 64)
    learning  operations that a step's learning is made of, by `arithmetic.py`'s count (every position through the body, every decision
              through the head, thrice: forward, and backward twice), per second that it took, as a share of what the largest product
              gives in the same process
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from arithmetic import Size

SHAPES = {
    "gemma3-270m": Size("Gemma 3 270M", 18, 640, 4, 1, 2048, True, 256, 262144),
    "qwen3-0.6b-8": Size("Qwen3-0.6B, 8 layers", 8, 1024, 16, 8, 3072, True),
}
STEP = {"prompts": 4, "group": 8, "steps": 3, "fixed": 32, "cap": 64, "mean": 20}
SAMPLING = {"prompts": 8, "samples": 8, "cap": 64, "mean": 20}
QUICK = {"prompts": 2, "group": 4, "samples": 4, "steps": 2, "fixed": 16, "cap": 32, "mean": 10}


def random_model(name: str, folder: Path) -> Path:
    """A model of this shape with random weights, and pico's tokenizer, whose ids are among the first of its vocabulary."""
    import torch
    import transformers

    from strop import pico

    size, kind = SHAPES[name], "Gemma3Text" if name.startswith("gemma3") else "Qwen3"
    tokenizer = transformers.AutoTokenizer.from_pretrained(pico.path())
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=size.vocab,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        intermediate_size=size.inner,
        tie_word_embeddings=size.tied,
        max_position_embeddings=32768,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


def shape_of(model: Path) -> Size:
    import transformers

    c = transformers.AutoConfig.from_pretrained(model).get_text_config()
    dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    sizes = (c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.num_key_value_heads, c.intermediate_size)
    return Size(model.name, *sizes, c.tie_word_embeddings, dim, c.vocab_size)


def measured(script: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    out = folder / "measured.json"
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *given, "--json", str(out)], check=True, stdout=sys.stderr)
    return json.loads(out.read_text())


def learning(size: Size, runs: list[dict[str, Any]]) -> float:
    """The share of the machine's products that a step's learning comes to."""
    shares: list[float] = []
    for run in runs:
        for step in run["all"][1:]:
            work = 6 * (size.layers * size.layer * step["positions"] + size.embedding * step["decisions"])
            shares.append(work / step["learn"] / run["ceiling"])
    return statistics.median(shares)


def ratios(model: Path, size: Size, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    common = {"model": model, "threads": args.threads, "repeats": args.repeats}
    quick = QUICK if args.quick else {}
    step = measured("step.py", {**common, **{name: quick.get(name, value) for name, value in STEP.items()}}, folder)
    asked = {**common, **{name: quick.get(name, value) for name, value in SAMPLING.items()}}
    asked |= {"vllm-python": args.vllm_python} if args.vllm_python else {}
    sampling = measured("sampling.py", asked, folder)
    speed = {side: made["tokens_per_second"] for side, made in sampling["sides"].items()}
    both = [run for load in ("fixed", "long_tail") for run in step["runs"][load]["strop"]]
    found = {
        "a step against TRL, fixed": step["ratios"]["trl_fixed"],
        "a step against TRL, long tail": step["ratios"]["trl_long_tail"],
        "TRL's peak memory against ours": step["ratios"]["trl_peak_memory"],
        "sampling against transformers.generate": sampling["ratios"]["transformers"],
        "sampling against vLLM on a CPU": sampling["ratios"]["vllm"],
        "sampling in bfloat16 against float32": speed["bfloat16"] / speed["strop"] if "bfloat16" in speed else None,
        "learning's share of the machine": learning(size, both),
    }
    return {"ratios": found, "step": step, "sampling": sampling}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a directory in Hugging Face format, instead of the random models")
    parser.add_argument("--shape", choices=SHAPES, help="one of the random models alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--vllm-python", default=os.environ.get("STROP_VLLM_PYTHON"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.repeats = args.repeats or (1 if args.quick else 3)
    everything: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        models = {args.model.name: args.model} if args.model else dict.fromkeys([args.shape] if args.shape else SHAPES)
        for name, model in models.items():
            size = SHAPES[name] if model is None else shape_of(model)
            everything[name] = ratios(model or random_model(name, here), size, args, here)
            print(f"{size.name}{'' if model else ', random weights'}: {size.weights / 1e6:.0f} M weights, {size.vocab:,} ids")
            for what, ratio in everything[name]["ratios"].items():
                print(f"  {what:42} {'not measured' if ratio is None else f'{ratio:.2f}'}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({**everything, "threads": args.threads, "quick": args.quick}, indent=1))


if __name__ == "__main__":
    main()
