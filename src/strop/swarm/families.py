"""A task by (family, version, seed, index): what a trainer sends of a task, and how another one makes it again.

A family is the text that `--task` takes, knobs that differ from their defaults included. What a source's author changes has another
`VERSION`. Only tasks of one's own source, or of the members of one's own pool, are made again, and only training tasks: the index names a
place in the split `train`, so a held-out task cannot be asked for. A file's rows are no family: nobody else is known to hold the file.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from strop.records import Task
from strop.seams.part import version_of
from strop.seams.source import Source
from strop.swarm.message import Address, Rejected
from strop.tasks.procedural import spec


def families(source: Source) -> dict[str, Source]:
    """The families that a source can make, by name."""
    members: tuple[Source, ...] = getattr(source, "sources", ())
    if members:
        return {name: one for member in members for name, one in families(member).items()}
    return {spec(source) if is_dataclass(source) else source.name: source}


def address(task: Task, source: Source) -> Address | None:
    """Where another trainer finds it; None for a task that only its content describes."""
    seed, index = task.meta.get("seed"), task.meta.get("index")
    if not isinstance(seed, int) or not isinstance(index, int):
        return None
    for name, one in families(source).items():
        if one.name == task.source and one.task("train", seed, index).id == task.id:
            return Address(name, version_of(type(one)), seed, index, task.id)
    return None


def rebuild(named: Address, known: dict[str, Source]) -> Task:
    """The task under this address from one's own source, or the reason why there is none."""
    if named.family not in known:
        raise Rejected("unknown task", f"family {named.family!r}")
    source: Any = known[named.family]
    if version_of(type(source)) != named.version:
        raise Rejected("wrong version", f"{named.family} is version {version_of(type(source))} here, {named.version} there")
    try:
        task: Task = source.task("train", named.seed, named.index)
    except Exception as error:  # a stranger chose the address: whatever it does to the source stays with the group
        raise Rejected("unknown task", str(error)[:80]) from error
    if task.id != named.key:
        raise Rejected("wrong key", f"{named.family} {named.seed}/{named.index} is {task.id} here, {named.key} there")
    return task
