"""Python files of the user's own: named by their place, `FILE.py` or `FILE.py:NAME`, and as good as a name of strop's.

A file is loaded once, in a package of its folder, so that two folders may hold files of one name. What it imports from beside it (`import
helpers`, at its top or later) is found in that folder, as Python finds it for a script, and nobody else's imports are touched.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

PACKAGE = "strop_own_"
"""Modules of a folder stand in the package of this name and a hash of the folder's path."""


PACKAGES = {"site-packages", "dist-packages"}
"""Folders of what is installed, wherever they are."""


@dataclass(frozen=True)
class Place:
    """`FILE.py`, `FILE.py:NAME`, and what follows a further colon (knobs of a source)."""

    file: Path
    name: str = ""
    rest: str = ""

    def __str__(self) -> str:
        return ":".join(piece for piece in (str(self.file), self.name, self.rest) if piece)

    def at(self, file: Path) -> Place:
        return dataclasses.replace(self, file=file)

    def near(self, folder: Path | None) -> Place:
        """With the file's full path: in that folder, where it is there, else from where the command runs."""
        there = (folder or Path()) / self.file.expanduser()
        return self.at((there if there.is_file() else self.file.expanduser()).resolve())


def place(text: str) -> Place | None:
    """The place that a text names, or None where it names none."""
    file, found, rest = text.strip().partition(".py")
    if not found or (rest and not rest.startswith(":")):
        return None
    name, _, more = rest[1:].partition(":")
    return Place(Path(file + ".py"), name.strip(), more)


def loaded(file: Path) -> ModuleType:
    """The file as a module. Its own mistakes come back as one sentence with the line."""
    file = file.expanduser().resolve()
    if not file.is_file():
        close = _close(file.stem, [other.stem for other in file.parent.glob("*.py")]) if file.parent.is_dir() else []
        said = f"no file {str(file)!r}." + (f" Did you mean {' or '.join(f'{stem}.py' for stem in close)}?" if close else "")
        raise ValueError(said if not file.exists() else f"{file} is not a Python file")
    package = _package(file.parent)
    name = f"{package}.{file.stem}"
    if not file.stem.isidentifier():
        name = f"{package}.file_{hashlib.sha256(file.stem.encode()).hexdigest()[:8]}"
    _forget_changed(package)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_Loader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(_told(error, file)) from error
    return module


def _told(error: BaseException, file: Path) -> str:
    """Where in the user's folder it happened, and what."""
    where, line, step = file, 0, error.__traceback__
    while step is not None:
        if (there := Path(step.tb_frame.f_code.co_filename)).is_relative_to(file.parent):
            where, line = there, step.tb_lineno
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        where, line = Path(error.filename), error.lineno or 0
    if (said := _unexpected(error)) is not None:
        return f"{where}, line {line}: {said}"
    return f"{where}, line {line}: {type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"


