"""Recipes from the command line: the fields of `Recipe` as flags, and files in JSON, TOML or Python.

The fields are read from the source of `strop/recipe.py`, without importing it, so that help stays quick.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from strop import own
from strop.cli import Usage
from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.method import Method
    from strop.program import Program
    from strop.recipe import Recipe


@dataclass(frozen=True)
class Knob:
    """One field of `Recipe`: what a flag and its help need."""

    name: str
    kind: type
    optional: bool
    default: Any
    doc: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any, where: str) -> Any:
        """A value from a file: of this field's type, or refused with the field's name."""
        if value is None and self.optional:
            return None
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise Usage(f"{where}: {self.name} has {len(str(abs(value)))} digits, which is no number of anything. {self.doc}".rstrip())
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, bool) != (self.kind is bool) or not isinstance(value, self.kind):
            raise Usage(f"{where}: {self.name} is {WORDS[self.kind]}, got {value!r}. {self.doc}".rstrip())
        return value


WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def knobs() -> dict[str, Knob]:
    tree = ast.parse((Path(__file__).parent.parent / "recipe.py").read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Recipe").body
    found: dict[str, Knob] = {}
    for here, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name) or here.value is None:
            continue
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        types = ast.unparse(here.annotation).split(" | ")
        kind = next(k for k in (bool, str, int, float) if k.__name__ in types)
        default = here.value.args[0] if isinstance(here.value, ast.Call) else here.value  # added(default)
        found[here.target.id] = Knob(here.target.id, kind, "None" in types, ast.literal_eval(default), " ".join(str(said).split()))
    return found


def add_flags(
    parser: argparse.ArgumentParser, title: str = "recipe (each flag overrides the file's value)", only: Collection[str] = ()
) -> None:
    group = parser.add_argument_group(title)
    for knob in (knob for knob in knobs().values() if not only or knob.name in only):
        default = f" [{knob.default}]" if knob.default not in (None, "") else ""
        text = (knob.doc or HELP.get(knob.name, "")).replace("%", "%%") + default
        if knob.kind is bool:
            group.add_argument(knob.flag, action=argparse.BooleanOptionalAction, default=None, help=text, dest="recipe_" + knob.name)
            continue
        metavar = {int: "N", float: "X", str: "NAME"}[knob.kind]
        action = "append" if knob.name in LISTS else "store"
        group.add_argument(knob.flag, type=knob.kind, default=None, metavar=metavar, help=text, dest="recipe_" + knob.name, action=action)


HELP = {"checkpoint_every": "Steps between two checkpoints.", "seed": "Keys the tasks drawn and the noise of sampling."}


LISTS = ("tripwire", "template", "peer", "listen")
"""Flags that may come several times: their values are joined."""

FILES = ("data", "eval_data")

QUESTIONS = (*FILES, "grader", "prompt_field", "answer_field", "instruct", "longest_prompt", "system", "template", "chat", "shots")
"""What is asked, and how it is written: what an evaluation may have to be told too."""


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe flags that were set."""
    found = {name: value for name in knobs() if (value := getattr(args, "recipe_" + name, None)) is not None}
    return {name: ",".join(value) if name in LISTS else value for name, value in found.items()}


def build(args: argparse.Namespace) -> tuple[Recipe, dict[str, Any]]:
    """The recipe, and the source of the user's own that it draws from."""
    from strop.recipe import Recipe

    file = Path(args.recipe) if args.recipe else None
    if file is None:
        recipe = settled(Recipe(), given(args))
    elif not file.is_file():
        raise Usage(f"no recipe file {str(file)!r}. A recipe is a .json, .toml or .py file; without one the default recipe runs.")
    elif file.suffix == ".py":
        recipe = settled(load_python(file), given(args))
    else:
        recipe = settled(settled(Recipe(), read_data(file), file.resolve().parent), given(args))
    recipe = recipe.paced()
    if recipe.sandbox and not any(hasattr(each.resolved().environment, "within") for each in recipe.each()):
        raise Usage(f"sandbox={recipe.sandbox!r}: the world of this method executes no code, so nothing is walled in. Leave it out.")
    return recipe, sourced(recipe)


def sourced(recipe: Recipe) -> dict[str, Any]:
    """The source of the user's own that a recipe names."""
    from strop.tasks import place_of, source

    return {"source": source(recipe.task)} if recipe.task and place_of(recipe.task) is not None else {}


def method(text: str, beside: Path | None = None) -> Method:
    """What a text names: one of strop's, FILE.py, FILE.py:NAME, a run's directory, a saved method (.json), or a sum of them."""
    from strop import methods

    return methods.method(text, beside=beside, elsewhere=_saved)


