"""Influence of 1,000 demonstrations on two targets: strop beside kronfluence, and beside a loop of backward passes.

    python benchmarks/influence.py --json influence.json        a seedling of 0.36M parameters, one thread
    python benchmarks/influence.py --examples 100 --only strop,loop,tokens

Each side is a process of its own, interleaved. All start from the same model, texts and targets and end with one number for each example
and target. strop and kronfluence make the curvature of the MLP maps first (EK-FAC, labels drawn from the model, damping 0.1 of the mean).
The loops are given strop's, and make a backward pass for each example, or, to know as much as strop, for each token, whose gradient they
multiply with each target's direction; `given` is strop given it as well, so that those three do the same work. Seconds are the
processor's; memory is the most a process held over what it held before it began. The sides' ranks are compared.

kronfluence is wanted alone: pip install --no-deps kronfluence==1.0.1 einconv einops opt-einsum
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDES = ("strop", "kronfluence", "given", "loop", "tokens")
GIVEN = ("given", "loop", "tokens")
"""Sides that are given the curvature, which then is no work of theirs."""
BUDGET = 4096
"""Padded tokens of a pass, on each side."""


def texts(policy: Any, count: int, asked: int = 50) -> tuple[list[Any], dict[str, list[Any]]]:
    """Demonstrations to train on, and of each target held-out ones."""
    from strop.lab.influence import Text
    from strop.tasks import source

    kinds = {name: [source(f"{name}:steps={n}") for n in (2, 4, 6)] for name in ("chain", "stacks")}

    def of(kind: str, split: str, number: int) -> Text:
        made = kinds[kind][number % 3]
        task = made.task(split, 0, number)
        prompt, reply = policy.renderer.prompt(task.prompt), policy.renderer.reply(made.gold(task))
        return Text((*prompt, *reply), tuple(range(len(prompt), len(prompt) + len(reply))), (1.0,) * len(reply))

    train = [of(("chain", "stacks")[n % 2], "train", n) for n in range(count)]
    return train, {kind: [of(kind, "test", n) for n in range(asked)] for kind in kinds}


def side_strop(policy: Any, train: list[Any], targets: dict[str, list[Any]]) -> dict[str, list[float]]:
    from strop.lab.influence import Reader, curved, maps

    return side_given(policy, train, targets, curved(Reader(policy), maps(policy), train, budget=BUDGET))


def side_given(policy: Any, train: list[Any], targets: dict[str, list[Any]], curves: Any) -> dict[str, list[float]]:
    """strop, with the curvature there."""
    from strop.lab.influence import Example, Reader, influence, maps, slope_of, solved

    reader, found = Reader(policy), maps(policy)
    examples = [Example(str(n), (text,)) for n, text in enumerate(train)]
    directions = [solved(curves, slope_of(reader, found, of, BUDGET)) for of in targets.values()]
    made = influence(reader, found, examples, directions, BUDGET)
    return {name: [one.whole for one in each] for name, each in zip(targets, made, strict=True)}


def side_tokens(policy: Any, train: list[Any], targets: dict[str, list[Any]], curves: Any = None) -> dict[str, list[float]]:
    """By token, as strop gives them: the loop makes a backward pass for each."""
    from dataclasses import replace

    alone = [replace(text, at=(place,), weight=(1.0,)) for text in train for place in text.at]
    made = side_loop(policy, alone, targets, curves)
    counts = [len(text.at) for text in train]
    return {name: [sum(own[sum(counts[:n]) : sum(counts[: n + 1])]) for n in range(len(train))] for name, own in made.items()}


def side_loop(policy: Any, train: list[Any], targets: dict[str, list[Any]], curves: Any = None) -> dict[str, list[float]]:
    import torch

    from strop.lab.influence import Reader, likely, maps, passes, slope_of, solved

    reader, found = Reader(policy), maps(policy)
    slopes = {name: slope_of(reader, found, of, BUDGET) for name, of in targets.items()}
    directions = {name: slope if curves is None else solved(curves, slope) for name, slope in slopes.items()}
    weights, made = [module.weight for module in found.values()], {name: list[float]() for name in targets}
    for text in train:
        (one,) = passes(reader, [text], BUDGET)
        each = dict(zip(found, torch.autograd.grad(likely(reader(*one.asked), one).sum(), weights), strict=True))
        for name, direction in directions.items():
            made[name].append(sum(float((each[part] * direction[part]).sum()) for part in found))
    return made


def side_kronfluence(policy: Any, train: list[Any], targets: dict[str, list[Any]], given: bool = False) -> dict[str, list[float]]:
    """`given`: with the texts' own labels, the empirical Fisher matrix."""
    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from kronfluence.utils.dataset import DataLoaderKwargs
    from torch.nn.functional import cross_entropy

    from strop.lab.influence import maps

    tracked = list(maps(policy))

    class Texts(Task):
        def _loss(self, batch: dict[str, Any], model: Any, sample: bool) -> Any:
            logits = model(input_ids=batch["ids"], attention_mask=batch["mask"], use_cache=False).logits[:, :-1].flatten(0, 1)
            wanted = batch["ids"][:, 1:].flatten()
            if sample:
                wanted = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
            return cross_entropy(logits, wanted.masked_fill(~batch["counts"][:, 1:].flatten(), -100), reduction="sum", ignore_index=-100)

        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            return self._loss(batch, model, sample)

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return self._loss(batch, model, False)

        def get_influence_tracked_modules(self) -> list[str]:
            return tracked

        def get_attention_mask(self, batch: Any) -> Any:
            return batch["mask"]

    def together(some: list[Any]) -> dict[str, Any]:
        width = max(len(text.tokens) for text in some)
        ids = torch.tensor([[*text.tokens, *[0] * (width - len(text.tokens))] for text in some])
        counts = torch.zeros_like(ids, dtype=torch.bool)
        for row, text in enumerate(some):
            counts[row, list(text.at)] = True
        return {
            "ids": ids,
            "mask": (torch.arange(width)[None] < torch.tensor([len(t.tokens) for t in some])[:, None]).long(),
            "counts": counts,
        }

    class Listed(torch.utils.data.Dataset[Any]):
        def __init__(self, some: list[Any]):
            self.some = some

        def __len__(self) -> int:
            return len(self.some)

        def __getitem__(self, n: int) -> Any:
            return self.some[n]

    task = Texts()
    rows = BUDGET // max(len(text.tokens) for text in train)
    with tempfile.TemporaryDirectory() as place:
        analyzer = Analyzer(
            "bench", prepare_model(policy.model, task), task, cpu=True, output_dir=place, disable_tqdm=True, disable_model_save=True
        )
        analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=together))
        how = FactorArguments(strategy="ekfac", use_empirical_fisher=given)
        analyzer.fit_all_factors("factors", Listed(train), per_device_batch_size=rows, factor_args=how, overwrite_output_dir=True)
        made = dict[str, list[float]]()
        for name, of in targets.items():
            analyzer.compute_pairwise_scores(
                name,
                "factors",
                Listed(of),
                Listed(train),
                per_device_query_batch_size=rows,
                per_device_train_batch_size=rows,
                score_args=ScoreArguments(damping_factor=None, aggregate_query_gradients=True),
                overwrite_output_dir=True,
            )
            scores = analyzer.load_pairwise_scores(name)["all_modules"]
            made[name] = (scores.sum(0) / len(of)).double().tolist()
    return made


