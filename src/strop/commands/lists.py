"""What there is: methods, task sources, runs."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from strop import shape
from strop.cli import Usage, answer, say, table
from strop.commands import recipes
from strop.tripwires.siblings import twins


class methods:
    """List the methods, or show one: what it says of itself, and its parts. `strop explain NAME` prints its formula.

    strop methods
    strop methods grpo
    strop methods my.py                     those that a file defines; one of them is my.py:NAME
    strop methods --baseline learned
    strop methods --page > docs/methods.md
    strop methods --survey > docs/survey.md
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="show this method; of FILE.py, those that it defines")
        parser.add_argument("--baseline", choices=("group", "learned", "none"), help="only methods that compare a rollout with this")
        parser.add_argument("--page", action="store_true", help="everything, as a page of Markdown")
        parser.add_argument("--survey", action="store_true", help="what surveys of the field ask for, and what fills it here, as Markdown")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from strop import own
        from strop.methods import ALIASES, METHODS, PROGRAMS, all_of_file

        if args.survey:
            return _survey(args)
        named, where = [*METHODS, *PROGRAMS], own.place(args.name or "")
        if where is not None and not where.name:
            named = [*all_of_file(where.near(None).file)]
            if not named:
                raise Usage(f"{where.file} defines no method: a value `GRPO.but(…)` at its top level (docs/add-a-method.md)")
        elif args.name:
            one = recipes.named(args.name)
            said = about(args.name)
            value = {"name": one.name, "fingerprint": one.fingerprint, "paper": one.paper, "about": said, "parts": one.describe()}
            known_as = f"{args.name} is {one.name}" if args.name in ALIASES else one.name
            answer(args, value, f"{known_as} ({one.fingerprint})\n\n{said}\n\n{json.dumps(one.describe(), indent=2)}")
            return 0
        rows = [_method_row(name) for name in named]
        rows = [row for row in rows if args.baseline in (None, row["baseline"])]
        answer(
            args, {"methods": rows, "aliases": {} if args.name else ALIASES}, page() if args.page else _method_table(rows, not args.name)
        )
        return 0


def _survey(args: argparse.Namespace) -> int:
    from strop import survey

    if args.name or args.page or args.baseline:
        raise Usage("--survey is a page of its own: strop methods --survey > docs/survey.md")
    every = [
        {"paper": paper, "section": section.name, "cell": cell.name, "fills": list(cell.fills), "note": cell.note}
        for paper in survey.SURVEYS
        for section, cell in survey.cells(paper)
    ]
    answer(args, {"cells": every, "empty": sum(not cell["fills"] for cell in every)}, survey.page())
    return 0


def about(name: str) -> str:
    """What the file of a method says; a sum has none."""
    from strop import own
    from strop.methods import METHODS, PROGRAMS, target

    recipes.named(name)
    if (where := own.place(name)) is not None and " + " not in name:
        return (own.loaded(where.file).__doc__ or "").strip()
    stands = {**METHODS, **PROGRAMS}.get(target(name), "").partition(":")[0]
    return (sys.modules[stands].__doc__ or "").strip() if stands else ""


def _method_row(name: str) -> dict[str, Any]:
    from strop.claims import claims_of
    from strop.claims.record import verdict_of
    from strop.identity import seams_that_differ
    from strop.program import Program

    claims = claims_of(name)
    one, first = recipes.named(name), about(name).partition("\n")[0]
    if isinstance(one, Program):
        stages = [f"{stage.name} ({stage.method.name})" for stage in one.plan]
        said: dict[str, Any] = {"baseline": "—", "heads": [], "parent": None, "idea": [], "differs": [f"stages: {', '.join(stages)}"]}
    else:
        grouped = any("group" in link.needs for link in one.credit)
        said = {
            "baseline": "learned" if one.needs("old_value_T") else "group" if grouped else "none",
            "heads": [head.name for head in one.heads],
            "parent": one.parent.name if one.parent else None,
            "idea": list(one.idea),
            "differs": seams_that_differ(one),
        }
    return {
        "name": name,
        "paper": one.paper,
        "about": first.partition(": ")[2] or first,
        "fingerprint": one.fingerprint,
        **said,
        "claim": claims,
        "verdict": [verdict_of(claim) for claim in claims],
    }


def _method_table(rows: list[dict[str, Any]], aliases: bool = True) -> str:
    from strop.methods import ALIASES

    cells = [
        [
            r["name"],
            r["parent"] or "—",
            ", ".join(r["differs"]) or "—",
            r["baseline"],
            r["paper"] or "—",
            ", ".join(r["claim"]) or "—",
            ", ".join(r["verdict"]) or "—",
        ]
        for r in rows
    ]
    text = table(cells, ["method", "parent", "differs in", "baseline", "paper", "claim", "verdict"])
    if not aliases:
        return text
    return text + "\n\nother names:\n" + "\n".join(f"  {alias} is {name}" for alias, name in ALIASES.items())


