"""What a method is, and how two differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop import own
from strop.cli import answer, table
from strop.commands import recipes

if TYPE_CHECKING:
    from strop.method import Method
    from strop.program import Program

WHAT = "a method's name, FILE.py or FILE.py:NAME, a recipe file, a run's directory, a saved method (.json), or a sum (\"gspo + my.py\")"


class explain:
    """Print what a method computes, from reward to update: the formula with every constant and every denominator.

    strop explain grpo
    strop explain "gspo + dapo.only(gate)"     GSPO with one of DAPO's ideas
    strop explain recipe.toml                  the recipe's method, with the recipe's numbers
    strop explain runs/chain-grpo-1            what that run trained with
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("method", metavar="METHOD", help=WHAT)

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from strop.identity import explain as formula
        from strop.program import Program
        from strop.sense import remarks

        one = subject(args.method)
        text = formula(one, own=not drawn_by_others(Path(args.method)))
        value: dict[str, Any] = {
            "asked": args.method,
            "fingerprint": one.fingerprint,
            "formula": text,
            "remarks": [] if isinstance(one, Program) else remarks(one),
            **one.to_json(),
        }
        answer(args, value, f"{heading(args.method, one)}\n\n{text}")
        return 0


class diff:
    """Print how two methods differ: seams and constants side by side, and the lines of their formulas.

    strop diff grpo dapo
    strop diff grpo@trl runs/chain-grpo-1
    """

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("a", metavar="A", help=WHAT)
        parser.add_argument("b", metavar="B", help="the same")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from strop.identity import differences

        a, b = subject(args.a), subject(args.b)
        found = differences(a, b)
        value: dict[str, Any] = {
            "a": {"asked": args.a, "name": a.name, "fingerprint": a.fingerprint},
            "b": {"asked": args.b, "name": b.name, "fingerprint": b.fingerprint},
            "same": found.same,
            "seams": [{"seam": seam, "a": mine, "b": theirs} for seam, mine, theirs in found.seams],
            "lines": list(found.lines),
        }
        if found.same:
            answer(args, value, f"{args.a} and {args.b} compute the same: fingerprint {a.fingerprint}")
            return 0
        sides = [f"{said} ({one.fingerprint})" for said, one in ((args.a, a), (args.b, b))]
        seams = [table(found.seams, ["seam", *sides]), ""] if found.seams else [f"- {sides[0]}", f"+ {sides[1]}", ""]
        answer(args, value, "\n".join([*seams, "the formulas", *(f"  {line}" for line in found.lines)]))
        return 0


def heading(asked: str, one: Method | Program) -> str:
    """Who it is: its name, what it is an alias of, its fingerprint and paper, and what it takes from whom."""
    from strop.methods import ALIASES
    from strop.program import Program

    lines = [f"{asked} is {one.name}"] if asked in ALIASES else []
    paper = f"   arXiv:{one.paper}" if one.paper else ""
    lines.append(f"{one.name}   fingerprint {one.fingerprint}{paper}")
    if isinstance(one, Program):
        lines.append(f"a program of {len(one.plan)} stages")
    elif one.parent is not None:
        lines.append(f"from {one.parent.name}; its idea: {', '.join(one.idea) or 'none of its own'}")
    return "\n".join(lines)


def subject(said: str) -> Method | Program:
    """The method or program that a name, a place, a sum, a recipe file, a run's directory or a saved method stands for.

    Of a recipe or a run it has the recipe's numbers.
    """
    if (file := Path(said)).suffix == ".py" and file.is_file() and hasattr(own.loaded(file), "RECIPE"):
        return recipes.of_recipe(recipes.load_python(file))
    return recipes.named(said)


def drawn_by_others(place: Path) -> bool:
    """Is this a run that learned from rollouts which others than its own weights and arithmetic drew?"""
    from strop.directory import drew_itself, read_about

    return (place / "recipe.json").is_file() and not drew_itself(read_about(place))
