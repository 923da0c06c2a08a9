"""A saved method, loaded: from strop's own parts and those handed over; nothing is imported or run on the file's behalf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from strop.catalogue import Known, with_own
from strop.method import Method
from strop.seams.part import Part, describe, nearest, version_of


def load(data: Mapping[str, Any], parts: Iterable[Known] = ()) -> Method:
    """What `Method.to_json` wrote. Parts that are newer here than in the file are named in the method's `notes`."""
    known, notes, seams = with_own(parts), list[str](), {f.name for f in fields(Method)}
    try:
        name, paper, idea, parent = data["name"], data["paper"], tuple(data["idea"]), data["parent"]
        for seam in data["parts"]:
            if seam not in seams:
                raise ValueError(f"saved method {name!r}: a method has no seam {seam!r}. {nearest(seam, seams)}")
        found: dict[str, Any] = {seam: _loaded(value, known, notes) for seam, value in data["parts"].items()}
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
    if set(items) - {"body"} != {"part", "version", "with"}:
        return {name: _loaded(v, known, notes) for name, v in items.items()}
    name, version = str(items["part"]), int(items["version"])
    if name not in known:
        raise ValueError(f"no part {name!r}. {nearest(name, known)} A part of your own is handed over: saved.load(data, parts=[…]).")
    thing = known[name]
    ours = version_of(thing)
    if version > ours:
        raise ValueError(f"part {name!r} was saved with version {version}, and this strop has {ours}. Update strop to load it.")
    given = {k: _loaded(v, known, notes) for k, v in cast(Mapping[str, Any], items["with"]).items()}
    have = set(thing.constants) if isinstance(thing, Part) else {f.name for f in fields(thing)}
    added = set[str]() if isinstance(thing, Part) else {f.name for f in fields(thing) if "added" in f.metadata}
    for constant in given:
        if constant not in have:
            raise ValueError(
                f"part {name!r} was saved with {constant}={given[constant]!r}, which it no longer has. {nearest(constant, have)}"
            )
    missing = sorted(have - set(given) - added)
    if version < ours:
        added = f"; new since, at its default: {', '.join(missing)}" if missing else ""
        notes.append(f"part {name} is version {ours} here, was saved with {version}: its constants are the saved ones{added}")
    elif missing:
        raise ValueError(f"saved part {name!r} lacks {', '.join(missing)}: a saved part says every constant")
    made = thing(**given)
    if "body" in items and items["body"] != describe(made).get("body"):
        notes.append(f"the body of {name} is not the one it was saved with")
    return made