def named(text: str, beside: Path | None = None) -> Method | Program:
    """The same, or a program of stages."""
    from strop import methods

    if len(text) > LONGEST:
        raise Usage(f"{text[:40]!r}… has {len(text):,} letters, which is no name of a method, a file or a run")
    return methods.named(text, beside=beside, elsewhere=_saved)


def _saved(text: str) -> Method | Program | None:
    """The method or program that a run trained with, or that a file of `to_json` holds."""
    from strop import saved

    place = Path(text).expanduser()
    if (place / "recipe.json").is_file() or (place / "program.json").is_file():
        return saved.method_of(place)
    if place.is_dir():
        raise Usage(f"{text} is a directory, but holds no run (no recipe.json). `strop runs` lists the runs there are.")
    if place.suffix == ".json" and place.is_file():
        try:
            data = json.loads(place.read_text())
        except (ValueError, RecursionError) as error:
            raise Usage(f"{place} cannot be read as JSON: {error}") from error
        if isinstance(data, dict) and "parts" in data:
            return saved.load(cast(dict[str, Any], data))
        if isinstance(data, dict) and "stages" in data:
            return saved.program(cast(dict[str, Any], data))
        return of_recipe(settled(_default(), read_data(place), place.resolve().parent))
    if place.suffix == ".toml" and place.is_file():
        return of_recipe(settled(_default(), read_data(place), place.resolve().parent))
    if place.suffix in (".toml", ".json") or text.count("/"):
        raise Usage(f"no method {text!r}: there is no such file or run")
    return None


LONGEST = 2000
"""Letters of what names a method, a sum of many among them."""


def of_recipe(recipe: Recipe) -> Method | Program:
    """The method that a recipe trains, with its numbers; or its program."""
    return recipe.program or recipe.paced().resolved()


def _default() -> Recipe:
    from strop.recipe import Recipe

    return Recipe()


def listed(text: str) -> list[str]:
    """Names with commas between them; a comma inside brackets belongs to its name."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip()]


def settled(recipe: Recipe, changes: Mapping[str, Any], beside: Path | None = None) -> Recipe:
    """With the changes, model directory and files by their full paths (a run is resumed from anywhere), and every name looked up: a
    method that is not strop's own becomes the method itself. `beside`: the folder of the recipe file, where its files are looked for."""
    from strop.methods import known
    from strop.policies.chat import opened
    from strop.tasks import place_of

    if "chat" in changes:
        changes = {**changes, "chat": opened(changes["chat"])}
    recipe = recipe.but(**changes)
    if isinstance(recipe.method, str) and not known(recipe.method):
        recipe = replace(recipe, method=named(recipe.method, beside))
    if (where := place_of(recipe.task)) is not None:
        recipe = replace(recipe, task=str(where.near(beside)))
    if recipe.model != "pico" and Path(recipe.model).exists():
        recipe = replace(recipe, model=str(Path(recipe.model).resolve()))
    recipe = replace(recipe, **{name: str(Path(file).expanduser().resolve()) for name in FILES if (file := getattr(recipe, name))})
    check_device(recipe.device)
    for one in recipe.each():
        one.resolved()
    return recipe


def check_device(name: str) -> None:
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise Usage(f"device={name!r}: cpu, cuda, or auto")


def read_data(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text()) if file.suffix == ".toml" else json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise Usage(f"{file} cannot be read as {'TOML' if file.suffix == '.toml' else 'JSON'}: {error}") from error
    if not isinstance(data, dict):
        raise Usage(f"{file}: a recipe is an object of fields, got {type(data).__name__}")
    known = knobs()
    for name in data:
        if name not in known:
            raise Usage(f"{file}: a recipe has no field {name!r}. {nearest(name, known)}")
    return {name: known[name].check(value, str(file)) for name, value in data.items()}


def load_python(file: Path) -> Recipe:
    """RECIPE of a Python file; SOURCE, where it defines one, is its task."""
    from strop import methods
    from strop.recipe import Recipe

    recipe = getattr(own.loaded(file), "RECIPE", None)
    if not isinstance(recipe, Recipe):
        offered = " or ".join(f"strop train --method {place}" for place in methods.all_of_file(file))
        said = f"To train what it defines on the default task: {offered}. " if offered else ""
        raise Usage(f"{file} defines no RECIPE. {said}Add `from strop.recipe import Recipe` and `RECIPE = Recipe(…)`.")
    if not isinstance(recipe.method, str):
        methods.of_file(own.Place(file))  # a name of strop's for another method is refused
    if getattr(own.loaded(file), "SOURCE", None) is not None:
        recipe = replace(recipe, task=f"{file.resolve()}:SOURCE")
    return settled(recipe, {}, file.resolve().parent)