PAGE = """# Methods

This page is what `strop methods --page` prints. A method is the difference from its parent: its idea is what its paper is about, and each
stands at the top of a file in `src/strop/methods/`. `strop diff A B` prints how two differ.

```
{table}
```

## The language of the formulas

{language}

```
{glossary}
```

{methods}
"""


def page() -> str:
    """The table, the language, and the formula of every method."""
    from strop.commands.identity import heading
    from strop.identity import explain
    from strop.methods import METHODS, PROGRAMS, named
    from strop.seams import formula

    language = "\n".join((formula.__doc__ or "").strip().splitlines()[2:]).strip()
    names = [*METHODS, *PROGRAMS]
    shown = [f"## {name}\n\n{about(name)}\n\n```\n{heading(name, named(name))}\n\n{explain(named(name))}\n```\n" for name in names]
    rows = [_method_row(name) for name in names]
    return PAGE.format(table=_method_table(rows), language=language, glossary=formula.glossary(), methods="\n".join(shown)).rstrip()


class tasks:
    """List the task sources, or show examples of one with their right answers.

    strop tasks
    strop tasks chain:steps=5 --count 2
    strop tasks chain --show 2               as pico sees it (--model, --chat, --shots), with grades of a right and a wrong reply
    strop tasks riddles.py                   the source that a file defines; FILE.py:NAME where it defines several
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="show examples of this source; knobs follow a colon: chain:steps=5")
        parser.add_argument("--count", type=int, default=3, metavar="N", help="examples [3]")
        parser.add_argument("--seed", type=int, default=0, metavar="N")
        parser.add_argument("--split", choices=("train", "test"), default="train")
        parser.add_argument("--show", type=int, metavar="N", help="so many as the model sees them, with grades of gold and wrong")
        recipes.add_flags(parser, "how --show writes prompts", only=("model", "system", "template", "chat", "shots"))

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from strop.tasks import ADAPTERS, DEFAULT_TASK, SOURCES, source

        if args.name is None:
            rows = [_source_row(name, name == DEFAULT_TASK) for name in SOURCES]
            text = table([[r["name"], r["knobs"], r["about"]] for r in rows], ["task", "knobs", "about"])
            text += "\n\nover other people's data:\n" + "\n".join(f"  {how}" for how in ADAPTERS.values())
            answer(args, {"tasks": rows, "adapters": dict(ADAPTERS), "default": DEFAULT_TASK}, text)
            return 0
        if args.count < 1 or (args.show is not None and args.show < 1):
            raise Usage("--count and --show are at least 1")
        made = source(args.name)
        if args.show is not None:
            shown = _seen(made, args)
            said = [
                f"{e['seen']!r}\n-- gold: {_told(e['gold'], e['scores'])}\n-- wrong: {_told(e['wrong'], e['wrong_scores'])}" for e in shown
            ]
            answer(args, {"name": args.name, "split": args.split, "size": made.size, "examples": shown}, "\n\n".join(said))
            return 0
        count = args.count if made.size is None else min(args.count, made.size)
        shown = [_example(made, args.split, args.seed, i) for i in range(count)]
        text = "\n\n".join(
            "\n".join((e["prompt"], *e["episode"])) if "episode" in e else f"{e['prompt']}\n-- gold (scores {e['scores']})\n{e['gold']}"
            for e in shown
        )
        answer(args, {"name": args.name, "split": args.split, "size": made.size, "examples": shown}, text)
        return 0


def _seen(source: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Examples as the model sees them, and what a right and a wrong reply score."""
    from strop.commands.recipes import given, settled
    from strop.policies.causal import renderer
    from strop.recipe import Recipe
    from strop.seams.source import drawn, grade_of
    from strop.tasks.shots import show

    recipe = settled(Recipe(), given(args))
    reads = renderer(recipe)
    show(reads, source, recipe.shots)
    count = args.show if source.size is None else min(args.show, source.size)
    tasks = [drawn(source, args.split, args.seed, i) for i in range(count + 1)]
    examples: list[dict[str, Any]] = []
    for task, other in pairwise(tasks):
        gold, theirs = source.gold(task), source.gold(other)
        wrong = theirs if theirs is not None and theirs != gold else "I do not know."
        graded, bad = None if gold is None else grade_of(source.grade(task, gold)), grade_of(source.grade(task, wrong))
        said = {"prompt": task.prompt, "seen": reads.tokenizer.decode(reads.prompt(task.prompt)), "gold": gold, "id": task.id}
        said |= {"scores": None if graded is None else dict(graded), "wrong": wrong, "wrong_scores": dict(bad)}
        examples.append({**said, "wrong_reason": getattr(bad, "reason", "")})
    return examples


