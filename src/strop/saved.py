"""A saved method, loaded: from strop's own parts and those handed over; nothing is imported or run on the file's behalf.

A run keeps the user's files that its method and its source are made of: `brought` gives both again, on another machine too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from strop import directory as folder
from strop import own
from strop.catalogue import Known, with_own
from strop.method import Method
from strop.program import Program, Repeat, Stage
from strop.seams.part import OWN, Part, describe, nearest, version_of
from strop.tasks import place_of, source


def program(data: Mapping[str, Any], parts: Iterable[Known] = ()) -> Program:
    """What `Program.to_json` wrote."""
    known, notes = with_own(parts), list[str]()

    def stage(entry: Mapping[str, Any]) -> Stage | Repeat:
        if "times" in entry:
            return Repeat(entry["times"], tuple(cast(Stage, stage(each)) for each in entry["stages"]))
        until = _loaded(entry["until"], known, notes)
        method = load(entry["method"], parts)
        notes.extend(method.notes)
        return Stage(entry["name"], method, until, entry["task"], entry["begins"], tuple(entry["keeps"]), float(entry["pace"]))

    try:
        stages = tuple(stage(entry) for entry in data["stages"])
        return Program(data["name"], stages, data["paper"], tuple(dict.fromkeys(notes)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a saved program: {type(error).__name__} {error}") from error


def load(data: Mapping[str, Any], parts: Iterable[Known] = ()) -> Method:
    """What `Method.to_json` wrote. Parts that are newer here than in the file are named in the method's `notes`."""
    known, notes, seams = with_own(parts), list[str](), {f.name for f in fields(Method)}
    try:
        name, paper, idea, parent = data["name"], data["paper"], tuple(data["idea"]), data["parent"]
        for seam in data["parts"]:
            if seam not in seams:
                raise ValueError(f"saved method {name!r}: a method has no seam {seam!r}. {nearest(seam, seams)}")
        found: dict[str, Any] = {seam: _loaded(value, known, notes) for seam, value in data["parts"].items()}
        found |= {"pico_lr": data["pico_lr"]} if "pico_lr" in data else {}
        above = None if parent is None else load(parent, parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a saved method: {type(error).__name__} {error}") from error
    return Method(name=name, paper=paper, idea=idea, parent=above, notes=tuple(dict.fromkeys(notes)), **found)


def _loaded(value: Any, known: Mapping[str, Known], notes: list[str]) -> Any:
    """What `describe` wrote, as it was: parts by their id, lists as tuples."""
    if isinstance(value, list):
        return tuple(_loaded(v, known, notes) for v in cast(list[Any], value))
    if not isinstance(value, Mapping):
        return value
    items = cast(Mapping[str, Any], value)
    if set(items) - {"body", "reading"} != {"part", "version", "with"}:
        return {name: _loaded(v, known, notes) for name, v in items.items()}
    name, version = str(items["part"]), int(items["version"])
    if name not in known and f"{OWN}.{name.rpartition('.')[2]}" in known:  # saved when ids of one's own parts said their module
        name = f"{OWN}.{name.rpartition('.')[2]}"
    if (same := f"{name} {items.get('body')}") in known:
        known = {**known, name: known[same]}
    if name not in known:
        offered = [each for each in known if " " not in each]
        raise ValueError(f"no part {name!r}. {nearest(name, offered)} A part of your own is handed over: saved.load(data, parts=[…]).")
    thing = known[name]
    ours = version_of(thing)
    if version > ours:
        raise ValueError(f"part {name!r} was saved with version {version}, and this strop has {ours}. Update strop to load it.")
    have: dict[str, Any] = thing.constants if isinstance(thing, Part) else {f.name: f.default for f in fields(thing)}
    given = {k: _as(have.get(k), _loaded(v, known, notes)) for k, v in cast(Mapping[str, Any], items["with"]).items()}
    added = set[str]() if isinstance(thing, Part) else {f.name for f in fields(thing) if "added" in f.metadata}
    for constant in given:
        if constant not in have:
            raise ValueError(
                f"part {name!r} was saved with {constant}={given[constant]!r}, which it no longer has. {nearest(constant, have)}"
            )
    missing = sorted(set(have) - set(given) - added)
    if version < ours:
        added = f"; new since, at its default: {', '.join(missing)}" if missing else ""
        notes.append(f"part {name} is version {ours} here, was saved with {version}: its constants are the saved ones{added}")
    elif missing:
        raise ValueError(f"saved part {name!r} lacks {', '.join(missing)}: a saved part says every constant")
    made = thing(**given)
    if "reading" in items and isinstance(made, Part):
        made = made.reading(**cast(dict[str, str], items["reading"]))
    if "body" in items and items["body"] != describe(made).get("body"):
        notes.append(f"the body of {name} is not the one it was saved with")
    return made


def _as(default: Any, value: Any) -> Any:
    """1 is written for 1.0: a number that is no whole one by its default comes back so, or what it goes into would be written otherwise."""
    if not isinstance(default, float) or type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"a saved part has a number of {len(str(value))} digits where {default} stood") from None


def brought(directory: Path) -> dict[str, Any]:
    """What a run was made of that no name of strop's gives, `method` and `source`, from the files that it kept: for `run.resume`."""
    whole = (directory / folder.PROGRAM).exists()
    about = folder.read_program(directory) if whole else folder.read_about(directory)
    if "files" not in about:
        return _brought_before(directory)
    found: dict[str, Any] = {}
    if whole and not about["named"]:
        found["method"] = program(about["program"], parts_of(directory))
    elif "asked" in about:
        found["method"] = load(about["asked"], parts_of(directory))
    if place_of(task := folder.task_of(directory, about)) is not None:
        found["source"] = source(task)
    return found


def _brought_before(directory: Path) -> dict[str, Any]:
    """Of a run that kept its recipe file alone."""
    if not (directory / "recipe.py").is_file():
        return {}
    module = own.loaded(directory / "recipe.py")
    method, made = getattr(getattr(module, "RECIPE", None), "method", None), getattr(module, "SOURCE", None)
    return ({"method": method} if isinstance(method, Method) else {}) | ({} if made is None else {"source": made})


def method_of(directory: Path) -> Method | Program:
    """What a run trained with, as it was saved."""
    if (directory / folder.PROGRAM).exists():
        return program(folder.read_program(directory)["program"], parts_of(directory))
    about = folder.read_about(directory)
    if "method" not in about:
        raise ValueError(
            f"{directory} was made before runs kept their whole method; its parts are in {directory / 'recipe.json'} under resolved.parts"
        )
    return load(about["method"], parts_of(directory))


def feed_of(start: str) -> Any:
    """What a policy learned from, where a run's directory is named: it is asked as it was taught."""
    place, _ = folder.one_of(start)
    return getattr(method_of(place), "feed", None) if (place / "recipe.json").is_file() else None


def parts_of(directory: Path) -> list[Known]:
    """Every part and record in sight of the files that a run kept."""
    about = folder.read_program(directory) if (directory / folder.PROGRAM).exists() else folder.read_about(directory)
    if "files" in about:
        modules = folder.modules(directory, about)
    else:
        modules = [own.loaded(directory / "recipe.py")] if (directory / "recipe.py").is_file() else []
    return list(dict.fromkeys(value for module in modules for value in _known(module)))


def _known(module: ModuleType) -> list[Known]:
    def fits(value: Any) -> bool:
        return isinstance(value, Part) or (isinstance(value, type) and is_dataclass(value))

    return [value for value in vars(module).values() if fits(value) and own.is_own(value.__module__)]
