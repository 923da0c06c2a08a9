"""Make stand-ins for a real model and a real data set, so that the road of docs/real-models.md can be walked without a download.

    python scripts/make_standin.py OUT                      a shrunken Qwen3 and 200 word problems in GSM8K's schema
    python scripts/make_standin.py OUT --family gemma3      another family
    python scripts/make_standin.py OUT --full               Qwen3-0.6B's true sizes: 2.4 GB of random weights
    python scripts/make_standin.py OUT --full --layers 4    its widths and vocabulary with fewer layers: 0.9 GB

    OUT/model         config, safetensors, tokenizer with a chat template: random weights, it knows nothing
    OUT/train.jsonl   {"question": …, "answer": "worked text … #### 42"}, written here from arithmetic templates
    OUT/test.jsonl    40 more, none of them in train.jsonl

The tokenizer is trained on these problems. The Qwen3 keeps the ratios of Qwen3-0.6B: heads are wider than hidden size / heads, two query
heads share a key head, the feed-forward is three times the hidden size, embeddings are tied.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

ROWS, HELD_OUT = 200, 40

TRUE = {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 3072}
"""Qwen3-0.6B; head_dim 128, vocabulary 151936."""
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 192}

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

CHATML = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif -%}
{%- endif -%}"""
"""As Qwen3 writes it: with thinking switched off, the reply begins behind an empty thought."""

TURNS = """{%- if messages[0].role == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}
{%- for message in messages -%}
<|im_start|>{{ 'model' if message.role == 'assistant' else message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>model
{% endif -%}"""
"""As Gemma's: another name for the assistant, and no system message."""

FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "tie_word_embeddings": True},
    "llama": {"tie_word_embeddings": False},
    "mistral": {"head_dim": 32, "sliding_window": 64},
    "gemma3_text": {"head_dim": 32, "sliding_window": 64, "query_pre_attn_scalar": 32},
    "gpt_neox": {"rotary_pct": 0.25},
    "qwen3_moe": {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
}

PEOPLE = ("Amara", "Bela", "Chidi", "Dana", "Emil", "Farah", "Goran", "Hana", "Ines", "Jun", "Kofi", "Lena")
THINGS = ("apples", "stamps", "marbles", "pencils", "shells", "tickets", "cards", "buttons")


def problems(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Different word problems with worked answers, in GSM8K's schema."""
    rng, seen = random.Random(seed), set[str]()
    while len(seen) < count:
        question, answer = one(rng)
        if question not in seen:
            seen.add(question)
            yield {"question": question, "answer": answer}


def one(rng: random.Random) -> tuple[str, str]:
    who, other = rng.sample(PEOPLE, 2)
    thing, a, b, c = rng.choice(THINGS), rng.randint(12, 90), rng.randint(2, 9), rng.randint(3, 400)
    match rng.randrange(3):
        case 0:
            return (
                f"{who} has {a} {thing} and gets {b} more from {other} every day for {c} days. How many {thing} does {who} have then?",
                f"In {c} days {who} gets {b} * {c} = <<{b}*{c}={b * c}>>{b * c} {thing}.\n"
                f"So {who} has {a} + {b * c} = <<{a}+{b * c}={a + b * c}>>{a + b * c} {thing}.\n#### {a + b * c:,}",
            )
        case 1:
            return (
                f"{who} packs {b * c} {thing} into boxes of {b} and sells each box for {a} coins. How many coins does {who} earn?",
                f"That makes {b * c} / {b} = <<{b * c}/{b}={c}>>{c} boxes.\n"
                f"They sell for {c} * {a} = <<{c}*{a}={c * a}>>{c * a} coins.\n#### {c * a:,}",
            )
        case _:
            return (
                f"{who} is {a} years old and {other} is {b} years younger. How old will {other} be in {c} years?",
                f"{other} is {a} - {b} = <<{a}-{b}={a - b}>>{a - b} years old.\n"
                f"In {c} years that is {a - b} + {c} = <<{a - b}+{c}={a - b + c}>>{a - b + c}.\n#### {a - b + c:,}",
            )


def tokenizer(texts: list[str], template: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on these texts, with a chat model's special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=512, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in TAGS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False, model_max_length=512
    )
    fast.chat_template = template
    return fast


def model(family: str, words: PreTrainedTokenizerFast, full: bool, positions: int, seed: int, layers: int | None) -> Any:
    import torch

    torch.manual_seed(seed)
    ids = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    sizes = (TRUE | {"head_dim": 128, "vocab_size": 151936}) if full else (SMALL | {"vocab_size": len(words) + 16})
    sizes |= {"num_hidden_layers": layers} if layers else {}
    config = CONFIG_MAPPING[family](**{**FAMILIES[family], **ids, **sizes, "max_position_embeddings": positions})
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    ends = [words.eos_token_id, words.pad_token_id]
    made.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        top_k=20,
        eos_token_id=ends,
        pad_token_id=words.pad_token_id,
    )
    return made


def write(out: Path, family: str = "qwen3", full: bool = False, positions: int = 512, seed: int = 0, layers: int | None = None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [*problems(ROWS + HELD_OUT, seed)]
    for name, part in (("train", rows[:ROWS]), ("test", rows[ROWS:])):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    words = tokenizer([f"{row['question']}\n{row['answer']}" for row in rows], TURNS if family.startswith("gemma") else CHATML)
    words.save_pretrained(out / "model")
    model(family, words, full, positions, seed, layers).save_pretrained(out / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=tuple(FAMILIES), default="qwen3")
    parser.add_argument("--full", action="store_true", help="Qwen3-0.6B's true sizes")
    parser.add_argument("--layers", type=int, help="instead of the 28 of Qwen3-0.6B or the 3 of the small one")
    parser.add_argument("--positions", type=int, default=512)
    args = parser.parse_args()
    write(args.out, args.family, args.full, args.positions, layers=args.layers)
    print(f"{args.out}/model ({args.family}), {args.out}/train.jsonl ({ROWS} rows), {args.out}/test.jsonl ({HELD_OUT} rows)")


if __name__ == "__main__":
    main()
