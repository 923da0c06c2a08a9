"""How likely the right answer is after each beginning of a reply: what thinking does for it, and how early it tells right from wrong.

Behind each beginning stand words in the policy's mouth (--opens) and the answer that the source knows, whose log-probability is asked for.
A beginning that holds the right answer already, or the one that the reply gives, is no forecast of its verdict.

Examples:
    strop lab probe pico --task chain
    strop lab probe runs/grpo-chain-1 --tasks 100 --samples 8 --picture probe.png
    strop lab probe MODEL --data questions.jsonl --opens "</think>\\n\\n**Final Answer**\\n\\\\boxed{" --every 16
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strop.cli import Usage, answer, say, table
from strop.commands import recipes
from strop.records import Group, Scores

SHORTEST = 2
"""Characters of thinking below which there is nothing to probe."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL_OR_RUN", help="as `strop eval` takes it: pico, a directory, a hub id, a run")
    parser.add_argument("--task", metavar="NAME", help="a source from `strop tasks`, FILE.py or FILE.py:NAME [the run's, or the default]")
    parser.add_argument("--tasks", type=int, default=50, metavar="N", help="held-out questions [50]")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="replies to each [4]")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="longest reply [128]")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="of the replies [1]")
    parser.add_argument("--opens", default="</think><answer>", metavar="TEXT", help="what stands before the answer [</think><answer>]")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="a beginning every so many tokens [1]")
    parser.add_argument("--places", type=int, default=10, metavar="N", help="shares of thinking that are printed [10]")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="keys the noise of sampling; the questions are always the same [0]"
    )
    parser.add_argument("--slots", type=int, default=256, metavar="N", help="rows decoded at once [256]")
    parser.add_argument("--cache", type=int, default=262144, metavar="N", help="positions kept for prompts [262144]")
    parser.add_argument("--engine", default="embedded", metavar="NAME", help="embedded, or vllm (as in a recipe) [embedded]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it as PNG, SVG or PDF")
    recipes.add_flags(parser, "questions and prompts [the run's]", only=recipes.QUESTIONS)


def run(args: argparse.Namespace) -> int:
    from strop.commands.eval import asked, find

    for name in ("tasks", "samples", "max_tokens", "every", "places", "slots", "cache"):
        if getattr(args, name) < 1:
            raise Usage(f"--{name.replace('_', '-')} is at least 1, got {getattr(args, name)}")
    if not 0 < args.temperature < float("inf"):
        raise Usage(f"--temperature is above 0, got {args.temperature:g}: greedy, all replies to a question would be one")
    if args.engine.partition(":")[0] == "remote":
        raise Usage("a remote endpoint tells no log-probabilities of given text: probe a model's directory, or serve it with vllm")
    if args.picture is not None and args.picture.suffix not in (".png", ".svg", ".pdf"):
        raise Usage(f"--picture writes .png, .svg or .pdf, got {args.picture}")
    recipes.check_device(args.device)
    model, about, parts = find(args.model)
    found = measured(args, model, asked(args, about), parts)
    text = shown(found)
    if args.picture is not None:
        from strop.report.probe import write

        args.picture.parent.mkdir(parents=True, exist_ok=True)
        text += f"\n\npicture {write(found, args.picture)}"
    answer(args, found, text)
    return 0


def measured(args: argparse.Namespace, model: str, recipe: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    from strop.commands.eval import reached
    from strop.commands.live import Progress
    from strop.evaluate import evaluate
    from strop.lab import probe
    from strop.records import Sampling
    from strop.seams.source import answer_of
    from strop.tasks import source as named

    source = named(recipe.task_name()) if args.task or args.recipe_data or "source" not in parts else parts["source"]
    handle, _, source = reached(args, model, recipe, source, args.max_tokens)
    replies, left = list[probe.Said](), 0

    def look(groups: list[Group], scores: Scores) -> None:
        nonlocal left
        for group in groups:
            gold = source.gold(group.task)
            right = None if gold is None else answer_of(source, gold)
            if right is None:
                raise Usage(
                    f"{source.name} knows no answer to {group.task.prompt[:60]!r}, so there is none to ask for. Choose another task."
                )
            for r in group.rollouts:
                verdict, thinks = scores.get(r, "outcome"), probe.thinking(r.text) >= len("<think>") + SHORTEST
                if verdict is None or not thinks or r.stop == "length" or handle.renderer.plain(r.text) is None:
                    left += 1
                    continue
                prompt = handle.renderer.prompt(group.task.prompt)
                replies.append(probe.Said(prompt, r.text, right, verdict == 1, answer_of(source, r.text) or ""))

    with Progress("probe") as tell:
        work = evaluate(
            handle,
            source,
            args.tasks,
            samples=args.samples,
            sampling=Sampling(args.temperature),
            max_tokens=args.max_tokens,
            tell=tell,
            look=look,
        )
        asyncio.run(work)
    if not replies:
        raise Usage(f"none of {left} replies has thinking that could be probed: they are cut, empty, or their text does not come back")
    say(f"{len(replies)} replies, a question behind each beginning …")
    try:
        chains = asyncio.run(probe.probed(handle, replies, opens=args.opens, every=args.every))
    except ValueError as error:
        raise Usage(str(error)) from error
    said = {"model": model, "task": recipe.task or source.name, "opens": args.opens, "every": args.every, "left": left}
    return said | probe.summary(chains, args.places)


def shown(found: Mapping[str, Any]) -> str:
    title = f"{found['model']} on {found['task']}: {found['replies']} replies ({found['right']} right), {found['beginnings']:,} beginnings"
    title += f"; {found['left']} left out (no thinking, cut, or ungraded)" if found["left"] else ""
    places = len(found["curve"]["right"]) - 1
    rows = [[f"{place / places:.0%}", found["curve"]["right"][place], found["curve"]["wrong"][place]] for place in range(places + 1)]
    text = f"{title}\n\nmean log-probability of a token of the right answer, by share of thinking\n\n{table(rows, ['', 'right', 'wrong'])}"
    text += "\n\nAUROC for a right reply\n\n" + table(
        [
            ["the answer's likelihood, before any answer is written", found["auroc"]["forecast"]],
            ["the reply's length", found["auroc"]["length"]],
        ],
        ["", ""],
    )
    words = [[word or "any", one["count"], one["mean"], one["median"]] for word, one in found["steps"].items()]
    text += "\n\nrelative change of its negative log-probability where a word was written\n\n"
    return text + table(words, ["", "times", "mean", "median"])
