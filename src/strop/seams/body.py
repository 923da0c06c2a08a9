"""The body of a part, as a hash: what it computes, however it is written.

It is of the syntax tree as Python writes it back: no comments, docstrings, annotations or texts of errors; the constants' defaults
included, and with it what the body uses of its own module and every function it uses of the other seams. What only prints (`formula`,
`words`) is no part of it, nor is the machinery that every part shares: records, index, engine.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

from strop import own

PRINTED = frozenset({"formula", "words", "where", "says"})
"""Methods of a record that only print."""
MACHINERY = frozenset({"strop.seams.part", "strop.seams.formula", "strop.seams.index"})


def hashed(fn: Callable[..., Any] | type, gives: str = "") -> str:
    """Hash of a function or class with the helpers it calls, and of what it is said to give."""
    seen = {"gives": gives} if gives else {}
    try:
        if fn.__qualname__ == fn.__name__:
            _gather(fn.__module__, fn.__name__, seen)
        else:  # defined inside something: by itself
            seen["inner"] = _normal(ast.parse(textwrap.dedent(inspect.getsource(fn))).body[0])
    except (OSError, TypeError, KeyError):  # typed into a prompt: no source to read
        code: Any = getattr(fn, "__code__", None)
        seen["code"] = repr((code.co_code, code.co_names, [c for c in code.co_consts if not inspect.iscode(c)])) if code else ""
    return hashlib.sha256("\n".join(seen[key] for key in sorted(seen)).encode()).hexdigest()[:16]


def _gather(module: str, name: str, seen: dict[str, str], root: str = "") -> None:
    """The normal form of a definition and, before it returns, of all it uses from the same package, or from beside the user's file."""
    root = root or module
    key = f"{module}.{name}" if module.startswith("strop.") else name if module == root else f"{module.rpartition('.')[2]}.{name}"
    if key in seen:  # a user may rename a file, so its own name is no part of what it defines
        return
    definitions, imported = _module(module)
    seen[key] = _normal(definitions[name])
    for used in sorted({n.id for n in ast.walk(ast.parse(seen[key])) if isinstance(n, ast.Name)}):
        if used in definitions:
            _gather(module, used, seen, root)
        elif used in imported:
            origin, what = imported[used]
            if _is_helper(origin, what):
                _gather(origin, what, seen, root)
            elif (neighbour := own.neighbour(module, origin, what)) is not None:
                if not what or what not in _module(neighbour)[0]:  # the file as a whole
                    seen[f"file {neighbour.rpartition('.')[2]}"] = "\n".join(map(_normal, _module(neighbour)[0].values()))
                else:
                    _gather(neighbour, what, seen, root)


def _normal(node: ast.stmt) -> str:
    """The definition in one form however it was written."""
    return ast.unparse(ast.fix_missing_locations(_Normal().visit(ast.parse(ast.unparse(node)))))


def _is_helper(module: str, name: str) -> bool:
    """A function of another seam, as `kl_estimate` is to the objectives."""
    return module.startswith("strop.seams.") and module not in MACHINERY and isinstance(_module(module)[0].get(name), ast.FunctionDef)


def _module(name: str) -> tuple[dict[str, ast.stmt], dict[str, tuple[str, str]]]:
    """What a module defines at its top level, and what it imports from where by which name; modules by none."""
    return _parsed(inspect.getsource(sys.modules[name]))


@cache
def _parsed(source: str) -> tuple[dict[str, ast.stmt], dict[str, tuple[str, str]]]:
    definitions: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign):
            definitions |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            definitions[node.target.id] = node
        elif isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: (node.module or alias.name, alias.name if node.module else "") for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}
    return definitions, imported


class _Normal(ast.NodeTransformer):
    """Without docstrings, annotations, decorators, versions, texts of errors and what only prints."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        if node.name in PRINTED:
            return None
        node.returns, node.decorator_list = None, []
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """As its pieces: how quotes inside are written back differs from one Python to the next, and empty pieces come and go."""
        self.generic_visit(node)
        pieces = [piece for piece in node.values if not (isinstance(piece, ast.Constant) and piece.value == "")]
        return ast.Tuple([ast.Constant("f-string"), *pieces], ast.Load())

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        self.generic_visit(node)
        return ast.Tuple([node.value, ast.Constant(node.conversion), node.format_spec or ast.Constant("")], ast.Load())

    def visit_Raise(self, node: ast.Raise) -> Any:
        return ast.Raise()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        node.decorator_list = []
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if isinstance(node.target, ast.Name) and node.target.id == "VERSION":
            return None
        value = node.value or ast.Constant(value=...)
        return ast.Assign(targets=[node.target], value=self.visit(value), lineno=node.lineno)