def _told(reply: str | None, scores: dict[str, Any] | None) -> str:
    if reply is None:
        return "none is written"
    return f"{reply!r} scores {', '.join(f'{name} {value:g}' for name, value in (scores or {}).items() if value is not None)}"


def _source_row(name: str, default: bool) -> dict[str, Any]:
    from strop.tasks import maker

    make: Any = maker(name)
    knobs = ",".join(f"{k}={f.default}" for k, f in make.__dataclass_fields__.items() if f.init)
    about = (sys.modules[make.__module__].__doc__ or "").strip().splitlines()[0].partition(": ")[2]
    return {"name": name, "knobs": knobs, "about": about + (" (default)" if default else "")}


def _example(source: Any, split: str, seed: int, index: int) -> dict[str, Any]:
    from strop.seams.source import drawn, grade_of
    from strop.tasks.conversations import Conversations

    task = drawn(source, split, seed, index)
    gold = source.gold(task)
    if isinstance(source, Conversations):
        from strop.seams.episode import spoken
        from strop.worlds.calls import Hermes

        said = [f"-- said\n{spoken(turn, Hermes().written)}" for turn in source.episode(task)]
        heard = [f"-- heard\n{text}" for text in task.needs["heard"]]
        told = [one for pair in zip_longest(said, heard) for one in pair if one is not None]
        return {"prompt": task.prompt, "gold": gold, "id": task.id, "episode": told}
    return {
        "prompt": task.prompt,
        "gold": gold,
        "id": task.id,
        "scores": None if gold is None else dict(grade_of(source.grade(task, gold))),
    }


class tripwires:
    """List the tripwires: level, limit, what the limit counts, and what must hold for it to be on.

    strop tripwires
    strop tripwires grader
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="show this one: what it usually means and what to do")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from strop.tripwires import BY_NAME, TRIPWIRES, limits

        if args.name:
            limits(f"{args.name}=off")  # an unknown name is refused here
        shown = [BY_NAME[args.name]] if args.name else TRIPWIRES
        names = ("name", "level", "when", "limit", "counts", "needs", "means", "do")
        value = {"tripwires": [{name: getattr(t, name) for name in names} for t in shown]}
        if args.name:
            text = "\n".join(f"{name:6} {getattr(shown[0], name) or '-'}" for name in names if name != "needs")
            text += f"\nneeds  {', '.join(shown[0].needs) or '-'}"
        else:
            rows = [[t.name, t.level, f"{t.limit:g}", t.counts, ", ".join(t.needs)] for t in shown]
            text = table(rows, ["tripwire", "level", "limit", "counts", "needs"])
        answer(args, value, text)
        return 0


class runs:
    """List the runs of a directory: how far each got, and its held-out pass@1 before and after.

    strop runs
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", nargs="?", default="runs", metavar="DIR", help="where they are [runs]")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        root = Path(args.directory)
        if args.directory != "runs" and not root.is_dir():
            raise Usage(f"no directory {args.directory!r}")
        here = [*root.glob("recipe.json"), *root.glob("program.json")]
        places = [root] if here else sorted(p.parent for kind in ("recipe", "program") for p in root.glob(f"*/{kind}.json"))
        rows = [row for place in places if (row := _run_row(place))]
        head = ["run", "method", "task", "model", "steps", "before", "after", "seconds"]
        text = table([[r[h] for h in head] for r in rows], head) if rows else f"no runs in {root}. `strop train` makes one."
        text += "".join(f"\nwarning: dead-seed: {r['run']} is, number by number, {' and '.join(r['twins'])}" for r in rows if r["twins"])
        answer(args, {"runs": rows}, text)
        return 0


def _run_row(place: Path) -> dict[str, Any] | None:
    """From the files alone: no heavy import."""
    program = (place / "program.json").exists()
    try:
        about = shape.read(place / ("program.json" if program else "recipe.json"), shape.WHOLE if program else shape.ABOUT)
        result = shape.read(place / "result.json", shape.RESULT) if (place / "result.json").exists() else {}
        recipe, resolved = about["recipe"], about["resolved"]
        steps, model, method = recipe["steps"], recipe["model"], resolved["method"]
    except (OSError, ValueError, KeyError) as error:
        say(f"note: {error}; this one is left out")
        return None
    done = sum(metrics.read_bytes().count(b"\n") for metrics in place.glob("*/metrics.jsonl" if program else "metrics.jsonl"))
    sides = {when: (result.get(when) or {}).get("pass@1") for when in ("before", "after")}
    return {
        "run": str(place),
        "method": method,
        "task": resolved["task"],
        "model": model,
        "steps": str(done) if program else f"{done}/{steps}",
        **sides,
        "seconds": result.get("seconds"),
        "twins": [] if program else twins(place),
        "fingerprint": about["fingerprint"]["program" if program else "method"],
        "resume": None if (bool(result) if program else done >= steps) else f"strop train --resume {place}",
    }
