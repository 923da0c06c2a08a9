"""How well a model calls tools, by the rules of MCP-Bench (arXiv:2508.20453), on wishes in every form.

    name        calls of a tool that is there                 executed    calls that succeeded
    schema      of those the ones that keep to the schema     depends     what one call's answer gives another and was handed on
    fulfilled   of the task's own calls those that were made

An episode without a call scores 0. In brackets is the official average, which leaves it out, where it is another.

Examples:
    strop lab tools MODEL --engine remote:http://HOST:8000/v1 --calls native      any endpoint that speaks chat completions
    strop lab tools runs/servers-mcp-bench-1                                      as the run was asked
    strop lab tools MODEL --task servers:fuzzy=1.0,distractors=10                 one form alone
    strop lab tools MODEL --task database                                         another world: three of the five rules
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from strop.cli import Usage, answer, table
from strop.commands import recipes
from strop.records import Group
from strop.worlds.calls import FORMATS

TASK = "servers:forms=1"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL_OR_RUN", help="as `strop eval` takes it: pico, a directory, a hub id, a run")
    parser.add_argument("--task", metavar="NAME", default=TASK, help=f"a source whose world has tools [{TASK}]")
    parser.add_argument("--tasks", type=int, default=80, metavar="N", help="held-out wishes [80]")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="episodes a wish [1]")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="X", help="0 is greedy [0]")
    parser.add_argument("--turns", type=int, default=20, metavar="N", help="of a model: actions at most [20]")
    parser.add_argument("--observation", type=int, default=256, metavar="N", help="and tokens of an answer at most [256]")
    parser.add_argument("--calls", choices=[*FORMATS], default="hermes", help="and how it writes calls [hermes]")
    parser.add_argument("--max-tokens", type=int, default=None, metavar="N", help="longest action [the run's, or 128]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="keys the noise of sampling; the wishes are always the same [0]")
    parser.add_argument("--slots", type=int, default=256, metavar="N", help="rows decoded at once [256]")
    parser.add_argument("--cache", type=int, default=262144, metavar="N", help="positions kept for prompts [262144]")
    parser.add_argument("--engine", default="embedded", metavar="NAME", help="embedded, vllm (as in a recipe), or remote:URL [embedded]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    recipes.add_flags(parser, "questions and prompts [the run's]", only=recipes.QUESTIONS)


def run(args: argparse.Namespace) -> int:
    for name in ("tasks", "samples", "turns", "slots", "cache"):
        if getattr(args, name) < 1:
            raise Usage(f"--{name} is at least 1, got {getattr(args, name)}")
    if args.max_tokens is not None and args.max_tokens < 1:
        raise Usage(f"--max-tokens is at least 1, got {args.max_tokens}")
    if not 0 <= args.temperature < float("inf"):
        raise Usage(f"--temperature is at least 0, got {args.temperature:g}")
    recipes.check_device(args.device)
    found = measured(args)
    answer(args, found, shown(found))
    return 0


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Of each form: the five rules, both ways, how many episodes are without a call, and how many are right."""
    from strop.commands.eval import asked, find, reached
    from strop.commands.live import Progress
    from strop.evaluate import as_trained, evaluate
    from strop.lab.tools import averages, by_form, silent
    from strop.records import Sampling, Scores
    from strop.seams.episode import Episodes
    from strop.seams.world import tools_of
    from strop.tasks import source as named

    model, about, parts = find(args.model)
    recipe = asked(args, about)
    source = named(recipe.task_name())
    world = getattr(source, "world", None)
    if world is None or not tools_of(world, source.task("test", 0, 0)):
        raise Usage(f"the tasks of {source.name!r} have no world with tools: ask of servers, database, wiki or clues")
    method = parts.get("method")
    most = args.max_tokens or (getattr(method.sampler, "max_tokens", 128) if method is not None else 128)
    handle, _, source = reached(args, model, recipe, source, most)
    own = Episodes(turns=args.turns, max_tokens=most, observation=args.observation, calls=FORMATS[args.calls]())
    how = as_trained(method, source) if method is not None else {"sampler": own, "world": world}
    groups, right = list[Group](), dict[str, float]()

    def look(made: list[Group], scores: Scores) -> None:
        groups.extend(made)
        right.update({r.id: scores.get(r, "outcome") or 0.0 for group in made for r in group.rollouts})

    with Progress("tools") as tell:
        work = evaluate(
            handle,
            source,
            args.tasks,
            samples=args.samples,
            sampling=Sampling(args.temperature),
            max_tokens=most,
            tell=tell,
            look=look,
            **how,
        )
        asyncio.run(work)
    forms = {
        form: {
            "episodes": len(those),
            "silent": silent(those),
            "outcome": sum(right[rollout.id] for rollout, _ in those) / len(those),
            "scores": averages(those),
            "official": averages(those, official=True),
        }
        for form, those in by_form(groups).items()
    }
    return {"model": model, "task": recipe.task or source.name, "temperature": args.temperature, "forms": forms}


def shown(found: dict[str, Any]) -> str:
    rows = list[list[Any]]()
    for form, said in found["forms"].items():
        row: list[Any] = [form, said["episodes"], f"{said['outcome']:.3f}"]
        for name, value in said["scores"].items():
            other = said["official"].get(name)
            told, official = f"{value:.3f}", "none" if other is None else f"{other:.3f}"
            row.append(told if told == official else f"{told} ({official})")
        rows.append([*row, f"{said['silent']:.3f}"])
    head = ["", "episodes", "outcome", *found["forms"]["all"]["scores"], "without a call"]
    return f"{found['model']} on {found['task']}\n\n{table(rows, head)}"
