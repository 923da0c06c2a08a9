"""Recipes from the command line: the fields of `Recipe` as flags, and files in JSON, TOML or Python.

The fields are read from the source of `strop/recipe.py`, without importing it, so that help stays quick.
"""

from __future__ import annotations

import argparse
import ast
import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage
from strop.own import MODULE, imported
from strop.seams.part import nearest

if TYPE_CHECKING:
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


def build(args: argparse.Namespace) -> tuple[Recipe, Path | None, dict[str, Any]]:
    """(recipe, the Python file it came from, the parts that file brings)."""
    from strop.recipe import Recipe

    file = Path(args.recipe) if args.recipe else None
    if file is None:
        return settled(Recipe(), given(args)), None, {}
    if not file.is_file():
        raise Usage(f"no recipe file {str(file)!r}. A recipe is a .json, .toml or .py file; without one the default recipe runs.")
    if file.suffix == ".py":
        recipe, parts = load_python(file)
        return settled(recipe, given(args)), file, parts
    return settled(Recipe(), read_data(file) | given(args)), None, {}


def settled(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """With the changes, model directory and files by their full paths (a run is resumed from anywhere), and every name looked up."""
    from strop.policies.chat import opened

    if "chat" in changes:
        changes = {**changes, "chat": opened(changes["chat"])}
    recipe = recipe.but(**changes)
    if recipe.model != "pico" and Path(recipe.model).exists():
        recipe = replace(recipe, model=str(Path(recipe.model).resolve()))
    recipe = replace(recipe, **{name: str(Path(file).expanduser().resolve()) for name in FILES if (file := getattr(recipe, name))})
    check_device(recipe.device)
    recipe.resolved()
    return recipe


def check_device(name: str) -> None:
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise Usage(f"device={name!r}: cpu, cuda, or auto")


def read_data(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text()) if file.suffix == ".toml" else json.loads(file.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read as {'TOML' if file.suffix == '.toml' else 'JSON'}: {error}") from error
    if not isinstance(data, dict):
        raise Usage(f"{file}: a recipe is an object of fields, got {type(data).__name__}")
    known = knobs()
    for name in data:
        if name not in known:
            raise Usage(f"{file}: a recipe has no field {name!r}. {nearest(name, known)}")
    return {name: known[name].check(value, str(file)) for name, value in data.items()}


def load_python(file: Path) -> tuple[Recipe, dict[str, Any]]:
    """RECIPE of a Python file; SOURCE, where it defines one, replaces the named task. A method of its own is registered."""
    from strop.methods import METHODS, target
    from strop.recipe import Recipe

    module = imported(file)
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise Usage(f"{file} defines no RECIPE. Add `from strop.recipe import Recipe` and `RECIPE = Recipe(…)`.")
    if not isinstance(recipe.method, str):
        own = recipe.method
        from strop.methods import method as named

        if target(own.name) in METHODS and METHODS[target(own.name)] != f"{MODULE}:RECIPE_METHOD":
            if named(own.name).fingerprint != own.fingerprint:
                raise Usage(f"{file}: its method differs from strop's {own.name!r}; give it a name of its own: `.but('my-{own.name}', …)`")
        else:
            module.RECIPE_METHOD = own  # type: ignore[attr-defined]
            METHODS[own.name] = f"{MODULE}:RECIPE_METHOD"
    source = getattr(module, "SOURCE", None)
    return recipe, {} if source is None else {"source": source}


def parts_of(file: Path) -> list[Any]:
    """The parts and records that a Python recipe defines."""
    from dataclasses import is_dataclass

    from strop.seams.part import Part

    module = imported(file)
    return [v for v in vars(module).values() if getattr(v, "__module__", "") == MODULE and (isinstance(v, Part) or is_dataclass(v))]


def brought_by(directory: Path) -> dict[str, Any]:
    """What the Python recipe that a run was made from brings; it stands in the run's directory."""
    file = directory / "recipe.py"
    return load_python(file)[1] if file.exists() else {}
