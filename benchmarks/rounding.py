"""What rounding a policy's weights to bfloat16 makes of its replies: to the nearest, and by the dither of its twin.

    python benchmarks/rounding.py RUN [--replies N]

Each reply of the run's last step is scored under the weights the run began with and under those of its last checkpoint; each time as they
are, rounded to the nearest, and rounded as `strop.policies.twin` does. All arithmetic is float32, so that the rounding alone is seen.
Printed are the mean gap of a token's log-probability, and the largest ratio of its probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from strop.directory import RunError, good_checkpoints, read_recipe, recorded_steps, sampled
from strop.policies.causal import load
from strop.policies.twin import twin


def texts(run: Path, most: int) -> list[tuple[tuple[int, ...], int]]:
    """Tokens of the last replies, and how many of them are the question's."""
    groups, _ = sampled(run)
    rows = [row for group in groups for rollout in group.rollouts for row in rollout.rows]
    return [(row.tokens, len(row.segments[0].tokens)) for row in rows[-most:]]


def said(model: Any, asked: list[tuple[tuple[int, ...], int]]) -> torch.Tensor:
    """Log-probability of every token of the replies."""
    found: list[torch.Tensor] = []
    with torch.no_grad():
        for tokens, start in asked:
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, start - 1 : -1].log_softmax(-1)
            found.append(logits.gather(-1, torch.tensor(tokens[start:])[:, None])[:, 0])
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--replies", type=int, default=32)
    args = parser.parse_args()
    try:
        _, recipe = read_recipe(args.run)
    except RunError as error:
        parser.error(str(error))
    asked = texts(args.run, args.replies)
    checkpoint = good_checkpoints(args.run)[-1]
    tokens = sum(len(text) - start for text, start in asked)
    print(f"{len(asked)} replies, {tokens} tokens; {recorded_steps(args.run)} steps at a rate of {recipe.resolved().update.lr:g}")
    print(f"{'weights':12} {'rounded':10} {'mean gap':>9} {'largest ratio':>14}")
    for name, place in (("first", recipe.model), ("last", str(checkpoint))):
        model = load(place, chat=recipe.prompts).model
        whole = said(model, asked)
        for how, nearest in (("nearest", True), ("dithered", False)):
            gap = (said(twin(model, torch.bfloat16, nearest).float(), asked) - whole).abs()
            print(f"{name:12} {how:10} {gap.mean().item():9.5f} {gap.max().exp().item():14.2f}", flush=True)


if __name__ == "__main__":
    main()
