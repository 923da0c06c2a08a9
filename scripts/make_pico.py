"""Make pico: a small base model for strop's own tasks, trained from random weights on their worked texts.

    python scripts/make_pico.py                              six minutes of training on two free cores
    python scripts/make_pico.py --size 3m --out /tmp/pico3m
    python scripts/make_pico.py --smoke --out /tmp/pico      the same road in under a minute; learns next to nothing

The base is meant to be useful and unfinished. Most of its training texts guess the answer at once, a good third write
the work down, and both slip: so its likeliest style is the poor one, and lowering the temperature does not help it,
while reinforcement can find out that work pays. Weights go to OUT as safetensors, with a tokenizer, and a card.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import strop.pico
from strop.records import Task
from strop.tasks import DEFAULT_TASK, source
from strop.tasks.procedural import generator

SIZES = {
    "1m": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 32, "intermediate_size": 384},
    "3m": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 64, "intermediate_size": 640},
}

MIX = {"chain": 0.64, "countdown": 0.12, "path": 0.12, "skewed": 0.12}
"""How the training texts are shared out among the tasks."""

CONTROL = ["<|pad|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]

CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

BEHIND = "<|im_end|><|assistant|>"

KS = (1, 4, 8, 16)
TEMPERATURES = (0.3, 0.6, 1.0)
LONGEST = 80
"""Tokens a sampled answer may have."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte (id = the byte), then control tokens that decoding may skip, then tags that it always shows."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in printable)
    }
    tokenizer = Tokenizer(models.BPE(vocab={spelled[byte]: byte for byte in range(256)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in TAGS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>", clean_up_tokenization_spaces=False, model_max_length=2048
    )
    fast.chat_template = CHAT
    return fast


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """In the form that both generations of transformers read: the class by its older name."""
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    written = json.loads(settings.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(written, indent=2) + "\n")


def make_model(tokenizer: PreTrainedTokenizerFast, size: str, seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES[size],
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def texts(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """(prompt, response) pairs from the training splits, in random order."""
    sources = {name: source(name) for name in MIX}
    picks = generator("pico", seed).choices([*MIX], weights=[*MIX.values()], k=count)
    for index, name in enumerate(picks):
        task = sources[name].task("train", seed, index)
        yield f"<|user|>{task.prompt}{BEHIND}", sources[name].worked(task, generator("pico", seed, index)) + "<|im_end|>"


Part = tuple[torch.Tensor, torch.Tensor]
"""Tokens and labels of texts of like length, padded on the right; labels are -100 on prompts and padding."""


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, count: int, size: int) -> Iterator[list[Part]]:
    """Batches of random texts, each in two parts: the shorter half and the longer half, to spare padding.

    The halves must meet in one update: a batch of like lengths would hold quick guesses only, or written work only.
    """
    pairs = list(texts(seed, count * size))
    prompts = tokenizer([prompt for prompt, _ in pairs], add_special_tokens=False)["input_ids"]
    replies = tokenizer([reply for _, reply in pairs], add_special_tokens=False)["input_ids"]
    rows = [(prompt + reply, len(prompt)) for prompt, reply in zip(prompts, replies, strict=True)]
    for start in range(0, len(rows), size):
        near = sorted(rows[start : start + size], key=lambda row: len(row[0]))
        yield [padded(near[: size // 2], tokenizer.pad_token_id), padded(near[size // 2 :], tokenizer.pad_token_id)]


def padded(rows: list[tuple[list[int], int]], pad: int) -> Part:
    longest = max(len(row) for row, _ in rows)
    tokens, labels = np.full((len(rows), longest), pad), np.full((len(rows), longest), -100)
    for at, (row, skip) in enumerate(rows):
        tokens[at, : len(row)] = row
        labels[at, skip : len(row)] = row[skip:]
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def train(model: Qwen3ForCausalLM, data: list[list[Part]], *, lr: float, warmup: int = 100) -> int:
    """Cross-entropy on the responses, AdamW, one pass, cosine to a fiftieth of the rate. Returns the tokens seen."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    keep = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": keep, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    seen, smooth, start = 0, None, time.monotonic()
    for step, parts in enumerate(data):
        rate = min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / len(data))))
        for group in optimizer.param_groups:
            group["lr"] = lr * rate
        trained = sum(int((labels[:, 1:] != -100).sum()) for _, labels in parts)
        total = 0.0
        optimizer.zero_grad()
        for tokens, labels in parts:
            logits = model(tokens[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
            (loss / trained).backward()
            total += loss.item() / trained
            seen += tokens.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smooth = total if smooth is None else 0.98 * smooth + 0.02 * total
        if step % 100 == 99 or step + 1 == len(data):
            seconds = time.monotonic() - start
            print(
                f"step {step + 1}/{len(data)}  loss {smooth:.4f}  {seen / seconds:.0f} tokens/s  {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return seen


@torch.inference_mode()
def sample(model, tokenizer, tasks: list[Task], *, samples: int, temperature: float, seed: int, width: int = 1024) -> list[list[str]]:
    """`samples` texts for every task, drawn from the whole distribution at a temperature (0: greedy)."""
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.eos_token_id
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": t.prompt}], add_generation_prompt=True)["input_ids"] for t in tasks
    ]
    order = sorted((at for at in range(len(tasks)) for _ in range(samples)), key=lambda at: len(prompts[at]))
    texts: list[list[str]] = [[] for _ in tasks]
    while order:
        size = len(prompts[order[0]])
        now = [at for at in order[:width] if len(prompts[at]) == size]
        order = order[len(now) :]
        tokens, cache, living = torch.tensor([prompts[at] for at in now]), None, torch.arange(len(now))
        written: list[list[int]] = [[] for _ in now]
        for _ in range(LONGEST):
            step = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, logits = step.past_key_values, step.logits[:, -1]
            if temperature:
                tokens = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            else:
                tokens = logits.argmax(-1, keepdim=True)
            for row, token in zip(living.tolist(), tokens[:, 0].tolist(), strict=True):
                written[row].append(token)
            left = (tokens[:, 0] != end).nonzero()[:, 0]
            if len(left) < len(living):
                living, tokens = living[left], tokens[left]
                cache.batch_select_indices(left)
            if not len(living):
                break
        for at, row in zip(now, written, strict=True):
            texts[at].append(tokenizer.decode(row, skip_special_tokens=True))
    return texts


def pass_at(right: int, drawn: int, k: int) -> float:
    """Chance that k of the drawn samples hold a right one, without bias (arXiv:2107.03374): 1 - C(n-c, k) / C(n, k)."""
    return 1.0 - math.comb(drawn - right, k) / math.comb(drawn, k)


def interval(values: list[float], seed: int = 0) -> list[float]:
    """Mean with a 95 % bootstrap interval over tasks: [mean, low, high]."""
    array = np.asarray(values)
    means = array[np.random.default_rng(seed).integers(0, len(array), (2000, len(array)))].mean(1)
    return [round(float(v), 4) for v in (array.mean(), *np.percentile(means, [2.5, 97.5]))]


def measure(model, tokenizer, name: str, *, tasks: int, samples: int, temperature: float, seed: int = 0) -> dict:
    """pass@k with intervals on held-out tasks; the lenient score, the mean length and the share of texts with work beside it."""
    where = source(name)
    held_out = [where.task("test", 0, index) for index in range(tasks)]
    drawn = sample(model, tokenizer, held_out, samples=samples, temperature=temperature, seed=seed)
    graded = [[where.grade(task, text) for text in texts] for task, texts in zip(held_out, drawn, strict=True)]
    right = [sum(grades["outcome"] == 1 for grades in group) for group in graded]
    texts = [text for group in drawn for text in group]
    worked = [
        (grades["outcome"], "<think></think>" not in t)
        for group, ts in zip(graded, drawn, strict=True)
        for grades, t in zip(group, ts, strict=True)
    ]
    scores = {f"pass@{k}": interval([pass_at(r, samples, k) for r in right]) for k in KS if k <= samples}
    with_work = [o for o, w in worked if w]
    without = [o for o, w in worked if not w]
    return scores | {
        "lenient": round(float(np.mean([[grades["lenient"] for grades in group] for group in graded])), 4),
        "share with work": round(len(with_work) / len(worked), 4),
        "right with work": round(float(np.mean(with_work)), 4) if with_work else None,
        "right without": round(float(np.mean(without)), 4) if without else None,
        "mean tokens": round(float(np.mean([len(tokenizer(text)["input_ids"]) + 1 for text in texts])), 1),
    }


def card_text(card: dict) -> str:
    runs = card["runs"]
    lines = [
        "# pico",
        "",
        f"A byte-level base model of {card['parameters']:,} parameters for strop's own tasks (Qwen3 architecture, float32).",
        "It is useful and unfinished on purpose: it mostly answers at once, sometimes writes its work down, and slips in both.",
        "",
        f"- Made by: `{card['command']}`; trained from random weights, no outside data.",
        f"- Data: {card['texts']:,} worked texts of the training splits, in the shares "
        + ", ".join(f"{name} {share:.0%}" for name, share in card["mix"].items())
        + ". Held-out problems hash into the other split.",
        f"- Training: cross-entropy on responses, AdamW, cosine, {card['steps']} batches of {card['batch']}.",
        "- Compute per seed: "
        + "; ".join(f"seed {r['seed']}: {r['tokens']:,} positions in {r['seconds']:.0f} s (threads: {r['threads']})" for r in runs),
        f"- Shipped: seed {runs[0]['seed']}.",
        "",
        "## pass@k on held-out tasks",
        "",
        f"Temperature 1, strict parse; {card['tasks']} tasks, {card['samples']} samples of each, 95 % bootstrap over tasks.",
        "",
        "| task | seed | " + " | ".join(f"pass@{k}" for k in KS) + " | lenient | mean tokens |",
        "|---|---|" + "---|" * (len(KS) + 2),
    ]
    for name in card["mix"]:
        for run in runs:
            row = run["table"][name]
            cells = [f"{row[f'pass@{k}'][0]:.3f} [{row[f'pass@{k}'][1]:.3f}, {row[f'pass@{k}'][2]:.3f}]" for k in KS]
            lines.append(f"| {name} | {run['seed']} | " + " | ".join(cells) + f" | {row['lenient']:.3f} | {row['mean tokens']} |")
    lines += [
        "",
        f"## What the temperature alone gives on the default task, `{card['default']}`",
        "",
        "| seed | temperature | pass@1 | pass@16 | share with work | right with work | right without | mean tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for temperature, row in run["temperatures"].items():
            shown = [row["share with work"], row["right with work"], row["right without"]]
            cells = ["-" if value is None else f"{value:.3f}" for value in (row["pass@1"][0], row["pass@16"][0], *shown)]
            lines.append(f"| {run['seed']} | {temperature} | " + " | ".join(cells) + f" | {row['mean tokens']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make pico, the small base model that ships with strop.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=[*SIZES], default="1m")
    parser.add_argument("--out", type=Path, default=strop.pico.path(), help="folder to write; the package's own by default")
    parser.add_argument("--steps", type=int, default=2400, help="batches to train on")
    parser.add_argument("--batch", type=int, default=64, help="texts in a batch")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--tasks", type=int, default=256, help="held-out tasks to score on")
    parser.add_argument("--samples", type=int, default=32, help="samples a task")
    parser.add_argument(
        "--beside", type=Path, nargs="*", default=[], help="cards (card.json) of runs with other seeds, to show in this one"
    )
    parser.add_argument("--smoke", action="store_true", help="30 batches and 8 tasks: the whole road in under a minute")
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.tasks, args.samples = 30, 8, 16
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    args.out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(make_tokenizer(), args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    model = make_model(tokenizer, args.size, args.seed)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters", file=sys.stderr, flush=True)
    data = list(batches(tokenizer, args.seed, args.steps, args.batch))
    start = time.monotonic()
    seen = train(model, data, lr=args.lr)
    seconds = time.monotonic() - start
    model.save_pretrained(args.out)
    (args.out / "model.safetensors").chmod(0o644)

    model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32).eval()
    sizes = {"tasks": args.tasks, "samples": args.samples}
    temperatures = {str(t): measure(model, tokenizer, DEFAULT_TASK, temperature=t, **sizes) for t in TEMPERATURES}
    print(json.dumps(temperatures, indent=1), file=sys.stderr, flush=True)
    table = {
        name: temperatures["1.0"] if name == DEFAULT_TASK else measure(model, tokenizer, name, temperature=1.0, **sizes) for name in MIX
    }
    run = {
        "seed": args.seed,
        "seconds": round(seconds, 1),
        "tokens": seen,
        "threads": torch.get_num_threads(),
        "table": table,
        "temperatures": temperatures,
    }
    others = [other for card in args.beside for other in json.loads(card.read_text())["runs"]]
    card = {
        "command": "python scripts/make_pico.py "
        + " ".join(f"--{name} {getattr(args, name)}" for name in ("seed", "size", "steps", "batch", "lr")),
        "parameters": parameters,
        "default": DEFAULT_TASK,
        "mix": MIX,
        "texts": args.steps * args.batch,
        "steps": args.steps,
        "batch": args.batch,
        "torch": torch.__version__,
        **sizes,
        "runs": [run, *others],
    }
    (args.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (args.out / "CARD.md").write_text(card_text(card))
    print(card_text(card))


if __name__ == "__main__":
    main()
