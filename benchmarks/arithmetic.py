"""What a size costs, by arithmetic alone: nothing here is measured.

    python benchmarks/arithmetic.py            the tables of docs/scaling.md
    python benchmarks/arithmetic.py --write    puts them there

Counts are exact for the published configurations (a test compares them with transformers' own). A product of an [m, k] by a [k, n] matrix
costs 2mkn operations; a backward pass twice its forward; embedding rows are looked up. Softmax, norms and rotations, below a hundredth of
the products at these sizes, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
GROUP, PROMPT, REPLY = 8, 200, 800
"""The example: a group's replies to one question."""
DEVICE_GB, BANDWIDTH = 80, 3.35e12
"""An accelerator of 80 GB at 3.35 TB/s, as its maker states it."""


@dataclass(frozen=True)
class Size:
    """A published Qwen3 configuration."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    tied: bool
    head_dim: int = 128
    vocab: int = 151936

    @property
    def layer(self) -> int:
        """Weights of one layer's products."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return self.hidden * (queries + 2 * keys) + queries * self.hidden + 3 * self.hidden * self.inner

    @property
    def embedding(self) -> int:
        return self.vocab * self.hidden

    @property
    def weights(self) -> int:
        norms = self.layers * (2 * self.hidden + 2 * self.head_dim) + self.hidden
        return self.layers * self.layer + norms + self.embedding * (1 if self.tied else 2)

    @property
    def products(self) -> int:
        """Weights that a token is multiplied with: all layers and the head."""
        return self.layers * self.layer + self.embedding

    def forward(self, position: float) -> float:
        """Operations of one token that attends to so many positions."""
        return 2 * self.products + 4 * self.layers * self.heads * self.head_dim * position

    def trained(self, length: float) -> float:
        """Operations of one trained token of a row of this length: forward, and backward at twice its price."""
        return 3 * self.forward(length / 2)

    def kv(self, width: int = 2) -> int:
        """Bytes of keys and values per position."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width

    def lora(self, rank: int) -> int:
        """Weights of adapters on all seven products of every layer."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        pairs = [(self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden)]
        pairs += [(self.hidden, self.inner)] * 2 + [(self.inner, self.hidden)]
        return self.layers * rank * sum(a + b for a, b in pairs)


SIZES = (
    Size("Qwen3-0.6B", 28, 1024, 16, 8, 3072, True),
    Size("Qwen3-1.7B", 28, 2048, 16, 8, 6144, True),
    Size("Qwen3-8B", 36, 4096, 32, 8, 12288, False),
    Size("Qwen3-32B", 64, 5120, 64, 8, 25600, False),
)


def gb(count: float) -> str:
    return f"{count / 1e9:.3g}"


def weights_table() -> str:
    """Bytes that stay: weights, gradients, Adam's two moments."""
    head = [
        "size",
        "weights",
        "bf16 weights GB",
        "float32 training GB",
        "bf16 + float32 masters GB",
        "LoRA 16 training GB",
        "KV bytes a position",
    ]
    rows = []
    for s in SIZES:
        adapters = s.lora(16)
        rows.append(
            [
                s.name,
                f"{s.weights / 1e9:.3f} B",
                gb(2 * s.weights),
                gb((4 + 4 + 8) * s.weights),
                gb((2 + 2 + 4 + 8) * s.weights),
                gb(2 * s.weights + 16 * adapters),
                f"{s.kv():,}",
            ]
        )
    return markdown(head, rows)


def token_table() -> str:
    """Operations per token, and how many bytes a decode step reads for it."""
    head = [
        "size",
        "decoded, GFLOP",
        "trained, GFLOP",
        "positions beside the weights",
        "batch where KV reads equal weight reads",
        "tokens/s at most, batch 1",
        "batch 256, or what fits",
    ]
    rows = []
    for s in SIZES:
        length = PROMPT + REPLY
        room = DEVICE_GB * 1e9 * 0.9 - 2 * s.weights
        equal = 2 * s.weights / (s.kv() * length)
        most = min(256, int(room / (s.kv() * length)))
        speed = {n: n * BANDWIDTH / (2 * s.weights + n * s.kv() * length) for n in (1, most)}
        rows.append(
            [
                s.name,
                f"{s.forward(length / 2) / 1e9:.2f}",
                f"{s.trained(length) / 1e9:.2f}",
                f"{room / s.kv():,.0f}",
                f"{equal:.0f}",
                f"{speed[1]:,.0f}",
                f"{speed[most]:,.0f} ({most} rows)",
            ]
        )
    return markdown(head, rows)


def step_table() -> str:
    """One step of 64 questions with 8 replies each, in operations."""
    head = ["size", "prefill once a group", "prefill once a reply", "decode", "train", "train / decode", "whole step, PFLOP"]
    rows, questions = [], 64
    for s in SIZES:
        once = questions * PROMPT * s.forward(PROMPT / 2)
        decode = questions * GROUP * REPLY * s.forward(PROMPT + REPLY / 2)
        train = questions * GROUP * (PROMPT + REPLY) * s.trained(PROMPT + REPLY)
        whole = once + decode + train
        rows.append(
            [s.name, *(f"{x / 1e15:.3f}" for x in (once, GROUP * once, decode, train)), f"{train / decode:.2f}", f"{whole / 1e15:.2f}"]
        )
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines)


TABLES = {"weights": weights_table, "tokens": token_table, "step": step_table}


def placed(page: str) -> str:
    """The page with every table between its marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- arithmetic {name}: begin -->", f"<!-- arithmetic {name}: end -->"
        before, after = page.split(begin)[0], page.split(end)[1]
        page = f"{before}{begin}\n{table()}\n{end}{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(placed(PAGE.read_text()))
        return
    print("\n\n".join(f"{name}\n\n{table()}" for name, table in TABLES.items()))


if __name__ == "__main__":
    main()
