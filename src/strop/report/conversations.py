"""A run's episodes as rows with `messages`, as `--data` and other people's trainers read them.

What the policy wrote, and what its world answered between, are read back from what the run committed. A call becomes a `tool_call` where
writing it again gives the same text, else it stays the text it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strop import directory as folder
from strop.records import Rollout, Task, canonical
from strop.seams.context import Renderer
from strop.seams.episode import Calls
from strop.seams.mark import runs
from strop.seams.world import Call, Tool, tools_of, world_of


def rows(place: Path) -> tuple[list[dict[str, Any]], int]:
    """Every right episode, in the order of steps, equal ones of a task once; and how many could not be told turn by turn, since a turn of
    theirs is empty or its text does not come back from its tokens."""
    found = [*_rows(place)]
    return [row for row in found if row is not None], found.count(None)


def _rows(place: Path) -> Iterator[dict[str, Any] | None]:
    from strop.policies import causal
    from strop.saved import brought
    from strop.tasks import source

    parts = brought(place)
    _, recipe = folder.read_recipe(place, parts.get("method"))
    renderer, sampler = causal.renderer(recipe), recipe.resolved().sampler
    tasks = parts.get("source") or source(recipe.task_name())
    world = world_of(recipe.resolved().environment, tasks)
    if hasattr(world, "show"):
        raise ValueError(f"{type(world).__name__} writes the first message of its episodes itself, and a run keeps it as tokens alone")
    calls, seen = getattr(getattr(sampler, "how", sampler), "calls", None), set[str]()
    groups, scores = folder.sampled(place)
    for group in (group for group in groups if group.role == "solve"):
        tools = tools_of(world, group.task) if calls is not None else ()
        for rollout in (r for r in group.rollouts if (scores.get(r.id, "outcome") or 0) >= 1):
            said = turns(rollout, renderer)
            if said is None:
                yield None
                continue
            row: dict[str, Any] = {"messages": list(_messages(recipe.system, group.task, said, calls, tools))}
            if tools:
                row["tools"] = [_told(tool) for tool in tools]
            if (known := group.task.id + canonical(row["messages"])) not in seen:
                seen.add(known)
                origin = {"step": int(rollout.id.partition("/")[0]), "task": group.task.id, "rollouts": [rollout.id]}
                yield row | {"scores": dict(scores.values.get(rollout.id, {})), "from": origin}


def turns(rollout: Rollout, renderer: Renderer) -> list[tuple[str, str]] | None:
    """(what it said, what was answered then), turn by turn; nothing was answered to the last."""
    found = [(start, start + len(run.text)) for start, run in runs(rollout, renderer)]
    whole = found and found[0][0] == 0 and found[-1][1] == len(rollout.text) and len(found) == len(rollout.keys.get("facts", (0,)))
    if not whole or any(start == stop for start, stop in found):
        return None
    after = [start for start, _ in found[1:]]
    heard = [rollout.text[stop + 1 : start - 1] for (_, stop), start in zip(found, after, strict=False)]
    return list(zip((rollout.text[start:stop] for start, stop in found), [*heard, ""], strict=True))


def _messages(
    system: str, task: Task, said: Sequence[tuple[str, str]], calls: Calls | None, tools: Sequence[Tool]
) -> Iterator[dict[str, Any]]:
    if system:
        yield {"role": "system", "content": system}
    yield {"role": "user", "content": task.prompt}
    for turn, (text, heard) in enumerate(said):
        called = None if calls is None else _call(text, calls, tools)
        if called is None:
            yield {"role": "assistant", "content": text}
        else:
            content, call = called
            function = {"name": call.tool, "arguments": canonical(dict(call.arguments))}
            yield {
                "role": "assistant",
                "content": content,
                "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": function}],
            }
        if turn + 1 < len(said):
            yield (
                {"role": "user", "content": heard} if called is None else {"role": "tool", "tool_call_id": f"call_{turn}", "content": heard}
            )


def _call(text: str, calls: Calls, tools: Sequence[Tool]) -> tuple[str, Call] | None:
    """A text with one call at its end, as both: where writing them again gives it back."""
    read = calls.read(text, tools)
    if len(read) != 1 or not isinstance(read[0], Call):
        return None
    written = calls.written(read[0])
    content = text.removesuffix(written).removesuffix("\n")
    return (content, read[0]) if "\n".join(filter(None, (content, written))) == text else None


def _told(tool: Tool) -> dict[str, Any]:
    """As chat completions have it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}
    return {"type": "function", "function": function}
