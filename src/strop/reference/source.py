"""What a module says of itself: its classes with their members, its functions and values. Read from its text, so nothing is imported."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Member:
    """A field, property or method of a class, or a function of a module."""

    name: str
    written: str
    """A field with its type and default; a function as it is called, with the types of what it takes and gives."""
    says: str
    """What its author says of it, in one paragraph; empty where nothing is said."""
    called: bool
    """A function, not a value."""


@cache
def tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def prose(place: str) -> str:
    """What stands at the top of a module, or of a class of it: `module` or `module:Class`."""
    module, _, name = place.partition(":")
    return ast.get_docstring(_class(module, name) if name else tree(module)) or ""


def first(text: str) -> str:
    """Its first sentence."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?])(?<!\bDr\.) (?=[A-Z`])", paragraph)[0]


def members(place: str) -> tuple[Member, ...]:
    """Of a class, in the order of its file; what begins with an underscore is its own matter, but for being called."""
    module, _, name = place.partition(":")
    return tuple(_members(_class(module, name).body))


def functions(module: str, names: tuple[str, ...] = ()) -> tuple[Member, ...]:
    """Functions of a module that are no parts: those that are named, or all."""
    found = (m for m in _members(tree(module).body) if m.called)
    return tuple(m for m in found if (m.name in names if names else True))


def values(module: str, *names: str) -> tuple[Member, ...]:
    """Values of a module that its author says something of."""
    return tuple(m for m in _members(tree(module).body) if m.name in names)


def _class(module: str, name: str) -> ast.ClassDef:
    return next(node for node in tree(module).body if isinstance(node, ast.ClassDef) and node.name == name)


def _members(body: list[ast.stmt]) -> Iterator[Member]:
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if (node.name.startswith("_") and node.name != "__call__") or _is_part(node):
                continue
            is_property = any(isinstance(d, ast.Name) and d.id in ("property", "cached_property") for d in node.decorator_list)
            yield Member(node.name, _called(node, is_property), _paragraph(ast.get_docstring(node)), not is_property)
        elif isinstance(node, ast.AnnAssign | ast.Assign) and (named := _assigned(node)) is not None and not named[0].startswith("_"):
            yield Member(*named, _paragraph(_said(after)), called=False)


def _called(node: ast.FunctionDef | ast.AsyncFunctionDef, is_property: bool) -> str:
    gives = "" if node.returns is None else f" -> {_type(node.returns)}"
    if is_property:
        return f"{node.name}: {gives.removeprefix(' -> ')}"
    taken = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    return f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}{node.name}({taken}){gives}"


def _assigned(node: ast.AnnAssign | ast.Assign) -> tuple[str, str] | None:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    if not isinstance(target, ast.Name):
        return None
    if isinstance(node, ast.Assign):
        return target.id, f"{target.id} = {ast.unparse(node.value)}"
    default = "" if node.value is None else f" = {_default(node.value)}"
    return target.id, f"{target.id}: {_type(node.annotation)}{default}"


def _type(node: ast.expr) -> str:
    return ast.unparse(node).strip("'\"")


def _default(node: ast.expr) -> str:
    """As a reader would write it: `added(x)` is x, `field(default_factory=dict[…])` an empty one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "added":
            return ast.unparse(node.args[0])
        if node.func.id == "field":
            given = {k.arg: k.value for k in node.keywords}
            if "default" in given:
                return ast.unparse(given["default"])
            make = given["default_factory"]
            return (
                ast.unparse(make.body)
                if isinstance(make, ast.Lambda)
                else "{}"
                if "dict" in ast.unparse(make)
                else f"{ast.unparse(make)}()"
            )
    return ast.unparse(node)


def _is_part(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "part" for d in node.decorator_list)


def _said(node: ast.stmt | None) -> str | None:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return inspect.cleandoc(node.value.value) if is_text else None  # type: ignore[union-attr]


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())