def one_side(args: argparse.Namespace) -> None:
    import torch

    from strop.lab.influence import Reader, curved, maps
    from strop.policies.causal import load

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    policy = load(args.model)
    train, targets = texts(policy, args.examples)
    more = {"curves": curved(Reader(policy), maps(policy), train, budget=BUDGET)} if args.side in GIVEN else {}
    before, began, wall = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), time.perf_counter()
    scores = globals()[f"side_{args.side}"](policy, train, targets, **more)
    spent = {"cpu": time.process_time() - began, "seconds": time.perf_counter() - wall}
    held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({**spent, "mib": held, "scores": scores}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="seedling:layers=3,hidden=96")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default=",".join(SIDES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.side:
        one_side(args)
        return
    asked = args.only.split(",")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in asked}
    for _ in range(args.repeats):
        for side in asked:
            same = ["--model", args.model, "--examples", str(args.examples), "--side", side]
            done = subprocess.run([sys.executable, __file__, *same], check=True, stdout=subprocess.PIPE, text=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    from strop.lab.influence import agreement

    said: dict[str, Any] = {"examples": args.examples, "model": args.model}
    for side, runs in found.items():
        said[side] = {name: statistics.median(run[name] for run in runs) for name in ("cpu", "seconds", "mib")}
        print(f"{side:12} {said[side]['cpu']:7.2f} s of the processor, {said[side]['seconds']:7.2f} s, {said[side]['mib']:6.0f} MiB")
    for side in asked[1:]:
        beside = "given" if side in GIVEN and "given" in asked else asked[0]
        if side == beside:
            continue
        ratio = said[side]["cpu"] / said[beside]["cpu"]
        alike = {name: agreement(found[beside][0]["scores"][name], found[side][0]["scores"][name]) for name in ("chain", "stacks")}
        said[side] |= {"ratio": ratio, "agreement": alike}
        whose = "strop's, given the curvature too" if beside == "given" else f"{beside}'s"
        print(f"{side} took {ratio:.2f} times {whose}; rank agreement {', '.join(f'{k} {v:.4f}' for k, v in alike.items())}")
    if args.json:
        args.json.write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