def _unexpected(error: BaseException) -> str | None:
    """`Recipe(step=3)` in words: what the class has instead."""
    found = re.fullmatch(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    step, kind = error.__traceback__, None
    while found and step is not None:
        kind, step = step.tb_frame.f_globals.get(found[1], kind), step.tb_next
    if found is None or kind is None or not dataclasses.is_dataclass(kind):
        return None
    names = [f.name for f in dataclasses.fields(kind)]
    close = difflib.get_close_matches(found[2], names, n=3, cutoff=0.5)
    offered = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"It has {', '.join(names)}."
    return f"{found[1]} has no field {found[2]!r}. {offered}"


def defined(module: ModuleType) -> dict[str, Any]:
    """What the file itself defines at its top level, by name; what it imported is not its own."""
    return {name: vars(module)[name] for name in _assigned(Path(str(module.__file__))) if name in vars(module)}


def one(where: Place, noun: str, fits: Callable[[Any], bool], preferred: Iterable[str] = ()) -> Any:
    """What stands at a place: by its name, or the only one of its kind that the file defines. `preferred` names come first."""
    module = loaded(where.file)
    if where.name:
        value = getattr(module, where.name, None)
        if value is not None and fits(value):
            return value
        mine = [name for name, value in defined(module).items() if fits(value)]
        names = mine or [name for name, value in vars(module).items() if fits(value)]
        raise ValueError(f"{where.file} has no {noun} {where.name!r}. {_others(noun, names, where)}")
    for name in preferred:
        if (value := getattr(module, name, None)) is not None and fits(value):
            return value
    found = {name: value for name, value in defined(module).items() if fits(value)}
    if len({id(value) for value in found.values()}) == 1:
        return next(iter(found.values()))
    if not found:
        raise ValueError(f"{where.file} defines no {noun}")
    raise ValueError(f"{where.file} defines {len(found)} {noun}s; say which: {' or '.join(f'{where.file.name}:{name}' for name in found)}")


def modules(folder: Path, files: Iterable[str]) -> list[ModuleType]:
    """Those of these files of a folder, loaded with what they import from beside them."""
    tops = [loaded(folder / name) for name in files if "/" not in name]
    package = _package(folder.resolve())
    return list(dict.fromkeys([*tops, *(module for name, module in sys.modules.items() if name.startswith(f"{package}."))]))


def name_of(where: Place, value: Any) -> str:
    """The name under which a value stands in its file."""
    return next((name for name, other in vars(loaded(where.file)).items() if other is value), where.name)


def _others(noun: str, names: list[str], where: Place) -> str:
    if not names:
        return f"It has no {noun} at all."
    close = _close(where.name, names)
    return f"Did you mean {' or '.join(f'{where.file.name}:{name}' for name in close)}?" if close else f"It has {', '.join(names)}."


def near(name: str) -> str:
    """How one of the user's own is written, and what stands in the files of this folder under a name like it. They are read, not run."""
    stands: dict[str, str] = {}
    for file in [file for file in sorted(Path().glob("*.py")) if file.stat().st_size <= LONGEST][:MOST]:
        stands.setdefault(file.stem, file.name)
        with suppress(OSError, ValueError, SyntaxError, RecursionError):
            stands |= {made: f"{file.name}:{made}" for made in _assigned(file) if made not in stands}
    said = "One of your own is FILE.py or FILE.py:NAME."
    return f"{said} Here stands {' or '.join(stands[each] for each in close)}." if (close := _close(name, stands)) else said


MOST, LONGEST = 40, 200_000
"""Files of a folder that are looked through for a name, and bytes of each."""


def _close(name: str, known: Iterable[str]) -> list[str]:
    """The nearest of these, whatever their case."""
    folded = {each.casefold().replace("_", "-"): each for each in known}
    return [folded[each] for each in difflib.get_close_matches(name.casefold().replace("_", "-"), folded, n=3, cutoff=0.6)]


# ------------------------------------------------------------------------------------------------ what belongs to a file


def beside(file: Path) -> dict[str, Path]:
    """The file and everything it imports from its own folder, and they in turn, by their place in that folder. Read, not run."""
    folder, found, waiting = file.parent, dict[str, Path](), [file]
    while waiting:
        one = waiting.pop()
        key = one.relative_to(folder).as_posix()
        if key in found:
            continue
        found[key] = one
        for top in _imported(one):
            if (single := folder / f"{top}.py").is_file():
                waiting.append(single)
            elif _is_package(folder / top):
                waiting += sorted(p for p in (folder / top).rglob("*.py"))
    return dict(sorted(found.items()))


def files_of(*values: Any, at: Place | None = None) -> dict[Path, dict[str, Path]]:
    """{folder: {place in it: file}} of everything that these values (methods, sources, records) are made of and that is not installed; and
    of the file `at` which one of them stands, whose class may stand beside it."""
    found: dict[Path, dict[str, Path]] = {} if at is None else {at.file.parent: beside(at.file)}
    for module in dict.fromkeys(_modules(values, {})):
        if is_own(module) and (file := _file(module)) is not None:
            folder = Path(sys.modules[module.partition(".")[0]].__path__[0]) if module.startswith(PACKAGE) else file.parent
            entry = found.setdefault(folder, {})
            entry |= beside(file) if file.parent == folder else {file.relative_to(folder).as_posix(): file}
    return found


def _modules(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Names of the modules in which a value's functions and classes are defined. What was seen is held, so that no other has its id."""
    if id(value) in seen or value is None or isinstance(value, str | int | float | bool):
        return
    seen[id(value)] = value
    if isinstance(value, tuple | list | frozenset | set):
        for member in cast(Iterable[Any], value):
            yield from _modules(member, seen)
    elif isinstance(value, Mapping):
        yield from _modules(list(cast(Mapping[Any, Any], value).values()), seen)
    elif callable(value) and hasattr(value, "__module__") and not dataclasses.is_dataclass(value):
        yield str(value.__module__)
    else:
        yield type(value).__module__
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _modules([getattr(value, f.name, None) for f in dataclasses.fields(value)], seen)
        elif hasattr(value, "__dict__") and is_own(type(value).__module__):
            yield from _modules(list(vars(value).values()), seen)


def is_own(module: str) -> bool:
    """Not strop's, not Python's, not installed: a file of the user's."""
    if module.startswith(PACKAGE):
        return True
    if module.partition(".")[0] in {"strop", "builtins", *sys.stdlib_module_names} - {"__main__"}:
        return False
    file = _file(module)
    installed = file is None or bool(PACKAGES & {*file.parts}) or any(file.is_relative_to(place) for place in _installed())
    return not installed and file is not None and file.suffix == ".py"


def neighbour(module: str, origin: str, name: str) -> str | None:
    """The module that `from origin import name` (or `import origin`) in a file of the user's means, where it lies beside that file."""
    package = module.partition(".")[0]
    for candidate in (f"{origin}.{name}", origin) if name else (origin,):
        full = f"{package}.{candidate}" if package.startswith(PACKAGE) else candidate
        if full in sys.modules and is_own(full):
            return full
    return None


def stands(thing: Any) -> tuple[Path | None, int]:
    """The file and line of a function or class of the user's own; (None, 0) for others."""
    if not is_own(getattr(thing, "__module__", "builtins")):
        return None, 0
    try:
        return Path(inspect.getsourcefile(thing) or "").resolve(), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None, 0


def blamed(error: BaseException) -> str:
    """Where in a file of the user's own an error was raised, `FILE, line N`; empty where it was raised elsewhere."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None or not is_own(str(step.tb_frame.f_globals.get("__name__"))):
        return ""
    return f"{step.tb_frame.f_code.co_filename}, line {step.tb_lineno}"


def line_of(error: BaseException, file: Path) -> int:
    """The last line of a file that an error went through; 0 where it went through none."""
    line, step = 0, error.__traceback__
    while step is not None:
        line = step.tb_lineno if Path(step.tb_frame.f_code.co_filename) == file else line
        step = step.tb_next
    return line


def _file(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file else None


@cache
def _installed() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def hashes(files: Mapping[str, Path]) -> dict[str, str]:
    return {key: _hash(path) for key, path in files.items()}


# ------------------------------------------------------------------------------------------------ how it is loaded


class _Finder(importlib.abc.MetaPathFinder):
    """Files beside one that is being loaded, under the package of their folder."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(PACKAGE) or path is None:
            return None
        for folder in map(Path, path):
            name = fullname.rpartition(".")[2]
            for file, inner in ((folder / f"{name}.py", None), (folder / name / "__init__.py", [str(folder / name)])):
                if file.is_file():
                    loader = _Loader(fullname, str(file))
                    return importlib.util.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=inner)
            if _is_package(folder / name):
                spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
                spec.submodule_search_locations = [str(folder / name)]
                return spec
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    """A file whose imports of its neighbours go to their package. No bytecode is kept: it would not be the script's."""

    def get_code(self, fullname: str) -> Any:
        source, file = self.get_data(self.path), Path(self.path)
        package = fullname.partition(".")[0]
        folder = Path(sys.modules[package].__path__[0])
        _read[self.path] = hashlib.sha256(source).hexdigest()
        tree = _Neighbours(package, folder).visit(ast.parse(source, str(file)))
        return compile(ast.fix_missing_locations(tree), str(file), "exec", dont_inherit=True)


class _Neighbours(ast.NodeTransformer):
    """`import helpers` as an import from the folder's package, where the folder holds helpers.py."""

    def __init__(self, package: str, folder: Path):
        self.package, self.folder = package, folder

    def _here(self, name: str) -> bool:
        top = name.partition(".")[0]
        return (self.folder / f"{top}.py").is_file() or _is_package(self.folder / top)

    def visit_Import(self, node: ast.Import) -> Any:
        made: list[ast.stmt] = []
        for alias in node.names:
            if not self._here(alias.name):
                made.append(ast.Import([alias]))
                continue
            above, _, last = f"{self.package}.{alias.name}".rpartition(".")
            if alias.asname or "." not in alias.name:
                made.append(ast.ImportFrom(above, [ast.alias(last, alias.asname)], 0))
            else:  # `import a.b` loads a.b and names a
                made.append(ast.ImportFrom(above, [ast.alias(last, "__strop_loaded__")], 0))
                made.append(ast.ImportFrom(self.package, [ast.alias(alias.name.partition(".")[0])], 0))
        return [ast.copy_location(one, node) for one in made]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if not node.level and node.module and self._here(node.module):
            return ast.copy_location(ast.ImportFrom(f"{self.package}.{node.module}", node.names, 0), node)
        return node


def _is_package(folder: Path) -> bool:
    """A folder that `import` takes: with its __init__.py, or, where nothing installed has its name, with Python files in it or below."""
    if (folder / "__init__.py").is_file():
        return True
    if not folder.is_dir() or not folder.name.isidentifier() or not any(folder.rglob("*.py")):
        return False
    found = importlib.util.find_spec(folder.name)
    return found is None or found.origin is None  # a module of that name goes before such a folder, as in Python


def _package(folder: Path) -> str:
    """The package of a folder, made where it is not there yet."""
    name = PACKAGE + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    if name not in sys.modules:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
    return name


def _forget_changed(package: str) -> None:
    """Where a file has changed since it was loaded, all of its folder are loaded anew: others may hold what it defined."""
    there = [module for name, module in sys.modules.items() if name.startswith(f"{package}.")]
    files = [str(m.__file__) for m in there if getattr(m, "__file__", None)]  # a folder without __init__.py has none
    if any(not Path(file).is_file() or _read.get(file) != _hash(Path(file)) for file in files):
        for module in there:
            del sys.modules[module.__name__]


_read: dict[str, str] = {}
"""Hash of every file as it was loaded."""


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _imported(file: Path) -> set[str]:
    """Top names of what a file imports, wherever in it; a relative import is one from beside it."""
    found: set[str] = set()
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{_told(error, file)} (it lies beside what is loaded, and is kept with it)") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def _assigned(file: Path) -> list[str]:
    """Names that a file gives a value at its top level, in its order."""
    names: list[str] = []
    for node in ast.parse(file.read_bytes(), str(file)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return list(dict.fromkeys(names))
