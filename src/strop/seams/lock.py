"""The lock: a part's body may not change while its version stays. `python -m strop.seams.lock` writes `parts.lock` anew;
with names after it, those may have another body that gives the same numbers.

The hash is of the syntax tree as Python writes it back: no comments, docstrings, annotations or texts of errors; the constants' defaults
included, and with it what the body uses of its own module and every function it uses of the other seams. What only prints (`formula`,
`words`) is no part of it, nor is the machinery that every part shares: records, index, engine.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from strop.seams.part import Part, version_of

FILE = Path(__file__).with_name("parts.lock")
PRINTED = frozenset({"formula", "words", "where", "says"})
"""Methods of a record that only print."""
MACHINERY = frozenset({"strop.seams.part", "strop.seams.formula", "strop.seams.index"})


def body(thing: Part | type) -> str:
    """Hash of what it computes, with the helpers it calls."""
    fn = thing.fn if isinstance(thing, Part) else thing
    seen = {"gives": f"{thing.gives} {thing.grain}"} if isinstance(thing, Part) else {}
    try:
        if fn.__qualname__ == fn.__name__:
            _gather(fn.__module__, fn.__name__, seen)
        else:  # defined inside something: by itself
            seen["inner"] = _normal(ast.parse(textwrap.dedent(inspect.getsource(fn))).body[0])
    except (OSError, TypeError, KeyError):  # typed into a prompt: no source to read
        code: Any = getattr(fn, "__code__", None)
        seen["code"] = repr((code.co_code, code.co_names, [c for c in code.co_consts if not inspect.iscode(c)])) if code else ""
    return hashlib.sha256("\n".join(seen[key] for key in sorted(seen)).encode()).hexdigest()[:16]


def _gather(module: str, name: str, seen: dict[str, str]) -> None:
    """The normal form of a definition and, before it returns, of all it uses from the same package."""
    key = f"{module}.{name}" if module.startswith("strop.") else name  # a user may rename a file
    if key in seen:
        return
    definitions, imported = _module(module)
    seen[key] = _normal(definitions[name])
    for used in sorted({n.id for n in ast.walk(ast.parse(seen[key])) if isinstance(n, ast.Name)}):
        if used in definitions:
            _gather(module, used, seen)
        elif used in imported and _is_helper(*imported[used]):
            _gather(*imported[used], seen)


def _normal(node: ast.stmt) -> str:
    """The definition in one form however it was written."""
    return ast.unparse(ast.fix_missing_locations(_Normal().visit(ast.parse(ast.unparse(node)))))


def _is_helper(module: str, name: str) -> bool:
    """A function of another seam, as `kl_estimate` is to the objectives."""
    return module.startswith("strop.seams.") and module not in MACHINERY and isinstance(_module(module)[0].get(name), ast.FunctionDef)


def _module(name: str) -> tuple[dict[str, ast.stmt], dict[str, tuple[str, str]]]:
    """What a module defines at its top level, and what it imports by name from where."""
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
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
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


def locked() -> dict[str, tuple[int, str]]:
    """(version, hash) of every part of strop, as it stands."""
    from strop.seams.catalogue import own

    return {name: (version_of(thing), body(thing)) for name, thing in own().items()}


def saved() -> dict[str, tuple[int, str]]:
    return {name: (version, hashed) for name, (version, hashed) in json.loads(FILE.read_text()).items()} if FILE.exists() else {}


def unbumped(before: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]) -> list[str]:
    """A sentence for each part whose body changed without a higher version."""
    return [
        f"{name}: its body changed, its version is still {version}. Give it version {before[name][0] + 1}, so that saved methods and old "
        "runs can tell, or take the change back."
        for name, (version, hashed) in now.items()
        if name in before and before[name][1] != hashed and version <= before[name][0]
    ]


def main(same: Sequence[str] = ()) -> int:
    """`same` are parts whose body changed and gives the numbers it gave at every constant it had: their author has shown that."""
    before, now = saved(), locked()
    wrong = [said for said in unbumped(before, now) if said.partition(":")[0] not in same]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(list(entry))}" for name, entry in now.items())
    FILE.write_text(f"{{\n{rows}\n}}\n")
    changed = [name for name in now if before.get(name) != now[name]]
    print(f"{FILE.name}: {len(now)} parts, {len(changed)} new or changed{': ' if changed else ''}{', '.join(changed)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
