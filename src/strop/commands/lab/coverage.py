"""Which held-out questions a training set can teach at all, before anything is trained; of a run also which of them it answers.

    covered      the share of questions that exchanges of fragments, seen to act alike in k contexts or more, lead to from the examples
    questions    how many are covered at this k and at no larger one; at 0 those that are covered at none

Examples:
    strop lab coverage twohop                         a task: what its training split covers of its held-out tasks
    strop lab coverage twohop:tokens=24,train=2000 --picture coverage.png
    strop lab coverage runs/twohop-sft-1              a run: what it trained on, and of its last checkpoint who is right, by k
    strop lab coverage jsonl:questions.jsonl          questions of as many words each, or of as many characters
    strop lab coverage twohop --places 0,1            fragments at the first two places alone: the true bridge's
    strop lab coverage twohop --labels --key size     as was released: with test labels, and taking places for each other
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, say, table
from strop.fragments import KEYS, UPTO

if TYPE_CHECKING:
    from strop.lab.coverage import Finding, Pair
    from strop.recipe import Recipe
    from strop.seams.source import Source

MOST = 100_000
"""Tasks of a source without an end that are looked at to train on."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="TASK_OR_RUN", help="a source from `strop tasks`, FILE.py or FILE.py:NAME; or a run's directory")
    parser.add_argument("--train", type=int, metavar="N", help="tasks to train on [all of a source that ends; what a run trained on]")
    parser.add_argument("--asked", type=int, default=10_000, metavar="N", help="held-out tasks [10000, or all]")
    parser.add_argument("--upto", type=int, default=UPTO, metavar="K", help=f"the largest k [{UPTO}]")
    parser.add_argument("--places", action="append", default=[], metavar="I,J", help="fragments at these places alone; several times [all]")
    parser.add_argument(
        "--key", choices=KEYS, default="places", help="what tells kinds of fragments apart; size is the released slip [places]"
    )
    parser.add_argument("--labels", action="store_true", help="the true answers of what is asked take part, as was released")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the tasks of a source to train on [0]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it as PNG, SVG or PDF")


def run(args: argparse.Namespace) -> int:
    from strop.commands.eval import asked, find
    from strop.lab.coverage import study
    from strop.tasks import source as named

    for name in ("train", "asked", "upto"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise Usage(f"--{name} is at least 1, got {getattr(args, name)}")
    if args.picture is not None and args.picture.suffix not in (".png", ".svg", ".pdf"):
        raise Usage(f"--picture writes .png, .svg or .pdf, got {args.picture}")
    directory, right = Path(args.what), None
    if any((directory / said).exists() for said in ("recipe.json", "program.json")):
        model, about, parts = find(args.what)
        recipe = asked(argparse.Namespace(**vars(args), task="", recipe_data=None), about)
        source = parts["source"] if "source" in parts else named(recipe.task_name())
        train = trained(directory, source)[: args.train]
        tested, right = answered(model, recipe, source, args.asked)
    else:
        source = named(args.what)
        train, tested = split(source, "train", args.train or source.size, args.seed), split(source, "test", args.asked, 0)
    kinds = [places(text) for text in args.places]
    found = study(train, tested, upto=args.upto, kinds=kinds, key=args.key, labels=args.labels, right=right)
    said = {"what": args.what, "key": args.key, "labels": args.labels, **found.to_json()}
    text = shown(args.what, found)
    if args.picture is not None:
        from strop.report.coverage import write

        args.picture.parent.mkdir(parents=True, exist_ok=True)
        text += f"\n\npicture {write(said, args.picture)}"
    answer(args, said, text)
    return 0


def shown(what: str, found: Finding) -> str:
    """The table."""
    lines = [f"{what}: {len(found.k):,} questions asked, {found.examples:,} examples, {found.tokens} tokens", ""]
    head = ["k", "covered", "questions"] + (["right"] if found.right is not None else [])
    lines.append(table([[row[name] for name in head] for row in found.rows], head))
    if found.right is not None:
        told = found.predicts
        said = (
            "all or none are right, so nothing is told apart"
            if told is None
            else f"{told['k']:.3f} by k, {told['frequency']:.3f} by counts"
        )
        lines += ["", f"how often a question that is answered rightly ranks above one that is not: {said}"]
    return "\n".join(lines)


def places(text: str) -> tuple[int, ...]:
    said = text.split(",")
    if not all(one.strip().isdecimal() for one in said):
        raise Usage(f"--places is numbers of places from 0, with commas between: 0,1; got {text!r}")
    return tuple(sorted({int(one) for one in said}))


def split(source: Source, which: str, most: int | None, seed: int) -> list[Pair]:
    """Questions and right answers of a split."""
    from strop.evaluate import held_out_tasks
    from strop.seams.source import drawn

    if most is None:
        raise Usage(f"{source.name} never ends: say how many tasks are trained on, --train N")
    count = held_out_tasks(source, most) if which == "test" else min(most, source.size or MOST)
    return [pair(source, drawn(source, which, seed, index)) for index in range(count)]


def pair(source: Source, task: Any) -> Pair:
    from strop.tasks.procedural import strict_answer

    gold = source.gold(task)
    if gold is None:
        raise Usage(f"{source.name} writes no gold answer, so nobody knows what its examples say")
    said = strict_answer(gold)[0]
    return task.prompt, gold if said is None else said


def trained(directory: Path, source: Source) -> list[Pair]:
    """What a run was given and trained on, in the order in which it came."""
    from strop.directory import read_commit, recorded_steps, runs
    from strop.records import Task

    tasks = dict[str, Task]()
    for place in runs(directory):
        for step in range(recorded_steps(place)):
            for group in (read_commit(place, step) or {"groups": []})["groups"]:
                tasks.setdefault(group["task"]["id"], Task.from_json(group["task"]))
    return [pair(source, task) for task in tasks.values()]


def answered(model: str, recipe: Recipe, source: Source, most: int) -> tuple[list[Pair], list[bool]]:
    """Held-out questions, and whether the greedy reply to each is right."""
    from strop import engines
    from strop.commands.live import Progress
    from strop.evaluate import evaluate, held_out_tasks
    from strop.policies.causal import load
    from strop.records import Group, Sampling, Scores
    from strop.seams.context import Handle
    from strop.tasks.shots import show

    policy = load(model, chat=recipe.prompts)
    show(policy.renderer, source, recipe.shots)
    handle = Handle(engines.build(policy, recipe), policy.renderer)
    handle.engine.begin(-1)
    pairs, right = list[tuple[str, str]](), list[bool]()

    def look(groups: list[Group], scores: Scores) -> None:
        pairs.extend(pair(source, group.task) for group in groups)
        right.extend(scores.get(group.rollouts[0], "outcome") == 1 for group in groups)

    count = held_out_tasks(source, most)
    with Progress("coverage") as tell:
        say(f"{model}: {count:,} questions …")
        work = evaluate(handle, source, count, samples=1, sampling=Sampling(0.0), max_tokens=recipe.max_tokens or 32, tell=tell, look=look)
        asyncio.run(work)
    return pairs, right
